"""An account's configuration, and how it is written."""

from __future__ import annotations

import pytest

from bots.irc import PLATFORM
from bots.irc.check import findings
from bots.irc.config import IrcConfig, from_target


@pytest.mark.parametrize(
    ("target", "account", "host", "port", "tls", "channels"),
    [
        ("irc.example.org:6667/#a,#b", "irc-irc.example.org-6667", "irc.example.org", 6667, False, ("#a", "#b")),
        ("irc.example.org/#a", "irc-irc.example.org", "irc.example.org", 6697, True, ("#a",)),
        ("ircs://irc.example.org/garden", "irc-irc.example.org", "irc.example.org", 6697, True, ("#garden",)),
        ("irc://irc.example.org/garden", "irc-irc.example.org", "irc.example.org", 6667, False, ("#garden",)),
        ("Libera/#a", "irc-libera", "irc.libera.chat", 6697, True, ("#a",)),
        ("oftc/##x", "irc-oftc", "irc.oftc.net", 6697, True, ("##x",)),
        ("[::1]:7000/#a?tls=1", "irc-1-7000", "::1", 7000, True, ("#a",)),
    ],
)
def test_a_target_names_server_and_channels(
    target: str, account: str, host: str, port: int, tls: bool, channels: tuple[str, ...]
) -> None:
    """Hosts, addresses, URLs and presets are understood."""
    suggested, config = from_target(target)
    assert (suggested, config.host, config.port, config.tls, config.channels) == (account, host, port, tls, channels)


def test_a_target_takes_settings() -> None:
    """Every setting can follow the question mark, and flood=off lifts the rate."""
    _, config = from_target("h:6667/#a?nick=bob&flood=off&burst_lines=9&sasl_user=u&sasl_password=p")
    assert (config.nick, config.rate_lines_per_s, config.burst_lines, config.mechanism) == ("bob", 0.0, 9, "PLAIN")


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("irc.example.org", "names no channel"),
        ("irc.example.org/", "names no channel"),
        (":6667/#a", "no host"),
        ("h:99999/#a", "no port"),
        ("h/#a b c,", "no channel"),
        ("h/#a?nik=x", "no IRC setting"),
        ("h/#a?flood=maybe", "flood is on or off"),
        ("h/#a?nick=a%0d%0aQUIT", "nick is"),
        ("h/#a?nick=9", "nick is"),
        ("h/#a?sasl=EXTERNAL", "tls_cert_file"),
        ("h/#a?sasl=PLAIN", "sasl_user"),
        ("h/#a?realname=a%0aQUIT", "line break"),
        ("h/#a?fallback_encoding=klingon", "cp1252"),
        ("h/#a?username=a%20b", "username"),
    ],
)
def test_a_wrong_target_is_explained(target: str, hint: str) -> None:
    """What cannot be used is refused with a word on what to write."""
    with pytest.raises(ValueError, match=hint):
        from_target(target)


def test_secrets_are_marked() -> None:
    """Passwords are annotated as secrets, so that they are encrypted at rest and never shown."""
    import typing

    hints = typing.get_type_hints(PLATFORM.config, include_extras=True)
    secret = {
        name
        for name, hint in hints.items()
        if getattr(hint, "__metadata__", None) and (hint.__metadata__[0].extra or {}).get("secret")
    }
    assert secret == {"password", "sasl_password", "nickserv_password"}


async def test_the_doctor_finds_what_is_wrong() -> None:
    """A server that does not answer and an unprotected password are named, with the way to mend it."""
    config = IrcConfig(host="127.0.0.1", port=1, tls=False, sasl_user="u", sasl_password="p")
    found = await findings(config)
    assert [finding.ok for finding in found] == [False, False, True]
    assert all(finding.mend for finding in found if not finding.ok)
