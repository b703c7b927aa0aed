"""Signing in: SASL PLAIN (RFC 4616), EXTERNAL (RFC 4422 appendix A) and SCRAM-SHA-256 (RFC 7677)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

CHUNK = 400
"""Longest piece of an AUTHENTICATE line (IRCv3 sasl-3.1)."""
MAX_ITERATIONS = 200_000
"""More would only keep us busy: servers ask for 4,096 to 100,000."""


class SaslError(Exception):
    """The server's challenge cannot be answered, or it does not know our password itself."""


class Mechanism:
    """A mechanism that has one thing to say."""

    proven = True
    """Has the server shown all that the mechanism asks of it?"""

    def __init__(self, name: str, message: bytes) -> None:
        self.name = name
        self._message = message

    def answer(self, challenge: bytes) -> bytes:
        """What to say to ``challenge``. Raises SaslError."""
        return self._message


class Scram(Mechanism):
    """SCRAM-SHA-256: the password never leaves, and the server proves that it knows it too."""

    def __init__(self, user: str, password: str, nonce: str) -> None:
        super().__init__("SCRAM-SHA-256", b"")
        self._password = password.encode()
        self._nonce = nonce
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self._step = 0
        self.proven = False
        self._server_signature = b""

    def answer(self, challenge: bytes) -> bytes:
        """The client's next message."""
        self._step += 1
        if self._step == 1:
            return ("n,," + self._bare).encode()
        if self._step == 2:
            return self._prove(challenge)
        if self._step == 3 and hmac.compare_digest(challenge, b"v=" + self._server_signature):
            self.proven = True
            return b""
        raise SaslError("the server could not prove that it knows the password")

    def _prove(self, challenge: bytes) -> bytes:
        try:
            fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
            nonce, salt, iterations = fields["r"], base64.b64decode(fields["s"], validate=True), int(fields["i"])
        except (ValueError, KeyError):
            raise SaslError("the server's SCRAM challenge cannot be read") from None
        if not nonce.startswith(self._nonce) or nonce == self._nonce or not 1 <= iterations <= MAX_ITERATIONS:
            raise SaslError("the server's SCRAM challenge cannot be trusted")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, iterations)
        client_key = _hmac(salted, b"Client Key")
        bare_proof = f"c=biws,r={nonce}"
        signed = ",".join((self._bare, challenge.decode(), bare_proof)).encode()
        signature = _hmac(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_signature = base64.b64encode(_hmac(_hmac(salted, b"Server Key"), signed))
        return f"{bare_proof},p={base64.b64encode(proof).decode()}".encode()


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def mechanism(name: str, user: str, password: str, new_nonce: Callable[[], str]) -> Mechanism:
    """The mechanism called ``name``."""
    if name == "SCRAM-SHA-256":
        return Scram(user, password, new_nonce())
    if name == "EXTERNAL":
        return Mechanism(name, b"")
    return Mechanism("PLAIN", b"\0".join((b"", user.encode(), password.encode())))


def chunks(message: bytes) -> list[str]:
    """``message`` as the parameters of AUTHENTICATE lines (sasl-3.1, "The AUTHENTICATE command")."""
    text = base64.b64encode(message).decode()
    parts = [text[i : i + CHUNK] for i in range(0, len(text), CHUNK)]
    if not parts or len(parts[-1]) == CHUNK:
        parts.append("+")
    return parts
