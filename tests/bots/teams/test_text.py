"""Teams' HTML and XML: literal text survives, and what is claimed comes back as it was."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.teams.activity import Mark, Person
from bots.teams.text import LIMIT, SHOWN, cut, measure_of, quoted_in, read_html, read_plain, units, write
from core.model import Entity, Text
from core.text.nesting import normalise
from core.text.ops import downgrade
from core.text.safety import clean_text
from tests.fakes.teams_world import shown

WORDS = st.text(
    st.one_of(
        st.sampled_from("<>&\"'*_~`[]()#@\\/ \n\t-=;:|{}"),
        st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\u00a0\u2028\u2029\x85"),
    ),
    max_size=60,
)
KINDS = sorted(SHOWN)
BOT = "28:bot"


@given(WORDS)
def test_literal_text_survives(words: str) -> None:
    """Whatever it looks like, Teams shows it as it was typed."""
    text = clean_text(Text(words))
    plain, spans = shown(write(text))
    assert plain == text.plain
    assert not spans


@given(WORDS)
def test_text_comes_back_as_it_was(words: str) -> None:
    """What we write is read as the same words."""
    plain = clean_text(Text(words)).plain.strip()
    assert read_html(write(Text(plain)), (), BOT).plain == plain


@st.composite
def texts(draw: Any) -> Text:
    """Words with formatting, blocks on lines of their own."""
    words = draw(st.text(st.sampled_from("abc de<&>\n*"), min_size=1, max_size=40))
    found = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(words) - 1))
        kind = draw(st.sampled_from(KINDS))
        value = "https://example.org/?a=1&b=2" if kind == "link" else ""
        found.append(Entity(kind, start, draw(st.integers(1, len(words) - start)), value))  # type: ignore[arg-type]
    return normalise(Text(words, tuple(found)))


@given(texts())
def test_formatting_comes_back_as_it_was(text: Text) -> None:
    """Out and in again: the same words, and the same of all that is claimed (but blank ends, which Teams cuts)."""
    again = read_html(write(text), (), BOT)
    assert "".join(again.plain.split()) == "".join(text.plain.split())
    kinds = {entity.type for entity in again.entities}
    assert kinds <= {entity.type for entity in text.entities}
    for entity in text.entities:
        if text.plain[entity.start : entity.start + entity.length].strip():
            assert entity.type in kinds


@given(texts())
def test_teams_shows_what_is_claimed(text: Text) -> None:
    """The client's view has the words and the kinds of formatting."""
    plain, spans = shown(write(downgrade(text, SHOWN)))
    assert "".join(plain.split()) == "".join(text.plain.split())
    assert {kind for kind, *_ in spans} == {entity.type for entity in text.entities}


@given(WORDS, st.integers(1, 4))
def test_parts_fit(words: str, most: int) -> None:
    """However the text is made, each part fits and no more than allowed come out."""
    text = Text(words * 30)
    parts = cut(text, most, 100)
    assert len(parts) <= most
    assert all(units(write(part)) <= 100 for part in parts)


def test_what_does_not_fit_is_marked() -> None:
    """The last part says that there is more."""
    parts = cut(Text("word " * 100_000), 2)
    assert len(parts) == 2
    assert parts[-1].plain.endswith("… (cut)")
    assert measure_of(parts[-1]) <= LIMIT


MENTION = Mark("mention", "<at>Bob Roe</at>", Person("29:bob", "Bob Roe"))
OWN = Mark("mention", "<at>BridgeBot</at>", Person(BOT, "BridgeBot"))
SPAN = '<span itemscope="" itemtype="http://schema.skype.com/Mention" itemid="{}">{}</span>'
READ: list[tuple[str, tuple[Mark, ...], Text]] = [
    ("<p>plain</p>", (), Text("plain")),
    ("<p>one</p>\n<p>two</p>\n<p>&nbsp;</p>\n<p>four</p>", (), Text("one\ntwo\n\nfour")),
    ("<div><div>one</div>\n<div>two</div></div>", (), Text("one\ntwo")),
    ("<p>a&nbsp;<strong>b</strong></p>", (), Text("a b", (Entity("bold", 2, 1),))),
    (f"<p>{SPAN.format(0, 'BridgeBot')}&nbsp;-sameroom open</p>", (OWN,), Text("-sameroom open")),
    (
        f"<p>hi {SPAN.format(1, 'Bob Roe')}, hi {SPAN.format(0, 'BridgeBot')} x</p>",
        (OWN, MENTION),
        Text("hi Bob Roe, hi x", (Entity("mention", 3, 7, "29:bob"),)),
    ),
    ('<p><at id="0">Bob Roe</at>!</p>', (MENTION,), Text("Bob Roe!", (Entity("mention", 0, 7, "29:bob"),))),
    (f"<p>{SPAN.format(9, 'Nobody')}</p>", (), Text("Nobody")),
    (f"<p>{SPAN.format('x', 'Bob Roe')}</p>", (MENTION,), Text("Bob Roe", (Entity("mention", 0, 7, "29:bob"),))),
    ('<p>x<emoji id="smile" alt="🙂" title="Smile"></emoji>y</p>', (), Text("x🙂y")),
    (
        '<p><span class="animated-emoticon-20-cool" type="(cool)"><img itemscope="" '
        'itemtype="http://schema.skype.com/Emoji" itemid="cool" alt="😎"></span></p>',
        (),
        Text("😎"),
    ),
    (
        '<p>see<img alt="image" src="https://x.example/1" itemtype="http://schema.skype.com/AMSImage"></p>',
        (),
        Text("see"),
    ),
    (
        '<codeblock class="Python"><code>a = 1<br>b = 2</code></codeblock>',
        (),
        Text("a = 1\nb = 2", (Entity("pre", 0, 11, "python"),)),
    ),
    ("<codeblock><code>x</code></codeblock>", (), Text("x", (Entity("pre", 0, 1),))),
    ('<p>a</p><script>alert(1)</script><attachment id="1"></attachment>', (), Text("a")),
    ("<p>1 &lt; 2 &amp;amp; <at></p>", (), Text("1 < 2 &amp;")),
    ("\ufdd00\ufdd1x\ufdd2", (MENTION,), Text("0x")),
    ("&#xfdd0;0&#xfdd1;x&#xfdd2;", (MENTION,), Text("0x")),
    ("<ul><li>one</li><li>two</li></ul>", (), Text("• one\n• two")),
]


@pytest.mark.parametrize("number", range(len(READ)))
def test_what_people_write(number: int) -> None:
    """Teams' own elements, mentions, emoji, code, lists, and what nobody should send."""
    source, marks, wanted = READ[number]
    assert read_html(source, marks, BOT) == wanted


def test_plain_bodies() -> None:
    """Where there is no HTML, the entities say which words are a mention."""
    found = read_plain("<at>BridgeBot</at> hi <at>Bob Roe</at> & <b>you</b>", (OWN, MENTION), BOT)
    assert found == Text("hi Bob Roe & <b>you</b>", (Entity("mention", 3, 7, "29:bob"),))
    assert read_plain('<quoted messageId="17"/> yes\r\nno', (), BOT) == Text("yes\nno")


def test_quotes_of_chats() -> None:
    """Who said it, what, and which message it was; other quotes are left in the text."""
    quote = (
        '<blockquote itemscope="" itemtype="http://schema.skype.com/Reply" itemid="1700000000001">'
        '<strong itemprop="mri" itemid="8:orgid:x">Ann &amp; Co</strong><span itemprop="time" itemid="1"></span>'
        '<p itemprop="preview">tea &lt;or&gt; cake</p></blockquote>'
    )
    assert quoted_in(quote + "<p>yes</p>") == ("1700000000001", "Ann & Co", "tea <or> cake")
    assert read_html(quote + "<p>yes</p>", (), BOT) == Text("yes")
    assert quoted_in("<blockquote>mine</blockquote>") == ("", "", "")
    assert read_html("<blockquote>mine</blockquote>", (), BOT) == Text("mine", (Entity("quote", 0, 4),))
    assert quoted_in('<blockquote itemtype="http://schema.skype.com/Reply">') == ("", "", "")


HOSTILE = (
    "<blockquote itemtype=schema.skype.com/Reply>" * 20_000,
    "<span itemtype=schema.skype.com/Mention>" * 20_000,
    "<at>" * 200_000,
    "<img " * 200_000,
    "<emoji alt='" * 80_000,
    "<codeblock" * 90_000,
    '<strong a="' * 90_000,
    "<quoted " * 100_000,
)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_sources_are_read_in_time(number: int) -> None:
    """A second for a megabyte, whatever it is made of (threat 39)."""
    began = time.process_time()
    read_html(HOSTILE[number], (MENTION,), BOT)
    quoted_in(HOSTILE[number])
    read_plain(HOSTILE[number], (MENTION,), BOT)
    assert time.process_time() - began < 5
