"""Chat's dialects: what is literal stays literal, what is formatted is shown so, and comes back the same."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.googlechat.receive import spoken
from bots.googlechat.send import MORE, parts_of
from bots.googlechat.text import html_weight, markdown_weight, read, safe, to_html, to_markdown
from core.model import Entity, Text
from core.text.ops import normalise
from core.text.safety import MASS_MENTIONS
from tests.fakes.googlechat_text import calls, render_card, render_markdown

INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060"))
NASTY = st.text(
    st.one_of(
        st.sampled_from("*_~`<>[]()|\\&#!-+=.:1 \n\u00a0é🌱"), st.characters(codec="utf-8", exclude_categories=["Cc"])
    ),
    max_size=60,
)
MARKUP = """<users/all>
<users/123>
< users/all>
<USERS/ALL>
*b*
_i_
~s~
`c`
```p```
**
- x
> q
1. a
# h
&lt;
\\
a_b_c
2*3*4
:smile:
---
<https://x.org|y>
[a](https://x.org)"""
PIECES = st.lists(st.sampled_from([*MARKUP.split("\n"), "\n", " "]), max_size=12).map("".join)
KINDS = ("bold", "italic", "strike", "code", "link")


def seen(words: str) -> list[str]:
    """The words of a text, whatever blanks lie between and at the ends of lines."""
    return words.translate(INVISIBLE).split()


@given(st.one_of(NASTY, PIECES))
def test_literal_text_survives_as_markdown(words: str) -> None:
    """Whatever is said is read as it was said, and formats and calls nothing."""
    shown, entities = render_markdown(to_markdown(safe(Text(words))))
    assert seen(shown) == seen(safe(Text(words)).plain)
    assert not entities
    assert not calls(to_markdown(safe(Text(words))))


@given(st.one_of(NASTY, PIECES))
def test_literal_text_survives_in_cards(words: str) -> None:
    """The same in a card."""
    shown, entities = render_card(to_html(safe(Text(words))))
    assert seen(shown) == seen(safe(Text(words)).plain)
    assert not entities


@given(
    st.one_of(NASTY, PIECES),
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 40), st.integers(1, 20)), max_size=4),
)
def test_formatted_text_keeps_its_words(words: str, spans: list[tuple[str, int, int]]) -> None:
    """However spans lie, the words are read, nothing is called, and the weight is no lie."""
    value = {"link": "https://example.org/x_(y)"}
    entities = tuple(Entity(kind, start, length, value.get(kind, "")) for kind, start, length in spans)  # type: ignore[arg-type]
    text = safe(Text(words, entities))
    written = to_markdown(text)
    shown, _ = render_markdown(written)
    assert seen(shown) == seen(text.plain)
    assert not calls(written)
    assert len(written.encode()) <= markdown_weight(text)
    assert len(to_html(text).encode()) <= html_weight(text)


@pytest.mark.parametrize("words", MASS_MENTIONS)
def test_mass_mentions_are_dead(words: str) -> None:
    """No way to call everybody works: alone, formatted, in code, in a card."""
    for kind in ("", "bold", "code", "pre", "quote", "link"):
        value = "https://example.org/" if kind == "link" else ""
        entities = (Entity(kind, 0, len(words), value),) if kind else ()  # type: ignore[arg-type]
        text = safe(Text(words, entities))
        assert not calls(to_markdown(text))
        assert not calls(render_markdown(to_markdown(text))[0])
        assert not calls(render_card(to_html(text))[0])


def test_line_breaks_are_line_breaks() -> None:
    """A line break is one also where CommonMark would make a blank of it; code keeps its own."""
    text = Text("one\ntwo\n\nthree\ncode  \nmore\nfour\nfive", (Entity("pre", 15, 11, "py"),))
    shown, entities = render_markdown(to_markdown(text))
    assert shown == "one\ntwo\nthree\ncode  \nmore\nfour\nfive"
    assert [(one.type, shown[one.start : one.start + one.length]) for one in entities] == [("pre", "code  \nmore")]


SAMPLES = [
    Text("plain words"),
    Text("one bold word", (Entity("bold", 4, 4),)),
    Text("one italic word", (Entity("italic", 4, 6),)),
    Text("not struck", (Entity("strike", 4, 6),)),
    Text("use `x` here", (Entity("code", 4, 3),)),
    Text("a page", (Entity("link", 2, 4, "https://example.org/a_b(c)"),)),
    Text("said:\nquoted\nanswer", (Entity("quote", 6, 6),)),
    Text("see\nprint('*')\nend", (Entity("pre", 4, 10, "python"),)),
    Text("bold and both", (Entity("bold", 0, 13), Entity("italic", 9, 4))),
]


@pytest.mark.parametrize("text", SAMPLES)
def test_out_and_in_again(text: Text) -> None:
    """What we write is read by us as the same text; a client shows the same spans."""
    written = to_markdown(text)
    assert read(written, "markdown", {}) == normalise(text)
    shown, entities = render_markdown(written)
    assert shown == text.plain
    assert {(one.type, one.start, one.length) for one in entities} == {
        (one.type, one.start, one.length) for one in text.entities
    }


CHAT = [
    ("*bold* _it_ ~no~", "bold it no", ["bold", "italic", "strike"]),
    ("2*3*4 a_b_c ~ 5", "2*3*4 a_b_c ~ 5", []),
    ("`a *b* c`", "a *b* c", ["code"]),
    ("```\nx = *y*\n```", "x = *y*", ["pre"]),
    ("<https://x.org|a page> <https://y.org>", "a page https://y.org", ["link", "link"]),
    ("*bold `code` on*", "bold code on", ["bold", "code"]),
    ("* first\n* second", "* first\n* second", []),
    ("*not\nbold*", "*not\nbold*", []),
    ("hi <users/7> <users/8>", "hi @Ann <users/8>", ["mention"]),
    ("*_both_*", "both", ["bold", "italic"]),
    ("*crossed _over* there_", "crossed _over there_", ["bold"]),
]


@pytest.mark.parametrize(("said", "plain", "kinds"), CHAT)
def test_chats_own_syntax(said: str, plain: str, kinds: list[str]) -> None:
    """Where the app's configuration says Chat, its own marks are read."""
    text = read(said, "chat", {"users/7": "Ann"})
    assert text.plain == plain
    assert sorted(one.type for one in text.entities) == sorted(kinds)


@given(st.one_of(NASTY, PIECES))
def test_reading_never_fails(said: str) -> None:
    """Whatever Google writes is read, in either syntax, with sound spans."""
    for syntax in ("chat", "markdown"):
        text = read(said, syntax, {"users/123": "Ann"}, frozenset({"smile"}))
        assert all(one.start >= 0 and one.start + one.length <= len(text.plain) for one in text.entities)


def test_reading_and_writing_are_linear() -> None:
    """Thirty thousand characters of nothing but marks take no time to speak of."""
    started = time.monotonic()
    for words in ("*_~`" * 7500, "<users/" * 4000, "```" * 9000, "<https://x|" * 2500, ":a" * 14_000):
        read(words, "chat", {})
        parts_of(Text(words), 4000, 3)
    assert time.monotonic() - started < 8


def test_parts_fit_and_the_last_says_so() -> None:
    """Each part fits as it is sent, escapes and all; what does not fit into the parts is cut with a mark."""
    for words in ("word " * 5000, "*_~` " * 5000, "é🌱" * 9000, "\n  x" * 4000):
        for cards in (False, True):
            parts = parts_of(Text(words), 2000, 3, cards=cards)
            assert len(parts) == 3
            assert parts[-1].plain.endswith(MORE)
            render = to_html if cards else to_markdown
            assert all(len(render(part).encode()) <= 2000 for part in parts)


def test_a_message_without_formatted_text_is_its_text() -> None:
    """Older payloads have no formattedText."""
    assert spoken({"text": "as *typed*"}, "", "markdown") == Text("as *typed*")
