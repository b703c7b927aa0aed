"""Reactions of ours. A bot has one reaction on a message, and only of a fixed list (core.telegram.org/bots/api
#reactiontypeemoji): of all that people elsewhere put there, the newest that still stands is shown.
"""

from __future__ import annotations

import re
from typing import Final

from core.contract import Services
from core.store import as_awaitable

WISH_S: Final = 30 * 86_400
WISHES_MAX: Final = 200
_LIST: Final = """
👍 👎 ❤ 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤\u200d🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐
🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨\u200d💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾
🤷\u200d♂ 🤷 🤷\u200d♀ 😡
"""
ALLOWED: Final = frozenset(_LIST.split())
_LOOKS = re.compile("[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]")
"""Variation selectors and skin tones."""


def allowed(emoji: str) -> str:
    """The reaction that Telegram has for ``emoji``; empty where it has none."""
    found = _LOOKS.sub("", emoji)
    return found if found in ALLOWED else ""


class Wishes:
    """Who wants which emoji on which message: a hash for each message, newest last by its number."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def change(self, chat: str, message: str, author: str, emoji: str, added: bool) -> str:
        """Note a wish, or that it is taken back. Returns what is to be shown; empty for nothing."""
        store, name = self._services.store, self._services.key("wishes", chat, message)
        field = f"{emoji} {author}"
        if not added:
            await as_awaitable(store.hdel(name, field))
        elif await as_awaitable(store.hlen(name)) < WISHES_MAX:
            # Their order counts, and two may come in one millisecond.
            number = await as_awaitable(store.hincrby(name, "", 1))
            await as_awaitable(store.hset(name, field, number))
            await as_awaitable(store.expire(name, WISH_S))
        wishes: dict[bytes, bytes] = await as_awaitable(store.hgetall(name))
        newest = max(((int(number), wish) for wish, number in wishes.items() if wish), default=(0, b""))[1]
        return newest.decode().partition(" ")[0]
