"""GroupMe's plain texts: nothing is markup, nobody is called who is not meant, and 1000 characters are the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.groupme import text as dialect
from core.model import Entity, Text
from core.text.safety import MASS_MENTIONS, clean_text
from core.text.split import size

MEMBERS = {"70000001": "Ann", "70000002": "Bob 🦊"}


@given(st.text(max_size=3000), st.integers(1, 4))
def test_parts_fit_and_keep_the_words(words: str, most: int) -> None:
    """Every part fits, there are not too many, and nothing but blanks is lost unless the last part says so."""
    parts = dialect.parts(Text(words), most)
    assert len(parts) <= most
    assert all(size(part.plain, "utf16") <= dialect.LIMIT for part in parts)
    kept = "".join("".join(part.plain.split()) for part in parts)
    whole = "".join(clean_text(Text(words)).plain.split())
    if parts and parts[-1].plain.endswith(dialect.MORE) and kept != whole:
        assert whole.startswith(kept.removesuffix("".join(dialect.MORE.split())))
    else:
        assert kept == whole


def test_a_huge_text_is_cut_and_says_so() -> None:
    """Far too much becomes as many parts as are allowed, the last with a mark."""
    parts = dialect.parts(Text("word " * 100_000), 3)
    assert len(parts) == 3
    assert parts[-1].plain.endswith(dialect.MORE)
    assert dialect.parts(Text(" " * 5000 + "x" * 9000), 2)[-1].plain.endswith(dialect.MORE)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=200))
def test_literal_text_survives_both_ways(words: str) -> None:
    """Words without line ends come back as they were: GroupMe has no markup."""
    (sent,) = dialect.parts(Text(words), 1) or [Text()]
    if words.strip() and size(words, "utf16") <= dialect.LIMIT:
        assert dialect.incoming(sent.plain, ()).plain == clean_text(Text(words)).plain


@given(st.text(max_size=30), st.text(max_size=30))
def test_mentions_come_back(before: str, after: str) -> None:
    """A member's mention goes out with its place in UTF-16 units, and is read as the same."""
    before, after = clean_text(Text(before)).plain, clean_text(Text(after)).plain
    text = Text(f"{before}@Bob 🦊{after}", (Entity("mention", len(before), 6, "70000002"),))
    found = dialect.incoming(text.plain, dialect.mentions(text, MEMBERS))
    if clean_text(text) == text:
        assert found == text


@pytest.mark.parametrize("mass", MASS_MENTIONS)
def test_mass_mentions_call_nobody(mass: str) -> None:
    """Whatever is written, even as a mention: an attachment is only made for a member under the member's name."""
    text = Text(mass, (Entity("mention", 0, len(mass), "70000001"),))
    assert dialect.mentions(text, MEMBERS) == []
    assert dialect.mentions(Text("@Ann", (Entity("mention", 0, 4, "U0FOREIGN"),)), MEMBERS) == []
    everybody = {"type": "mentions", "user_ids": list(MEMBERS), "loci": [[0, len(mass)]] * 2}
    assert dialect.incoming(mass, [everybody]).entities == ()


@pytest.mark.parametrize(
    ("emoji", "shown"),
    [
        ("👍", "👍"),
        ("👍🏽", "👍"),
        ("❤", "❤️"),
        ("❤️", "❤️"),
        ("😂", "🤣"),
        ("👏🏻", "🎉"),
        ("😢", "😭"),
        ("☠️", "💀"),
        ("🦄", ""),
        (":x:", ""),
    ],
)
def test_reactions_are_mapped(emoji: str, shown: str) -> None:
    """What GroupMe has stays, skin tones go, what is near is taken, and the rest is for words."""
    assert dialect.reaction(emoji) == shown


def test_every_reaction_of_groupme_stays() -> None:
    """The fifteen map to themselves, and whatever is near to one is near to one of them."""
    assert [dialect.reaction(emoji) for emoji in dialect.REACTIONS] == list(dialect.REACTIONS)
