"""An IRC account's configuration, and how it is written on a command line."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl, unquote

import msgspec

from bots.irc.wire import valid_channel, valid_nick
from core.contract import Secret, asked

SaslMechanism = Literal["", "PLAIN", "EXTERNAL", "SCRAM-SHA-256"]

PRESETS: Final[dict[str, str]] = {"libera": "irc.libera.chat", "oftc": "irc.oftc.net"}
"""Networks that can be named instead of a host. All of them take TLS on port 6697."""
TLS_PORT: Final = 6697
"""RFC 7194."""
PLAIN_PORT: Final = 6667
TARGET_HELP: Final = (
    "HOST[:PORT]/#channel[,#other][?nick=NAME&tls=1&flood=off], ircs://HOST/#channel, or libera/#channel"
)

_TYPED: Final = re.compile(
    r"(?i)(?:(?P<scheme>ircs?)://)?(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>[\w.-]+))(?::(?P<port>[0-9]{1,5}))?/?"
)
_BARE: Final = re.compile(r"[\w.:%-]+")


class IrcConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One connection to one IRC network."""

    host: Annotated[str, asked("Server", "libera, oftc, irc.example.org, or irc.example.org:7000, with TLS")]
    """As it is typed; :func:`apart` makes of it what is kept."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = TLS_PORT
    tls: bool = True
    channels: Annotated[
        tuple[str, ...],
        asked("Channels", "Like #garden, #kitchen; empty: the bot waits until somebody invites it into one"),
    ] = ()
    """Channels to be in: ``#garden``, or ``#garden key`` where it has a key."""
    nick: Annotated[str, asked("Nick", "What the bot is called; empty: bridgebot")] = "bridgebot"
    sasl_user: Annotated[str, asked("SASL account", "The registered nick that it signs in as, if it has one")] = ""
    sasl_password: Annotated[str, asked("SASL password", "The one that NickServ knows", secret=True)] = ""
    password: Annotated[str, asked("Server password", "Only where the server itself wants one", secret=True)] = ""
    """Password of the server itself (PASS), where it wants one."""
    tls_verify: bool = True
    """False: take any certificate. Only for a server of your own."""
    tls_ca_file: str = ""
    """PEM file of the authority that signed the server's certificate; empty: the system's."""
    tls_cert_file: str = ""
    """PEM file with our certificate and key, for SASL EXTERNAL."""
    username: str = "bridgebot"
    realname: str = "bridgebot - relays this channel; type: -sameroom help"
    sasl: SaslMechanism = ""
    """How to sign in; empty: PLAIN when sasl_user is set, else not at all."""
    nickserv_password: Annotated[str, Secret] = ""
    """Told to NickServ after connecting, on networks without SASL."""
    accept_invites: bool = True
    """Join whatever channel somebody invites the bot to, and remember it."""
    rejoin_after_kick_s: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    """After a kick, come back once to a channel of ``channels``; 0: never. Others are left."""
    rate_lines_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    """Lines per second in the long run; 0: no limit (only on servers that exempt the bot)."""
    burst_lines: Annotated[int, msgspec.Meta(ge=1)] = 5
    """Lines that may be sent at once before the rate holds."""
    confirm_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    """How long to wait for the server's confirmation of what was sent."""
    reconnect_min_s: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    reconnect_max_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    fallback_encoding: str = "cp1252"
    """How lines that are not UTF-8 are read."""
    relaymsg_suffix: str = "r"
    """What follows the separator in the nicks of relayed people, where the server offers RELAYMSG."""

    def __post_init__(self) -> None:
        """Raises ValueError that says what to write."""
        match = _TYPED.fullmatch(self.host)
        if match is None and not _BARE.fullmatch(self.host):
            raise ValueError(
                f"{self.host!r} is no server. Write libera, oftc, irc.example.org, irc.example.org:6697 or "
                "ircs://irc.example.org; channels stand in a line of their own."
            )
        if match and match["port"]:
            _checked_port(match["port"])
        if not valid_nick(self.nick):
            raise ValueError(f"nick is {self.nick!r}. Write letters and digits without spaces, a letter first.")
        for field in ("username", "realname", "password", "sasl_user", "sasl_password", "nickserv_password"):
            if re.search(r"[\r\n\0]", getattr(self, field)):
                raise ValueError(f"{field} has a line break in it. Write it in one line.")
        if not self.username or re.search(r"[\s@!:]", self.username):
            raise ValueError(f"username is {self.username!r}. Write letters and digits, like bridgebot.")
        for channel in self.channels:
            name, _, key = channel.partition(" ")
            if not valid_channel(name) or re.search(r"[\0-\x20,:]", key):
                raise ValueError(f"{channel!r} is no channel. Write #name, or '#name key' where it has a key.")
        if self.mechanism in ("PLAIN", "SCRAM-SHA-256") and not (self.sasl_user and self.sasl_password):
            raise ValueError(f"sasl {self.mechanism} needs sasl_user and sasl_password.")
        if self.mechanism == "EXTERNAL" and not (self.tls and self.tls_cert_file):
            raise ValueError("sasl EXTERNAL needs tls and tls_cert_file (a PEM file with certificate and key).")
        try:
            "".encode(self.fallback_encoding)
        except LookupError:
            raise ValueError(f"fallback_encoding {self.fallback_encoding!r} is not known. Write cp1252.") from None

    @property
    def mechanism(self) -> SaslMechanism:
        """The SASL mechanism in use; empty: none."""
        return self.sasl or ("PLAIN" if self.sasl_user and self.sasl_password else "")


def apart(config: IrcConfig) -> IrcConfig:
    """The configuration with ``libera``, ``HOST:PORT`` or ``ircs://HOST`` taken apart into host, port and tls.

    Only ``irc://`` means unencrypted, whatever the port: who leaves it out cannot be listened to by mistake.
    """
    match = _TYPED.fullmatch(config.host)
    if match is None:
        return config
    place = match["v6"] or match["host"]
    changes: dict[str, object] = {"host": PRESETS.get(place.lower(), place)}
    if match["scheme"]:
        changes["tls"] = match["scheme"].lower() == "ircs"
    if match["port"]:
        changes["port"] = int(match["port"])
    elif changes.get("tls") is False and config.port == TLS_PORT:
        changes["port"] = PLAIN_PORT
    return msgspec.structs.replace(config, **changes)


def suggested_id(config: IrcConfig) -> str:
    """``irc-libera``, ``irc-irc.example.org``; with its port where that is not the usual one."""
    names = {host: name for name, host in PRESETS.items()}
    place = names.get(config.host.lower(), config.host.lower())
    if config.port != (TLS_PORT if config.tls else PLAIN_PORT):
        place += f"-{config.port}"
    return _as_id(place)


def _as_id(place: str) -> str:
    return "irc-" + re.sub(r"[^a-z0-9.-]+", "-", place.lower()).strip("-.")


def from_target(target: str) -> tuple[str, IrcConfig]:
    """A suggested account id and the configuration from ``host:port/#channel[,#other][?nick=x&flood=off]``.

    Raises ValueError that says what to write.
    """
    rest, tls = target.strip(), None
    if match := re.match(r"(?i)(ircs?)://", rest):
        tls, rest = match[1].lower() == "ircs", rest[match.end() :]
    rest, _, query = rest.partition("?")
    place, _, channels = rest.partition("/")
    host, port = _host_and_port(PRESETS.get(place.lower(), place), target)
    names = tuple(_channel(name) for name in unquote(channels).split(",") if name)
    if not names:
        raise ValueError(f"{target!r} names no channel. Write {TARGET_HELP}.")
    options = _options(query)
    if tls is None:
        tls = port in (None, TLS_PORT)
    settings = {"tls": tls} | options
    if port is None:
        port = TLS_PORT if settings["tls"] else PLAIN_PORT
    config = msgspec.convert({"host": host, "port": port, "channels": names} | settings, IrcConfig, strict=False)
    return _as_id(place), config


def _host_and_port(place: str, target: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^:\s\[\]@]+))(?::(?P<port>\d{1,5}))?", place)
    if match is None:
        raise ValueError(f"{target!r} has no host that can be used. Write {TARGET_HELP}.")
    return match["v6"] or match["host"], _checked_port(match["port"]) if match["port"] else None


def _checked_port(text: str) -> int:
    if not 0 < int(text) < 65536:
        raise ValueError(f"{text} is no port. Write a number from 1 to 65535.")
    return int(text)


def _channel(name: str) -> str:
    return name if name[0] in "#&+!" else "#" + name


def _options(query: str) -> dict[str, object]:
    options: dict[str, object] = {}
    known = {field.name for field in msgspec.structs.fields(IrcConfig)} - {"host", "port", "channels"}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "flood":
            if value not in ("on", "off"):
                raise ValueError("flood is on or off. Write ?flood=off for a server without flood control.")
            if value == "off":
                options["rate_lines_per_s"] = 0.0
        elif name in known:
            options[name] = value
        else:
            raise ValueError(f"{name!r} is no IRC setting. There are: flood, {', '.join(sorted(known))}.")
    return options
