"""Encryption of stored arguments with Fernet, from the ``cryptography`` package.

Fernet is AES-128-CBC with an HMAC-SHA256: a token that was tampered with is refused, not decrypted.
Source: https://github.com/fernet/spec/blob/master/Spec.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from taskflow.core.checks import not_installed
from taskflow.core.exceptions import ConfigurationError, DecryptionError

if TYPE_CHECKING:  # an optional extra
    from cryptography.fernet import Fernet, MultiFernet

__all__ = ["FernetKey", "decrypt", "encrypt", "make_fernet"]

FernetKey: TypeAlias = bytes | str | Sequence[bytes | str]
"""One key, or several: the first encrypts, all decrypt."""

PARAMETER = "encrypt_args_key"
ALLOWED = (
    "must be a Fernet key: 32 url-safe base64-encoded bytes, made with Fernet.generate_key(); "
    "or a list of such keys that is not empty"
)


def make_fernet(key: FernetKey) -> Fernet | MultiFernet:
    """The encryptor for ``encrypt_args_key``: a ``MultiFernet`` for a list of keys.

    To rotate, put the new key first and drop the old one when no stored task needs it any more.

    Raises:
        ConfigurationError: a key is malformed, the list is empty, or ``cryptography`` is not installed.
            The key itself is never part of the error.
    """
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        raise not_installed(PARAMETER, "cryptography", extra="encryption") from error
    try:
        if isinstance(key, bytes | str):
            return Fernet(key)
        return MultiFernet([Fernet(one) for one in key])
    except (TypeError, ValueError):
        # Without its cause, which may quote the key.
        raise ConfigurationError(PARAMETER, "<redacted>", ALLOWED) from None


def encrypt(fernet: Fernet | MultiFernet, data: bytes) -> bytes:
    """The encrypted data, a Fernet token. The time of encryption is readable in it without the key."""
    return fernet.encrypt(data)


def decrypt(fernet: Fernet | MultiFernet, token: bytes) -> bytes:
    """The inverse of `encrypt`.

    Raises:
        DecryptionError: the token was made with a key that is not configured, or it is damaged.
    """
    from cryptography.fernet import InvalidToken

    try:
        return fernet.decrypt(token)
    except InvalidToken:
        raise DecryptionError(
            "the stored arguments cannot be decrypted: encrypt_args_key is not the key that they were "
            "encrypted with (keep the old key in its list, after the new one), or they are damaged"
        ) from None
