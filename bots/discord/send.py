"""Posting, changing and deleting posts: by a webhook of ours under the author's name, or as the bot."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple, TypeVar, cast

import structlog

from bots.discord.api import UNKNOWN_CHANNEL, UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, Api, Refused, Upload
from bots.discord.cache import MANAGE_WEBHOOKS, Cache
from bots.discord.config import DiscordConfig
from bots.discord.files import fetched, groups_of
from bots.discord.receive import at_ms, name_of
from bots.discord.text import TEXT_LIMIT, excerpt, outgoing, parts
from core.contract import Outbound, Rejected, Retry
from core.model import NativeId, Text
from core.text.ops import concat, plain, web_link
from core.text.safety import clean_name

log = structlog.get_logger()

QUIET: Final = {"parse": list[str]()}
"""Nobody is called, whatever the words say (Message, Allowed Mentions). An edit needs it as well."""
WEBHOOK_NAME: Final = "bridgebot"
NAME_CHARS: Final = 80
HAIR_SPACE: Final = "\u200a"
REMEMBERED: Final = 1_000
LOOKED_BACK: Final = 50
RECENT_MS: Final = 15 * 60_000
"""A post is looked for among messages that are no older. Clocks may differ by some minutes."""
Kept = TypeVar("Kept")
AT_ONCE_S: Final = 0.1
NO_MORE_WEBHOOKS: Final = (30007, 30058)
HAS_THREAD: Final = 160004
_FORBIDDEN_NAME = re.compile(r"(?<=c)(?=lyde)|(?<=d)(?=iscord)|(?<=^e)(?=veryone$)|(?<=^h)(?=ere$)", re.IGNORECASE)


class Webhook(NamedTuple):
    """A webhook of ours. Its token is never written down: Discord hands it out again."""

    id: str
    token: str

    def path(self, message: str = "") -> str:
        """The address, or that of one of its messages."""
        return f"/webhooks/{self.id}/{self.token}" + (f"/messages/{message}" if message else "")

    def route(self, minor: str = "") -> str:
        """What its rate limits go by."""
        return f"/webhooks/{self.id}{minor}"


class Attempt(NamedTuple):
    """The step of a post that was tried last, as it would be found among the messages of a channel."""

    channel: str
    username: str
    content: str
    files: int
    steps: int
    """How many there are."""


class Target(NamedTuple):
    """Where a post goes."""

    channel: str
    """The room's channel; of a forum post, the post."""
    thread: str = ""

    @property
    def written_to(self) -> str:
        """The channel or thread that the message is in."""
        return self.thread or self.channel

    def native(self, message: str) -> NativeId:
        """A message's id in the room."""
        return NativeId(f"{self.thread}/{message}" if self.thread else message)


def target(channel: str, native: str = "") -> tuple[Target, str]:
    """Where the message ``native`` of a room is, and its id there. Raises Rejected for what is no id of Discord's."""
    thread, _, message = native.rpartition("/")
    if not channel.isascii() or not (channel + thread + message).isdecimal():
        raise Rejected(f"Discord has no message {native!r} in a channel {channel!r}.")
    return Target(channel, thread), message


def webhook_name(name: str) -> str:
    """A person's name as a webhook may bear it (Webhook, Create Webhook: 1 to 80 characters, without two words)."""
    return _FORBIDDEN_NAME.sub(HAIR_SPACE, clean_name(name, NAME_CHARS - 4))[:NAME_CHARS]


def nonce(key: str, part: int) -> str:
    """At most 25 characters that are the same on every try (Message, Create Message)."""
    return hashlib.blake2b(f"{key}:{part}".encode(), digest_size=12).hexdigest()


class Sender:
    """One account's posts."""

    def __init__(self, config: DiscordConfig, api: Api, cache: Cache, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._now_ms = now_ms
        self._api = api
        self._cache = cache
        self.application = ""
        self._webhooks: dict[str, Webhook] = {}
        self._none: set[str] = set()
        """Channels that take no more webhooks."""
        self._bad_pictures: OrderedDict[str, None] = OrderedDict()
        """Addresses of pictures that Discord does not take: those without a public host name, for one."""
        self._done: OrderedDict[str, list[NativeId]] = OrderedDict()
        """Key of a post → what is posted of it already."""
        self._tried: OrderedDict[str, tuple[Target, Attempt]] = OrderedDict()
        self._posted: OrderedDict[str, None] = OrderedDict()
        """Ids of our newest messages."""

    # --- webhooks

    def by_webhook(self, channel: str) -> bool:
        """Do posts go there under people's own names?"""
        home = self._home(channel)
        return self._config.webhooks and home not in self._none and self._cache.may(home, MANAGE_WEBHOOKS)

    def _home(self, channel: str) -> str:
        """The channel whose webhooks write there: of a forum post, the forum."""
        found = self._cache.channels.get(channel)
        return found.parent if found and self._cache.in_forum(found) else channel

    async def _webhook(self, home: str) -> Webhook:
        if home in self._webhooks:
            return self._webhooks[home]
        try:
            raw = await self._found(home) or await self._api.call(
                "POST", f"/channels/{home}/webhooks", {"name": WEBHOOK_NAME}, again=True
            )
        except Refused as refused:
            if refused.code not in NO_MORE_WEBHOOKS and refused.status != 403:
                raise
            # It is composed anew then, with the author's name in its text.
            self._none.add(home)
            raise Retry(AT_ONCE_S, "the channel on Discord takes no webhook") from None
        made = self._webhooks[home] = Webhook(str(raw["id"]), str(raw["token"]))
        return made

    async def _found(self, home: str) -> Any:
        for raw in await self._api.call("GET", f"/channels/{home}/webhooks") or ():
            if raw.get("token") and str(raw.get("application_id")) == self.application:
                return raw
        return None

    async def _by_webhook(self, to: Target, method: str, message: str, body: Any, **options: Any) -> Any:
        """A request to our webhook of the channel. Raises Retry where somebody has deleted it."""
        home = self._home(to.channel)
        thread = to.thread or (to.channel if home != to.channel else "")
        query = ({"thread_id": thread} if thread else {}) | ({} if message else {"wait": "true"})
        hook = await self._webhook(home)
        route = hook.route("/messages" if message else "")
        try:
            return await self._api.call(
                method, hook.path(message), body, route=route, as_webhook=True, query=query, **options
            )
        except Refused as refused:
            if refused.code != UNKNOWN_WEBHOOK and refused.status != 401:
                raise
            self._webhooks.pop(home, None)
            raise Retry(AT_ONCE_S, "the webhook on Discord was deleted") from None

    # --- posts

    async def send(self, outbound: Outbound, channel: str) -> list[NativeId]:
        """Post it all; on a second try from behind the last part that was done."""
        to = await self._where(outbound, channel)
        done = self._done.get(outbound.key, [])
        _keep(self._done, outbound.key, done)
        async with AsyncExitStack() as stack:
            files, lines = await fetched(outbound.files, self._config.upload_limit_bytes, stack)
            words = parts(_with_lines(outbound.text, lines), TEXT_LIMIT, outbound.max_parts)
            groups = list(groups_of(files))
            steps = max(len(words), 1 if groups else 0) + max(len(groups) - 1, 0)
            if not steps:
                raise Rejected("There is nothing in it that Discord could show.")
            for step in range(len(done), steps):
                behind = step - max(len(words), 1) + 1
                group = groups[0] if groups and step == 0 else groups[behind] if 0 < behind < len(groups) else []
                content = words[step] if step < len(words) else ""
                name = webhook_name(outbound.author.name) if outbound.author else ""
                attempt = Attempt(to.written_to, name, content.strip(), len(group), steps)
                _keep(self._tried, outbound.key, (to, attempt))
                raw = await self._post(to, outbound, step, content, tuple(group))
                self._took(done, to, str(raw["id"]))
        return list(done)

    def _took(self, done: list[NativeId], to: Target, message: str) -> None:
        done.append(to.native(message))
        _keep(self._posted, message, None)

    async def find(self, outbound: Outbound) -> list[NativeId] | None:
        """What is there of a post whose answer was lost, by the name and the words that it would have; webhooks have
        no key. None where it is not there as a whole: the next try goes on behind what is.
        """
        if (tried := self._tried.get(outbound.key)) is None:
            return None
        to, attempt = tried
        done = self._done.get(outbound.key, [])
        if len(done) < attempt.steps:
            path = f"/channels/{attempt.channel}/messages"
            for raw in await self._api.call("GET", path, query={"limit": str(LOOKED_BACK)}) or ():
                if str(raw["id"]) not in self._posted and self._is(raw, attempt):
                    self._took(done, to, str(raw["id"]))
                    break
        return list(done) if len(done) == attempt.steps else None

    def _is(self, raw: Mapping[str, Any], attempt: Attempt) -> bool:
        by_us = bool(raw.get("webhook_id")) and str(raw.get("application_id")) == self.application
        said = str((raw.get("author") or {}).get("username")), str(raw.get("content") or "").strip()
        return (
            by_us
            and said == (attempt.username, attempt.content)
            and len(raw.get("attachments") or ()) == attempt.files
            and at_ms(str(raw["id"])) > self._now_ms() - RECENT_MS
        )

    async def _where(self, outbound: Outbound, channel: str) -> Target:
        to, _ = target(channel, outbound.reply_to or channel)
        if outbound.thread:
            at, root = target(channel, outbound.thread)
            thread = at.thread or root
            if thread in self._cache.channels or await self._open_thread(channel, thread, outbound):
                return Target(channel, thread)
        return to

    async def _open_thread(self, channel: str, root: str, outbound: Outbound) -> bool:
        """Begin a thread below a message. False where it cannot be: then it goes into the channel."""
        name = " ".join(outgoing(outbound.text).plain.split())[:80] or "Thread"
        try:
            raw = await self._api.call(
                "POST",
                f"/channels/{channel}/messages/{root}/threads",
                {"name": name, "auto_archive_duration": 1440},
                route=f"/channels/{channel}/threads",
                again=True,
            )
        except Refused as refused:
            return refused.code == HAS_THREAD
        self._cache.put_channel(raw, str(raw.get("guild_id") or ""))
        return True

    async def _post(
        self, to: Target, outbound: Outbound, step: int, content: str, files: tuple[Upload, ...]
    ) -> Mapping[str, Any]:
        body: dict[str, Any] = {"content": content, "allowed_mentions": QUIET}
        if files:
            body["attachments"] = [{"id": place, "filename": file.name} for place, file in enumerate(files)]
        author = outbound.author
        if author is not None and self.by_webhook(to.channel):
            body["username"] = webhook_name(author.name)
            picture = author.avatar_url
            if web_link(picture) and not picture.startswith("mailto:") and picture not in self._bad_pictures:
                body["avatar_url"] = picture
            if outbound.reply_to and step == 0:
                body["embeds"] = [await self._answering(to, outbound.reply_to)]
            try:
                return cast("Mapping[str, Any]", await self._by_webhook(to, "POST", "", body, files=files))
            except Refused as refused:
                if "avatar_url" not in body or "avatar_url" not in refused.fields:
                    raise
                raise self._without(picture) from None
        body |= {"nonce": nonce(outbound.key, step), "enforce_nonce": True}
        if outbound.reply_to and step == 0:
            answered, message = target(to.channel, outbound.reply_to)
            if answered.written_to == to.written_to:
                body["message_reference"] = {"message_id": message, "fail_if_not_exists": False}
        path = f"/channels/{to.written_to}/messages"
        return cast("Mapping[str, Any]", await self._api.call("POST", path, body, files=files))

    def _without(self, picture: str) -> Retry:
        """The words are not to be lost for a picture: it is left out from now on."""
        _keep(self._bad_pictures, picture, None)
        log.info("discord does not take the address of a picture", url=picture)
        return Retry(AT_ONCE_S, "Discord does not take the author's picture")

    async def _answering(self, to: Target, native: NativeId) -> dict[str, Any]:
        """What stands for a reply, which webhooks do not have: who is answered, the first words, and a way there."""
        at, message = target(to.channel, native)
        found = self._cache.channels.get(to.channel)
        url = f"{self._config.site_url}/channels/{found.guild if found else '@me'}/{at.written_to}/{message}"
        label, words = "answer", ""
        try:
            raw = await self._api.call(
                "GET", f"/channels/{at.written_to}/messages/{message}", route=f"/channels/{at.written_to}/messages/:id"
            )
            label, words = name_of(raw["author"], raw.get("member")), excerpt(raw.get("content"))
        except Refused:
            log.debug("the answered message is not to be had")
        label = clean_name(label, NAME_CHARS).replace("://", ":")
        described = parts(plain(words), TEXT_LIMIT, 1) if words else []
        return {"description": f"↩ [{parts(plain(label), TEXT_LIMIT, 1)[0]}]({url}) {''.join(described)}".rstrip()}

    # --- afterwards

    async def edit(self, channel: str, natives: Sequence[NativeId], outbound: Outbound) -> list[NativeId]:
        """Change our posts in their place; files stay as they are."""
        words = parts(outbound.text, TEXT_LIMIT, outbound.max_parts) or [""]
        kept: list[NativeId] = []
        for native, content in zip(natives, words, strict=False):
            await self._change("PATCH", channel, native, {"content": content, "allowed_mentions": QUIET})
            kept.append(native)
        for native in natives[len(words) :]:
            if await self._has_files(channel, native):
                kept.append(native)
            else:
                await self.delete(channel, [native])
        to, _ = target(channel, natives[0])
        for step in range(len(kept), len(words)):
            key = f"{outbound.key}:edit"
            again = Outbound(outbound.room, key, outbound.text, outbound.author)
            kept.append(to.native(str((await self._post(to, again, step, words[step], ()))["id"])))
        return kept

    async def _has_files(self, channel: str, native: NativeId) -> bool:
        to, message = target(channel, native)
        path = f"/channels/{to.written_to}/messages"
        try:
            raw = await self._api.call("GET", f"{path}/{message}", route=f"{path}/:id")
        except Refused:
            return False
        return bool(raw.get("attachments"))

    async def delete(self, channel: str, natives: Sequence[NativeId]) -> None:
        """Take posts away; what is gone already is no error."""
        for native in natives:
            try:
                await self._change("DELETE", channel, native, None)
            except Refused as refused:
                if refused.code not in (UNKNOWN_MESSAGE, UNKNOWN_CHANNEL):
                    raise

    async def _change(self, method: str, channel: str, native: NativeId, body: Any) -> None:
        """Change or delete a post, whichever way it was made."""
        to, message = target(channel, native)
        if self.by_webhook(channel):
            try:
                await self._by_webhook(to, method, message, body)
                return
            except Refused as refused:
                if refused.status != 404:
                    raise
        path = f"/channels/{to.written_to}/messages"
        await self._api.call(method, f"{path}/{message}", body, route=f"{path}/:id")


def _keep(found: OrderedDict[str, Kept], key: str, value: Kept) -> None:
    """Remember one, forget the oldest."""
    found[key] = value
    found.move_to_end(key)
    if len(found) > REMEMBERED:
        found.popitem(last=False)


def _with_lines(text: Text, lines: list[str]) -> Text:
    if not lines:
        return text
    separator = "\n" if text.plain and not text.plain.endswith(": ") else ""
    return concat(text, plain(separator + "\n".join(lines)))
