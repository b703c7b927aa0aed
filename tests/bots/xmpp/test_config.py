"""What an operator writes, and what is said when it is wrong."""

from __future__ import annotations

import pytest

from bots.xmpp import PLATFORM
from bots.xmpp.config import XmppConfig, from_target


def test_a_target_names_bot_and_rooms() -> None:
    """Address, rooms and settings; the password is asked for or follows."""
    name, config = from_target(
        "Bridge@Example.org/garden@conference.example.org,pond@rooms.example.net?nick=bo&port=5269"
    )
    assert name == "xmpp-example.org"
    assert config.rooms == ("garden@conference.example.org", "pond@rooms.example.net")
    assert (config.nick, config.port, config.password, config.address) == ("bo", 5269, "", "bridge@example.org")
    assert from_target("xmpp:bridge@example.org?password=a%26b")[1].password == "a&b"


def test_a_domain_is_a_component() -> None:
    """Its bot is called bot, its services are its parent's."""
    _, config = from_target("bridge.example.org?host=127.0.0.1&password=x")
    assert config.is_component
    assert (config.address, config.services_domain, config.connect_port) == (
        "bot@bridge.example.org",
        "example.org",
        5347,
    )


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", "no address"),
        ("not an address", "no address"),
        ("bridge@example.org/garden", "is no room"),
        ("bridge@example.org?colour=red", "no XMPP setting"),
        ("bridge.example.org", "needs host"),
        ("bridge@example.org?nick=a/b", "without slashes"),
        ("bridge@example.org?port=99999", "65535"),
    ],
)
def test_a_wrong_target_says_what_to_write(target: str, words: str) -> None:
    """In plain words."""
    with pytest.raises(ValueError, match=words):
        from_target(target)


def test_ports_by_kind_of_tls() -> None:
    """5222 begins in the clear, 5223 does not."""
    assert XmppConfig(jid="a@b", host="h").connect_port == 5222
    assert XmppConfig(jid="a@b", host="h", tls="direct").connect_port == 5223


def test_next_steps_name_the_rooms() -> None:
    """What is left to do after adding the account."""
    steps = PLATFORM.next_steps("xmpp", XmppConfig(jid="a@b.org", rooms=("g@c.b.org secret",)), "")  # type: ignore[arg-type]
    assert "g@c.b.org by itself" in steps[0]
    assert "secret" not in " ".join(steps)
