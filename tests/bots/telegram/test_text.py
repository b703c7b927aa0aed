"""Telegram's text out and in: nothing is lost, nothing becomes more than it was."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.telegram.text import ENTITIES, Places, as_command, entities_of, fits, incoming, outgoing, parts
from core.command_language import parse_command
from core.model import Entity, Text
from core.text.mass import MASS_MENTIONS
from core.text.nesting import normalise

CHARS = "ab @/_*[]()~`>#+-=|{}.!\\<&\n🦊é\u0301👨\u200d👩\u200d👧"
words = st.text(alphabet=st.sampled_from(CHARS), max_size=60)


@st.composite
def texts(draw: st.DrawFn) -> Text:
    """Any words with any entities over them."""
    plain = draw(words)
    entities = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(plain)))
        length = draw(st.integers(0, 10))
        kind = draw(st.sampled_from(sorted(ENTITIES)))
        value = {"link": "https://example.org/x", "pre": "python", "timestamp": "1800000000"}.get(kind, "")
        entities.append(Entity(kind, start, length, value))
    return Text(plain, tuple(entities))


@given(words)
def test_literal_text_survives(plain: str) -> None:
    """No word of a plain text is taken for markup: it goes out as it is but for what would call or command."""
    sent = outgoing(Text(plain))
    assert not sent.entities
    assert re.sub("[\u200b\u2060]", "", sent.plain) == re.sub("[\u200b\u2060]", "", plain)


@given(texts())
def test_out_and_in_again_is_the_same(text: Text) -> None:
    """What goes out comes in again as the same words with the same formatting."""
    sent = outgoing(text)
    back = incoming(sent.plain, entities_of(sent) or ())
    assert back.plain == sent.plain
    assert normalise(back) == normalise(sent)


@given(words, st.integers(0, 60))
def test_places_in_utf16_and_back(plain: str, place: int) -> None:
    """A place counted in UTF-16 code units is the same place again."""
    place = min(place, len(plain))
    places = Places(plain)
    assert places.units(place) == len(plain[:place].encode("utf-16-le")) // 2
    assert places.point(places.units(place)) == place


@given(st.text(alphabet="ab 🦊\n", min_size=1, max_size=400), st.integers(16, 60), st.integers(1, 5))
def test_parts_fit(plain: str, limit: int, most: int) -> None:
    """No part is longer than Telegram takes, nor are there more than allowed."""
    found = parts(Text(plain), limit, most)
    assert len(found) <= most
    assert all(fits(part, limit) for part in found)


@pytest.mark.parametrize("mention", MASS_MENTIONS)
def test_mass_mentions_are_dead(mention: str) -> None:
    """No way to call a whole room, nor a user who has such a name, survives."""
    sent = outgoing(Text(f"look {mention} now")).plain
    assert not re.search(r"@(everyone|channel|here|all|room|group|team)\b", sent, re.IGNORECASE)


def test_names_notify_unless_switched_off() -> None:
    """A person may be called by name from elsewhere, unless the operator does not want it."""
    assert outgoing(Text("hi @ann_writes")).plain == "hi @ann_writes"
    assert outgoing(Text("hi @ann_writes"), mentions=False).plain == "hi @\u200bann_writes"


def test_relayed_words_begin_no_command() -> None:
    """What somebody elsewhere says is no command for another bot; what the bot itself says is left alone."""
    assert outgoing(Text("/ban ann")).plain == "/\u2060ban ann"
    assert outgoing(Text("/ban ann"), relayed=False).plain == "/ban ann"


@pytest.mark.parametrize("url", ["tg://user?id=501", "tg://resolve?domain=x", "javascript:alert(1)"])
def test_links_that_are_no_web_pages_are_words(url: str) -> None:
    """A link of Telegram's own kind would name a person, so it is dropped."""
    assert entities_of(outgoing(Text("Ann", (Entity("link", 0, 3, url),)))) is None


def test_mail_addresses_are_put_into_words() -> None:
    """A link to a mail address says the address."""
    assert outgoing(Text("write us", (Entity("link", 0, 8, "mailto:a@b.org"),))).plain == "write us (a@b.org)"


def test_half_characters_are_replaced() -> None:
    """A lone surrogate, which no request can carry, goes out as a question mark."""
    assert outgoing(Text("a\ud83e b")).plain == "a? b"


@pytest.mark.parametrize(
    ("said", "private", "meant"),
    [
        ("/sameroom", False, "help"),
        ("/SameRoom@Bridge_Bot connect HLDMU-42K7", False, "connect"),
        ("/start@bridge_bot HLDMU-42K7", False, "connect"),
        ("/start HLDMU-42K7", True, "connect"),
        ("/start", True, "help"),
        ("/help@bridge_bot", False, "help"),
        ("-sameroom open", False, "open"),
        ("/sameroom@other_bot open", False, None),
        ("/start@other_bot HLDMU-42K7", False, None),
        ("/start HLDMU-42K7", False, None),
        ("/help", False, None),
        ("/startle me", True, None),
    ],
)
def test_commands(said: str, private: bool, meant: str | None) -> None:
    """Only what is addressed to us is a command of ours."""
    text = as_command(Text(said), "sameroom", "bridge_bot", private=private)
    command = parse_command(text.plain, "sameroom", slash=True)
    assert (command.name if command else None) == meant  # type: ignore[union-attr]
    if not meant:
        assert text.plain.replace("\u2060", "") == said
