"""A bot's registration: who it is, and which clouds it trusts."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from core.contract import asked

TARGET_HELP: Final = "nothing: a bot has a secret, so use: bridgebot accounts add teams"
SERVICE_HOSTS: Final = (
    "smba.trafficmanager.net",
    "smba.infra.gcc.teams.microsoft.com",
    "smba.infra.gov.teams.microsoft.us",
    "smba.infra.dod.teams.microsoft.us",
    "botapi.skype.com",
    "canary.botapi.skype.com",
)
"""Where the Bot Connector is (Agents SDK, TeamsServiceEndpoints; Teams docs, the payloads of bot messages)."""
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
MAX_LEEWAY_S: Final = 300


class TeamsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One bot registered with Azure AI Bot Service as a single-tenant app."""

    app_id: Annotated[str, asked("Application (client) ID", "Azure portal, your Azure Bot, Configuration")]
    app_secret: Annotated[str, asked("Client secret", "the Value, not the Secret ID; shown once", secret=True)]
    tenant_id: Annotated[str, asked("Tenant ID", "Azure portal, your Azure Bot, Configuration: App Tenant ID")]
    bot_name: str = "BridgeBot"
    """The bot's name, for instructions to people."""
    app_link: str = ""
    """``https://teams.microsoft.com/l/app/…``: opens the app in Teams, once your organisation has published it."""
    cards: bool = False
    """Show relayed messages as Adaptive Cards with the author's own name and picture, instead of text."""
    reactions: bool = True
    """Put reactions on messages; off: a line of text for each."""
    app_rate_per_s: float = 50.0
    """Requests per second that Teams takes from one app (Teams docs, Optimize your bot: rate limiting)."""
    room_rate_per_s: float = 1.8
    """Posts per second in a channel or group chat in the long run (as above: 60 in 30 s, with a margin)."""
    room_burst: Annotated[int, msgspec.Meta(ge=1)] = 4
    """Posts at once in a channel or group chat (as above: 7 in 1 s, 8 in 2 s)."""
    login_url: str = "https://login.microsoftonline.com"
    """Where tokens come from: ``<login_url>/<tenant_id>/oauth2/v2.0/token``."""
    scope: str = "https://api.botframework.com/.default"
    openid_url: str = "https://login.botframework.com/v1/.well-known/openidconfiguration"
    """Whose keys sign what the service sends to us."""
    issuer: str = "https://api.botframework.com"
    service_hosts: tuple[str, ...] = SERVICE_HOSTS
    """Hosts (with a port where it is not 443) that the bot's token may be sent to; nothing else is believed."""
    allow_http_loopback: bool = False
    """Speak http with addresses of this machine. Only for a double of the service."""
    trusted_addresses: tuple[str, ...] = ()
    """Private addresses (``10.0.0.7``) that files may be fetched from."""
    leeway_s: Annotated[int, msgspec.Meta(ge=0, le=MAX_LEEWAY_S)] = MAX_LEEWAY_S
    """How far the clocks may be apart."""
    reorder_ms: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 50
    """How long a message waits for an earlier one of its conversation: Teams delivers side by side."""
    max_file_bytes: int = 100_000_000
    """Larger files of people are not passed on."""

    def __post_init__(self) -> None:
        """Raises ValueError that says what to write."""
        for name in ("app_id", "app_secret", "tenant_id"):
            value = getattr(self, name)
            if not value or value != value.strip() or not value.isprintable():
                raise ValueError(f"{name} is empty or has blanks around it. Copy it again from the Azure portal.")
        if not _TENANT.fullmatch(self.tenant_id):
            raise ValueError(f"tenant_id {self.tenant_id!r} is no tenant. Write its ID or its domain.")
        for name in ("login_url", "openid_url"):
            if not self.trusts(getattr(self, name)):
                raise ValueError(f"{name} must begin with https://.")
        if not self.service_hosts:
            raise ValueError("service_hosts is empty. Leave it out for Microsoft's own hosts.")
        if self.app_rate_per_s <= 0 or self.room_rate_per_s <= 0:
            raise ValueError("app_rate_per_s and room_rate_per_s must be more than 0. Leave them out for 50 and 1.8.")

    @property
    def token_url(self) -> str:
        """Where the bot's token comes from."""
        return f"{self.login_url.rstrip('/')}/{self.tenant_id}/oauth2/v2.0/token"

    def trusts(self, url: str) -> bool:
        """May ``url`` be spoken with at all: https, or http on this machine where that is allowed?"""
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            return False
        if not parts.hostname or parts.username is not None or parts.password is not None or "\\" in url:
            return False
        return parts.scheme == "https" or (
            parts.scheme == "http" and self.allow_http_loopback and parts.hostname in _LOOPBACK
        )

    def is_service(self, url: str) -> bool:
        """Is ``url`` at one of the hosts that the bot's token may be sent to?"""
        if not url.isascii() or not url.isprintable() or any(char.isspace() for char in url) or not self.trusts(url):
            return False
        parts = urlsplit(url)
        host = parts.hostname or ""
        place = host if parts.port in (None, 443) else f"{host}:{parts.port}"
        return place in {known.lower() for known in self.service_hosts}


def from_target(target: str) -> tuple[str, TeamsConfig]:
    """A bot's secret does not belong on a command line. Always raises ValueError."""
    raise ValueError("A Teams bot has a secret. Add it with: bridgebot accounts add teams")
