"""An OpenID Connect provider that is strict with us, and may be told to be hostile: every field of its documents and
tokens can be another one, and so can the key and the algorithm that it signs with.

Strict as the specifications say: OpenID Connect Core 1.0 (3.1.2.1, 3.1.3.1), RFC 6749 (2.3.1, 4.1.3), RFC 7636.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self
from urllib.parse import unquote_plus, urlencode

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

CLIENT_ID, CLIENT_SECRET = "bridge", "canary-of-the:client+100%"
LIFE_S = 300


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key for each name, made once in a process."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key on P-256 for each name."""
    return ec.generate_private_key(ec.SECP256R1())


def jwk(name: str) -> dict[str, Any]:
    """The public key of that name as a JWK; names that begin with ``ec`` are on P-256."""
    if name.startswith("ec"):
        return {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec_key(name).public_key())), "kid": name}
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(name).public_key())), "kid": name, "use": "sig"}


def public_pem(name: str) -> bytes:
    """What a confused verifier would take for a shared secret."""
    kind, shape = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return rsa_key(name).public_key().public_bytes(kind, shape)


def token_of(head: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token, whatever is in it and whatever signs it: libraries refuse to make some that attackers do make."""
    parts = [json.dumps(part).encode() for part in ({"typ": "JWT", **head}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (signed + b"." + base64.urlsafe_b64encode(sign(signed)).rstrip(b"=")).decode()


@dataclass
class Grant:
    """A code that was given out."""

    nonce: str
    challenge: str


@dataclass
class OidcDouble:
    """The provider, on a free port of the loopback. It signs in ``user`` without asking."""

    redirect_uri: str = ""
    user: dict[str, Any] = field(default_factory=lambda: {"sub": "ada-1", "name": "Ada"})
    info: dict[str, Any] | None = None
    """What its user information says besides the subject; None: it has none."""
    claims: dict[str, Any] = field(default_factory=dict)
    """Of the next ID tokens, instead of what they should say; None: leave out."""
    head: dict[str, Any] = field(default_factory=dict)
    key: str = "one"
    algorithm: str = "RS256"
    secret: bytes = b""
    """For HS256."""
    published: list[dict[str, Any]] = field(default_factory=lambda: [jwk("one")])
    document: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, web.Response | int] = field(default_factory=dict)
    """Path → what is answered instead."""
    answer: dict[str, Any] = field(default_factory=dict)
    """Of the way back, instead of what it should say; None: leave out."""
    hits: Counter[str] = field(default_factory=Counter)
    issuer: str = ""
    codes: dict[str, Grant] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    """All secrets of ways that were gone: codes, tokens, verifiers."""
    port: int = 0
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Start it; again on the port that it had."""
        app = web.Application(middlewares=[self._around])
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.issuer = self.issuer or f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop it."""
        if self._runner:
            await self._runner.cleanup()

    @property
    def settings(self) -> dict[str, str]:
        """What the bridge is told of it."""
        return {"oidc_issuer": self.issuer, "oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}

    @web.middleware
    async def _around(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.hits[request.path] += 1
        fault = self.faults.get(request.path)
        if fault is None:
            return await handler(request)
        if isinstance(fault, int):
            return web.Response(status=fault)
        return web.Response(status=fault.status, body=fault.body, headers=fault.headers)

    async def _discovery(self, request: web.Request) -> web.Response:
        known: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
        }
        if self.info is not None:
            known["userinfo_endpoint"] = f"{self.issuer}/userinfo"
        return web.json_response(_changed(known, self.document))

    async def _keys(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": self.published})

    async def _authorize(self, request: web.Request) -> web.Response:
        query = request.query
        if query.get("client_id") != CLIENT_ID or query.get("redirect_uri") != self.redirect_uri:
            return web.Response(status=400, text="unknown client or redirect_uri")
        is_good = query.get("response_type") == "code" and "openid" in query.get("scope", "").split()
        is_good = is_good and query.get("code_challenge_method") == "S256" and len(query["code_challenge"]) == 43
        if not is_good or not query.get("state") or not query.get("nonce"):
            return web.Response(status=400, text="invalid_request")
        code = secrets.token_urlsafe(16)
        self.codes[code] = Grant(query["nonce"], query["code_challenge"])
        self.used.append(code)
        answer = _changed({"code": code, "state": query["state"]}, self.answer)
        return web.Response(status=302, headers={"Location": f"{self.redirect_uri}?{urlencode(answer)}"})

    async def _token(self, request: web.Request) -> web.Response:
        scheme, _, login = request.headers.get("Authorization", "").partition(" ")
        # RFC 6749, 2.3.1: both parts are encoded as in a form before they are joined.
        client, _, secret = base64.b64decode(login).decode().partition(":")
        if scheme != "Basic" or (unquote_plus(client), unquote_plus(secret)) != (CLIENT_ID, CLIENT_SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        fields = await request.post()
        if fields.get("grant_type") != "authorization_code" or set(fields) & {"client_secret", "state"}:
            return web.json_response({"error": "invalid_request"}, status=400)
        grant = self.codes.pop(str(fields.get("code")), None)
        verifier = str(fields.get("code_verifier", ""))
        self.used.append(verifier)
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if grant is None or fields.get("redirect_uri") != self.redirect_uri or digest != grant.challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        access = secrets.token_urlsafe(16)
        self.used += [access, token := self.signed(grant.nonce)]
        return web.json_response(
            {"token_type": "Bearer", "access_token": access, "expires_in": LIFE_S, "id_token": token}
        )

    async def _userinfo(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.used:
            return web.Response(status=401)
        return web.json_response({"sub": self.user["sub"], **(self.info or {})})

    def signed(self, nonce: str) -> str:
        """An ID token for ``user``, as good or bad as this provider is told to be."""
        now_s = int(time.time())
        times = {"iat": now_s, "exp": now_s + LIFE_S}
        known = {"iss": self.issuer, "aud": CLIENT_ID, "nonce": nonce, **times, **self.user}
        claims = _changed(known, self.claims)
        head = _changed({"alg": self.algorithm, "kid": self.key}, self.head)
        if self.algorithm == "ES256":
            return jwt.encode(claims, ec_key(self.key), algorithm="ES256", headers=head)
        ways: dict[str, Callable[[bytes], bytes]] = {
            "none": lambda signed: b"",
            "HS256": lambda signed: hmac.digest(self.secret, signed, "sha256"),
            "RS256": lambda signed: rsa_key(self.key).sign(signed, padding.PKCS1v15(), hashes.SHA256()),
        }
        return token_of(head, claims, ways[self.algorithm])


def _changed(known: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**known, **by}.items() if value is not None}
