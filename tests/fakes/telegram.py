"""A strict Bot API server with chats and people in it, after core.telegram.org/bots/api.

It checks tokens, parameters, lengths, entities and rights, hands out updates by long polling or by webhook as the real
one does, and refuses what the real one refuses. People's doings make the updates that a bot really gets: none of its
own messages, and only what its privacy mode lets through.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.fakes.telegram_methods import BadRequest, check_entities, checked, cleaned, emoji_of, is_picture
from tests.fakes.telegram_world import Chat, Message, Raw, World, shallow

TOKEN = "7000000001:AAE-double-of-the-bot-api_0123456789"
DOWNLOAD_MAX = 20 * 1024 * 1024
UPLOAD_MAX = 50 * 1024 * 1024


@dataclass
class Fault:
    """What happens to the next call of a method: an answer of its own, a cut before or after it was done, a delay."""

    method: str
    status: int = 0
    answer: Raw = field(default_factory=dict)
    cut: str = ""
    delay_s: float = 0.0


class TelegramDouble(World):
    """One bot's Bot API server. Use it as an async context manager."""

    def __init__(self, token: str = TOKEN) -> None:
        super().__init__(int(token.partition(":")[0]))
        self.token = token
        self.transcript: list[tuple[str, Raw]] = []
        self.faults: list[Fault] = []
        self.typing: list[int] = []
        self.webhook: Raw = {}
        self.group_posts_per_minute = 0
        """0: as many as one likes."""
        self.downloads: list[str] = []
        self.files_elsewhere = ""
        """Where downloads are redirected to; empty: nowhere."""
        self.url = ""
        self.on_update = self._deliver_soon
        self._poll: asyncio.Future[None] | None = None
        self._deliveries: dict[int, asyncio.Task[None]] = {}
        self._closing = False
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> TelegramDouble:
        app = web.Application(client_max_size=UPLOAD_MAX + 1024 * 1024)
        app.router.add_route("*", "/bot{token}/{method}", self._call)
        app.router.add_get("/file/bot{token}/{path:.*}", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._deliveries.values():
            task.cancel()
        await asyncio.gather(*self._deliveries.values(), return_exceptions=True)
        self._closing = True
        self.changed()
        assert self._session is not None
        assert self._runner is not None
        await self._session.close()
        await self._runner.cleanup()

    def _deliver_soon(self, update: Raw) -> None:
        if not self.webhook:
            return
        body = next(value for name, value in update.items() if name != "update_id")
        queue = body.get("chat", {}).get("id", 0)
        before = self._deliveries.get(queue)
        self._deliveries[queue] = asyncio.create_task(self._deliver(update, before))

    async def _deliver(self, update: Raw, before: asyncio.Task[None] | None) -> None:
        """Call the webhook until it answers 200; the updates of one chat one after the other."""
        if before is not None:
            await asyncio.wait([before])
        pause_s = 0.05
        while self.webhook and update in self.updates:
            status = await self.call_webhook(update)
            if status is not None and 200 <= status < 300:
                if update in self.updates:
                    self.updates.remove(update)
            else:
                error = f"Wrong response from the webhook: {status}" if status else "Connection refused"
                self.webhook |= {"last_error_date": int(time.time()), "last_error_message": error}
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 1.0)
            self.changed()

    async def call_webhook(self, update: Raw, secret: str | None = None) -> int | None:
        """One call; the status it was answered with, None where nobody answered."""
        assert self._session is not None
        header = {"X-Telegram-Bot-Api-Secret-Token": self.webhook["secret_token"] if secret is None else secret}
        try:
            async with self._session.post(self.webhook["url"], json=update, headers=header) as response:
                return response.status
        except aiohttp.ClientError:
            return None

    # --- the server

    async def _call(self, request: web.Request) -> web.StreamResponse:
        token, method = request.match_info["token"], request.match_info["method"]
        if not re.fullmatch(r"\d+:[\w-]{20,}", token):
            return _answer(404, "Not Found")
        if token != self.token:
            return _answer(401, "Unauthorized")
        params = await _params(request)
        fault = next((fault for fault in self.faults if fault.method == method), None)
        if fault:
            self.faults.remove(fault)
            await asyncio.sleep(fault.delay_s)
            if fault.cut == "before":
                return self._cut(request)
            if fault.status:
                return web.json_response(fault.answer, status=fault.status)
        handler = getattr(self, f"_do_{method.lower()}", None)
        if handler is None:
            return _answer(404, "Not Found: method not found")
        try:
            params = checked(method, params)
            self.transcript.append((method, params))
            made = handler(params)
            result = await made if asyncio.iscoroutine(made) else made
        except BadRequest as error:
            return _answer(error.code, str(error), error.parameters)
        finally:
            self.changed()
        if fault and fault.cut == "after":
            return self._cut(request)
        return web.json_response({"ok": True, "result": result})

    def _cut(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _file(self, request: web.Request) -> web.Response:
        if request.match_info["token"] != self.token:
            return _answer(401, "Unauthorized")
        self.downloads.append(request.match_info["path"])
        if self.files_elsewhere:
            raise web.HTTPFound(f"{self.files_elsewhere}{request.path}")
        data = self.files.get(request.match_info["path"].removeprefix("documents/"))
        return web.Response(body=data) if data is not None else _answer(404, "Not Found")

    def calls(self, method: str) -> list[Raw]:
        """The parameters of all calls of a method that were understood."""
        return [params for name, params in self.transcript if name == method]

    # --- methods: updates

    def _do_getme(self, _: Raw) -> Raw:
        can = {"can_join_groups": True, "can_read_all_group_messages": self.reads_all}
        return self.bot.raw() | can | {"supports_inline_queries": False}

    async def _do_getupdates(self, params: Raw) -> list[Raw]:
        if self.webhook:
            words = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            raise BadRequest(f"Conflict: {words}", 409)
        if self._poll and not self._poll.done():
            self._poll.set_result(None)
        mine = self._poll = asyncio.get_running_loop().create_future()
        if "allowed_updates" in params:
            self.allowed = params["allowed_updates"] or None
        if offset := params.get("offset", 0):
            self.updates = [update for update in self.updates if update["update_id"] >= offset]
            self.changed()
        deadline_s = time.monotonic() + params.get("timeout", 0)
        while not self.updates and time.monotonic() < deadline_s and not mine.done() and not self._closing:
            try:
                async with asyncio.timeout(min(0.5, deadline_s - time.monotonic())):
                    await self.wait()
            except TimeoutError:
                continue
        if mine.done():
            words = "terminated by other getUpdates request; make sure that only one bot instance is running"
            raise BadRequest(f"Conflict: {words}", 409)
        mine.set_result(None)
        return self.updates[: params.get("limit", 100)]

    def _do_setwebhook(self, params: Raw) -> bool:
        if not re.fullmatch(r"[\w-]{1,256}", params.get("secret_token", "x"), re.ASCII):
            raise BadRequest("Bad Request: secret token contains unallowed characters")
        fresh = self.webhook.get("url") != params["url"]
        self.webhook = {"url": params["url"], "secret_token": params.get("secret_token", "")}
        if "allowed_updates" in params:
            self.allowed = params["allowed_updates"] or None
        if fresh:
            for update in self.updates:
                self._deliver_soon(update)
        return True

    def _do_deletewebhook(self, params: Raw) -> bool:
        self.webhook = {}
        if params.get("drop_pending_updates"):
            self.updates.clear()
        return True

    def _do_getwebhookinfo(self, _: Raw) -> Raw:
        shown = {name: value for name, value in self.webhook.items() if name != "secret_token"}
        return {"url": "", "has_custom_certificate": False, "pending_update_count": len(self.updates)} | shown

    # --- methods: chats

    def _chat(self, params: Raw) -> Chat:
        chat = self.chats.get(int(params["chat_id"]))
        if chat is None:
            raise BadRequest("Bad Request: chat not found")
        if chat.migrated_to:
            moved = {"migrate_to_chat_id": chat.migrated_to}
            raise BadRequest("Bad Request: group chat was upgraded to a supergroup chat", 400, moved)
        status = chat.members.get(self.bot.id, "left")
        if status == "kicked" and chat.kind == "private":
            raise BadRequest("Forbidden: bot was blocked by the user", 403)
        if status in ("left", "kicked"):
            word = "was kicked from" if status == "kicked" else "is not a member of"
            raise BadRequest(f"Forbidden: bot {word} the {chat.kind} chat", 403)
        if chat.kind == "channel" and status != "administrator":
            raise BadRequest("Bad Request: need administrator rights in the channel chat")
        return chat

    def _do_getchat(self, params: Raw) -> Raw:
        return self._chat(params).raw() | {"accent_color_id": 1, "max_reaction_count": 11, "accepted_gift_types": {}}

    def _do_getchatmember(self, params: Raw) -> Raw:
        chat = self._chat(params)
        user = self.people.get(params["user_id"])
        if user is None:
            raise BadRequest("Bad Request: user not found")
        status = chat.members.get(user.id, "left")
        return {"user": user.raw(), "status": status, "is_anonymous": False}

    def _do_sendchataction(self, params: Raw) -> bool:
        if params["action"] not in ("typing", "upload_photo", "upload_document"):
            raise BadRequest("Bad Request: wrong parameter action in request")
        self.typing.append(self._chat(params).id)
        return True

    def _do_getfile(self, params: Raw) -> Raw:
        data = self.files.get(params["file_id"])
        if data is None:
            raise BadRequest("Bad Request: wrong file_id or the file is temporarily unavailable")
        if len(data) > DOWNLOAD_MAX:
            raise BadRequest("Bad Request: file is too big")
        found = {"file_id": params["file_id"], "file_unique_id": f"AgAD{len(data)}", "file_size": len(data)}
        return found | {"file_path": f"documents/{params['file_id']}"}

    # --- methods: posts

    def _posting(self, params: Raw) -> tuple[Chat, Raw]:
        """The chat, and the beginning of a message in it; counts against the rate."""
        chat = self._chat(params)
        now_s = time.monotonic()
        chat.posted_at_s = [at_s for at_s in chat.posted_at_s if now_s - at_s < 60]
        limit = self.group_posts_per_minute
        if limit and chat.kind.endswith("group") and len(chat.posted_at_s) >= limit:
            wait_s = max(1, int(60 - (now_s - chat.posted_at_s[0])))
            raise BadRequest(f"Too Many Requests: retry after {wait_s}", 429, {"retry_after": wait_s})
        chat.posted_at_s.append(now_s)
        raw: Raw = {"message_id": chat.next_id, "date": int(time.time()), "chat": chat.raw()}
        raw |= {"sender_chat": chat.raw()} if chat.kind == "channel" else {"from": self.bot.raw()}
        if thread := params.get("message_thread_id"):
            if thread not in chat.topics:
                raise BadRequest("Bad Request: message thread not found")
            raw |= {"message_thread_id": thread, "is_topic_message": True}
        if reply := params.get("reply_parameters"):
            answered = chat.messages.get(reply["message_id"])
            if answered is None and not reply.get("allow_sending_without_reply"):
                raise BadRequest("Bad Request: message to be replied not found")
            if answered is not None:
                raw["reply_to_message"] = shallow(answered.raw)
        return chat, raw

    def _do_sendmessage(self, params: Raw) -> Raw:
        chat, raw = self._posting(params)
        raw |= _words(params, "text", "entities", 4096)
        return self.keep(chat, raw, by_bot=True).raw

    def _do_sendphoto(self, params: Raw) -> Raw:
        return self._send_file(params, "photo")

    def _do_sendanimation(self, params: Raw) -> Raw:
        return self._send_file(params, "animation")

    def _do_sendvideo(self, params: Raw) -> Raw:
        return self._send_file(params, "video")

    def _do_sendaudio(self, params: Raw) -> Raw:
        return self._send_file(params, "audio")

    def _do_senddocument(self, params: Raw) -> Raw:
        return self._send_file(params, "document")

    def _send_file(self, params: Raw, kind: str) -> Raw:
        chat, raw = self._posting(params)
        raw |= self._media(kind, params.get(kind))
        if "caption" in params:
            raw |= _words(params, "caption", "caption_entities", 1024)
        return self.keep(chat, raw, by_bot=True).raw

    def _media(self, kind: str, content: Any) -> Raw:
        if not isinstance(content, tuple):
            raise BadRequest(f"Bad Request: there is no {kind} in the request")
        name, data, mime = content
        if not data:
            raise BadRequest("Bad Request: file must be non-empty")
        if len(data) > UPLOAD_MAX:
            raise BadRequest("Request Entity Too Large", 413)
        if kind == "photo":
            if not is_picture(data) or len(data) > 10 * 1024 * 1024:
                raise BadRequest("Bad Request: IMAGE_PROCESS_FAILED")
            return {"photo": [self.upload(data, width=8, height=8)]}
        return {kind: self.upload(data, file_name=name, mime_type=mime)}

    def _do_sendmediagroup(self, params: Raw) -> list[Raw]:
        items = params["media"]
        kinds = {item["type"] for item in items}
        if not 2 <= len(items) <= 10:
            raise BadRequest("Bad Request: wrong number of messages in the album")
        if kinds - {"photo", "video"} and len(kinds) > 1:
            raise BadRequest("Bad Request: media of these types can't be in one album")
        made = []
        for item in items:
            chat, raw = self._posting(params)
            raw |= self._media(item["type"], params.get(item["media"].removeprefix("attach://")))
            if "caption" in item:
                raw |= _words(item, "caption", "caption_entities", 1024)
            made.append(raw | {"media_group_id": "7"})
            chat.next_id += 1
        for raw in made:
            self.keep(chat, raw, by_bot=True)
        return made

    def _ours(self, params: Raw) -> Message:
        message = self._chat(params).messages.get(params["message_id"])
        if message is None:
            raise BadRequest("Bad Request: message to edit not found")
        if not message.by_bot:
            raise BadRequest("Bad Request: message can't be edited")
        return message

    def _do_editmessagetext(self, params: Raw) -> Raw:
        message = self._ours(params)
        if "text" not in message.raw:
            raise BadRequest("Bad Request: there is no text in the message to edit")
        return self._changed(message, _words(params, "text", "entities", 4096), "entities")

    def _do_editmessagecaption(self, params: Raw) -> Raw:
        message = self._ours(params)
        if "text" in message.raw:
            raise BadRequest("Bad Request: there is no caption in the message to edit")
        return self._changed(message, _words(params, "caption", "caption_entities", 1024), "caption_entities")

    def _changed(self, message: Message, words: Raw, entities: str) -> Raw:
        if all(message.raw.get(name) == words.get(name) for name in {*words, entities}):
            raise BadRequest("Bad Request: message is not modified: specified new message content is exactly the same")
        message.raw.pop(entities, None)
        message.raw |= words | {"edit_date": int(time.time())}
        return message.raw

    def _do_deletemessages(self, params: Raw) -> bool:
        if not 1 <= len(params["message_ids"]) <= 100:
            raise BadRequest("Bad Request: too many message identifiers specified")
        chat = self._chat(params)
        for number in params["message_ids"]:
            message = chat.messages.get(number)
            if message is None:
                continue
            old = time.time() - message.raw["date"] > 48 * 3600
            if (not message.by_bot or old) and chat.members[self.bot.id] != "administrator":
                raise BadRequest("Bad Request: message can't be deleted")
            del chat.messages[number]
        return True

    def _do_setmessagereaction(self, params: Raw) -> bool:
        message = self._chat(params).messages.get(params["message_id"])
        if message is None:
            raise BadRequest("Bad Request: message to react not found")
        reactions = params.get("reaction", [])
        if len(reactions) > 1:
            raise BadRequest("Bad Request: REACTIONS_TOO_MANY")
        for reaction in reactions:
            if emoji_of([reaction["emoji"]], strict=True) is None:
                raise BadRequest("Bad Request: REACTION_INVALID")
        message.reactions[self.bot.id] = [reaction["emoji"] for reaction in reactions]
        return True


def _words(params: Raw, name: str, entities: str, limit: int) -> Raw:
    """A text or caption and its entities as they are stored."""
    found = check_entities(params[name], params.get(entities) or [])
    plain, found = cleaned(params[name], found)
    if not plain and name == "text":
        raise BadRequest("Bad Request: message text is empty")
    if len(plain.encode("utf-16-le")) // 2 > limit:
        raise BadRequest(f"Bad Request: message {'' if name == 'text' else 'caption '}is too long")
    return {name: plain} | ({entities: found} if found else {})


def _answer(code: int, description: str, parameters: Raw | None = None) -> web.Response:
    body: Raw = {"ok": False, "error_code": code, "description": description}
    return web.json_response(body | ({"parameters": parameters} if parameters else {}), status=code)


async def _params(request: web.Request) -> Raw:
    if request.content_type == "application/json":
        return dict(await request.json())
    found: Raw = dict(request.query)
    if request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            data = await part.read()
            mime = part.headers.get("Content-Type", "")
            found[part.name or ""] = (part.filename, bytes(data), mime) if part.filename else data.decode()
    elif request.can_read_body:
        found |= {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    return found
