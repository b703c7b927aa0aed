"""Who signs in with the company's account: which settings say so, who is let in, and as whom.

A person is the issuer together with its subject (OpenID Connect Core 1.0, sections 2 and 5.7: nothing else is unique
and stays the same). Names and e-mail addresses are for people to read, and for the operator's rules.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from core.settings import Settings, SettingsError
from core.text.safety import clean_name

PERSON: Final = "oidc:"
"""What the id of such a person begins with. No account's name has a colon, so nobody from a room is like it."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


class NotAllowed(Exception):
    """The provider knows the person, and the operator's rules do not let them in. The message says why, for the log."""


class Person(msgspec.Struct, frozen=True):
    """Who signed in. ``name`` is for people."""

    id: str
    name: str
    operator: bool = False


class Claim(msgspec.Struct, frozen=True):
    """A claim that must have a value, or have it among several."""

    name: str
    value: str

    def is_in(self, claims: Mapping[str, Any]) -> bool:
        """Do the claims say so?"""
        said = claims.get(self.name)
        return self.value == said or (isinstance(said, list) and self.value in said)


class Rules(msgspec.Struct, frozen=True):
    """Who is let in, and who is the operator."""

    issuer: str
    domains: frozenset[str] = frozenset()
    require: Claim | None = None
    operator: Claim | None = None
    max_name_chars: int = 64
    mark: str = ""
    """Changes with the settings: a session of before is over then."""

    @property
    def host(self) -> str:
        """Where people sign in, for people."""
        return urlsplit(self.issuer).netloc

    @property
    def wanted(self) -> set[str]:
        """The claims that we look at."""
        claims = {claim.name for claim in (self.require, self.operator) if claim}
        return claims | {"name"} | ({"email"} if self.domains else set())

    def person(self, claims: Mapping[str, Any]) -> Person:
        """Who these claims are about; an ``email`` among them is a verified one. Raises NotAllowed."""
        is_operator = bool(self.operator and self.operator.is_in(claims))
        if not is_operator:
            self._check(claims)
        known = (claims.get(name) for name in ("name", "preferred_username", "email"))
        name = next((text for text in known if isinstance(text, str) and text.strip()), "")
        shown = clean_name(name or f"Somebody of {self.host}", self.max_name_chars)
        return Person(f"{PERSON}{self.issuer}#{claims['sub']}", shown, is_operator)

    def _check(self, claims: Mapping[str, Any]) -> None:
        if self.domains:
            email = claims.get("email")
            if not isinstance(email, str):
                raise NotAllowed("the provider names no verified e-mail address")
            if email.rpartition("@")[2].casefold() not in self.domains:
                raise NotAllowed("the e-mail address is of a domain that is not in BRIDGEBOT_OIDC_DOMAINS")
        if self.require and not self.require.is_in(claims):
            seen = "has other values" if self.require.name in claims else "is missing"
            raise NotAllowed(f"the claim {self.require.name!r} of BRIDGEBOT_OIDC_REQUIRE {seen}")


RULES = web.AppKey("company_rules", Rules)


def is_safe(url: str, issuer: str) -> bool:
    """May secrets go to ``url``? HTTPS, or this machine where the issuer itself is on it."""
    try:
        parts, home = urlsplit(url), urlsplit(issuer)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        return False
    is_local = parts.hostname in _LOOPBACK and home.hostname in _LOOPBACK
    return parts.scheme == "https" or (parts.scheme == "http" and is_local)


def rules_of(settings: Settings) -> Rules | None:
    """The rules of these settings; None where there is no such sign-in. Raises SettingsError."""
    issuer = settings.oidc_issuer
    if not issuer:
        return None
    if not is_safe(issuer, issuer) or set("?#@") & set(issuer):
        raise SettingsError(
            f"BRIDGEBOT_OIDC_ISSUER: {issuer!r} is no issuer. Copy it from your provider; it begins with https://."
        )
    if not settings.oidc_client_id:
        raise SettingsError(
            "BRIDGEBOT_OIDC_CLIENT_ID is missing. Register this bridge with your provider, and copy it."
        )
    if "openid" not in settings.oidc_scopes.split():
        raise SettingsError("BRIDGEBOT_OIDC_SCOPES: openid must be among them, like: openid email profile.")
    if importlib.util.find_spec("jwt") is None or importlib.util.find_spec("cryptography") is None:
        raise SettingsError(
            "BRIDGEBOT_OIDC_ISSUER is set, and the library that it needs is not installed: "
            "pip install 'bridgebot-swarm[oidc]'"
        )
    names = ("oidc_issuer", "oidc_client_id", "oidc_domains", "oidc_require", "oidc_operator")
    said = "\0".join(str(getattr(settings, name)) for name in names)
    return Rules(
        issuer,
        _domains(settings.oidc_domains),
        _claim("OIDC_REQUIRE", settings.oidc_require),
        _claim("OIDC_OPERATOR", settings.oidc_operator),
        settings.max_name_chars,
        hashlib.sha256(said.encode()).hexdigest()[:16],
    )


def _domains(text: str) -> frozenset[str]:
    found = frozenset(text.casefold().replace(",", " ").split())
    for domain in found:
        if not _DOMAIN.fullmatch(domain):
            raise SettingsError(
                f"BRIDGEBOT_OIDC_DOMAINS: {domain!r} is no domain. Write them like: example.org, example.com."
            )
    return found


def _claim(setting: str, text: str) -> Claim | None:
    if not text.strip():
        return None
    name, _, value = (part.strip() for part in text.partition("="))
    if not name or not value:
        raise SettingsError(f"BRIDGEBOT_{setting}: write the claim's name and its value, like: groups=bridge.")
    return Claim(name, value)
