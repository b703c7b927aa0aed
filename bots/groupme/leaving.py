"""The end of an account: the bots that we made are destroyed (dev.groupme.com/docs/v3, Bots, Destroy)."""

from __future__ import annotations

from bots.groupme.api import Api, new_session
from bots.groupme.config import BY_HAND, GroupMeConfig
from bots.groupme.payload import id_of
from core.contract import AuthLost


async def revoked(config: GroupMeConfig, url: str) -> str:
    """What was done, and what is left to do. ``url``: where the account's routes are. Raises any AdapterError."""
    named = [bot for bot in config.group_bots() if bot.bot]
    by_hand = "The bots that you made stay: delete them at https://dev.groupme.com/bots. " if named else ""
    if not config.token:
        return by_hand.strip()
    made = (
        {f"{url}/{config.path(bot.group)}" for bot in config.group_bots() if not bot.bot} if config.path_key else set()
    )
    gone = 0
    session = new_session(config)
    api = Api(config, session)
    try:
        for bot in await api.bots() if made else ():
            if bot.callback_url in made:
                await api.destroy_bot(id_of(bot.bot_id))
                gone += 1
    except AuthLost:
        return f"{by_hand}The access token was worthless already."
    finally:
        await session.close()
    destroyed = f"The bots that were made for it are deleted ({gone}). " if gone else ""
    return f"{destroyed}{by_hand}{BY_HAND}"
