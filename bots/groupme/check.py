"""Getting an account to work: what to ask GroupMe before it is added, what doctor looks at, what to do by hand."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from msgspec.structs import replace

from bots.groupme.api import Api, new_session
from bots.groupme.config import GroupBot, GroupMeConfig
from bots.groupme.faye import Push
from bots.groupme.payload import Bot, Malformed, id_of
from core.contract import AdapterError, AuthLost, Finding, Rejected

TOKEN_HELP = "Sign in at https://dev.groupme.com, click Access Token at the top right, and copy it."  # noqa: S105
BOTS_PAGE = "https://dev.groupme.com/bots"
LOOK_S = 8.0


# --- before it is added


async def prepared(config: GroupMeConfig) -> tuple[str, GroupMeConfig]:
    """A suggested account id and the completed configuration. Raises Rejected and Retry."""
    if not config.token and not config.bots.strip():
        raise Rejected(f"An access token is needed, or bots that you made by hand. {TOKEN_HELP}")
    name = ""
    groups: dict[str, str] = {}
    if config.token:
        name, groups = await _ask(config)
    bots = _resolved(config, groups) if config.bots.strip() else ()
    titles = {bot.group: groups[bot.group] for bot in bots if bot.group in groups}
    config = replace(
        config,
        bots=" ".join(f"{bot.group}:{bot.bot}" if bot.bot else bot.group for bot in bots),
        path_key=config.path_key or (secrets.token_hex(32) if bots else ""),
        user_name=name,
        titles=titles,
    )
    return "groupme" if bots else f"groupme-{name}", config


async def _ask(config: GroupMeConfig) -> tuple[str, dict[str, str]]:
    session = new_session(config)
    try:
        api = Api(config, session)
        _, name = await api.me()
        return name, await api.groups()
    except AuthLost as error:
        raise Rejected(f"{error} {TOKEN_HELP}") from None
    except Malformed as error:
        raise Rejected(f"That does not answer like GroupMe: {error}. Check api_url.") from None
    finally:
        await session.close()


def _resolved(config: GroupMeConfig, groups: dict[str, str]) -> tuple[GroupBot, ...]:
    """The bots that are asked for, groups by their ids. Raises Rejected that says what to write."""
    by_name = {title.casefold(): group for group, title in groups.items()}
    if len(by_name) < len(groups):
        by_name = {name: group for name, group in by_name.items() if _once(name, groups)}
    whole = by_name.get(config.bots.strip().casefold())
    if whole:
        return (GroupBot(whole),)
    found: list[GroupBot] = []
    for entry in re.split(r"[\s,]+", config.bots.strip()):
        group, _, bot = entry.partition(":")
        group = by_name.get(group.casefold(), group)
        known = replace(config, bots=f"{group}:{bot}" if bot else group).group_bots()
        if not known:
            raise Rejected(f"{group!r} is no group. Write its id (the digits), or GROUP:BOT with the bot's id.")
        if not bot and not config.token:
            raise Rejected(f"Without an access token the bot of group {group} has to be named: GROUP:BOT.")
        if config.token and group not in groups:
            raise Rejected(f"The token's user is not in a group {group}. Let the user join it, or correct the id.")
        found += known
    if len({bot.group for bot in found}) < len(found):
        raise Rejected("A group is named twice. One bot for each group is enough.")
    return tuple(found)


def _once(name: str, groups: dict[str, str]) -> bool:
    return sum(title.casefold() == name for title in groups.values()) == 1


# --- doctor


async def findings(config: GroupMeConfig, url: str) -> Sequence[Finding]:
    """The token, the groups, the push service or the bots' callbacks."""
    session = new_session(config)
    try:
        found: list[Finding] = []
        api = Api(config, session)
        me = await _user(api, found) if config.token else ""
        if not config.bots:
            if me:
                found.append(await _push(config, me))
        else:
            found += await _bots(config, api, url, asks=bool(me))
        return found
    finally:
        await session.close()


async def _user(api: Api, found: list[Finding]) -> str:
    try:
        me, name = await api.me()
        groups = await api.groups()
    except AuthLost:
        found.append(Finding(False, "GroupMe does not accept the access token", f"{TOKEN_HELP} Then add it again."))
    except (AdapterError, Malformed) as error:
        found.append(Finding(False, f"GroupMe cannot be asked: {error}", "Check this machine's way to the internet."))
    else:
        found.append(Finding(True, f"GroupMe knows the token's user {name}, who is in {len(groups)} groups"))
        return me
    return ""


async def _push(config: GroupMeConfig, me: str) -> Finding:
    """Handshake and subscribe once."""
    import asyncio
    import time

    session = new_session(config)
    told = asyncio.Event()
    works: list[bool] = []
    reasons: list[str] = []

    async def ready() -> None:
        works.append(True)
        told.set()

    def gone(reason: str) -> None:
        reasons.append(reason)
        told.set()

    async def hear(channel: str, data: object) -> None:
        """Nothing is taken in here."""

    now_ms, pauses_s = (lambda: time.time_ns() // 1_000_000), (0.5, 5.0)
    push = Push(session, config.push_url, config.token, now_ms, pauses_s, hear, ready, gone)
    task = asyncio.create_task(push.run(f"/user/{me}"))
    waiting = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({task, waiting}, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        if works:
            return Finding(True, "GroupMe's push service tells us what is said")
        if task.done() and (error := task.exception()):
            reasons.append(str(error))
        why = reasons[-1] if reasons else "no answer in time"
        mend = f"Let this machine reach {config.push_url}."
        return Finding(False, f"GroupMe's push service does not work: {why}", mend)
    finally:
        task.cancel()
        waiting.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
        await session.close()


async def _bots(config: GroupMeConfig, api: Api, url: str, *, asks: bool) -> list[Finding]:
    found: list[Finding] = []
    if not config.path_key:
        return [Finding(False, "the callback addresses have no secret", "Remove the account and add it again.")]
    there: list[Bot] = []
    try:
        there = await api.bots() if asks else []
    except AdapterError as error:
        found.append(Finding(False, f"GroupMe does not list the bots: {error}", "Try again in a minute."))
        asks = False
    for bot in config.group_bots():
        name = f"group {config.titles.get(bot.group, bot.group)}"
        wanted = f"{url}/{config.path(bot.group)}"
        if asks:
            found.append(_registered(there, bot, name, wanted))
        found.append(await _reachable(config, name, wanted))
    return found


def _registered(there: Sequence[Bot], bot: GroupBot, name: str, wanted: str) -> Finding:
    ours = [b for b in there if (id_of(b.bot_id) == bot.bot if bot.bot else id_of(b.group_id) == bot.group)]
    if not ours:
        mend = f"Make one at {BOTS_PAGE} with the callback URL {wanted}" if bot.bot else "It is made when it starts."
        return Finding(False, f"{name}: there is no bot of ours", mend)
    if not any(b.callback_url == wanted for b in ours):
        mend = f"At {BOTS_PAGE}, edit the bot and set its callback URL to {wanted}"
        return Finding(False, f"{name}: the bot's callback URL is not ours", mend)
    return Finding(True, f"{name}: the bot calls us")


async def _reachable(config: GroupMeConfig, name: str, wanted: str) -> Finding:
    import aiohttp

    host = urlsplit(wanted).hostname or ""
    mend = "Set PUBLIC_URL to an address that the internet reaches, with https, and have its proxy pass on /bots/."
    if config.api_url.startswith("https://") and _private(host):
        return Finding(False, f"{name}: GroupMe cannot reach the callback URL on {host}", mend)
    session = new_session(config)
    try:
        async with session.get(wanted, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=LOOK_S)) as response:
            status = response.status
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return Finding(False, f"{name}: nobody answers at the callback URL on {host}", mend)
    finally:
        await session.close()
    if status != 200:
        return Finding(False, f"{name}: the callback URL on {host} answers {status}", mend)
    return Finding(True, f"{name}: the callback URL on {host} answers")


def _private(host: str) -> bool:
    from core.egress import is_public

    try:
        return not is_public(host)
    except ValueError:
        return host == "localhost" or "." not in host


# --- after it was added


def steps(config: GroupMeConfig, url: str) -> Sequence[str]:
    """What is left to do by hand."""
    if not config.bots:
        return (
            f"In GroupMe, add {config.user_name or 'the user of the token'} to each group that is to be connected: tap "
            "the group's picture, Members, Add members. The groups that the user is in already need nothing.",
            "In one of these groups, say: -sameroom open",
        )
    todo = [
        f"At {BOTS_PAGE}, click Edit beside the bot {bot.bot} of group {bot.group}, paste the callback URL "
        f"{url}/{config.path(bot.group)} and submit."
        for bot in config.group_bots()
        if bot.bot
    ]
    if any(not bot.bot for bot in config.group_bots()):
        todo.append("The bots of the groups that name none are made by themselves when the account starts.")
    return (*todo, "In one of these groups, say: -sameroom open")
