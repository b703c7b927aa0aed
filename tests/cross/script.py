"""Forty doings that a person of any platform does, and somebody in a third room answers to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.model import Entity, EntityType, Text
from core.text.ops import concat
from tests.contract.scene import File

Kind = Literal["say", "reply", "edit", "delete", "react", "unreact", "file", "elsewhere", "elsewhere replies"]
PICTURE = File("garden.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, "image/png")
LONG = " ".join(f"word{number:04}" for number in range(1, 601))


@dataclass(frozen=True)
class Step:
    """``name`` is how later steps refer to the message; ``to`` the message that this one is about."""

    kind: Kind
    text: str | Text = ""
    name: str = ""
    to: str = ""

    @property
    def needs(self) -> str:
        """The field of ``Hears`` without which a platform's people cannot do it; empty: everybody can."""
        return {"reply": "reply", "edit": "edit", "delete": "delete", "file": "file"}.get(
            self.kind, "reaction" if self.kind in ("react", "unreact") else ""
        )


def marked(kind: EntityType, words: str, value: str = "") -> Text:
    """``words`` in a sentence, marked."""
    sentence = Text(words, (Entity(kind, 0, len(words), value),))
    if kind in ("pre", "quote"):
        return concat(Text(f"here is {kind}:\n"), sentence, Text("\nand on"))
    return concat(Text(f"here is {kind}: "), sentence, Text(" and on"))


SCRIPT: tuple[Step, ...] = (
    Step("say", "Good morning!", "morning"),
    Step("say", "Grüße aus Köln, привет, 你好, สวัสดี"),
    Step("say", "farmers 👩🏽‍🌾 and families 👨‍👩‍👧‍👦, flags 🇩🇪🏴󠁧󠁢󠁳󠁣󠁴󠁿, keycaps 3️⃣"),
    Step("say", "שלום עולם: right to left (and back) 123"),
    Step("say", "مرحبا بالعالم"),
    Step("say", marked("bold", "bold words")),
    Step("say", marked("italic", "slanted words")),
    Step("say", marked("underline", "underlined words")),
    Step("say", marked("strike", "struck words")),
    Step("say", marked("spoiler", "who did it")),
    Step("say", marked("code", "a = b * c_d")),
    Step("say", marked("pre", "def f(x):\n    return x ** 2", "python")),
    Step("say", marked("quote", "to be or not to be")),
    Step("say", marked("link", "the plan", "https://example.org/plan?a=1&b=2")),
    Step("say", "a bare link https://example.org/x_(y)?q=*z*&r=1 in a sentence"),
    Step("say", "literally *stars* _lines_ ~waves~ `ticks` <b>tags</b> &amp; [a](b) {c} #d |e|"),
    Step("say", "> no quote, # no title, - no list"),
    Step("say", "@everyone @here @channel @all @room <!here> <users/all>"),
    Step("say", "first line\nsecond line\n\nfourth line"),
    Step("say", LONG),
    Step("elsewhere", "What did you plant?", "question"),
    Step("reply", "Tomatoes", "tomatoes", to="question"),
    Step("reply", "And beans", "beans", to="tomatoes"),
    Step("elsewhere replies", "Which kind?", "kind", to="beans"),
    Step("reply", "Runner beans", "runner", to="kind"),
    Step("say", "teh typo", "typo"),
    Step("edit", "the typo", to="typo"),
    Step("edit", "the mended typo", to="typo"),
    Step("reply", "as I said", to="typo"),
    Step("say", "forget this", "gone"),
    Step("reply", "never", "never", to="gone"),
    Step("delete", to="gone"),
    Step("edit", "never ever", to="never"),
    Step("react", "👍", to="question"),
    Step("react", "❤️", to="morning"),
    Step("unreact", "👍", to="question"),
    Step("file", "look at this", "picture"),
    Step("say", "   spaces   around   and   within   "),
    Step("say", "😀"),
    Step("say", "-sameroom is a word here? No: -samerooms"),
)
assert len(SCRIPT) == 40
