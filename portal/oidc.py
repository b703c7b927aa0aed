"""The company's sign-in, as an OpenID Connect provider: authorization code flow with PKCE.

Sources: OpenID Connect Core 1.0 (sections 3.1, 5.3), OpenID Connect Discovery 1.0 (section 4), RFC 7636 (PKCE),
RFC 9207 (issuer in the answer), RFC 6749 (sections 2.3.1, 4.1).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from aiohttp import web

from core.settings import Settings
from portal.company import Rules, is_safe
from portal.id_token import Expected, KeyRing, claims_of

if TYPE_CHECKING:
    import aiohttp

DISCOVERY: Final = "/.well-known/openid-configuration"
CALLBACK: Final = "/sign-in/callback"
DOCUMENT_LIFE_S: Final = 3600.0
AFTER_FAILURE_S: Final = 3.0
"""While the provider does not answer, it is asked so seldom, and people are told at once."""
ANSWER_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 1_000_000

T = TypeVar("T")


class ProviderTrouble(Exception):
    """The provider does not answer as it should. A sentence for the operator, without anything secret."""


class Declined(Exception):
    """The provider does not give us a token; ``code`` is its reason (RFC 6749, section 5.2)."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the provider declines: {code}")
        self.code = code


class Document(msgspec.Struct, frozen=True):
    """Where the provider's parts are."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] | None = None
    authorization_response_iss_parameter_supported: bool | None = None


class _Keys(msgspec.Struct):
    keys: list[dict[str, Any]]


class _Tokens(msgspec.Struct):
    id_token: str
    access_token: str = ""


class _Error(msgspec.Struct):
    error: str


class Flow(msgspec.Struct, frozen=True):
    """The secrets of one sign-in: of them the provider's page gets the state, the nonce and the verifier's hash."""

    state: str
    nonce: str
    verifier: str


class Provider:
    """Asks the provider. Close it in the end."""

    def __init__(self, settings: Settings, rules: Rules, clock_s: Callable[[], float]) -> None:
        self.rules = rules
        self.redirect_uri = settings.site_url + CALLBACK
        self._settings = settings
        self._clock_s = clock_s
        self._ring = KeyRing(self.keys, clock_s)
        self._document: Document | None = None
        self._looked_s = float("-inf")
        self._trouble: ProviderTrouble | None = None
        self._looking = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close its connections."""
        if self._session:
            await self._session.close()

    # --- the way

    async def authorization_url(self, flow: Flow) -> str:
        """Where the visitor signs in. Raises ProviderTrouble."""
        digest = hashlib.sha256(flow.verifier.encode()).digest()
        fields = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self._settings.oidc_scopes,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = (await self.document()).authorization_endpoint
        return address + ("&" if urlsplit(address).query else "?") + urlencode(fields, quote_via=quote)

    async def is_from(self, issuer: str | None) -> bool:
        """Does the answer that names ``issuer`` (None: nobody) come from this provider? Raises ProviderTrouble."""
        if issuer is None:
            return not (await self.document()).authorization_response_iss_parameter_supported
        return issuer == self._settings.oidc_issuer

    async def claims(self, code: str, flow: Flow) -> dict[str, Any]:
        """What the provider says of who came back with ``code``. Raises ProviderTrouble, Declined, BadToken."""
        document = await self.document()
        tokens = await self._exchange(document, code, flow)
        expected = Expected(document.issuer, self._settings.oidc_client_id, flow.nonce, self._clock_s())
        claims = _trusted(await claims_of(tokens.id_token, expected, self._ring))
        if document.userinfo_endpoint and tokens.access_token and not self.rules.wanted <= claims.keys():
            headers = {"Authorization": f"Bearer {tokens.access_token}"}
            more = await self._get(document.userinfo_endpoint, dict[str, Any], headers=headers)
            # Core 1.0, 5.3.2: without this, somebody else's answer could stand in for the token's person.
            if more.get("sub") != claims["sub"]:
                raise ProviderTrouble("its user information is about somebody else")
            claims = _trusted(more) | claims
        return claims

    async def _exchange(self, document: Document, code: str, flow: Flow) -> _Tokens:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": flow.verifier,
        }
        headers = {"Accept": "application/json"}
        client, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret
        methods = document.token_endpoint_auth_methods_supported
        if secret and (methods is None or "client_secret_basic" in methods):
            login = f"{quote(client, safe='')}:{quote(secret, safe='')}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(login).decode()
        else:
            fields["client_id"] = client
            if secret:
                fields["client_secret"] = secret
        status, raw = await self._ask("POST", document.token_endpoint, data=fields, headers=headers)
        if status in (400, 401, 403):
            raise Declined(_decoded(raw, _Error, document.token_endpoint).error[:60])
        if status != 200:
            raise ProviderTrouble(f"{_host(document.token_endpoint)} answers {status}")
        return _decoded(raw, _Tokens, document.token_endpoint)

    # --- what it says of itself

    async def document(self) -> Document:
        """Where its parts are; looked up every hour. Raises ProviderTrouble."""
        if not self._document or self._clock_s() - self._looked_s >= DOCUMENT_LIFE_S:
            async with self._looking:
                await self._look()
        if not self._document:
            raise self._trouble or ProviderTrouble("it was not asked yet")
        return self._document

    async def _look(self) -> None:
        age_s = self._clock_s() - self._looked_s
        if age_s < (DOCUMENT_LIFE_S if self._document else AFTER_FAILURE_S):
            return
        self._document = self._trouble = None
        self._looked_s = self._clock_s()
        try:
            found = await self._get(self._settings.oidc_issuer.rstrip("/") + DISCOVERY, Document)
            self._check(found)
        except ProviderTrouble as error:
            self._trouble = error
        else:
            self._document = found

    def _check(self, document: Document) -> None:
        """Discovery 1.0, 4.3: the issuer is ours, letter by letter. Raises ProviderTrouble."""
        wanted = self._settings.oidc_issuer
        if document.issuer != wanted:
            raise ProviderTrouble(f"it calls itself {document.issuer[:200]!r} and not {wanted!r}: write it just so")
        named = (document.authorization_endpoint, document.token_endpoint, document.jwks_uri)
        for address in (*named, document.userinfo_endpoint or document.jwks_uri):
            if not is_safe(address, wanted):
                raise ProviderTrouble(f"it names an address that does not begin with https://: {address[:200]!r}")

    async def keys(self) -> list[dict[str, Any]]:
        """Its public keys, as they are. Raises ProviderTrouble."""
        return (await self._get((await self.document()).jwks_uri, _Keys)).keys

    # --- requests

    async def _get(self, url: str, kind: type[T], headers: Mapping[str, str] | None = None) -> T:
        status, raw = await self._ask("GET", url, headers=headers or {})
        if status != 200:
            raise ProviderTrouble(f"{_host(url)} answers {status}")
        return _decoded(raw, kind, url)

    async def _ask(self, method: str, url: str, **options: Any) -> tuple[int, bytes]:
        """Status and body; follows no redirect, which would carry our secrets elsewhere. Raises ProviderTrouble."""
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_S)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.request(method, url, allow_redirects=False, **options) as response:
                raw = bytearray()
                async for chunk in response.content.iter_chunked(65_536):
                    raw += chunk
                    if len(raw) > MAX_ANSWER_BYTES:
                        raise ProviderTrouble(f"{_host(url)} answers with more than {MAX_ANSWER_BYTES} bytes")
                return response.status, bytes(raw)
        except TimeoutError:
            raise ProviderTrouble(f"{_host(url)} does not answer within {ANSWER_S:.0f} s") from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise ProviderTrouble(f"{_host(url)} cannot be reached ({type(error).__name__})") from None


PROVIDER = web.AppKey("company_provider", Provider)


def _decoded(raw: bytes, kind: type[T], url: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ProviderTrouble(f"{_host(url)} answers in a way that we do not understand") from None


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _trusted(claims: dict[str, Any]) -> dict[str, Any]:
    """The claims without an e-mail address that nobody has verified: anybody can write one into their profile."""
    if claims.get("email_verified") is True:
        return claims
    return {name: value for name, value in claims.items() if name != "email"}
