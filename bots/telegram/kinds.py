"""Messages that are neither words nor files, as readable text (core.telegram.org/bots/api#message)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Raw = Mapping[str, Any]
_BLOCK_LISTS = ("blocks", "items", "cells", "rows", "caption", "summary", "credit", "content")


def readable(message: Raw) -> str:
    """What a message says that has no text of its own; empty for one that says nothing to people."""
    for field, words in _KINDS.items():
        value = message.get(field)
        if isinstance(value, Mapping):
            return words(value)
    return ""


def _sticker(sticker: Raw) -> str:
    emoji, name = str(sticker.get("emoji") or ""), str(sticker.get("set_name") or "")
    return " ".join(filter(None, (emoji, f"(sticker from {name})" if name else "(sticker)")))


def _poll(poll: Raw) -> str:
    lines = [f"📊 {poll.get('question', '')}"]
    lines += [f"• {option.get('text', '')}" for option in _mappings(poll.get("options"))]
    return "\n".join(lines)


def _location(location: Raw) -> str:
    latitude, longitude = location.get("latitude"), location.get("longitude")
    if not isinstance(latitude, (int, float)) or not isinstance(longitude, (int, float)):
        return "📍 a place"
    place = f"{latitude:.5f}"
    return f"📍 https://www.openstreetmap.org/?mlat={place}&mlon={longitude:.5f}"


def _venue(venue: Raw) -> str:
    where = ", ".join(str(venue[name]) for name in ("title", "address") if venue.get(name))
    location = venue.get("location")
    return f"📍 {where}\n{_location(location)[2:]}" if isinstance(location, Mapping) else f"📍 {where}"


def _contact(contact: Raw) -> str:
    words = (contact.get("first_name"), contact.get("last_name"), contact.get("phone_number"))
    return "👤 " + " ".join(str(word) for word in words if word)


def _game(game: Raw) -> str:
    return ": ".join(str(word) for word in (f"🎮 {game.get('title', '')}", game.get("description")) if word)


def _invoice(invoice: Raw) -> str:
    amount, currency = invoice.get("total_amount"), invoice.get("currency", "")
    price = f" ({amount / 100:.2f} {currency})" if isinstance(amount, int) and currency != "XTR" else ""
    if currency == "XTR":
        price = f" ({amount} ⭐)"
    return f"🧾 {invoice.get('title', '')}{price}"


def _giveaway(giveaway: Raw) -> str:
    count = giveaway.get("winner_count", "")
    prize = giveaway.get("prize_description") or (
        f"{giveaway['prize_star_count']} ⭐" if giveaway.get("prize_star_count") else "Telegram Premium"
    )
    return f"🎁 Giveaway for {count} winners: {prize}"


def _winners(giveaway: Raw) -> str:
    names = ", ".join(person_name(user) for user in _mappings(giveaway.get("winners")))
    return f"🎁 Giveaway won by {names or giveaway.get('winner_count', 'nobody')}"


def _story(story: Raw) -> str:
    chat = story.get("chat")
    return f"📖 (story by {chat_name(chat)})" if isinstance(chat, Mapping) else "📖 (story)"


def _checklist(checklist: Raw) -> str:
    lines = [f"☑ {checklist.get('title', '')}"]
    for task in _mappings(checklist.get("tasks")):
        lines.append(f"{'☑' if task.get('completion_date') else '☐'} {task.get('text', '')}")
    return "\n".join(lines)


def _paid_media(paid: Raw) -> str:
    return f"⭐ (media that costs {paid.get('star_count', 'some')} stars)"


def _dice(dice: Raw) -> str:
    return f"{dice.get('emoji') or '🎲'} {dice.get('value', '')}".rstrip()


def _rich(rich: Raw) -> str:
    """The words of a rich message (Bot API 10.1): its blocks one below the other, whatever they are."""
    lines = (line.strip() for block in _mappings(rich.get("blocks")) for line in _block(block))
    return "\n".join(line for line in lines if line)


def _block(block: Raw) -> Iterator[str]:
    if "text" in block or "expression" in block:
        yield _rich_text(block.get("text", block.get("expression")))
    for name in _BLOCK_LISTS:
        inner = block.get(name)
        if isinstance(inner, str):
            yield inner
        elif isinstance(inner, Mapping):
            yield from _block(inner)
        elif isinstance(inner, Sequence):
            yield from _cells(inner)


def _cells(inner: Sequence[Any]) -> Iterator[str]:
    for item in inner:
        if isinstance(item, Mapping):
            yield from _block(item)
        elif isinstance(item, Sequence) and not isinstance(item, str):
            yield " | ".join(" ".join(_block(cell)) for cell in _mappings(item))


def _rich_text(text: Any) -> str:
    if isinstance(text, str):
        return text
    if isinstance(text, Mapping):
        return _rich_text(text.get("text", text.get("alternative_text", text.get("expression", ""))))
    return "".join(map(_rich_text, text)) if isinstance(text, Sequence) else ""


_KINDS: dict[str, Callable[[Raw], str]] = {
    "sticker": _sticker,
    "poll": _poll,
    "venue": _venue,
    "location": _location,
    "contact": _contact,
    "dice": _dice,
    "game": _game,
    "invoice": _invoice,
    "giveaway": _giveaway,
    "giveaway_winners": _winners,
    "story": _story,
    "checklist": _checklist,
    "paid_media": _paid_media,
    "rich_message": _rich,
}
"""A venue also has a ``location``, so it stands before it."""


def person_name(user: Raw) -> str:
    """A User's name as people see it."""
    name = " ".join(str(user[part]) for part in ("first_name", "last_name") if user.get(part))
    return name or str(user.get("username") or "") or "somebody"


def chat_name(chat: Raw) -> str:
    """A Chat's name as people see it."""
    return str(chat.get("title") or "") or person_name(chat)


def _mappings(value: Any) -> list[Raw]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, Sequence) else []
