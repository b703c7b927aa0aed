"""Discord's Markdown out and in: no word becomes markup, nothing that is claimed is lost."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.discord.send import nonce, webhook_name
from bots.discord.text import ENTITIES, MORE, TEXT_LIMIT, excerpt, incoming, markdown, outgoing, parts
from core.model import Entity, EntityType, Text
from core.text.mass import MASS_MENTIONS
from core.text.nesting import normalise
from tests.fakes.discord_text import calls, shown

CHARS = "ab 1.@/_*[]()~`>#+-=|{}!\\<&:\n🦊é\u0301"
words = st.text(alphabet=st.sampled_from(CHARS), max_size=60)
VALUES = {"link": "https://example.org/x_y", "pre": "python", "timestamp": "1800000000"}
STYLES: tuple[EntityType, ...] = ("bold", "italic", "underline", "strike", "spoiler", "link", "code")


def seen(content: str) -> str:
    """What a member reads, without what nobody sees."""
    return shown(content)[0].replace("\u200b", "")


@given(words)
def test_literal_text_survives(plain: str) -> None:
    """Whatever the words, a member reads them as they are and nothing is formatted."""
    content = markdown(outgoing(Text(plain)))
    plain = plain.replace("\u200b", "")
    assert seen(content) == plain
    assert shown(content)[1] == []
    assert incoming(content).plain.replace("\u200b", "") == plain
    assert not incoming(content).entities


@given(st.lists(st.text(alphabet="ab*_~`|<>[]\\#-é", min_size=1, max_size=6), min_size=1, max_size=5), st.data())
def test_styles_out_and_in_again(pieces: list[str], data: st.DataObject) -> None:
    """Formatted words between blanks come back as they were, for us and for a member. Only of words that hold marks
    themselves, formatting may be given up, for Discord cannot write all of these."""
    plain, entities = "", []
    for piece in pieces:
        kind = data.draw(st.sampled_from((None, *STYLES)))
        if kind:
            entities.append(Entity(kind, len(plain), len(piece), VALUES.get(kind, "")))
        plain += piece + " "
    text = outgoing(normalise(Text(plain + "end", tuple(entities))))
    content = markdown(text)
    back = incoming(content)
    if len(back.entities) == len(text.entities):
        assert back == normalise(text)
        assert shown(content)[0] == text.plain
    else:
        assert [e for e in text.entities if re.search(r"[*_~|`\\]", text.plain[e.start : e.start + e.length])], content


@st.composite
def tangles(draw: st.DrawFn) -> Text:
    """Any words with any entities over them."""
    plain = draw(words)
    entities = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(sorted(ENTITIES)))
        entities.append(Entity(kind, draw(st.integers(0, len(plain))), draw(st.integers(0, 12)), VALUES.get(kind, "")))
    return Text(plain, tuple(entities))


@given(tangles())
def test_tangled_formatting_loses_no_words(text: Text) -> None:
    """However entities lie, every letter is still read, in order, by a member."""
    moments = [e for e in normalise(text).entities if e.type == "timestamp"]
    if moments:
        return
    content = markdown(outgoing(text))
    letters = re.sub(r"[^ab1🦊]", "", text.plain)
    read = iter(re.sub(r"[^ab1🦊]", "", shown(content)[0]))
    assert all(letter in read for letter in letters)


@given(tangles())
def test_what_is_hidden_stays_hidden(text: Text) -> None:
    """A spoiler is never read by accident: it is a spoiler for the member, or says that it was one."""
    sent = outgoing(text)
    hidden = [e for e in sent.entities if e.type == "spoiler"]
    if hidden:
        plain, spans = shown(markdown(sent))
        assert [span for span in spans if span[0] == "spoiler"] or "[spoiler: " in plain


@pytest.mark.parametrize("kind", sorted(ENTITIES))
def test_every_claimed_kind(kind: EntityType) -> None:
    """One of each, over plain words, is the same for us and a member."""
    word = "2027-01-15 08:00" if kind == "timestamp" else "special words"
    sides = ("before\n", "\nafter") if kind in ("quote", "pre") else ("before ", " after")
    text = Text("".join((sides[0], word, sides[1])), (Entity(kind, len(sides[0]), len(word), VALUES.get(kind, "")),))
    content = markdown(outgoing(text))
    assert incoming(content) == text
    plain, spans = shown(content)
    assert (plain, spans) == (text.plain, [(kind, len(sides[0]), len(word), VALUES.get(kind, ""))])


@pytest.mark.parametrize(
    ("content", "plain", "entities"),
    [
        ("***both***", "both", [("bold", 0, 4), ("italic", 0, 4)]),
        ("***a* b**", "a b", [("bold", 0, 3), ("italic", 0, 1)]),
        ("snake_case_name and _it_", "snake_case_name and it", [("italic", 20, 2)]),
        (">>> one\ntwo", "one\ntwo", [("quote", 0, 7)]),
        ("> one\n> two\nthree", "one\ntwo\nthree", [("quote", 0, 7)]),
        (">no quote", ">no quote", []),
        ("# Title\ntext", "Title\ntext", [("bold", 0, 5)]),
        ("-# small", "small", []),
        ("```py\nx = 1\n```", "x = 1", [("pre", 0, 5)]),
        ("```one line```", "one line", [("pre", 0, 8)]),
        ("a ``b`c`` d", "a b`c d", [("code", 2, 3)]),
        ("`**no**`", "**no**", [("code", 0, 6)]),
        ("||hid **den**||", "hid den", [("spoiler", 0, 7), ("bold", 4, 3)]),
        (r"\*not\*", "*not*", []),
        ("https://e.org/a_b_c*d*", "https://e.org/a_b_c*d*", []),
        ("<https://e.org>", "https://e.org", []),
        ('[label](https://e.org "t")', "label", [("link", 0, 5)]),
        ("[https://a.org](https://b.org)", "[https://a.org](https://b.org)", []),
        ("<a:wave:123> hi", ":wave: hi", [("emoji", 0, 6)]),
        ("</play now:123>", "/play now", []),
        ("<t:1800000000:R>", "2027-01-15 08:00", [("timestamp", 0, 16)]),
        ("<t:9999999999999>", "<t:9999999999999>", []),
        ("**open ~~marks", "**open ~~marks", []),
    ],
)
def test_what_people_write(content: str, plain: str, entities: list[tuple[str, int, int]]) -> None:
    """Each construct of Discord's Markdown is understood as its client does."""
    text = incoming(content)
    assert text.plain == plain
    assert [(e.type, e.start, e.length) for e in text.entities] == entities


def test_mentions_become_names() -> None:
    """People, roles and channels are read by their names; who is not known, by a word."""
    names = {("user", "5"): "Ann", ("role", "6"): "Gardeners", ("channel", "7"): "garden"}
    text = incoming("<@5> <@!5> <@&6> <#7> <#8> <@9>", lambda kind, native: names.get((kind, native), ""))
    assert text.plain == "@Ann @Ann @Gardeners #garden #unknown-channel @9"
    assert [e.value for e in text.entities if e.type == "mention"] == ["5", "5", "9"]


@pytest.mark.parametrize("mention", MASS_MENTIONS)
def test_mass_mentions_are_dead(mention: str) -> None:
    """No way to call everybody survives, even if the request did not forbid it; what is seen is the same."""
    content = markdown(outgoing(Text(f"look {mention} now")))
    assert not [who for who in calls(content, None, by_webhook=False) if "<@" not in who]
    assert not re.search(r"<@&\d+>", content.replace("\\", ""))
    assert seen(content) == f"look {mention} now".replace("\u200b", "")


def test_labels_that_are_addresses() -> None:
    """Discord makes no link of a label that is an address: it is put in words unless it says the same."""
    same = Text("https://e.org", (Entity("link", 0, 13, "https://e.org"),))
    assert markdown(outgoing(same)) == "https://e.org"
    other = Text("https://a.org", (Entity("link", 0, 13, "https://b.org/x"),))
    assert markdown(outgoing(other)) == "https://a.org (https://b.org/x)"


def test_half_characters_are_replaced() -> None:
    """A lone surrogate, which no request can carry, goes out as a question mark."""
    assert markdown(outgoing(Text("a\ud83e b"))) == "a? b"


@given(st.text(alphabet="ab *_\n", min_size=1, max_size=9_000), st.integers(1, 4))
def test_parts_fit(plain: str, most: int) -> None:
    """No part is longer than Discord takes, nor are there more than allowed; the last says that there was more."""
    found = parts(Text(plain), TEXT_LIMIT, most)
    assert len(found) <= most
    assert all(len(part) <= TEXT_LIMIT for part in found)
    if len(plain.split()) and len(plain) > TEXT_LIMIT * most * 2:
        assert found[-1].endswith(MORE)


@pytest.mark.parametrize("seed", range(12))
def test_hostile_text_takes_no_time(seed: int) -> None:
    """The longest text that Discord lets through is read within a second, whatever it is made of."""
    draw = random.Random(seed)
    pieces = draw.sample(["*", "**", "_", "__", "~~", "||", "`", "[", "](", ")", "> ", "a", " ", "\\", "<@", "\n"], 4)
    for content in ("".join(pieces) * 2_000, "".join(draw.choice(pieces) for _ in range(4_000))):
        start = time.process_time()
        incoming(content[:4_000])
        assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    "name", ["Clyde", "my discord bot", "CLYDE and DISCORD", "everyone", "Here", "x" * 200, "", "  "]
)
def test_webhook_names(name: str) -> None:
    """Whatever people call themselves, Discord takes it as a webhook's name, and it reads the same."""
    made = webhook_name(name)
    assert 1 <= len(made) <= 80
    assert made == made.strip()
    assert not re.search("clyde|discord|^everyone$|^here$", made, re.IGNORECASE)


def test_nonces() -> None:
    """The same on every try, another for every part, and short enough."""
    assert nonce("key", 0) == nonce("key", 0) != nonce("key", 1)
    assert len(nonce("k" * 64, 7)) <= 25


def test_excerpts() -> None:
    """The first words without markup, on one line."""
    assert excerpt("**bold**\nwords") == "bold words"
    assert len(excerpt("word " * 100)) <= 80
