"""The HTML of chats: read, written, and read again."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.model import Entity, Text
from core.text.html import format, parse
from core.text.nesting import normalise
from tests.core.text.strategies import any_words, texts

SHOWN = ("bold", "italic", "underline", "strike", "spoiler", "code", "pre", "quote", "link")


def without_last_line_break(text: Text) -> Text:
    """HTML has no line break behind a block at the end."""
    ends = {entity.start + entity.length for entity in text.entities if entity.type in ("quote", "pre")}
    plain = text.plain
    return Text(plain[:-1], text.entities) if plain.endswith("\n") and len(plain) - 1 in ends else text


@given(texts(SHOWN))
def test_a_text_comes_back_as_it_was(text: Text) -> None:
    """What is written is read as the same text, whatever nests in, adjoins or crosses what."""
    assert parse(format(text)) == without_last_line_break(normalise(text))


@given(texts())
def test_words_survive_with_every_entity(text: Text) -> None:
    """Spans that HTML does not have lose nothing of the words."""
    assert parse(format(text)).plain == without_last_line_break(normalise(text)).plain


@given(any_words)
@example("\r\n\x00\x0b\x85\u2028")
@example("3:100:7")
def test_literal_text_survives(said: str) -> None:
    """Any words at all mean themselves: no markup comes of them, and nothing is lost."""
    assert parse(format(Text(said))) == Text(said)


@given(st.text(max_size=200) | any_words)
def test_any_input_is_read(html: str) -> None:
    """Reading never fails, and gives a normalised text."""
    text = parse(html)
    assert normalise(text) == text


@pytest.mark.parametrize(
    ("html", "plain"),
    [
        ("<p>one</p>\n<p>two</p>", "one\n\ntwo"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("one\n  two", "one two"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<ul>\n <li>x</li>\n <li><p>y</p></li>\n</ul>z", "• x\n• y\nz"),
        ("<ol start=9><li>a<ol><li>b</li></ol></li><li>c</li></ol>", "9. a\n  1. b\n10. c"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a | b\nc"),
        ("a&nbsp;&nbsp;b&#160;c", "a  b\u00a0c"),
        ("1 < 2 <3 &lt;b&gt;", "1 < 2 <3 <b>"),
        ("a<!-- b -->c<!-- d", "ac<!-- d"),
        ("a<script>alert(1)</script><style>p{}</style>b", "ab"),
        ("<unknown attr='>'>words</unknown>", "words"),
        ("&#99999999999999999999;&#0;", "\ufffd\ufffd"),
        ("<pre>\n  x\n</pre>y", "  x\ny"),
    ],
)
def test_html_is_read_as_it_looks(html: str, plain: str) -> None:
    """Blocks, lists, tables, comments and references become readable words."""
    assert parse(html).plain == plain


def test_what_is_to_be_left_out_is_chosen() -> None:
    """A dialect may name elements whose words are not for readers."""
    assert parse("<mx-reply>quoted</mx-reply>hi", frozenset({"mx-reply"})) == Text("hi")


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "//x.org", "/x", "tg://user?id=1"]
)
def test_only_web_and_mail_links_survive(url: str) -> None:
    """Any other link keeps its words and leads nowhere, read or written."""
    assert parse(f'<a href="{url}">words</a>') == Text("words")
    assert format(Text("words", (Entity("link", 0, 5, url),))) == "words"


@pytest.mark.parametrize(
    ("html", "entity"),
    [
        ("<strong>x</strong>", Entity("bold", 0, 1)),
        ("<EM class=a>x</EM>", Entity("italic", 0, 1)),
        ("<ins>x</ins>", Entity("underline", 0, 1)),
        ("<strike>x</strike>", Entity("strike", 0, 1)),
        ("<span data-mx-spoiler>x</span>", Entity("spoiler", 0, 1)),
        ("<span class='tg-spoiler'>x</span>", Entity("spoiler", 0, 1)),
        ("<tg-spoiler>x</tg-spoiler>", Entity("spoiler", 0, 1)),
        ('<pre><code class="hljs language-py">x\n</code></pre>', Entity("pre", 0, 1, "py")),
        ("<h2>x</h2>", Entity("bold", 0, 1)),
        ('<a href="https://x.org/?a=1&amp;b=2">x</a>', Entity("link", 0, 1, "https://x.org/?a=1&b=2")),
        ('<time datetime="2020-09-13T12:26:40Z">x</time>', Entity("timestamp", 0, 1, "1600000000")),
    ],
)
def test_an_element_is_its_entity(html: str, entity: Entity) -> None:
    """Each element that chats use is understood, whatever else stands in its tag."""
    assert parse(html) == Text("x", (entity,))


def test_an_emoji_picture_is_its_shortcode() -> None:
    """A picture is read as its alternative text, an emoji's as an emoji."""
    assert parse('<img alt=":wave:"> <img alt="a cat">') == Text(":wave: a cat", (Entity("emoji", 0, 6, "wave"),))


def test_crossed_tags_are_understood() -> None:
    """Spans that cross in the source are nested in the text."""
    assert parse("<b>a<i>b</b>c</i>").entities == (Entity("bold", 0, 2), Entity("italic", 1, 1), Entity("italic", 2, 1))


@pytest.mark.parametrize(
    "piece",
    [
        *("<b>", "</b>", "<!--", '<a "', "<a ='", '<a ="<a" ', "<", "&", "<div>", "<ol><li>", "<![CDATA[", "x "),
        *("<p>\n", "<script>", "&#1"),
    ],
)
def test_a_megabyte_is_read(piece: str) -> None:
    """Hostile input of 1 MB is read to its end."""
    assert len(parse(piece * (1_000_000 // len(piece))).plain) <= 4_000_000


def test_a_megabyte_of_spans_is_written() -> None:
    """So many spans that anything but linear work would show."""
    text = Text("ab " * 300_000, tuple(Entity("bold", i * 3, 2) for i in range(100_000)))
    assert format(text).count("<strong>") == 100_000
