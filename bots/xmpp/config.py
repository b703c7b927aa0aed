"""An XMPP account's configuration, and how it is written on a command line."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl, unquote

import msgspec

from core.contract import asked

Tls = Literal["starttls", "direct", "none"]
TARGET_HELP: Final = "USER@example.org/ROOM@conference.example.org[,OTHER@…][?nick=NAME&host=ADDRESS]"
_PART: Final = r"[^\s@/\"&':<>]+"
_ROOM: Final = re.compile(rf"{_PART}@[^\s@/]+")
_ADDRESS: Final = re.compile(rf"(?:{_PART}@)?[^\s@/]+")


class XmppConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One account (``jid`` is an address) or one component (``jid`` is a domain) on one server."""

    jid: Annotated[
        str,
        asked(
            "Address of the bot",
            "bridge@example.org; the domain alone (bridge.example.org) if it is a server component",
        ),
    ]
    password: Annotated[str, asked("Password", "Of the account; of a component its shared secret", secret=True)] = ""
    rooms: tuple[str, ...] = ()
    """Rooms to be in, besides those that people invite the bot to: ``garden@conference.example.org``; where there is a
    password it follows after a blank."""
    nick: str = "bridgebot"
    """The bot's own nick in rooms. When it is taken, ``_`` is added."""
    host: Annotated[
        str, asked("Server's address", "Only for a component, or if the domain's DNS records do not lead there")
    ] = ""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """0: 5222 for accounts (5223 with direct TLS), 5347 for components."""
    tls: Tls = "starttls"
    """``none`` only on a connection that nobody else can listen to. Components have no TLS of their own (XEP-0114)."""
    tls_verify: bool = True
    """False: take any certificate. Only for a server of your own."""
    tls_ca_file: str = ""
    """PEM file of the authority that signed the server's certificate; empty: the system's."""
    sasl: str = ""
    """The one SASL mechanism to use; empty: the best that the server has."""
    ghosts_per_room: Annotated[int, msgspec.Meta(ge=0)] = 100
    """Component: most authors of other rooms who are in a room under their own names at a time; those beyond speak
    through the bot, with their names in the text."""
    ghost_idle_s: Annotated[float, msgspec.Meta(gt=0)] = 6 * 3600.0
    """Component: who said nothing for so long leaves the room."""
    accept_invites: bool = True
    """Join whatever room somebody invites the bot to, and remember it."""
    max_rooms: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Invitations beyond are not followed."""
    rejoin_after_kick_s: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    """After a kick, come back once to a room of ``rooms``; 0: never. Others are left."""
    self_ping_s: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    """A room that is silent for so long is asked whether we are still in it (XEP-0410)."""
    confirm_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    """How long a room may take to reflect what was sent."""
    reconnect_min_s: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    reconnect_max_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    text_limit: Annotated[int, msgspec.Meta(ge=100)] = 4000
    """Longest text of one post, in characters. Servers limit the whole stanza (RFC 6120: at least 10,000 bytes)."""
    rate_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Posts per second in one room in the long run; 0: no limit."""
    rate_burst: Annotated[int, msgspec.Meta(ge=1)] = 10
    max_file_bytes: Annotated[int, msgspec.Meta(ge=1)] = 100 * 1024 * 1024
    """Largest file that is passed on from XMPP."""
    upload: str = ""
    """The HTTP upload service (XEP-0363), if not the one that the server names."""
    upload_domain: str = ""
    """Component: the domain whose services it may use; empty: the component's parent domain."""
    trusted_addresses: tuple[str, ...] = ()
    """Addresses in private networks (``10.0.0.7``) that files may be fetched from and put to all the same."""

    def __post_init__(self) -> None:
        """Raises ValueError that says what to write."""
        if not _ADDRESS.fullmatch(self.jid):
            raise ValueError(f"jid is {self.jid!r}. Write the bot's address, like bridge@example.org.")
        if not self.nick.strip() or re.search(r"[\0-\x1f/]", self.nick):
            raise ValueError(f"nick is {self.nick!r}. Write a name without slashes.")
        for entry in self.rooms:
            if not _ROOM.fullmatch(entry.partition(" ")[0]):
                raise ValueError(f"{entry!r} is no room. Write garden@conference.example.org.")
        if self.is_component and not self.host:
            raise ValueError("A component needs host: the address where its server takes components, like 127.0.0.1.")
        if re.search(r"[\0\r\n]", self.password):
            raise ValueError("password has a line break in it. Write it in one line.")

    @property
    def is_component(self) -> bool:
        """Are we a part of the server (XEP-0114), and not one of its users?"""
        return "@" not in self.jid

    @property
    def domain(self) -> str:
        """The server's domain; of a component its own."""
        return self.jid.rpartition("@")[2].lower()

    @property
    def services_domain(self) -> str:
        """Where upload and conference services are asked for."""
        parent = self.domain.partition(".")[2]
        return self.upload_domain or (parent if self.is_component and parent else self.domain)

    @property
    def connect_port(self) -> int:
        """The port, if ``host`` is given."""
        return self.port or (5347 if self.is_component else 5223 if self.tls == "direct" else 5222)

    @property
    def address(self) -> str:
        """The bot's own bare address; a component's bot is called ``bot``."""
        return f"bot@{self.domain}" if self.is_component else self.jid.lower()


def from_target(target: str) -> tuple[str, XmppConfig]:
    """A suggested account id and the configuration from ``user@example.org/room@conference.example.org[?nick=x]``.
    The password is asked for, or follows as ``?password=``. Raises ValueError that says what to write.
    """
    rest, _, query = re.sub(r"(?i)^xmpp:(//)?", "", target.strip()).partition("?")
    jid, _, rooms = rest.partition("/")
    if not _ADDRESS.fullmatch(jid):
        raise ValueError(f"{target!r} has no address of the bot. Write {TARGET_HELP}.")
    names = tuple(name.strip() for name in unquote(rooms).split(",") if name.strip())
    settings = {"jid": jid, "rooms": names} | _options(query)
    config = msgspec.convert(settings, XmppConfig, strict=False)
    return suggested_id(config), config


def suggested_id(config: XmppConfig) -> str:
    """``xmpp-example.org``."""
    return "xmpp-" + re.sub(r"[^a-z0-9.-]+", "-", config.domain).strip("-.")


def _options(query: str) -> dict[str, object]:
    options: dict[str, object] = {}
    known = {field.name for field in msgspec.structs.fields(XmppConfig)} - {"jid", "rooms"}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"{name!r} is no XMPP setting. There are: {', '.join(sorted(known))}.")
        options[name] = value.split(",") if name == "trusted_addresses" else value
    return options
