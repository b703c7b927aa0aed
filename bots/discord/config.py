"""A Discord account's configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec

from core.contract import asked

MEBIBYTE = 1024 * 1024
Doc = msgspec.Meta


class DiscordConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One bot. Limits are those of the vendor's documentation (Message, Reference: uploading files, Rate limits)."""

    token: Annotated[
        str,
        asked("Bot token", "discord.com/developers/applications → your application → Bot → Reset Token", secret=True),
    ]
    application_id: Annotated[str, Doc(description="Asked of Discord when it is added")] = ""
    username: Annotated[str, Doc(description="The bot's name; asked of Discord when it is added")] = ""
    api_url: Annotated[str, Doc(description="REST API, with its version")] = "https://discord.com/api/v10"
    gateway_url: Annotated[str, Doc(description="WebSocket address; empty: asked of the REST API")] = ""
    site_url: Annotated[str, Doc(description="Where people's links to messages and invitations lead")] = (
        "https://discord.com"
    )
    cdn_url: Annotated[str, Doc(description="Where pictures of people are")] = "https://cdn.discordapp.com"
    file_urls: Annotated[tuple[str, ...], Doc(description="What addresses of files in messages may begin with")] = (
        "https://cdn.discordapp.com/",
        "https://media.discordapp.net/",
    )
    trusted_addresses: Annotated[tuple[str, ...], Doc(description="Private addresses that files may come from")] = ()
    webhooks: Annotated[bool, Doc(description="Post under people's own names and pictures where that is allowed")] = (
        True
    )
    request_timeout_s: Annotated[float, Doc(description="Longest wait for an answer", gt=0)] = 20.0
    longest_wait_s: Annotated[float, Doc(description="A rate limit that ends sooner is waited for in place", ge=0)] = (
        10.0
    )
    webhook_rate_per_s: Annotated[float, Doc(description="Posts per second in a channel by webhook", gt=0)] = 0.5
    webhook_burst: Annotated[int, Doc(description="Posts at once in a channel by webhook", ge=1)] = 5
    bot_rate_per_s: Annotated[float, Doc(description="Posts per second in a channel as the bot", gt=0)] = 1.0
    bot_burst: Annotated[int, Doc(description="Posts at once in a channel as the bot", ge=1)] = 5
    account_rate_per_s: Annotated[float, Doc(description="Posts per second in all rooms together", gt=0)] = 45.0
    upload_limit_bytes: Annotated[int, Doc(description="Largest file that may be posted", ge=1)] = 10 * MEBIBYTE
    download_limit_bytes: Annotated[int, Doc(description="Largest file that is fetched", ge=1)] = 500 * MEBIBYTE


def from_target(target: str) -> tuple[str, DiscordConfig]:
    """A token has no place on a command line. Raises ValueError that says what to do instead."""
    raise ValueError(
        "A Discord bot is added with its token, which others could read on the command line. "
        "Use: bridgebot accounts add discord"
    )
