"""The endpoints of the double's REST API, and what they refuse."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.fakes.discord_text import calls
from tests.fakes.discord_world import ALL, THREADS, Channel, Guild, Raw, World

TOKEN = "MTA5ODc2NTQzMjEwOTg3NjU0.GdOuBl.double-of-discord_0123456789abcdefghi"
VIEW, SEND, MANAGE_HOOKS, HISTORY, REACT, ATTACH = 1 << 10, 1 << 11, 1 << 29, 1 << 16, 1 << 6, 1 << 15
START_THREADS, IN_THREADS, ADMIN = 1 << 35, 1 << 38, 1 << 3
FILE_MAX = 10 * 1024 * 1024
POST_FIELDS = {"content", "allowed_mentions", "attachments", "embeds", "nonce", "enforce_nonce", "message_reference"}
HOOK_FIELDS = {"content", "allowed_mentions", "attachments", "embeds", "username", "avatar_url"}
EDIT_FIELDS = {"content", "allowed_mentions", "attachments", "embeds"}


class Answer(Exception):
    """An answer."""

    def __init__(self, status: int, body: Any = None) -> None:
        self.status = status
        self.body = body


def error(status: int, code: int, message: str) -> Answer:
    """An answer that says no."""
    return Answer(status, {"message": message, "code": code})


def invalid(what: str) -> Answer:
    """The answer to a body of the wrong form (Reference, Error Messages)."""
    return refused_field(what, "This field is not right.")


def refused_field(what: str, why: str) -> Answer:
    """The answer to a body with a field that cannot be."""
    errors = {what: {"_errors": [{"code": "INVALID", "message": why}]}}
    return Answer(400, {"message": "Invalid Form Body", "code": 50035, "errors": errors})


class Rest(World):
    """What each request does."""

    def __init__(self) -> None:
        super().__init__()
        self.token = TOKEN
        self.refusals = 0
        self.intent_on = True
        self.hooks_max = 15
        self.starts_left = 1_000
        self.ws = ""
        self._sends: set[asyncio.Future[None]] = set()
        self._nonces: dict[str, Raw] = {}

    def flags(self) -> int:
        """Of the application."""
        return (1 << 19) if self.intent_on else 0

    def session_starts(self) -> Raw:
        """How many more sessions may begin."""
        return {"total": 1000, "remaining": self.starts_left, "reset_after": 3_600_000, "max_concurrency": 1}

    def handle(self, method: str, path: str, body: Any, uploads: list[Any], query: dict[str, str]) -> Answer:
        """Do what is asked. Raises Answer for what is refused."""
        for verb, rule, name in ROUTES:
            if verb == method and (found := re.fullmatch(rule, path)):
                result = getattr(self, name)(*found.groups(), body=body, uploads=uploads, query=query)
                self.changed()
                return Answer(204) if result is None else Answer(200, result)
        raise error(404, 0, "404: Not Found")

    # --- who, where, may

    def _me(self, **_: Any) -> Raw:
        return self.bot

    def _application(self, **_: Any) -> Raw:
        return {"id": self.application, "name": self.bot["username"], "flags": self.flags()}

    def _gateway_bot(self, **_: Any) -> Raw:
        return {"url": self.ws, "shards": 1, "session_start_limit": self.session_starts()}

    def _guilds(self, **_: Any) -> list[Raw]:
        here = [guild for guild in self.guilds.values() if self.bot["id"] in guild.members]
        return [
            {"id": guild.id, "name": guild.raw["name"], "permissions": str(self.may(guild, None, self.bot["id"]))}
            for guild in here
        ]

    def may(self, guild: Guild, channel: Channel | None, user: str) -> int:
        """What a member may do (Topics, Permissions: the documented order)."""
        if guild.raw["owner_id"] == user:
            return ALL
        roles = {guild.id, *guild.members[user]["roles"]}
        base = 0
        for role in guild.raw["roles"]:
            base |= int(role["permissions"]) if role["id"] in roles else 0
        if base & ADMIN:
            return ALL
        if channel and channel.raw["type"] in THREADS:
            channel = guild.channels[channel.raw["parent_id"]]
        rules = {rule["id"]: rule for rule in channel.raw["permission_overwrites"]} if channel else {}
        for group in ([guild.id], sorted(roles - {guild.id}), [user]):
            for native in group:
                base &= ~int(rules.get(native, {}).get("deny", 0))
            for native in group:
                base |= int(rules.get(native, {}).get("allow", 0))
        return base

    def sees(self, data: Raw) -> bool:
        """Is the bot told of what happens there?"""
        channel = self.find(data["channel_id"])
        if channel is None or "guild_id" not in channel.raw:
            return channel is not None
        guild = self.guilds[channel.raw["guild_id"]]
        return self.bot["id"] in guild.members and bool(self.may(guild, channel, self.bot["id"]) & VIEW)

    def _allowed(self, native: str, needed: int) -> Channel:
        channel = self.find(native)
        if channel is None:
            raise error(404, 10003, "Unknown Channel")
        if "guild_id" in channel.raw:
            guild = self.guilds[channel.raw["guild_id"]]
            if self.bot["id"] not in guild.members or not self.may(guild, channel, self.bot["id"]) & VIEW:
                raise error(403, 50001, "Missing Access")
            if self.may(guild, channel, self.bot["id"]) & needed != needed:
                raise error(403, 50013, "Missing Permissions")
        return channel

    def _channel_get(self, native: str, **_: Any) -> Raw:
        return self._allowed(native, 0).raw

    def _member(self, guild: str, user: str, **_: Any) -> Raw:
        members = self.guilds[guild].members
        if user not in members:
            raise error(404, 10007, "Unknown Member")
        return members[user]

    # --- messages

    def _message(self, channel: Channel, native: str) -> Raw:
        if native not in channel.messages:
            raise error(404, 10008, "Unknown Message")
        return channel.messages[native]

    def _message_get(self, channel: str, native: str, **_: Any) -> Raw:
        return self._message(self._allowed(channel, HISTORY), native)

    def _history(self, channel: str, query: dict[str, str], **_: Any) -> list[Raw]:
        limit = int(query.get("limit", "50"))
        if not 1 <= limit <= 100:
            raise invalid("limit")
        after = int(query.get("after", "0"))
        found = sorted(self._allowed(channel, HISTORY).messages.values(), key=lambda raw: int(raw["id"]))
        return [raw for raw in found if int(raw["id"]) > after][:limit][::-1]

    def _checked(self, body: Any, fields: set[str], uploads: list[Any], channel: Channel) -> list[Raw]:
        """Refuse what is wrong with a message; its attachments."""
        if not isinstance(body, dict) or set(body) - fields:
            raise invalid(f"unknown fields {set(body or ()) - fields}")
        if len(body.get("content") or "") > 2000:
            raise invalid("content: Must be 2000 or fewer in length.")
        for embed in body.get("embeds") or ():
            if len(embed.get("description", "")) > 4096 or set(embed) - {"description", "title", "url", "color"}:
                raise invalid("embeds")
        listed = {f"files[{found['id']}]": found["filename"] for found in body.get("attachments") or ()}
        if len(uploads) > 10 or {name: filename for name, filename, _ in uploads} != listed:
            raise invalid("attachments")
        if any(len(data) > FILE_MAX for *_, data in uploads):
            raise error(413, 40005, "Request entity too large")
        return [self.attachment(channel.id, filename, data, "image/png") for _, filename, data in uploads]

    def _called(self, body: Raw, *, by_webhook: bool) -> None:
        self.called += calls(body.get("content") or "", body.get("allowed_mentions"), by_webhook=by_webhook)

    def _post(self, channel: str, body: Any, uploads: list[Any], **_: Any) -> Raw:
        where = self._allowed(channel, SEND | (ATTACH if uploads else 0))
        attachments = self._checked(body, POST_FIELDS, uploads, where)
        if not (body.get("content") or "").strip() and not attachments:
            raise error(400, 50006, "Cannot send an empty message")
        if len(str(body.get("nonce", ""))) > 25:
            raise invalid("nonce: Must be 25 or fewer in length.")
        if body.get("enforce_nonce") and body["nonce"] in self._nonces:
            return self._nonces[body["nonce"]]
        more: Raw = {"attachments": attachments}
        if reference := body.get("message_reference"):
            answered = where.messages.get(reference["message_id"])
            if answered is None and reference.get("fail_if_not_exists", True):
                raise invalid("message_reference: Unknown message")
            if answered is not None:
                more |= {
                    "type": 19,
                    "message_reference": reference | {"channel_id": channel},
                    "referenced_message": answered,
                }
        self._called(body, by_webhook=False)
        made = self.say(where, self.bot, (body.get("content") or "").strip(), nonce=body.get("nonce"), **more)
        if body.get("enforce_nonce"):
            self._nonces[body["nonce"]] = made
        return made

    def _patch(self, channel: str, native: str, body: Any, uploads: list[Any], **_: Any) -> Raw:
        where = self._allowed(channel, 0)
        self._checked(body, EDIT_FIELDS, uploads, where)
        raw = self._message(where, native)
        if raw["author"]["id"] != self.bot["id"]:
            raise error(403, 50005, "Cannot edit a message authored by another user")
        self._called(body, by_webhook=False)
        self.edit(raw, body["content"])
        return raw

    def _delete(self, channel: str, native: str, **_: Any) -> None:
        raw = self._message(self._allowed(channel, 0), native)
        if raw["author"]["id"] != self.bot["id"]:
            raise error(403, 50003, "Cannot execute action on this message")
        self.delete(raw)

    def _types(self, channel: str, **_: Any) -> None:
        self._allowed(channel, SEND)
        self.typing.append(channel)

    def _react(self, channel: str, native: str, emoji: str, **_: Any) -> None:
        self._reacts(channel, native, emoji, True)

    def _unreact(self, channel: str, native: str, emoji: str, **_: Any) -> None:
        self._reacts(channel, native, emoji, False)

    def _reacts(self, channel: str, native: str, emoji: str, added: bool) -> None:
        raw, emoji = self._message(self._allowed(channel, REACT), native), unquote(emoji)
        guild = self.guilds.get(self._allowed(channel, 0).raw.get("guild_id", ""))
        custom = {f"{found['name']}:{found['id']}" for found in guild.raw["emojis"]} if guild else set()
        if emoji not in custom and (emoji.isascii() or ":" in emoji):
            raise error(400, 10014, "Unknown Emoji")
        standing = {found for (message, found), who in self.reactions.items() if message == native and who}
        if added and emoji not in standing and len(standing) >= 20:
            raise error(403, 30010, "Maximum number of reactions reached (20)")
        self.react(raw, self.bot, emoji, added)

    def _begin_thread(self, channel: str, native: str, body: Any, **_: Any) -> Raw:
        where = self._allowed(channel, START_THREADS)
        self._message(where, native)
        if not 1 <= len(body["name"]) <= 100 or set(body) - {"name", "auto_archive_duration"}:
            raise invalid("name")
        guild = self.guilds[where.raw["guild_id"]]
        if native in guild.channels:
            raise error(400, 160004, "A thread has already been created for this message")
        return self.thread(guild, where, native, body["name"]).raw

    # --- webhooks

    def _hooks(self, channel: str, **_: Any) -> list[Raw]:
        return list(self._allowed(channel, MANAGE_HOOKS).webhooks.values())

    def _make_hook(self, channel: str, body: Any, **_: Any) -> Raw:
        where = self._allowed(channel, MANAGE_HOOKS)
        if len(where.webhooks) >= self.hooks_max:
            raise error(400, 30007, "Maximum number of webhooks reached (15)")
        self._hook_name(body["name"])
        raw = {"id": self.snowflake(), "type": 1, "channel_id": channel, "name": body["name"], "avatar": None}
        raw |= {"token": secrets.token_urlsafe(48), "application_id": self.application}
        where.webhooks[raw["id"]] = raw
        return raw

    def _hook_name(self, name: str) -> None:
        if not 1 <= len(name) <= 80 or re.search("clyde|discord", name, re.IGNORECASE) or name.strip() != name:
            raise invalid(f"username: {name}")

    def _hook(self, native: str, token: str, query: dict[str, str]) -> tuple[Raw, Channel]:
        channels = [channel for guild in self.guilds.values() for channel in guild.channels.values()]
        home = next((channel for channel in channels if native in channel.webhooks), None)
        if home is None:
            raise error(404, 10015, "Unknown Webhook")
        if home.webhooks[native]["token"] != token:
            raise error(401, 50027, "Invalid Webhook Token")
        where = self.find(query["thread_id"]) if "thread_id" in query else home
        if where is None or (where is not home and where.raw["parent_id"] != home.id):
            raise error(404, 10003, "Unknown Channel")
        if where.raw["type"] in (15, 16):
            raise error(400, 220001, "Webhooks posted to forum channels must have a thread_name or thread_id")
        return home.webhooks[native], where

    def _execute(self, native: str, token: str, body: Any, uploads: list[Any], query: dict[str, str]) -> Raw | None:
        hook, where = self._hook(native, token, query)
        attachments = self._checked(body, HOOK_FIELDS, uploads, where)
        if not (body.get("content") or "").strip() and not attachments:
            raise error(400, 50006, "Cannot send an empty message")
        name = body.get("username") or hook["name"]
        self._hook_name(name)
        picture = body.get("avatar_url", "https://example.org/")
        # A host without a dot is none: github.com/matrix-org/matrix-appservice-discord issue 649.
        if not picture.startswith(("http://", "https://")) or "." not in (urlsplit(picture).hostname or ""):
            raise refused_field("avatar_url", "Not a well formed URL.")
        self._called(body, by_webhook=True)
        author = {"id": native, "username": name, "avatar": None, "bot": True, "discriminator": "0000"}
        more = {"webhook_id": native, "application_id": hook["application_id"], "attachments": attachments}
        embeds = [{"type": "rich"} | embed for embed in body.get("embeds") or ()]
        picture = body.get("avatar_url", "")
        made = self.say(where, author, (body.get("content") or "").strip(), embeds=embeds, picture=picture, **more)
        return made if query.get("wait") == "true" else None

    def _hook_patch(
        self, hook: str, token: str, native: str, body: Any, uploads: list[Any], query: dict[str, str]
    ) -> Raw:
        raw = self._of_hook(hook, token, native, query)
        self._checked(body, EDIT_FIELDS, uploads, self._hook(hook, token, query)[1])
        self._called(body, by_webhook=True)
        self.edit(raw, body["content"])
        return raw

    def _hook_delete(self, hook: str, token: str, native: str, query: dict[str, str], **_: Any) -> None:
        self.delete(self._of_hook(hook, token, native, query))

    def _of_hook(self, hook: str, token: str, native: str, query: dict[str, str]) -> Raw:
        raw = self._message(self._hook(hook, token, query)[1], native)
        if raw.get("webhook_id") != hook:
            raise error(404, 10008, "Unknown Message")
        return raw


_ID = r"(\d+)"
_CHANNEL, _MESSAGE = rf"/channels/{_ID}", rf"/channels/{_ID}/messages/{_ID}"
_HOOK = rf"/webhooks/{_ID}/([\w-]+)"
ROUTES: tuple[tuple[str, str, str], ...] = (
    ("GET", "/users/@me", "_me"),
    ("GET", "/users/@me/guilds", "_guilds"),
    ("GET", "/applications/@me", "_application"),
    ("GET", "/gateway/bot", "_gateway_bot"),
    ("GET", _CHANNEL, "_channel_get"),
    ("GET", rf"/guilds/{_ID}/members/{_ID}", "_member"),
    ("GET", rf"{_CHANNEL}/messages", "_history"),
    ("GET", _MESSAGE, "_message_get"),
    ("POST", rf"{_CHANNEL}/messages", "_post"),
    ("PATCH", _MESSAGE, "_patch"),
    ("DELETE", _MESSAGE, "_delete"),
    ("POST", rf"{_CHANNEL}/typing", "_types"),
    ("PUT", rf"{_MESSAGE}/reactions/([^/]+)/@me", "_react"),
    ("DELETE", rf"{_MESSAGE}/reactions/([^/]+)/@me", "_unreact"),
    ("POST", rf"{_MESSAGE}/threads", "_begin_thread"),
    ("GET", rf"{_CHANNEL}/webhooks", "_hooks"),
    ("POST", rf"{_CHANNEL}/webhooks", "_make_hook"),
    ("POST", _HOOK, "_execute"),
    ("PATCH", rf"{_HOOK}/messages/{_ID}", "_hook_patch"),
    ("DELETE", rf"{_HOOK}/messages/{_ID}", "_hook_delete"),
)
