"""SECRET_KEY: where it comes from, what is derived from it, and how secrets are sealed at rest.

Every use has a key of its own, derived for a purpose, so that what one part gives away is worthless to
another. The store keeps a check value of the key, which is how a changed key is noticed at the start instead
of showing up as links that fail and tokens that are garbage.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Any

from core import keys
from core.store import Redis

MIN_KEY_CHARS = 32
KEY_FILE = "secret_key"
_CHECK_FIELD = "key_check"
_NONCE_BYTES = 12


class SecretKeyError(Exception):
    """SECRET_KEY is missing, unsafe or not the one this store was used with; the message says what to do."""


class SealBroken(Exception):
    """A sealed secret does not open: another key sealed it, or it was tampered with or moved."""


def derive(secret_key: str, purpose: str) -> bytes:
    """A key of 32 bytes for ``purpose`` (HMAC-SHA256; the input is itself random, so no stretching)."""
    return hmac.digest(secret_key.encode(), b"bridgebot:" + purpose.encode(), hashlib.sha256)


def require_key(secret_key: str) -> str:
    """``secret_key`` when it is long enough. Raises SecretKeyError."""
    if not secret_key:
        raise SecretKeyError(
            "SECRET_KEY is not set. Make one with `openssl rand -hex 32`, keep it safe, and give the same one to "
            "every process."
        )
    if len(secret_key) < MIN_KEY_CHARS:
        raise SecretKeyError(
            f"SECRET_KEY has {len(secret_key)} characters and needs at least {MIN_KEY_CHARS}. "
            "Make one with `openssl rand -hex 32`."
        )
    return secret_key


def read_key(data_dir: Path) -> str:
    """The key kept in ``data_dir``, or an empty string when there is none. Raises SecretKeyError."""
    path = data_dir / KEY_FILE
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SecretKeyError(f"{path} cannot be read: {error}. Its owner must be the user that runs this.") from None


def make_key(data_dir: Path) -> str:
    """The key kept in ``data_dir``; made there, readable by its owner only, when there is none yet.

    Raises SecretKeyError.
    """
    if key := read_key(data_dir):
        return require_key(key)
    key = secrets.token_hex(32)
    path = data_dir / KEY_FILE
    # Written aside and linked, so that a crash leaves no half key and two first starts agree on one.
    aside = path.with_name(f".{KEY_FILE}.{os.getpid()}")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return read_key(data_dir)
        finally:
            aside.unlink()
    except OSError as error:
        raise SecretKeyError(f"{path} cannot be written: {error}. Choose another folder with --data.") from None
    return key


def key_check(secret_key: str) -> str:
    """What the store keeps to recognise the key. Says nothing about it."""
    return derive(secret_key, "key check").hex()[:32]


async def check_key(store: Redis, secret_key: str) -> None:
    """Raise SecretKeyError when ``store`` was used with another key. A store that knows no key learns this one.

    Raises what the store raises.
    """
    require_key(secret_key)
    expected = key_check(secret_key)
    await store.hsetnx(keys.META, _CHECK_FIELD, expected)
    known: Any = await store.hget(keys.META, _CHECK_FIELD)
    if known is None or not hmac.compare_digest(known, expected.encode()):
        raise SecretKeyError(
            "SECRET_KEY is not the one that this store was used with. With the new one, codes and links that were "
            "given out stop working, and the passwords and tokens of accounts cannot be opened. Put the old key "
            "back; or, if it is lost, run `bridgebot doctor --accept-new-key` and then add those accounts again."
        )


async def accept_key(store: Redis, secret_key: str) -> None:
    """Make ``secret_key`` the one this store is used with, whatever it was. Raises what the store raises."""
    await store.hset(keys.META, _CHECK_FIELD, key_check(require_key(secret_key)))


def seal(secret_key: str, where: str, text: str) -> str:
    """``text`` encrypted (AES-256-GCM). It opens only with the same ``where``, so it cannot be moved."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 7 MiB: only where there is a secret

    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(derive(secret_key, "seal")).encrypt(nonce, text.encode(), where.encode())
    return base64.urlsafe_b64encode(nonce + sealed).decode()


def unseal(secret_key: str, where: str, sealed: str) -> str:
    """What :func:`seal` was given. Raises SealBroken."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        raw = base64.urlsafe_b64decode(sealed)
        cipher = AESGCM(derive(secret_key, "seal"))
        return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], where.encode()).decode()
    except (InvalidTag, ValueError):
        raise SealBroken(where) from None
