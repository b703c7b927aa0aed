"""The words of Matrix messages, both ways."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.matrix.text import ENTITIES, TEXT_LIMIT_BYTES, from_content, parts, to_content
from core.model import Entity, Text
from core.text.nesting import normalise
from core.text.safety import clean_text

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029"), max_size=40)


@st.composite
def texts(draw: Any) -> Text:
    """Formatted texts of what is claimed."""
    plain = draw(st.text(st.sampled_from("ab <>&*_`~|\"'#@\n日é👍"), min_size=1, max_size=30))
    kinds = st.sampled_from(sorted(ENTITIES))
    entities = []
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(kinds)
        start = draw(st.integers(0, len(plain)))
        value = {"link": "https://example.org/?a=1&b=<2>", "pre": "python"}.get(kind, "")
        entities.append(Entity(kind, start, draw(st.integers(1, 10)), value))
    return normalise(Text(plain, tuple(entities)))


@given(texts())
def test_out_and_in_again(text: Text) -> None:
    """What is written as a message's content is read as the same text."""
    back = from_content(to_content(text))
    if text.entities and text.entities[-1].type in ("quote", "pre"):
        # HTML has no line break behind a block at the end.
        assert back.plain.rstrip("\n") == text.plain.rstrip("\n")
    elif not text.entities or text.plain.strip(" \n") == text.plain:
        assert back == text


@given(WORDS, texts())
def test_literal_text_stays_literal(words: str, text: Text) -> None:
    """Words that look like markup come out as they were, formatted neighbours or not."""
    assert from_content(to_content(Text(words))) == Text(words)
    both = Text(f"x{words}y" + text.plain, (Entity("bold", 0, 1),))
    assert from_content(to_content(both)) == both


@settings(max_examples=25)
@given(texts(), st.integers(1, 2))
def test_parts_fit(text: Text, times: int) -> None:
    """However long and however formatted, no event is too large and there are not too many."""
    long = Text((text.plain + " ") * 9_000 * times, text.entities)
    found = parts(long, 3)
    assert 1 <= len(found) <= 3
    for part in found:
        assert len(part.plain.encode()) <= TEXT_LIMIT_BYTES
        assert len(msgspec.json.encode(to_content(part))) <= 2 * TEXT_LIMIT_BYTES + 1


def test_nothing_is_lost_in_parts() -> None:
    """All words are there when there is room for them."""
    words = " ".join(f"word{number}" for number in range(9_000))
    assert " ".join(part.plain for part in parts(Text(words), 8)).split() == words.split()


def test_much_markup_is_measured() -> None:
    """Characters that HTML writes long make more parts, not an event that is too large."""
    text = Text('"' * 40_000, (Entity("bold", 0, 40_000),))
    found = parts(text, 20)
    assert "".join(part.plain for part in found) == text.plain
    assert max(len(msgspec.json.encode(to_content(part))) for part in found) <= 2 * TEXT_LIMIT_BYTES + 1


@given(st.text(max_size=50))
def test_any_text_can_be_sent(words: str) -> None:
    """Controls and half characters do not stop a message."""
    assert "".join(part.plain for part in parts(Text(words), 8)) == clean_text(Text(words)).plain
    for part in parts(Text(words), 8):
        msgspec.json.encode(to_content(part))


@pytest.mark.parametrize(
    "url",
    [
        "https://matrix.to/#/@bob:example.org",
        "https://matrix.to/#/%40bob%3Aexample.org",
        "https://matrix.to/#/@bob:example.org?via=example.org",
    ],
)
def test_pills_are_mentions(url: str) -> None:
    """A link to a person is a mention of them by their shown name."""
    html = f'<a href="{url}">Bob</a>: hello'
    text = from_content({"body": "Bob: hello", "format": "org.matrix.custom.html", "formatted_body": html})
    assert text == Text("Bob: hello", (Entity("mention", 0, 3, "@bob:example.org"),))


def test_links_to_rooms_stay_links() -> None:
    """A link to a room or a message is a link."""
    url = "https://matrix.to/#/#garden:example.org"
    content = {"body": "x", "format": "org.matrix.custom.html", "formatted_body": f'<a href="{url}">x</a>'}
    assert from_content(content) == Text("x", (Entity("link", 0, 1, url),))


@pytest.mark.parametrize("body", ["> quoted by hand\n\nwords", "> <@x:y> a", "plain > words"])
def test_only_answers_have_a_fallback(body: str) -> None:
    """A quote that somebody typed is not taken away."""
    assert from_content({"body": body}).plain == body


def test_hostile_html_is_quick() -> None:
    """Deep nesting and unclosed tags are read in linear time, as their words."""
    html = "<b>" * 10_000 + "x" + "<a href='https://e.org/" * 500
    content = {"body": "x", "format": "org.matrix.custom.html", "formatted_body": html}
    assert "x" in from_content(content).plain
