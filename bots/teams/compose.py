"""Activities to send: text, pictures, and cards that show the author's own name and face. Pure."""

from __future__ import annotations

import base64
import unicodedata
from typing import Any, Final

import msgspec

from bots.teams.receive import TYPES
from bots.teams.text import quote_tag, units, write
from core.contract import OutFile
from core.model import Author, Entity, Text
from core.text.nesting import normalise, walk
from core.text.ops import web_link

PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif"})
PICTURE_BYTES: Final = 1_000_000
"""Teams takes pictures of up to 1 MB (Teams docs, Send and receive messages: picture messages)."""
CARD_ENTITIES: Final = frozenset({"bold", "italic", "underline", "strike", "code", "link"})
CARD_TYPE: Final = "application/vnd.microsoft.card.adaptive"
SUMMARY_CHARS: Final = 200
CARD_LIMIT: Final = 40_000
"""Longest text of a card, in UTF-16 units of its JSON."""


def message(text: Text, quoted: str = "") -> dict[str, Any]:
    """A post of text, with the message that it answers shown above where ``quoted`` names one."""
    activity: dict[str, Any] = {"type": "message", "textFormat": "xml", "text": write(text)}
    if quoted:
        activity["text"] = quote_tag(quoted) + activity["text"]
        activity["entities"] = [{"type": "quotedReply", "quotedReply": {"messageId": quoted}}]
    return activity


def picture(file: OutFile, data: bytes) -> dict[str, Any]:
    """A post of a picture alone: with text besides, Teams would make two messages and tell the id of none."""
    url = f"data:{file.mime};base64,{base64.b64encode(data).decode()}"
    return {"type": "message", "attachments": [{"contentType": file.mime, "contentUrl": url, "name": file.name}]}


def is_picture(file: OutFile) -> bool:
    """Does Teams show it in the conversation? Its size is known and small enough."""
    return file.mime in PICTURES and 0 < file.size_bytes <= PICTURE_BYTES


def card(text: Text, author: Author) -> dict[str, Any]:
    """A post as an Adaptive Card. Runs of text are shown as they are: nothing in them is markup."""
    head: list[dict[str, Any]] = [
        {
            "type": "Column",
            "width": "stretch",
            "verticalContentAlignment": "center",
            "items": [_block([_run(author.name, {"bold"})])],
        }
    ]
    if web_link(author.avatar_url) and author.avatar_url.startswith("https://"):
        face = {
            "type": "Image",
            "url": author.avatar_url,
            "style": "Person",
            "size": "Small",
            "altText": author.name,
        }
        head.insert(0, {"type": "Column", "width": "auto", "items": [face]})
    content = {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [{"type": "ColumnSet", "columns": head}, *_lines(text)],
    }
    return {
        "type": "message",
        "summary": f"{author.name}: {text.plain}"[:SUMMARY_CHARS],
        "attachments": [{"contentType": CARD_TYPE, "content": content}],
    }


def card_size(text: Text) -> int:
    """How long the text of a card is as it is sent, in UTF-16 units."""
    return units(msgspec.json.encode(_lines(text)).decode())


def _block(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": runs, "spacing": "Small"}


def _run(words: str, styles: set[str], url: str = "") -> dict[str, Any]:
    run: dict[str, Any] = {"type": "TextRun", "text": words}
    if "bold" in styles:
        run["weight"] = "Bolder"
    for kind, name in (("italic", "italic"), ("underline", "underline"), ("strike", "strikethrough")):
        if kind in styles:
            run[name] = True
    if "code" in styles:
        run["fontType"] = "Monospace"
    if url:
        run["selectAction"] = {"type": "Action.OpenUrl", "url": url}
    return run


def _lines(text: Text) -> list[dict[str, Any]]:
    """A block for each line: a run has no line breaks."""
    lines: list[list[dict[str, Any]]] = [[]]
    text = normalise(Text(text.plain, tuple(e for e in text.entities if e.type in CARD_ENTITIES)))
    active: list[Entity] = []
    for piece in walk(text):
        if piece.entity is not None:
            if piece.kind == "open":
                active.append(piece.entity)
            else:
                active.remove(piece.entity)
            continue
        styles = {str(entity.type) for entity in active}
        url = next((entity.value for entity in active if entity.type == "link"), "")
        for number, words in enumerate(text.plain[piece.start : piece.end].split("\n")):
            if number:
                lines.append([])
            if words:
                lines[-1].append(_run(words, styles, url))
    return [_block(line or [_run(" ", set())]) for line in lines]


def reaction_type(emoji: str) -> str:
    """What Teams calls an emoji: a word for the six oldest, else code and name as in ``1f440_eyes``. Empty where it
    has no single code (flags, families) or none at all (``:shortcode:``).
    """
    plain = "".join(char for char in emoji if char != "\ufe0f" and not "\U0001f3fb" <= char <= "\U0001f3ff")
    if plain in TYPES:
        return TYPES[plain]
    if len(plain) != 1 or plain.isascii():
        return ""
    name = "".join(char for char in unicodedata.name(plain, "").lower() if char.isalnum())
    return f"{ord(plain):x}_{name}" if name else ""
