"""Rocket.Chat's markup: literal words survive, spans come back, nobody is called, and links quote nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bots.rocketchat import text as dialect
from core.model import Entity, Text
from core.text.nesting import normalise
from core.text.safety import MASS_MENTIONS, clean_text
from core.text.split import size
from tests.fakes.rocketchat_text import parse, read
from tests.fakes.rocketchat_world import World

ZERO_WIDTH = dialect.ZERO_WIDTH
WORDS = st.lists(
    st.sampled_from(
        [*"ab*_~`[](){}<>|@#:!\\./- 1+é\n", "http://", "x.example", "``", "**", "__", "all", "t:1", "> ", "1. ", "- "]
    ),
    max_size=16,
).map("".join)
WRITTEN = ("bold", "italic", "strike", "code", "pre", "quote", "link")


def seen(markup: str) -> str:
    """What is read of it, without what is invisible; and without the blank before the bar of a label."""
    words = read(parse(markup))[0].replace(ZERO_WIDTH, "")
    return re.sub(r"<([^\s<>|]+) \|", r"<\1|", words)


@given(WORDS)
def test_literal_text_survives(words: str) -> None:
    """Whatever is typed elsewhere is read as it was typed, and formats and calls nothing."""
    words = re.sub(r"<([^\s<>|]+) \|", r"<\1|", clean_text(Text(words.strip())).plain)
    markup = dialect.markdown(Text(words))
    nodes = parse(markup)
    lines = [line.rstrip() for line in words.split("\n")]
    assert [line.rstrip() for line in seen(markup).split("\n")][: len(lines)] == lines
    assert {kind for kind, *_ in read(nodes)[1]} <= {"link"}


@example("0000A_0", "italic", 6, 1)
@example("a.:", "italic", 2, 1)
@example(":a:", "italic", 0, 2)
@example(":.", "italic", 1, 1)
@example("a@.", "bold", 0, 3)
@given(st.text(max_size=60), st.sampled_from(WRITTEN), st.integers(0, 30), st.integers(1, 30))
def test_a_span_is_there_or_its_words_are(words: str, kind: str, start: int, length: int) -> None:
    """The words are the same with a span as without, whether the grammar can write it there or not."""
    value = "https://example.org/(a)_b_" if kind == "link" else ""
    text = normalise(clean_text(Text(words.strip(), (Entity(kind, start, length, value),))))  # type: ignore[arg-type]
    assert "".join(seen(dialect.markdown(text)).split()) == "".join(text.plain.replace(ZERO_WIDTH, "").split())


PLAIN = st.text(alphabet="abcdeé ", min_size=1, max_size=8).map(lambda words: "x" + words.strip())


@given(st.lists(st.tuples(PLAIN, st.sampled_from(["", *WRITTEN])), min_size=1, max_size=5))
def test_out_and_in_again(pieces: list[tuple[str, str]]) -> None:
    """Simple words in every kind of span go out and come back the same."""
    words, entities = "", []
    for said, kind in pieces:
        words += "" if not words else "\n" if kind in ("pre", "quote") or words.endswith("\n") else " "
        if kind:
            value = "https://example.org/x" if kind == "link" else "js" if kind == "pre" else ""
            entities.append(Entity(kind, len(words), len(said), value))  # type: ignore[arg-type]
        words += said + ("\n" if kind in ("pre", "quote") else "")
    text = normalise(Text(words.rstrip("\n"), tuple(entities)))
    quotes = [entity for entity in text.entities if entity.type == "quote"]
    if any(a.start + a.length + 1 == b.start for a in quotes for b in quotes):
        return  # two quotes one below the other are one
    again = dialect.incoming("", parse(dialect.markdown(text)), {})
    assert again == Text(text.plain, text.entities)


@pytest.mark.parametrize("mass", MASS_MENTIONS)
@pytest.mark.parametrize("kind", ["", "bold", "code", "pre", "quote", "link"])
def test_mass_mentions_call_nobody(mass: str, kind: str) -> None:
    """Threat 10: neither the tree nor the server's older pattern finds anybody to call, in any kind of span."""
    world = World("https://chat.example.org")
    for name in ("all", "here", "everyone", "team"):
        world.user(f"id-{name}", name)
    world.room("r", "c", "garden", "id-team")
    value = "https://example.org" if kind == "link" else ""
    entities = (Entity(kind, 0, len(mass), value),) if kind else ()  # type: ignore[arg-type]
    for part in dialect.parts(Text(mass, entities), 5000, 1, ""):
        message = world.insert("r", "id-team", {"msg": part})
        assert message["mentions"] == []
        assert "MENTION_USER" not in str(message["md"])
    assert "@all" not in dialect.unmarked(mass)


@given(WORDS, st.integers(1, 4))
def test_parts_fit(words: str, most: int) -> None:
    """Every part fits with its escapes, and there are not too many."""
    parts = dialect.parts(Text(words * 40), 200, most, "https://chat.example.org")
    assert len(parts) <= most
    assert all(size(part, "utf16") <= 200 for part in parts)


def test_a_huge_text_is_cut_and_says_so() -> None:
    """A megabyte becomes as many parts as are allowed."""
    parts = dialect.parts(Text("w*rd " * 200_000), 5000, 3, "")
    assert len(parts) == 3
    assert parts[-1].endswith(dialect.MORE)


@pytest.mark.parametrize(
    "link",
    [
        "https://chat.example.org/group/board?msg=secret1",
        "(https://Chat.Example.org/group/board?x=1&msg=secret1)",
        "https://chat.example.org/group/board?%6Dsg=secret1",
        "`https://chat.example.org/group/board?msg=secret1`",
    ],
)
def test_links_to_messages_quote_nothing(link: str) -> None:
    """The server would put the words of a message that only the bot may read beside the post."""
    world = World("https://chat.example.org")
    world.user("bot", "bot")
    world.room("board", "p", "board", "bot")
    world.room("garden", "c", "garden", "bot")
    world.insert("board", "bot", {"_id": "secret1", "msg": "the secret"})
    assert world.insert("garden", "bot", {"msg": "https://chat.example.org/group/board?msg=secret1"})["attachments"]
    for text in (Text(link), Text("x", (Entity("link", 0, 1, link.strip("()`")),))):
        (markup,) = dialect.parts(text, 5000, 1, "https://chat.example.org")
        assert world.insert("garden", "bot", {"msg": markup})["attachments"] == []


@pytest.mark.parametrize(
    ("emoji", "name"),
    [("👍", "thumbsup"), ("👍🏽", "thumbsup"), ("🎉", "tada"), ("❤", "heart"), (":parrot:", "parrot")],
)
def test_reactions_have_names(emoji: str, name: str) -> None:
    """The likeliest name of the server comes first; its own emoji keep theirs."""
    assert dialect.names(emoji)[0] == name


def test_names_of_emoji_are_shown() -> None:
    """Also with a skin, or written with dashes; the server's own stay names."""
    assert [dialect.shown(name) for name in ("+1", "thumbsup", "flag-de", "our-cat")] == [
        "👍",
        "👍",
        ":flag-de:",
        ":our-cat:",
    ]
    assert dialect.names("not an emoji") == []
