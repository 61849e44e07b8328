"""Keys for arguments at rest."""

import sys

import pytest
from cryptography.fernet import Fernet, MultiFernet

from taskflow.arguments.encryption import decrypt, encrypt, make_fernet
from taskflow.core.exceptions import ConfigurationError, DecryptionError


@pytest.mark.parametrize("as_given", [bytes, bytes.decode])
def test_what_one_key_encrypts_it_decrypts(as_given):
    fernet = make_fernet(as_given(Fernet.generate_key()))
    token = encrypt(fernet, b"the arguments")
    assert isinstance(fernet, Fernet)
    assert b"the arguments" not in token
    assert decrypt(fernet, token) == b"the arguments"


def test_a_list_of_keys_decrypts_what_the_old_key_encrypted():
    old, new = Fernet.generate_key(), Fernet.generate_key()
    token = encrypt(make_fernet(old), b"the arguments")
    rotated = make_fernet([new, old.decode()])
    assert isinstance(rotated, MultiFernet)
    assert decrypt(rotated, token) == b"the arguments"


def test_the_first_key_of_a_list_encrypts():
    old, new = Fernet.generate_key(), Fernet.generate_key()
    token = encrypt(make_fernet([new, old]), b"the arguments")
    assert decrypt(make_fernet(new), token) == b"the arguments"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "hunter2",
        b"hunter2",
        "hünter2",
        b"\xff" * 44,
        "A" * 40,
        [],
        ["hunter2"],
        [Fernet.generate_key(), "hunter2"],
        [["hunter2"]],
        5,
        object(),
    ],
)
def test_a_malformed_key_is_refused_and_never_shown(key):
    with pytest.raises(ConfigurationError, match=r"encrypt_args_key.*Fernet\.generate_key") as caught:
        make_fernet(key)
    assert caught.value.value == "<redacted>"
    assert "nter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_without_the_cryptography_package_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(ConfigurationError) as caught:
        make_fernet("any")
    assert caught.value.value == "<redacted>"
    assert 'pip install "cryptography"' in str(caught.value)


def test_a_token_of_another_key_is_a_decryption_error():
    token = encrypt(make_fernet(Fernet.generate_key()), b"the arguments")
    with pytest.raises(DecryptionError, match="encrypt_args_key"):
        decrypt(make_fernet(Fernet.generate_key()), token)


@pytest.mark.parametrize(
    "damage", [lambda token: token[:-4], lambda token: b"", lambda token: token[:40] + token[41:]]
)
def test_a_damaged_token_is_a_decryption_error(damage):
    fernet = make_fernet(Fernet.generate_key())
    with pytest.raises(DecryptionError):
        decrypt(fernet, damage(encrypt(fernet, b"the arguments")))
