"""What a server says it can do: ISUPPORT (005) and the capabilities that were negotiated."""

from __future__ import annotations

from typing import Final

from bots.irc.wire import LINE_BYTES

WANTED: Final = (
    "message-tags",
    "server-time",
    "account-tag",
    "echo-message",
    "batch",
    "multi-prefix",
    "chghost",
    "draft/message-redaction",
    "draft/relaymsg",
)
"""Capabilities asked for where they are offered."""
MAX_TARGETS = 20
"""Never more targets in a line than this, whatever a server says."""


class Features:
    """One connection's server. Fields hold the protocol's defaults until it says otherwise."""

    def __init__(self) -> None:
        self.caps: dict[str, str] = {}
        self.case_mapping = "rfc1459"
        self.channel_types = "#&"
        self.channel_length = 200
        self.nick_length = 30
        self.user_length = 12
        self.host_length = 63
        self.line_bytes = LINE_BYTES
        self.network = ""
        self.bot_mode = ""
        self.whox = False
        self.max_targets = 1
        self.max_join_targets = 10
        self.prefix_modes = "ov"
        self.prefix_symbols = "@+"
        self.list_modes = "beI"
        self.always_modes = "k"
        self.set_modes = "l"
        self.denied_tags: frozenset[str] = frozenset()
        self.allowed_tags: frozenset[str] = frozenset()
        self.message_ids = True
        """False once the server passed on a message without an id."""

    def learn(self, tokens: list[str]) -> None:
        """Take in the tokens of a 005 line; what cannot be read is passed over."""
        for token in tokens:
            name, _, value = token.partition("=")
            if name.startswith("-"):
                continue
            if name in _NUMBERS:
                if value.isdecimal():
                    setattr(self, _NUMBERS[name], int(value[:6]))
            elif name in _WORDS:
                setattr(self, _WORDS[name], value.replace("\\x20", " "))
            else:
                self._learn_special(name, value)
        self.max_targets = max(1, min(self.max_targets, MAX_TARGETS))
        self.line_bytes = max(LINE_BYTES, min(self.line_bytes, 4096))

    def _learn_special(self, name: str, value: str) -> None:
        if name == "PREFIX" and value.startswith("("):
            modes, _, symbols = value[1:].partition(")")
            if len(modes) == len(symbols):
                self.prefix_modes, self.prefix_symbols = modes, symbols
        elif name == "CHANMODES":
            kinds = (value.split(",") + [""] * 4)[:4]
            self.list_modes, self.always_modes, self.set_modes = kinds[0], kinds[1], kinds[2]
        elif name == "TARGMAX":
            limits = dict(item.partition(":")[::2] for item in value.split(","))
            if "PRIVMSG" in limits:
                self.max_targets = _limit(limits["PRIVMSG"])
            if "JOIN" in limits:
                self.max_join_targets = _limit(limits["JOIN"])
        elif name == "WHOX":
            self.whox = True
        elif name == "CLIENTTAGDENY":
            tags = value.split(",")
            self.denied_tags = frozenset(tag for tag in tags if not tag.startswith("-"))
            self.allowed_tags = frozenset(tag[1:] for tag in tags if tag.startswith("-"))

    @property
    def operator_modes(self) -> str:
        """The prefix modes that make somebody an operator of a channel: o and what ranks above it."""
        return self.prefix_modes[: self.prefix_modes.find("o") + 1]

    @property
    def echoes(self) -> bool:
        """Does the server send us back what we say?"""
        return "echo-message" in self.caps

    @property
    def relay_separator(self) -> str:
        """What a relayed person's nick must contain (draft/relaymsg); empty where RELAYMSG is not offered.

        Without echoes nothing would tell whether it was accepted, so it is not used then.
        """
        if "draft/relaymsg" not in self.caps or not self.echoes:
            return ""
        return self.caps["draft/relaymsg"][:1] or "/"

    def has_ids(self) -> bool:
        """Do messages, our own included, have ids that others can refer to?"""
        return "message-tags" in self.caps and self.echoes and self.message_ids

    def tag_allowed(self, name: str) -> bool:
        """May a client send the tag ``+name`` (message-tags, CLIENTTAGDENY)?"""
        if "message-tags" not in self.caps:
            return False
        return name in self.allowed_tags or not ({"*", name} & self.denied_tags)


_NUMBERS = {
    "CHANNELLEN": "channel_length",
    "NICKLEN": "nick_length",
    "USERLEN": "user_length",
    "HOSTLEN": "host_length",
    "LINELEN": "line_bytes",
    "MAXTARGETS": "max_targets",
}
_WORDS = {"CASEMAPPING": "case_mapping", "CHANTYPES": "channel_types", "NETWORK": "network", "BOT": "bot_mode"}


def _limit(value: str) -> int:
    return int(value[:4]) if value[:4].isdecimal() else MAX_TARGETS
