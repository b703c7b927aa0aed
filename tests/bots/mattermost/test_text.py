"""Mattermost's Markdown: words stay words, formatting goes both ways, nobody is called who should not be."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bots.mattermost import emojis
from bots.mattermost.text import incoming, markdown, outgoing, parts
from core.model import Entity, Text
from core.text.ops import bold, code, concat, link, plain, pre
from core.text.safety import MASS_MENTIONS
from tests.fakes.mattermost_text import MASS, Shown

SIGNS = "*_~`[]()<>#+-=.!|{}\\:&@$/\"' "
LITERAL = st.text(alphabet=st.sampled_from(f"{SIGNS}ab1é😀"), max_size=40)
INVISIBLE = dict.fromkeys(map(ord, "\u200b"))


@given(LITERAL)
@example(r"C:\Users\new \* \\ \_x_")
@example("a <b>bold</b> &amp; &lt; <!-- x --> </b> 1 < 2 <3")
@example("= heading\n===\n:- table | cell\n$a_b$ costs $5 and $6")
@example("10:30:45 and 3:100:7 and :+1: and :tada: :no_such_thing:")
@example("https://x.example/_layouts/__a__/*b*?c=1&copy;2 ~~x~~")
@example("1. one\n- two\n# three\n> four\n    five\n***\n---")
@example("[a](https://b.example) ![c](d) <https://e.example>")
def test_words_stay_words(words: str) -> None:
    """Whatever somebody says elsewhere is read here as it was said, and formats, pictures and computes nothing."""
    words = "x" + words.replace("\n\n", "\n") + "x"
    shown = Shown(markdown(outgoing(plain(words))))
    assert shown.plain.translate(INVISIBLE) == words
    assert not [span for span in shown.spans if span[0] not in ("link",)]


@given(st.text(max_size=60))
def test_any_text_can_be_written(words: str) -> None:
    """No text is too strange: other scripts, controls, half characters."""
    markdown(outgoing(plain(words))).encode()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["bold", "italic", "strike", "code", "link", ""]), st.text("ab c1", min_size=1, max_size=6)
        )
    )
)
def test_formatting_out_and_in_is_the_same(pieces: list[tuple[str, str]]) -> None:
    """What we write is read again as the same words and spans."""
    texts = [plain("start ")]
    for kind, words in pieces:
        said = f"x{words.strip()}x"
        value = "https://example.org/a_b" if kind == "link" else ""
        texts += [Text(said, (Entity(kind, 0, len(said), value),) if kind else ()), plain(" ")]  # type: ignore[arg-type]
    text = concat(*texts, plain("end"))
    again = incoming(markdown(outgoing(text)))
    assert again.plain == text.plain
    assert again.entities == text.entities


def test_blocks_out_and_in() -> None:
    """Code with a language keeps everything that is in it, markup or not."""
    words = "@property\nprint(':tada: $x$ \\*', `a`)"
    text = concat(plain("see\n"), pre(words, "python"), plain("\nend"))
    assert incoming(markdown(outgoing(text))) == text
    shown = Shown(markdown(outgoing(text)))
    assert words in shown.plain
    assert [span[0] for span in shown.spans] == ["pre"]
    assert incoming(markdown(outgoing(code(":tada: @bob")))) == code(":tada: @bob")


@pytest.mark.parametrize("call", MASS_MENTIONS)
@pytest.mark.parametrize("shape", ["{}", "hey {} look", "**{}**", "({})", "a\n{}"])
def test_no_mass_mention_calls(call: str, shape: str) -> None:
    """Threat 10: none of the ways to call a room, in any formatting, calls one."""
    words = shape.format(call)
    for text in (plain(words), bold(words), link(words, "https://example.org"), code(words)):
        message = markdown(outgoing(text, {"bob"}))
        assert not Shown(message, {"bob"}).calls, message


@pytest.mark.parametrize("name", MASS)
def test_even_a_known_name_cannot_be_a_room(name: str) -> None:
    """Threat 10: somebody whose user name is that of a mass mention opens no way around."""
    assert not Shown(markdown(outgoing(plain(f"@{name} @{name.upper()}"), {name}))).calls


def test_only_people_who_were_heard_are_called() -> None:
    """``@bob`` notifies Bob; a group of people and a stranger are not notified; addresses are left alone."""
    message = markdown(outgoing(plain("@bob, @developers and me@bob.example @Bob."), {"bob"}))
    assert Shown(message, {"bob", "developers"}).calls == ["bob", "bob"]
    assert "me@bob.example" in message


def test_emoji_come_as_characters() -> None:
    """Emoji by name become the character; the server's own stay as their name; times of day stay times."""
    text = incoming("hi :wave: :partyparrot: at 10:30:45 :+1::flag-de: `:tada:` :wave_dark_skin_tone:")
    assert text.plain == "hi 👋 :partyparrot: at 10:30:45 👍🇩🇪 :tada: 👋🏿"
    found = [(text.plain[e.start : e.start + e.length], e.value) for e in text.entities if e.type == "emoji"]
    assert found == [("👋", "wave"), ("👍", "+1"), ("🇩🇪", "flag-de"), ("👋🏿", "wave_dark_skin_tone")]


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("👍", "+1"),
        ("👎", "-1"),
        ("❤️", "heart"),
        ("❤", "heart"),
        ("🎉", "tada"),
        ("👋🏽", "wave"),
        (":parrot:", "parrot"),
    ],
)
def test_names_of_emoji(shown: str, name: str) -> None:
    """A character has the name that Mattermost has for it."""
    assert emojis.names(shown)[0] == name


def test_no_emoji_has_no_name() -> None:
    """Letters are no reaction."""
    assert emojis.names("x") == ()
    assert emojis.shown("no_such_thing") == ""


@given(st.text(alphabet="ab *_~ \n", min_size=1, max_size=400), st.integers(40, 120), st.integers(1, 4))
def test_parts_fit(words: str, limit: int, most: int) -> None:
    """Every part fits as it is written, and there are not too many."""
    made = parts(outgoing(plain(words)), limit, most)
    assert len(made) <= most
    assert all(len(markdown(part)) <= limit for part in made)


def test_a_cut_says_so() -> None:
    """Where a text had more parts than are allowed, the last one says that there was more."""
    made = parts(plain("word " * 1000), 100, 3)
    assert [part.plain.endswith("continued") for part in made] == [False, False, True]
    assert parts(plain("short"), 100, 3) == [plain("short")]
