"""Slack's rich text and mrkdwn, and our model: nothing typed is markup, and what is claimed comes back the same."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.slack import emoji, mrkdwn
from bots.slack.blocks import MORE, TEXT_LIMIT, Names, fallback, outgoing, parts, read, write
from core.model import Entity, Text
from core.text.mass import MASS_MENTIONS
from core.text.nesting import normalise
from tests.fakes.slack_methods import check_words

NAMES = Names({"U0BOB": "Bob"}, {"C0SHED": "shed"}, {"S0DIG": "diggers"})
SIGNS = "*_~`<>&@#!|:[](){}\\/\"' \nab🦊ÿ"
KINDS = ("bold", "italic", "underline", "strike", "code", "pre", "quote", "link", "timestamp")
VALUES = {"link": "https://example.org/a?b=1&c=<d>", "timestamp": "1800000000"}


@st.composite
def texts(draw: st.DrawFn) -> Text:
    """Words with entities of all kinds that a post can show, in no order."""
    plain = draw(st.text(alphabet=SIGNS, min_size=1, max_size=60))
    spans = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 59), st.integers(1, 30)), max_size=4))
    return Text(plain, tuple(Entity(kind, start, size, VALUES.get(kind, "")) for kind, start, size in spans))


def joined(text: Text) -> str:
    """The words alone, with blanks and line breaks as one."""
    return " ".join(text.plain.split())


@given(texts())
def test_words_survive(text: Text) -> None:
    """Whatever is posted has a form that Slack takes, and says the same words."""
    sent = outgoing(text)
    if not sent.plain.strip():
        return
    blocks = write(sent)
    check_words({"text": fallback(sent), "blocks": blocks})
    assert joined(read(blocks, NAMES)) == joined(sent)
    assert html.unescape(fallback(sent)) == sent.plain[:3000]


@given(st.text(alphabet=SIGNS, min_size=1, max_size=60), st.sampled_from(KINDS), st.integers(0, 59), st.integers(1, 30))
def test_out_and_in_again(plain: str, kind: str, start: int, size: int) -> None:
    """One entity among any words comes back as it was, with the same words."""
    text = outgoing(Text(plain, (Entity(kind, start, size, VALUES.get(kind, "")),)))  # type: ignore[arg-type]
    back = read(write(text), NAMES) if text.plain.strip() else text
    again = normalise(Text(back.plain, back.entities))
    assert again.plain.strip("\n") == text.plain.strip("\n")
    if kind in ("bold", "italic", "strike", "underline") and "http" not in plain:
        assert {e.type for e in again.entities} == {e.type for e in text.entities if text.plain[e.start :].strip("\n")}


@pytest.mark.parametrize("mention", MASS_MENTIONS)
def test_mass_mentions_are_dead(mention: str) -> None:
    """No way to call a whole channel survives: in the blocks everything is a text element, and the text is escaped."""
    sent = outgoing(Text(f"look {mention} now", (Entity("bold", 0, 4),)))
    kinds = {element["type"] for line in write(sent)[0]["elements"] for element in line["elements"]}
    assert kinds == {"text"}
    assert "<" not in fallback(sent)
    assert ">" not in fallback(sent)
    assert not re.search(r"@(everyone|channel|here|all|room|group|team)\b", fallback(sent), re.IGNORECASE)


@pytest.mark.parametrize("token", ["<!channel>", "<!here|here>", "<@U0BOB>", "<#C0SHED>", "<https://x.example|y>"])
def test_markup_typed_elsewhere_is_words(token: str) -> None:
    """What means something in Slack's markup goes out as the signs that were typed."""
    sent = outgoing(Text(token))
    elements = write(sent)[0]["elements"][0]["elements"]
    assert "".join(e.get("text") or e["url"] for e in elements).replace("\u200b", "") == token
    assert {e["type"] for e in elements} <= {"text", "link"}


@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("see https://example.org/x_(y)?q=*z*&r=1 now", "https://example.org/x_(y)?q=*z*&r=1"),
        ("(https://example.org)", "https://example.org"),
        ("https://example.org/a.", "https://example.org/a"),
    ],
)
def test_bare_addresses_can_be_clicked(words: str, url: str) -> None:
    """Slack makes links of nothing in rich text by itself, so we do."""
    elements = write(Text(words))[0]["elements"][0]["elements"]
    assert [e["url"] for e in elements if e["type"] == "link"] == [url]
    assert read(write(Text(words)), NAMES) == Text(words)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "slack://open", "data:text/html,x"])
def test_links_that_are_no_web_pages_are_words(url: str) -> None:
    """Only web and mail addresses become links."""
    elements = write(outgoing(Text("click", (Entity("link", 0, 5, url),))))[0]["elements"][0]["elements"]
    assert elements == [{"type": "text", "text": "click"}]


@given(st.text(alphabet="ab 🦊\n", min_size=1, max_size=400), st.integers(16, 60), st.integers(1, 5))
def test_parts_fit(plain: str, limit: int, most: int) -> None:
    """No part is longer than it may be, nor are there more than allowed."""
    found = parts(Text(plain), most, limit)
    assert len(found) <= most
    assert all(len(part.plain) <= limit for part in found)


def test_a_cut_is_said() -> None:
    """The last part says when there was more."""
    assert parts(Text("word " * 5000), 2)[-1].plain.endswith(MORE)
    assert len(parts(Text("word " * 5000), 2)[-1].plain) <= TEXT_LIMIT


# --- mrkdwn -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "plain", "entities"),
    [
        (
            "*bold* _slanted_ ~struck~",
            "bold slanted struck",
            [("bold", "bold"), ("italic", "slanted"), ("strike", "struck")],
        ),
        ("a*b*c snake_case_word 2*3*4", "a*b*c snake_case_word 2*3*4", []),
        ("*_both_*", "both", [("bold", "both"), ("italic", "both")]),
        ("* not* _ nor_", "* not* _ nor_", []),
        ("*over\nlines*", "*over\nlines*", []),
        ("`*a* &lt;b&gt;` c", "*a* <b> c", [("code", "*a* <b>")]),
        ("x\n```a\n*b*```\ny", "x\na\n*b*\ny", [("pre", "a\n*b*")]),
        ("```", "```", []),
        ("&gt; one\n&gt; two\nthree", "one\ntwo\nthree", [("quote", "one\ntwo")]),
        ("a\n&gt;&gt;&gt; b\nc", "a\nb\nc", [("quote", "b\nc")]),
        ("<https://example.org|the *plan*>", "the *plan*", [("link", "the *plan*")]),
        ("*<https://example.org|plan>*", "plan", [("bold", "plan"), ("link", "plan")]),
        ("<https://example.org?a=1&amp;b=2>", "https://example.org?a=1&b=2", []),
        ("<mailto:a@example.org|a@example.org>", "a@example.org", []),
        (
            "<@U0BOB> <@U0EVE|eve> <#C0SHED> <#C0X|den>",
            "@Bob @eve #shed #den",
            [("mention", "@Bob"), ("mention", "@eve")],
        ),
        (
            "<!here> <!channel|channel> <!subteam^S0DIG> <!subteam^S1|@all-of-us>",
            "@here @channel @diggers @all-of-us",
            [],
        ),
        ("<!date^1800000000^{date}|then>", "then", [("timestamp", "then")]),
        ("&lt;b&gt; &amp;amp;", "<b> &amp;", []),
        (":tada: :party-leek: 3:100:7", "🎉 :party-leek: 3:100:7", [("emoji", "🎉"), ("emoji", ":party-leek:")]),
        ("< 3 > 2", "< 3 > 2", []),
    ],
)
def test_mrkdwn(source: str, plain: str, entities: list[tuple[str, str]]) -> None:
    """What bots write, as it is meant."""
    found = mrkdwn.read(source, NAMES)
    assert found.plain == plain
    shown = [(e.type, found.plain[e.start : e.start + e.length]) for e in found.entities]
    assert sorted(shown) == sorted(entities)


@given(st.text(alphabet="*_~`<>&;gtlamp:|@#!^\n ab", max_size=200))
def test_any_markup_can_be_read(source: str) -> None:
    """Nothing that a bot writes is an error, and every entity lies in the text."""
    found = mrkdwn.read(source, NAMES)
    assert all(0 <= e.start < e.start + e.length <= len(found.plain) for e in found.entities)


@pytest.mark.parametrize(
    "source", ["*" * 40_000, "```" * 13_000, "<" * 40_000, "&gt;" * 10_000, ":a" * 20_000, "`a\n" * 13_000]
)
def test_hostile_markup_is_read_in_time(source: str) -> None:
    """Reading is linear: the longest message of nothing but signs takes no longer than another."""
    import time

    began_s = time.process_time()
    mrkdwn.read(source, NAMES)
    assert time.process_time() - began_s < 1.0


# --- emoji --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("+1", "👍"),
        ("thumbsup", "👍"),
        ("heart", "❤️"),
        ("slightly_smiling_face", "🙂"),
        ("+1::skin-tone-4", "👍🏽"),
        ("flag-de", "🇩🇪"),
        ("man-shrugging", "🤷‍♂️"),
        ("male-farmer", "👨‍🌾"),
        ("female-doctor", "👩‍⚕️"),
        ("party-leek", ""),
        ("__import__", ""),
    ],
)
def test_emoji_names(name: str, shown: str) -> None:
    """Slack's names are the emoji that they mean; a workspace's own ones are none."""
    assert emoji.to_unicode(name) == shown


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("👍", "+1"),
        ("❤️", "heart"),
        ("❤", "heart"),
        ("🎉", "tada"),
        ("🙂", "slightly_smiling_face"),
        ("✅", "white_check_mark"),
        ("🤷‍♂️", "man-shrugging"),
        ("👨‍🌾", "male-farmer"),
        ("🇩🇪", "flag-de"),
        ("👍🏽", "+1::skin-tone-4"),
        (":party-leek:", "party-leek"),
    ],
)
def test_names_of_emoji(shown: str, name: str) -> None:
    """An emoji has the name that Slack knows it by."""
    assert emoji.names_of(shown)[0] == name


@pytest.mark.parametrize("shown", ["", ":", "::", "x", ":No Name!:", "🎉🎉"])
def test_what_is_no_emoji_has_no_name(shown: str) -> None:
    """Nothing is sent that Slack could not know."""
    assert emoji.names_of(shown) == []
