"""What cookies are signed with."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets

from itsdangerous import URLSafeTimedSerializer

from taskflow.core.exceptions import ConfigurationError

__all__ = ["serializer", "signing_key"]

logger = logging.getLogger("taskflow")


def signing_key(secret_key: str | bytes | None) -> str | bytes:
    """The key to sign with: a random one, with a warning, if ``None`` is given.

    Raises:
        ConfigurationError: it is empty, or neither text nor bytes.
    """
    if secret_key is None:
        logger.warning(
            "TaskAdmin has auth but no secret_key: sessions end with this process, and other worker "
            "processes do not accept them"
        )
        return secrets.token_bytes(32)
    if not isinstance(secret_key, str | bytes) or not secret_key:
        raise ConfigurationError("secret_key", "<redacted>", "must be text or bytes that is not empty")
    return secret_key


def serializer(key: str | bytes, purpose: str) -> URLSafeTimedSerializer:
    """Signs and reads values for one purpose: what is signed for another one is not accepted."""
    return URLSafeTimedSerializer(
        key,
        salt=purpose,
        serializer=json,  # its own would refuse a name that is not UTF-8
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
