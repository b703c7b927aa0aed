"""Keys and tokens of the Google Chat double: a service account's key, Google's two kinds of signatures."""

from __future__ import annotations

import datetime
import json
from functools import cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

SYSTEM = "chat@system.gserviceaccount.com"


@cache
def private_key(name: str) -> rsa.RSAPrivateKey:
    """A key for each name, made once in a process."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(name: str) -> str:
    """The private key in PEM."""
    return (
        private_key(name)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


@cache
def certificate(name: str) -> str:
    """A self-signed certificate of the key, in PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chat.system")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private_key(name).public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(private_key(name), hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def jwk(name: str) -> dict[str, Any]:
    """The public key as a JWK, its name as its id."""
    made: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private_key(name).public_key()))
    return {**made, "kid": name, "alg": "RS256", "use": "sig"}


def signed(name: str, claims: dict[str, Any], *, kid: str | None = None, alg: str = "RS256") -> str:
    """A JWT signed with a key."""
    return jwt.encode(claims, pem(name), algorithm=alg, headers={"kid": kid or name})


def verified(name: str, token: str, audience: str, now_s: float) -> dict[str, Any]:
    """The claims of an assertion, as the token endpoint looks at them. Raises ValueError."""
    ours = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
    try:
        claims: dict[str, Any] = jwt.decode(token, private_key(name).public_key(), algorithms=["RS256"], options=ours)
    except jwt.PyJWTError as error:
        raise ValueError(f"Invalid JWT Signature. {error}") from None
    if claims.get("aud") != audience:
        raise ValueError("Invalid JWT: wrong audience.")
    if not claims["iat"] - 60 <= now_s <= claims["exp"] or claims["exp"] - claims["iat"] > 3600:
        raise ValueError("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.")
    return claims
