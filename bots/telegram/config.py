"""A Telegram account's configuration."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from core.contract import Secret, asked

MEBIBYTE = 1024 * 1024
Doc = msgspec.Meta


BY_HAND: Final = "The token still works: write /revoke to @BotFather and choose the bot."


class TelegramConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One bot. The limits are those of core.telegram.org/bots/api and core.telegram.org/bots/faq."""

    token: Annotated[str, asked("Bot token", "From @BotFather, /newbot or /mybots: 123456789:AAE…", secret=True)]
    username: Annotated[str, Doc(description="The bot's name without @; asked of Telegram when it is added")] = ""
    webhook: Annotated[bool, Doc(description="Telegram calls us (needs a public https address) instead of polling")] = (
        False
    )
    webhook_path: Annotated[str, Secret] = ""
    webhook_secret: Annotated[str, Secret] = ""
    api_url: Annotated[str, Doc(description="Bot API server; a self-hosted one takes larger files")] = (
        "https://api.telegram.org"
    )
    poll_s: Annotated[int, Doc(description="How long one request waits for news", ge=1, le=50)] = 30
    request_timeout_s: Annotated[float, Doc(description="Longest wait for an answer of Telegram", gt=0)] = 20.0
    album_wait_s: Annotated[float, Doc(description="Silence after which an album is complete", gt=0, le=10)] = 1.0
    mentions: Annotated[bool, Doc(description="A relayed @username notifies that member")] = True
    group_rate_per_s: Annotated[float, Doc(description="Posts per second in a group in the long run", gt=0)] = 0.25
    group_burst: Annotated[int, Doc(description="Posts at once in a group", ge=1)] = 5
    chat_rate_per_s: Annotated[float, Doc(description="Posts per second in a channel or private chat", gt=0)] = 1.0
    chat_burst: Annotated[int, Doc(description="Posts at once in a channel or private chat", ge=1)] = 3
    account_rate_per_s: Annotated[float, Doc(description="Posts per second in all rooms together", gt=0)] = 30.0
    upload_limit_bytes: Annotated[int, Doc(description="Largest file a bot may post", ge=1)] = 50 * MEBIBYTE
    download_limit_bytes: Annotated[int, Doc(description="Largest file a bot may fetch", ge=1)] = 20 * MEBIBYTE


def from_target(target: str) -> tuple[str, TelegramConfig]:
    """A token has no place on a command line. Raises ValueError that says what to do instead."""
    raise ValueError(
        "A Telegram bot is added with its token, which others could read on the command line. "
        "Use: bridgebot accounts add telegram"
    )
