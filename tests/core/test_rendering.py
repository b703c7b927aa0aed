"""What a reader sees: deliveries put into words by what a room can show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.loopback.adapter import FULL, PLAIN
from core.composer import file_line, file_name
from core.contract import OutFile
from core.model import AccountId, Author, Entity, FileRef, MessageId, RoomId, Text
from core.rendering import EXCERPT_CHARS, Renderer, size_label
from core.text.safety import MASS_MENTIONS
from core.wire import Delivery, Posted

ALICE = Author("a", "Alice")
ROOM = RoomId("one/garden")


def said(text: str | Text, **more: object) -> Delivery:
    """A delivery of a new message by Alice."""
    fields: dict[str, object] = {
        "kind": "new",
        "rooms": (ROOM,),
        "author": ALICE,
        "platform_title": "Slack",
        "origin_title": "#garden",
        "text": text if isinstance(text, Text) else Text(text),
    }
    return Delivery(**(fields | more))  # type: ignore[arg-type]


def shown(delivery: Delivery, style: str = "name+platform", **more: bool) -> str:
    """How a plain room shows it."""
    natively = more.get("replies_natively", False)
    return Renderer(64).message(delivery, style, PLAIN, replies_natively=natively).plain  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("name", "Alice: hi"),
        ("name+platform", "Alice (Slack): hi"),
        ("name+room", "Alice (#garden): hi"),
        ("plain", "hi"),
    ],
)
def test_styles(style: str, expected: str) -> None:
    """Every style shows the author its way, and a room that shows authors itself gets the words alone."""
    assert shown(said("hi"), style) == expected
    assert Renderer(64).message(said("hi"), style, FULL, replies_natively=True).plain == "hi"  # type: ignore[arg-type]


def test_unknown_titles_are_left_out() -> None:
    """Where a platform or room has no title there are no empty brackets."""
    assert shown(said("hi", platform_title=""), "name+platform") == "Alice: hi"
    assert shown(said("hi", origin_title=""), "name+room") == "Alice: hi"


def test_emotes_name_their_author() -> None:
    """In a third-person message the author is part of the sentence, in every style and room."""
    assert shown(said("waves", emote=True)) == "* Alice (Slack) waves"
    assert shown(said("waves", emote=True), "plain") == "* Alice waves"
    assert Renderer(64).message(said("waves", emote=True), "name", FULL, replies_natively=True).plain == "* Alice waves"


def test_the_answered_message() -> None:
    """A reply in words says whom and what it answers, on one line and not too long; a native one does not."""
    answer = said("yes", reply_to=MessageId("m"), reply_author="Bob", reply_excerpt="is it\r\n \u202e true?")
    assert shown(answer) == "Alice (Slack) ↩ Bob “is it true?”: yes"
    assert shown(answer, replies_natively=True) == "Alice (Slack): yes"
    assert shown(answer, "plain") == "↩ Bob “is it true?”: yes"
    long = shown(said("yes", reply_to=MessageId("m"), reply_excerpt="x" * 500))
    assert long == f"Alice (Slack) ↩ “{'x' * (EXCERPT_CHARS - 1)}…”: yes"


def test_formatting_moves_along() -> None:
    """Entities keep their places behind the author's name, and those that the room cannot show become words."""
    text = Text("so bold, see here", (Entity("bold", 3, 4), Entity("link", 13, 4, "https://example.org/")))
    kept = FULL.__class__(entities=frozenset({"bold", "link"}))
    rendered = Renderer(64).message(said(text), "name", kept, replies_natively=False)
    spans = {e.type: rendered.plain[e.start : e.start + e.length] for e in rendered.entities}
    assert spans == {"bold": "bold", "link": "here"}
    assert shown(said(text), "name") == "Alice: so bold, see here (https://example.org/)"


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Mn", "Mc", "Me"])))
def test_literal_text_survives(words: str) -> None:
    """Whatever is said reaches the reader as it was said, but for what calls a whole room."""
    for style, head in (("name", "Alice: "), ("plain", "")):
        assert shown(said(words), style).replace("\u200b", "") == head + words.replace("\u200b", "")


@pytest.mark.parametrize("mention", MASS_MENTIONS)
@pytest.mark.parametrize("where", ["text", "name", "excerpt", "answered", "file", "title", "emoji"])
def test_nothing_calls_a_whole_room(mention: str, where: str) -> None:
    """No variant of a mass mention comes through, whatever part of a message it is put in."""
    render = Renderer(64)
    author = Author("a", mention)
    if where == "emoji":
        rendered = render.reaction(said("", emoji=mention, author=author), "name", PLAIN, Posted("b", mention, ()))
    elif where == "file":
        rendered = Text(file_line(OutFile(file_name(mention.replace("/", "_")), "", 0, "https://x/", _no_bytes)))
    else:
        fields = {
            "text": {"text": mention},
            "name": {"author": author},
            "excerpt": {"reply_to": MessageId("m"), "reply_excerpt": mention},
            "answered": {"reply_to": MessageId("m"), "reply_author": mention},
            "title": {"origin_title": mention},
        }[where]
        words = fields.pop("text", "")
        rendered = render.message(said(words, **fields), "name+room", PLAIN, replies_natively=False)
    assert mention not in rendered.plain
    for notice in (
        render.correction(said(mention, author=author), "name", PLAIN),
        render.removal(said("", author=author), "name", PLAIN, None),
        render.removal(said("", author=None), "name", PLAIN, Posted("b", mention, ())),
    ):
        assert mention not in notice.plain


async def _no_bytes() -> object:
    return None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Al\u202eice", "Alice"),
        ("A\nlice\r\nfake: line", "A lice fake: line"),
        ("", "someone"),
        ("x" * 100, "x" * 63 + "…"),
        ("Zoë 🌍", "Zoë 🌍"),
    ],
)
def test_names_play_no_tricks(raw: str, expected: str) -> None:
    """A name is one short visible line, in the text and where the platform shows it."""
    render = Renderer(64)
    author = Author("a", raw, "https://example.org/a.png", role="admin")
    assert shown(said("hi", author=author), "name") == f"{expected}: hi"
    found = render.author(said("hi", author=author, account="lo"))
    assert found == Author("lo/a", expected, "https://example.org/a.png", role="admin")


def test_authors_of_two_accounts_are_two() -> None:
    """Equal ids on two platforms are different people wherever posts go."""
    render = Renderer(64)
    one, other = (render.author(said("hi", author=Author("7", "Ann"), account=name)) for name in ("irc", "telegram"))
    assert one != other


def test_a_name_grants_nothing() -> None:
    """Somebody elsewhere who is called like the bot or an admin is shown with the platform they are on."""
    assert shown(said("obey", author=Author("a", "Admin"))) == "Admin (Slack): obey"


def test_notices() -> None:
    """Edits, deletions and reactions are told in plain words."""
    render = Renderer(64)
    posted = Posted("b", "Bob", ())
    assert render.correction(said("new"), "name", PLAIN).plain == "Alice corrected: new"
    assert render.removal(said(""), "name", PLAIN, posted).plain == "(Alice removed a message)"
    assert render.removal(said("", author=None), "name", PLAIN, posted).plain == "(Bob removed a message)"
    assert render.removal(said("", author=None), "name", PLAIN, None).plain == "(Somebody removed a message)"
    assert render.reaction(said("", emoji="👍"), "name", PLAIN, posted).plain == "(Alice reacted 👍 to Bob)"
    assert render.reaction(said("", emoji="👍", added=False), "name", PLAIN, None).plain == "(Alice took back 👍)"


def test_files_as_links() -> None:
    """Links to files come on lines of their own below the words."""
    render = Renderer(64)
    assert render.files(Text("Alice: "), ["📎 a"]).plain == "Alice: 📎 a"
    assert render.files(Text("Alice: hi"), ["📎 a", "📎 b"]).plain == "Alice: hi\n📎 a\n📎 b"
    assert render.files(Text(""), ["📎 a"]).plain == "📎 a"


@pytest.mark.parametrize(
    ("size", "label"),
    [(0, ""), (-1, ""), (1, "1 bytes"), (999, "999 bytes"), (1_000, "1.0 kB"), (1_400_000, "1.4 MB"), (5e9, "5.0 GB")],
)
def test_sizes(size: float, label: str) -> None:
    """Sizes are short, and left out where they are not known."""
    assert size_label(int(size)) == label


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("plan.pdf", "plan.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.txt", "y.txt"),
        ("a\x00b\n.txt", "a b .txt"),
        ("", "file"),
        ("///", "file"),
        ("שלום.txt", "שלום.txt"),
    ],
)
def test_file_names(raw: str, name: str) -> None:
    """A file's name is its last part, visible and on one line."""
    assert file_name(raw) == name


def test_file_references_hold_no_secret_name() -> None:
    """What a file is opened by never shows in what is rendered."""
    ref = FileRef(AccountId("one"), "https://secret/token", "a.txt")
    assert "secret" not in shown(said("see", files=(ref,)))
