"""What the Bot API's methods take: names and types of parameters, entities, emoji (core.telegram.org/bots/api)."""

from __future__ import annotations

import json
import re
from typing import Any

Raw = dict[str, Any]

_POST = {"chat_id!": int, "message_thread_id": int, "reply_parameters": dict, "disable_notification": bool}
_CAPTION = _POST | {"caption": str, "caption_entities": list}
_FILE_NAME = re.compile(r"file\d+|attached[0-9a-f]{32}")
PARAMETERS: dict[str, dict[str, type]] = {
    "getMe": {},
    "getUpdates": {"offset": int, "limit": int, "timeout": int, "allowed_updates": list},
    "setWebhook": {"url!": str, "secret_token": str, "allowed_updates": list, "max_connections": int},
    "deleteWebhook": {"drop_pending_updates": bool},
    "getWebhookInfo": {},
    "getChat": {"chat_id!": int},
    "getChatMember": {"chat_id!": int, "user_id!": int},
    "getFile": {"file_id!": str},
    "sendMessage": _POST | {"text!": str, "entities": list, "link_preview_options": dict},
    "sendPhoto": _CAPTION | {"photo": str},
    "sendAnimation": _CAPTION | {"animation": str},
    "sendVideo": _CAPTION | {"video": str},
    "sendAudio": _CAPTION | {"audio": str},
    "sendDocument": _CAPTION | {"document": str},
    "sendMediaGroup": _POST | {"media!": list},
    "sendChatAction": {"chat_id!": int, "message_thread_id": int, "action!": str},
    "editMessageText": {"chat_id!": int, "message_id!": int, "text!": str, "entities": list},
    "editMessageCaption": {"chat_id!": int, "message_id!": int, "caption!": str, "caption_entities": list},
    "deleteMessages": {"chat_id!": int, "message_ids!": list},
    "setMessageReaction": {"chat_id!": int, "message_id!": int, "reaction": list, "is_big": bool},
}
"""Method → parameter → type; ``!``: it has to be there. ``parse_mode`` is not among them on purpose."""
_ENTITY_FIELDS: dict[str, tuple[str, type] | None] = {
    **dict.fromkeys(("bold", "italic", "underline", "strikethrough", "spoiler", "code", "blockquote"), None),
    "expandable_blockquote": None,
    "pre": ("language", str),
    "text_link": ("url", str),
    "date_time": ("unix_time", int),
}
_REACTIONS = """
👍 👎 ❤ 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤\u200d🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐
🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨\u200d💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾
🤷\u200d♂ 🤷 🤷\u200d♀ 😡
"""
REACTIONS = _REACTIONS.split()


class BadRequest(Exception):
    """An answer with ``ok: false``."""

    def __init__(self, description: str, code: int = 400, parameters: Raw | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.parameters = parameters


def checked(method: str, params: Raw) -> Raw:
    """The parameters with their types; refuses what the method does not have, and what it lacks."""
    known = PARAMETERS.get(method)
    if known is None:
        raise BadRequest("Not Found: method not found", 404)
    types = {name.rstrip("!"): kind for name, kind in known.items()}
    found: Raw = {}
    for name, value in params.items():
        if isinstance(value, tuple):
            if name not in types and not _FILE_NAME.fullmatch(name):
                raise BadRequest(f"Bad Request: unexpected file {name}")
            found[name] = value
        elif name not in types:
            raise BadRequest(f"Bad Request: unknown parameter {name}")
        else:
            found[name] = _typed(name, value, types[name])
    for name in known:
        if name.endswith("!") and name[:-1] not in found:
            raise BadRequest(f"Bad Request: parameter {name[:-1]} is empty")
    return found


def _typed(name: str, value: Any, kind: type) -> Any:
    if kind is str:
        return str(value)
    try:
        made = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        made = None
    if kind is bool and made in (True, False, 0, 1):
        return bool(made)
    if not isinstance(made, kind):
        raise BadRequest(f"Bad Request: can't parse {name}")
    return made


def check_entities(plain: str, entities: list[Raw]) -> list[Raw]:
    """Entities with places inside the text, at the edges of characters, with the fields that their type needs."""
    units = plain.encode("utf-16-le")
    for entity in entities:
        kind = entity.get("type")
        if kind not in _ENTITY_FIELDS:
            raise BadRequest(f"Bad Request: can't parse entities: unsupported type {kind}")
        start, end = 2 * entity["offset"], 2 * (entity["offset"] + entity["length"])
        if not 0 <= start < end <= len(units):
            raise BadRequest("Bad Request: entity is out of the text")
        try:
            units[start:end].decode("utf-16-le")
        except UnicodeDecodeError:
            raise BadRequest("Bad Request: entity begins in the middle of a character") from None
        needed = _ENTITY_FIELDS[kind]
        extra = set(entity) - {"type", "offset", "length"} - ({needed[0]} if needed else set())
        if extra:
            raise BadRequest(f"Bad Request: entity {kind} has no {extra}")
        if needed and kind != "pre" and not isinstance(entity.get(needed[0]), needed[1]):
            raise BadRequest(f"Bad Request: entity {kind} needs {needed[0]}")
        if kind == "text_link" and not re.match(r"https?://[^\s]+", entity["url"]):
            raise BadRequest("Bad Request: can't parse entities: wrong URL")
    return entities


def cleaned(plain: str, entities: list[Raw]) -> tuple[str, list[Raw]]:
    """As it is stored: no white space at the ends, control characters as spaces; entities follow."""
    plain = "".join(" " if char < " " and char != "\n" else char for char in plain)
    lead = len(plain) - len(plain.lstrip())
    shift = len(plain[:lead].encode("utf-16-le")) // 2
    plain = plain.strip()
    size = len(plain.encode("utf-16-le")) // 2
    found = []
    for entity in entities:
        start, end = max(0, entity["offset"] - shift), min(size, entity["offset"] + entity["length"] - shift)
        if end > start:
            found.append(entity | {"offset": start, "length": end - start})
    return plain, found


def emoji_of(emoji: list[str], *, strict: bool = False) -> list[Raw] | None:
    """ReactionType objects; ``strict``: None where one of them is not in Telegram's list."""
    if strict and not all(one in REACTIONS for one in emoji):
        return None
    return [{"type": "emoji", "emoji": one} for one in emoji]


def is_picture(data: bytes) -> bool:
    """Does it begin as a PNG, JPEG or WebP file does, with the first block that has to be there?"""
    return (
        (data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR")
        or data[:3] == b"\xff\xd8\xff"
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
    )
