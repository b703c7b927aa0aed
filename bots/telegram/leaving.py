"""The end of an account: Telegram calls us no more (core.telegram.org/bots/api#deletewebhook). Bots cannot revoke their
own token; its owner does it at @BotFather (core.telegram.org/bots/features#botfather)."""

from __future__ import annotations

from bots.telegram.api import Api
from bots.telegram.config import BY_HAND, TelegramConfig
from core.contract import AuthLost


async def revoked(config: TelegramConfig) -> str:
    """What was done, and what is left to do. Raises any AdapterError."""
    if not config.webhook:
        return BY_HAND
    api = Api(config)
    try:
        await api.call("deleteWebhook")
    except AuthLost:
        return "The token was worthless already."
    finally:
        await api.close()
    return f"The webhook is deleted. {BY_HAND}"
