"""Building, cutting and joining texts, their canonical form, and plain words for what a room cannot show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import Entity, Text
from core.text.nesting import normalise, walk
from core.text.ops import (
    bold,
    code,
    concat,
    downgrade,
    emoji,
    italic,
    link,
    mention,
    plain,
    pre,
    quote,
    slice_text,
    spoiler,
    strike,
    strip,
    timestamp,
    underline,
)
from core.text.spans import Edit, rewrite, slices
from tests.core.text.strategies import ALL, texts

NOTHING: frozenset[str] = frozenset()


def marked(text: Text) -> list[frozenset[tuple[str, str]]]:
    """For each code point, what it is."""
    marks: list[set[tuple[str, str]]] = [set() for _ in text.plain]
    for entity in text.entities:
        for at in range(max(entity.start, 0), min(entity.start + entity.length, len(marks))):
            marks[at].add((entity.type, entity.value))
    return [frozenset(mark) for mark in marks]


@given(texts())
def test_the_canonical_form_is_sound(text: Text) -> None:
    """Spans are sorted, inside the text, not empty, properly nested, and no type is within itself."""
    normal = normalise(text)
    stack: list[Entity] = []
    keys = [(entity.start, -entity.length) for entity in normal.entities]
    assert keys == sorted(keys)
    for entity in normal.entities:
        end = entity.start + entity.length
        assert 0 <= entity.start < end <= len(normal.plain)
        while stack and stack[-1].start + stack[-1].length <= entity.start:
            stack.pop()
        assert all(end <= outer.start + outer.length for outer in stack)
        assert entity.type not in [outer.type for outer in stack]
        assert not [outer for outer in stack if outer.type in ("code", "pre", "mention", "emoji", "timestamp")]
        stack.append(entity)


@given(texts())
def test_the_canonical_form_is_final(text: Text) -> None:
    """Normalising twice is normalising once."""
    normal = normalise(text)
    assert normalise(normal) == normal


@given(texts())
def test_the_canonical_form_changes_no_word(text: Text) -> None:
    """Nothing but line breaks around blocks is ever put in, and nothing is taken away."""
    assert normalise(text).plain.replace("\n", "") == text.plain.replace("\n", "")


@given(texts(("bold", "italic", "underline", "strike", "spoiler")))
def test_crossing_styles_keep_their_words(text: Text) -> None:
    """However styles cross, each word keeps every one of its styles."""
    normal = normalise(text)
    for char, before, after in zip(text.plain, marked(text), marked(normal), strict=True):
        assert after == before or (char == "\n" and after < before)


@given(texts())
def test_what_was_hidden_stays_hidden(text: Text) -> None:
    """No word under a spoiler comes out of it, whatever else is there."""
    hidden = [c for c, m in zip(text.plain, marked(text), strict=True) if ("spoiler", "") in m and c != "\n"]
    normal = normalise(text)
    still = [c for c, m in zip(normal.plain, marked(normal), strict=True) if ("spoiler", "") in m and c != "\n"]
    remaining = iter(still)
    assert all(char in remaining for char in hidden)


@given(texts())
def test_blocks_fill_their_lines(text: Text) -> None:
    """A quote or pre has nothing before and behind it in its lines."""
    normal = normalise(text)
    for entity in normal.entities:
        if entity.type in ("quote", "pre"):
            end = entity.start + entity.length
            assert normal.plain[: entity.start][-1:] in ("", "\n")
            assert normal.plain[end : end + 1] in ("", "\n")


@given(texts())
def test_walking_shows_all_words_and_edges(text: Text) -> None:
    """A walk gives the words once, in order, and each entity opened and closed."""
    normal = normalise(text)
    pieces = list(walk(normal))
    assert "".join(normal.plain[p.start : p.end] for p in pieces if p.kind == "text") == normal.plain
    assert [p.entity for p in pieces if p.kind == "open"] == list(normal.entities)
    stack = []
    for piece in pieces:
        if piece.kind == "open":
            stack.append(piece.entity)
        elif piece.kind == "close":
            assert stack.pop() == piece.entity
    assert not stack


def test_many_entities_are_normalised() -> None:
    """A hundred thousand crossing spans come out nested."""
    kinds = ("bold", "italic", "link", "code", "pre", "quote", "spoiler")
    entities = tuple(Entity(kinds[i % 7], i * 3, 1 + i % 40, "x" if i % 7 == 2 else "") for i in range(100_000))  # type: ignore[arg-type]
    text = Text("word " * 60_000, entities)
    assert normalise(normalise(text)) == normalise(text)


@given(texts(), texts())
def test_joined_texts_keep_their_meaning(one: Text, other: Text) -> None:
    """Each half of two joined texts means what it meant."""
    one, other = normalise(one), normalise(other)
    assert marked(concat(one, other)) == marked(one) + marked(other)


@given(texts(), st.integers(0, 40), st.integers(0, 40))
def test_a_slice_means_what_it_meant(text: Text, start: int, length: int) -> None:
    """Cutting clips the entities and moves them along."""
    text = normalise(text)
    part = slice_text(text, start, start + length)
    assert part.plain == text.plain[start : start + length]
    assert marked(part) == marked(text)[start : start + length]
    assert slices(text, [(start, start + length)])[0].plain == part.plain


@given(
    texts(), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.sampled_from(("", "x", "yz"))), max_size=4)
)
def test_edits_move_entities(text: Text, wanted: list[tuple[int, int, str]]) -> None:
    """Words that are not edited keep their meaning wherever they go."""
    text = normalise(text)
    edits: list[Edit] = []
    for start, length, new in sorted(wanted):
        start = min(max(start, edits[-1].end if edits else 0), len(text.plain))
        edits.append(Edit(start, min(start + length, len(text.plain)), new))
    before, kept = marked(text), []
    after = marked(rewrite(text, edits))
    at = shift = 0
    for edit in [*edits, Edit(len(text.plain), len(text.plain), "")]:
        kept += [(before[i], after[i + shift]) for i in range(at, edit.start)]
        shift += len(edit.new) - (edit.end - edit.start)
        at = edit.end
    assert all(one == other for one, other in kept)


def test_white_space_at_the_ends_is_stripped() -> None:
    """Entities are clipped to what is left."""
    assert strip(bold("  a \n")) == bold("a")
    assert strip(Text(" \n ")) == Text("")


def test_building_nests() -> None:
    """Builders take words or texts; nothing is built of nothing."""
    assert bold(italic("a")) == Text("a", (Entity("bold", 0, 1), Entity("italic", 0, 1)))
    assert underline("") == Text("")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (link("label", "https://x.org/a"), "label (https://x.org/a)"),
        (link("https://x.org/a", "https://x.org/a"), "https://x.org/a"),
        (link("https://x.org", "https://x.org/"), "https://x.org"),
        (link("x.org/a", "https://x.org/a"), "https://x.org/a"),
        (link("a@b.org", "mailto:a@b.org"), "a@b.org"),
        (link("https://bank.org", "https://evil.org"), "https://bank.org (https://evil.org)"),
        (link("label", "javascript:alert(1)"), "label"),
        (quote("a\n\nb"), "> a\n> \n> b"),
        (concat(plain("x"), quote("a"), plain("y")), "x\n> a\ny"),
        (spoiler("she dies"), "[spoiler: she dies]"),
        (concat(plain("is "), strike("good"), plain(" bad")), "is ~~good~~ bad"),
        (timestamp("now", 1_600_000_000), "2020-09-13 12:26 UTC"),
        (timestamp("then", 10**11 - 1), "5138-11-16 09:46 UTC"),
        (timestamp("never", -(10**11) + 1), "never"),
        (concat(mention("@Alice", "U1"), plain(" "), emoji(":wave:", "wave"), emoji("👋", "wave")), "@Alice :wave:👋"),
        (concat(bold("b"), italic("i"), underline("u"), code("c")), "biuc"),
        (pre("x\n  y", "py"), "x\n  y"),
        (spoiler(link("l", "http://x.y/z")), "[spoiler: l (http://x.y/z)]"),
        (quote(strike("a\nb")), "> ~~a\n> b~~"),
        (plain("3:100:7"), "3:100:7"),
    ],
)
def test_what_cannot_be_shown_is_said(text: Text, words: str) -> None:
    """Each entity a room does not have becomes readable words."""
    assert downgrade(text, NOTHING) == Text(words)


def test_what_can_be_shown_stays_in_place() -> None:
    """Entities of the allowed types move with their words and neither lose nor gain any."""
    text = concat(bold(link("a", "http://x.y")), italic(timestamp("t", 0)), quote(pre("p\nq")), plain("end"))
    shown = downgrade(text, frozenset({"bold", "italic", "pre"}))
    assert shown.plain == "a (http://x.y)1970-01-01 00:00 UTC\np\nq\nend"
    assert shown.entities == (Entity("bold", 0, 1), Entity("italic", 14, 20), Entity("pre", 35, 3))


def test_nothing_to_do_is_the_same_object() -> None:
    """A text that the room can show comes back as it is."""
    for text in (Text("plain"), bold("x")):
        assert downgrade(text, frozenset({"bold"})) is text


@given(texts())
def test_no_word_is_lost_in_plain_words(text: Text) -> None:
    """Whatever a text holds, its words but those of a timestamp are still there, in order, and no entity is."""
    normal = normalise(text)
    said = downgrade(text, NOTHING)
    remaining = iter(said.plain)
    kept = (c for c, m in zip(normal.plain, marked(normal), strict=True) if all(kind != "timestamp" for kind, _ in m))
    assert all(char in remaining for char in kept)
    assert text.entities == () or said.entities == ()


@given(texts(), st.frozensets(st.sampled_from(ALL)))
def test_only_allowed_entities_are_left(text: Text, allowed: frozenset[str]) -> None:
    """A room gets nothing it did not ask for."""
    assert {entity.type for entity in downgrade(text, allowed).entities} <= allowed
