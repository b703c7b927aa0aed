"""Texts in both directions: literal text survives, formatting comes back, hostile input is harmless."""

from __future__ import annotations

import time
from xml.etree.ElementTree import Element, tostring

import pytest
from hypothesis import given

from bots.xmpp import compose, styling
from bots.xmpp import xml as x
from bots.xmpp.receive import hear
from bots.xmpp.text import ENTITIES, MORE, as_html, clean, parts, read, to_xhtml
from core.model import Entity, Text
from core.text import html
from core.text.nesting import normalise
from core.text.ops import downgrade
from tests.core.text.strategies import texts, words
from tests.servers.xmpp import element

ROOM = "garden@conference.example.org"
CLAIMED = tuple(sorted(ENTITIES))


def sent(text: Text) -> Element:
    """The message that goes out, as it arrives: through XML and back."""
    stanza = x.element(x.CLIENT, "message", to=ROOM, type="groupchat", id="i1")
    made = element(tostring(compose.message(stanza, text)))
    made.set("from", f"{ROOM}/Somebody")
    return made


@given(words)
def test_literal_text_survives(plain: str) -> None:
    """Words without formatting are read as they were, by every kind of client."""
    stanza = sent(Text(plain))
    heard = hear(stanza, ROOM, stable_ids=False)
    assert heard is not None
    assert read(heard.body, heard.html, unstyled=heard.unstyled) == Text(x.sendable(plain))
    assert not heard.html


@given(texts(CLAIMED))
def test_formatting_comes_back_by_xhtml(text: Text) -> None:
    """What is claimed goes out and comes in again, with the same words; whatever is not in words is in spans."""
    wanted = normalise(clean(downgrade(text, ENTITIES)))
    shown = to_xhtml(wanted)
    if shown is None:
        assert not wanted.entities
        return
    again = html.parse(as_html(element(tostring(shown))))
    assert "".join(again.plain.split()) == "".join(wanted.plain.split())
    assert _spans(again) == _spans(wanted)


def _spans(text: Text) -> set[tuple[str, str, str]]:
    """Kinds, words and values of all spans; white space is the one thing that HTML does not keep."""
    covered = ((e, "".join(text.plain[e.start : e.start + e.length].split())) for e in text.entities)
    return {(e.type, said, e.value) for e, said in covered if said}


@given(texts(CLAIMED))
def test_a_styled_body_says_exactly_the_text(text: Text) -> None:
    """Where marks are sent, a client that reads them shows the same words and spans; else there are no marks."""
    body, is_styled = styling.format(clean(text))
    wanted = normalise(downgrade(clean(text), styling.ENTITIES))
    if is_styled:
        shown = styling.parse(body)
        assert shown.plain == wanted.plain
        assert set(shown.entities) <= set(wanted.entities)
    else:
        assert body == downgrade(wanted, frozenset()).plain


@given(words)
def test_parsing_never_loses_words(plain: str) -> None:
    """Reading styled words takes away marks and nothing else."""
    shown = styling.parse(plain).plain
    rest = iter(plain)
    assert all(char in rest for char in shown.replace("\n", ""))


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("*bold*", "bold"),
        ("a *bold* word", "bold"),
        ("*_both_*", "both"),
        ("~gone~", "gone"),
        ("`a*b*`", "a*b*"),
        ("> quoted", "quoted"),
        ("```\ncode\n```", "code"),
    ],
)
def test_marks(body: str, shown: str) -> None:
    """The marks of XEP-0393."""
    text = styling.parse(body)
    assert text.entities
    assert shown in [text.plain[e.start : e.start + e.length] for e in text.entities]


@pytest.mark.parametrize(
    "body",
    ["2 * 3 * 4", "a*b*", "snake_case_name", "* no *", "**", "****", "**two**", "``` never closed", "* ", "~", "`"],
)
def test_no_marks(body: str) -> None:
    """What XEP-0393 takes for no marks is left alone."""
    assert styling.parse(body) == Text(body)


def test_what_styling_cannot_say_is_in_words() -> None:
    """Old clients get the address of a link, all of them the words; formatting goes beside it."""
    text = Text("see this", (Entity("link", 4, 4, "https://example.org/x"), Entity("bold", 0, 3)))
    stanza = sent(text)
    assert x.body(stanza) == "*see* this (https://example.org/x)"
    assert stanza.find(f"{{{x.STYLING}}}unstyled") is None
    heard = hear(stanza, ROOM, stable_ids=False)
    assert heard is not None
    assert read(heard.body, heard.html, unstyled=False) == normalise(text)


def test_a_body_that_only_looks_styled_says_so() -> None:
    """Underline has no mark, and what stands there by chance is none."""
    stanza = sent(Text("*not bold* under", (Entity("underline", 11, 5),)))
    assert x.body(stanza) == "*not bold* under"
    assert stanza.find(f"{{{x.STYLING}}}unstyled") is not None


def test_long_texts_end_with_a_mark() -> None:
    """No more parts than asked for, each within the limit, and the last one tells that there was more."""
    found = parts(Text("word " * 200_000), 4000, 3)
    assert len(found) == 3
    assert all(len(part.plain) <= 4000 for part in found)
    assert found[-1].plain.endswith(MORE)
    assert parts(Text("short"), 4000, 3) == [Text("short")]


def test_controls_do_not_get_into_xml() -> None:
    """What XML has no place for is left out, and spans stay where they belong."""
    assert clean(Text("a\x00b\x1bc\ufffe\r\nd", (Entity("bold", 2, 2),))) == Text("abc\nd", (Entity("bold", 1, 1),))


@pytest.mark.parametrize(
    "inside",
    [
        "<p>" * 3000 + "x" + "</p>" * 3000,
        "<span style='" + "font-weight:bold;" * 5000 + "'>x</span>",
        "".join(f"<a href='https://e.org/{n}'>x</a>" for n in range(5000)),
        "<img alt='" + "y" * 50_000 + "'/>",
        "<script>alert(1)</script><style>x</style><a href='javascript:x'>y</a>",
    ],
)
def test_hostile_xhtml(inside: str) -> None:
    """Deep, long and active XHTML is read in no time, and nothing of it is a link that runs something."""
    body = f"<body xmlns='{x.XHTML}'>{inside}</body>"
    stanza = element(
        f"<message xmlns='{x.CLIENT}' from='{ROOM}/A' type='groupchat'><body>words</body>"
        f"<html xmlns='{x.XHTML_IM}'>{body}</html></message>"
    )
    began_s = time.process_time()
    heard = hear(stanza, ROOM, stable_ids=False)
    assert heard is not None
    text = read(heard.body, heard.html, unstyled=False)
    assert time.process_time() - began_s < 2.0
    assert not [e for e in text.entities if e.type == "link" and not e.value.startswith("https://")]


@pytest.mark.parametrize("body", ["*a " * 60_000, "```a\n" * 60_000, "*a* " * 50_000, "> " * 50_000, "*_~`" * 30_000])
def test_hostile_styling(body: str) -> None:
    """Marks without end are read in no time."""
    began_s = time.process_time()
    styling.parse(body)
    assert time.process_time() - began_s < 2.0
