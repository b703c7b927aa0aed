"""An IRC account's configuration, and how it is written on a command line."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl, unquote

import msgspec

from bots.irc.wire import valid_channel, valid_nick
from core.contract import Secret

SaslMechanism = Literal["", "PLAIN", "EXTERNAL", "SCRAM-SHA-256"]

PRESETS: Final[dict[str, str]] = {"libera": "irc.libera.chat", "oftc": "irc.oftc.net"}
"""Networks that can be named instead of a host. All of them take TLS on port 6697."""
TARGET_HELP: Final = (
    "HOST[:PORT]/#channel[,#other][?nick=NAME&tls=1&flood=off], ircs://HOST/#channel, or libera/#channel"
)


class IrcConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One connection to one IRC network."""

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 6697
    tls: bool = True
    tls_verify: bool = True
    """False: take any certificate. Only for a server of your own."""
    tls_ca_file: str = ""
    """PEM file of the authority that signed the server's certificate; empty: the system's."""
    tls_cert_file: str = ""
    """PEM file with our certificate and key, for SASL EXTERNAL."""
    nick: str = "bridgebot"
    username: str = "bridgebot"
    realname: str = "bridgebot - relays this channel; type: -sameroom help"
    password: Annotated[str, Secret] = ""
    """Password of the server itself (PASS), where it wants one."""
    sasl: SaslMechanism = ""
    """How to sign in; empty: PLAIN when sasl_user is set, else not at all."""
    sasl_user: str = ""
    sasl_password: Annotated[str, Secret] = ""
    nickserv_password: Annotated[str, Secret] = ""
    """Told to NickServ after connecting, on networks without SASL."""
    channels: tuple[str, ...] = ()
    """Channels to be in: ``#garden``, or ``#garden key`` where it has a key."""
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
        if not self.host or re.search(r"[\s/]", self.host):
            raise ValueError(f"host is {self.host!r}. Write a name or an address, like irc.libera.chat.")
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
        tls = port in (None, 6697)
    settings = {"tls": tls} | options
    if port is None:
        port = 6697 if settings["tls"] else 6667
    config = msgspec.convert({"host": host, "port": port, "channels": names} | settings, IrcConfig, strict=False)
    return "irc-" + re.sub(r"[^a-z0-9.-]+", "-", place.lower()).strip("-."), config


def _host_and_port(place: str, target: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^:\s\[\]@]+))(?::(?P<port>\d{1,5}))?", place)
    if match is None:
        raise ValueError(f"{target!r} has no host that can be used. Write {TARGET_HELP}.")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"{port} is no port. Write a number from 1 to 65535.")
    return match["v6"] or match["host"], port


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
