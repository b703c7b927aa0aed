"""A strict Slack: Web API, Events API, Socket Mode and files, after docs.slack.dev.

It checks tokens, scopes, arguments and blocks, signs its calls, tells again what was not acknowledged, and refuses what
the real one refuses. Own posts of the app are told to it as well, as the real one does.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.fakes.slack_methods import METHODS, SlackError, check_words, checked
from tests.fakes.slack_oauth import FIRST_TOKEN, Installing
from tests.fakes.slack_world import CUSTOM, EMOJI, TEAM, Channel, Raw

BOT_TOKEN = FIRST_TOKEN
APP_TOKEN = "xapp-1-A0BRIDGE1-double-of-slack"
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SCOPES = (
    "app_mentions:read channels:history channels:join channels:read chat:write chat:write.customize commands "
    "files:read files:write groups:history groups:read im:history im:read mpim:history mpim:read "
    "reactions:read reactions:write users:read"
)
RETRIES = 3


@dataclass
class Fault:
    """What happens to the next call of a method: an answer of its own, a cut before or after it was done, a delay."""

    method: str
    status: int = 0
    answer: Any = field(default_factory=dict)
    cut: str = ""
    delay_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


class SlackDouble(Installing):
    """One workspace's Slack. Use it as an async context manager."""

    def __init__(self) -> None:
        super().__init__()
        self.scopes = set(SCOPES.split())
        self.transcript: list[tuple[str, Raw]] = []
        self.faults: list[Fault] = []
        self.posts_per_s = 0
        """0: as many as one likes."""
        self.events_url = ""
        """Where events are posted to; empty: through Socket Mode."""
        self.deaf = False
        """Nothing is told, and no socket is opened."""
        self.retry_s = 0.2
        self.downloads: list[tuple[str, str]] = []
        self.refusals: list[str] = []
        self.files_elsewhere = ""
        self.url = ""
        self.sockets: list[web.WebSocketResponse] = []
        self.unacked: dict[str, Raw] = {}
        self.answers: list[Raw] = []
        self._uploads: dict[str, Raw] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.on_event = self._deliver

    async def __aenter__(self) -> SlackDouble:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/api/{method}", self._call)
        app.router.add_get("/link", self._socket)
        self.add_pages(app)
        app.router.add_post("/upload/{file}", self._upload)
        app.router.add_get("/files-pri/{file}/{name}", self._download)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.cut_sockets()
        assert self._session is not None
        assert self._runner is not None
        await self._session.close()
        await self._runner.cleanup()

    # --- telling the app

    def envelope(self, event: Raw) -> Raw:
        """An event as it is handed over."""
        authorization = {"team_id": TEAM, "user_id": self.bot.id, "is_bot": True, "enterprise_id": None}
        return {
            "token": "of-old",
            "team_id": TEAM,
            "api_app_id": self.app_id,
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev0{self.number()}",
            "event_time": int(self.clock_s()),
            "authorizations": [authorization],
            "is_ext_shared_channel": False,
        }

    def _deliver(self, event: Raw) -> None:
        if self.deaf:
            return
        if self.events_url:
            self._run(self._call_app(self.envelope(event)))
        else:
            self._run(self._frame("events_api", self.envelope(event)))

    def _run(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def signed(self, body: bytes) -> dict[str, str]:
        """The headers of a call."""
        at = str(int(self.clock_s()))
        made = hmac.new(SECRET.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
        return {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": f"v0={made}", "Content-Type": "application/json"}

    async def _call_app(self, envelope: Raw) -> None:
        """Call the app until it answers 200: at once, and three times more."""
        body = json.dumps(envelope).encode()
        reason: dict[str, str] = {}
        assert self._session is not None
        for attempt in range(RETRIES + 1):
            headers = self.signed(body) | reason
            try:
                async with self._session.post(self.events_url, data=body, headers=headers) as response:
                    status = response.status
            except aiohttp.ClientError:
                status = 0
            self.answers.append({"status": status, "attempt": attempt})
            self.changed()
            if 200 <= status < 300:
                return
            reason = {"X-Slack-Retry-Num": str(attempt + 1), "X-Slack-Retry-Reason": "http_error"}
            await asyncio.sleep(self.retry_s)

    async def _frame(self, kind: str, payload: Raw) -> None:
        """Tell through a socket until it is acknowledged."""
        number = f"env-{self.number()}"
        frame: Raw = {"envelope_id": number, "type": kind, "payload": payload, "accepts_response_payload": True}
        self.unacked[number] = frame
        for attempt in range(RETRIES + 1):
            if self.sockets and number in self.unacked:
                await self.sockets[-1].send_json(frame | {"retry_attempt": attempt, "retry_reason": ""})
            await asyncio.sleep(self.retry_s * 5)
            if number not in self.unacked:
                return

    def command(self, channel: Channel, user: str, text: str) -> Raw:
        """Somebody types the slash command."""
        form: Raw = {"command": "/sameroom", "text": text, "channel_id": channel.id, "channel_name": channel.name}
        form |= {"user_id": user, "team_id": TEAM, "api_app_id": self.app_id, "trigger_id": f"{self.number()}.1.abc"}
        if not self.events_url:
            self._run(self._frame("slash_commands", form))
        return form

    async def cut_sockets(self) -> None:
        """All sockets end."""
        for socket in list(self.sockets):
            await socket.close()
        self.unacked.clear()

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("ticket") != "once":
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": self.app_id}})
        self.sockets.append(socket)
        self.changed()
        try:
            async for message in socket:
                frame = json.loads(message.data)
                self.unacked.pop(frame["envelope_id"], None)
                self.answers.append(frame)
                self.changed()
        finally:
            self.sockets.remove(socket)
            self.changed()
        return socket

    # --- the Web API

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.content_type != "application/x-www-form-urlencoded":
            return self._answer({"ok": False, "error": "invalid_post_type"})
        params = dict(await request.post())
        fault = next((fault for fault in self.faults if fault.method == method), None)
        if fault:
            self.faults.remove(fault)
            await asyncio.sleep(fault.delay_s)
            if fault.cut == "before":
                return self._cut(request)
            if fault.status:
                return web.json_response(fault.answer, status=fault.status, headers=fault.headers)
        try:
            answer = self._result(method, token, params)
        except SlackError as error:
            self.refusals.append(f"{method}: {error}")
            answer = error.answer
        self.changed()
        if fault and fault.cut == "after":
            return self._cut(request)
        if answer.get("error") == "ratelimited":
            return web.json_response(answer, status=429, headers={"Retry-After": "1"})
        return self._answer(answer)

    def _answer(self, answer: Raw) -> web.Response:
        return web.json_response(answer, headers={"X-OAuth-Scopes": ",".join(sorted(self.scopes))})

    def _cut(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def _result(self, method: str, token: str, params: Raw) -> Raw:
        if method == "apps.connections.open":
            if token != APP_TOKEN:
                raise SlackError("invalid_auth" if not token.startswith("xoxb") else "not_allowed_token_type")
            if self.deaf:
                raise SlackError("internal_error")
            return {"ok": True, "url": f"{self.url.replace('http', 'ws')}/link?ticket=once"}
        if method == "oauth.v2.access":
            return self.exchange(token, params)
        if token not in self.tokens:
            raise SlackError("token_revoked" if token in self.ended else "invalid_auth" if token else "not_authed")
        if method not in METHODS:
            raise SlackError("unknown_method")
        scope = METHODS[method][0]
        if scope and scope not in self.scopes:
            raise SlackError("missing_scope", needed=scope, provided=",".join(sorted(self.scopes)))
        params = checked(method, params)
        self.transcript.append((method, params))
        made: Raw = getattr(self, "_do_" + method.replace(".", "_").lower())(params)
        return {"ok": True} | made

    def calls(self, method: str) -> list[Raw]:
        """The arguments of all calls of a method that were understood."""
        return [params for name, params in self.transcript if name == method]

    def _do_auth_test(self, _: Raw) -> Raw:
        found = {"url": "https://garden.slack.com/", "team": "Garden Club", "user": self.bot.name, "team_id": TEAM}
        return found | {"user_id": self.bot.id, "bot_id": self.bot_id, "is_enterprise_install": False}

    def _do_bots_info(self, params: Raw) -> Raw:
        if params["bot"] != self.bot_id:
            raise SlackError("bot_not_found")
        return {"bot": {"id": self.bot_id, "name": self.bot.name, "app_id": self.app_id, "user_id": self.bot.id}}

    def _do_users_info(self, params: Raw) -> Raw:
        if params["user"] not in self.people:
            raise SlackError("user_not_found")
        return {"user": self.people[params["user"]].raw()}

    def _do_users_conversations(self, params: Raw) -> Raw:
        mine = [channel for channel in self.channels.values() if self.bot.id in channel.members]
        listed = [channel.raw(self.bot.id) for channel in mine if not channel.is_archived]
        return _page(listed, params, "channels")

    def _channel(self, params: Raw, *, inside: bool = True) -> Channel:
        channel = self.channels.get(params.get("channel") or params.get("channel_id") or "")
        if channel is None:
            raise SlackError("channel_not_found")
        if inside and self.bot.id not in channel.members and not channel.im_with:
            raise SlackError("channel_not_found" if channel.is_private else "not_in_channel")
        return channel

    def _do_conversations_info(self, params: Raw) -> Raw:
        channel = self._channel(params, inside=False)
        if channel.is_private and self.bot.id not in channel.members:
            raise SlackError("channel_not_found")
        return {"channel": channel.raw(self.bot.id)}

    def _do_conversations_join(self, params: Raw) -> Raw:
        channel = self._channel(params, inside=False)
        if channel.is_private:
            raise SlackError("channel_not_found")
        channel.members.add(self.bot.id)
        return {"channel": channel.raw(self.bot.id)}

    def _do_conversations_history(self, params: Raw) -> Raw:
        messages = self._channel(params).messages.values()
        shown = [raw for raw in messages if raw.get("thread_ts", raw["ts"]) == raw["ts"] or _is_aloud(raw)]
        return self._history(shown[::-1], params)

    def _do_conversations_replies(self, params: Raw) -> Raw:
        messages = self._channel(params).messages
        if params["ts"] not in messages:
            raise SlackError("thread_not_found")
        return self._history([raw for raw in messages.values() if raw.get("thread_ts") == params["ts"]], params)

    def _history(self, found: list[Raw], params: Raw) -> Raw:
        oldest = float(params.get("oldest", 0))
        metadata = params.get("include_all_metadata") == "true"
        listed = [self.plain(raw, metadata=metadata) for raw in found if float(raw["ts"]) > oldest]
        return _page(listed, params, "messages")

    # --- posts

    def _do_chat_postmessage(self, params: Raw) -> Raw:
        channel = self._channel(params)
        if channel.is_archived:
            raise SlackError("is_archived")
        check_words(params)
        if ("username" in params or "icon_url" in params) and "chat:write.customize" not in self.scopes:
            raise SlackError("missing_scope", needed="chat:write.customize", provided=",".join(self.scopes))
        now_s = asyncio.get_running_loop().time()
        channel.posted_at_s = [at_s for at_s in channel.posted_at_s if now_s - at_s < 1]
        if self.posts_per_s and len(channel.posted_at_s) >= self.posts_per_s:
            raise SlackError("ratelimited")
        channel.posted_at_s.append(now_s)
        raw: Raw = {"type": "message", "bot_id": self.bot_id, "app_id": self.app_id, "team": TEAM}
        if "username" in params:
            raw |= {"subtype": "bot_message", "username": params["username"]}
            raw |= {"icons": {"image_48": params["icon_url"]}} if "icon_url" in params else {}
        else:
            raw |= {"user": self.bot.id}
        raw |= {name: params[name] for name in ("text", "blocks", "metadata") if name in params}
        raw |= self._thread(channel, params)
        if params.get("reply_broadcast") == "true":
            raw |= {"aloud": True}
        message = self.post(channel, raw)
        return {"channel": channel.id, "ts": message["ts"], "message": self.plain(message)}

    def _thread(self, channel: Channel, params: Raw) -> Raw:
        if "thread_ts" not in params:
            return {}
        root = channel.messages.get(params["thread_ts"])
        if root is None:
            raise SlackError("thread_not_found")
        if root.get("thread_ts", root["ts"]) != root["ts"]:
            raise SlackError("this_is_an_answer_and_no_root")
        return {"thread_ts": root["ts"]}

    def _own(self, params: Raw, error: str) -> tuple[Channel, Raw]:
        channel = self._channel(params)
        message = channel.messages.get(params["ts"])
        if message is None or message.get("subtype") == "tombstone":
            raise SlackError("message_not_found")
        if message.get("bot_id") != self.bot_id:
            raise SlackError(error)
        return channel, message

    def _do_chat_update(self, params: Raw) -> Raw:
        channel, message = self._own(params, "cant_update_message")
        check_words(params)
        new = {name: params[name] for name in ("text", "blocks") if name in params}
        self.change(channel, message["ts"], new)
        return {"channel": channel.id, "ts": message["ts"], "text": message["text"]}

    def _do_chat_delete(self, params: Raw) -> Raw:
        channel, message = self._own(params, "cant_delete_message")
        self.remove(channel, message["ts"])
        return {"channel": channel.id, "ts": message["ts"]}

    def _reacted(self, params: Raw) -> tuple[Channel, str, str]:
        channel = self._channel(params)
        name, _, tone = params["name"].partition("::")
        if (name not in EMOJI and name not in CUSTOM) or (tone and name not in ("+1", "-1", "wave")):
            raise SlackError("invalid_name")
        if params["timestamp"] not in channel.messages:
            raise SlackError("message_not_found")
        return channel, params["timestamp"], params["name"]

    def _do_reactions_add(self, params: Raw) -> Raw:
        channel, ts, name = self._reacted(params)
        if self.bot.id in channel.messages[ts]["reactions"].get(name, ()):
            raise SlackError("already_reacted")
        self.react(channel, self.bot.id, ts, name)
        return {}

    def _do_reactions_remove(self, params: Raw) -> Raw:
        channel, ts, name = self._reacted(params)
        if self.bot.id not in channel.messages[ts]["reactions"].get(name, ()):
            raise SlackError("no_reaction")
        self.react(channel, self.bot.id, ts, name, False)
        return {}

    # --- files

    def _do_files_getuploadurlexternal(self, params: Raw) -> Raw:
        size = int(params["length"])
        if size <= 0:
            raise SlackError("file_upload_size_zero")
        native = f"F0UP{self.number()}"
        self._uploads[native] = {"name": params["filename"], "size": size, "data": b""}
        return {"upload_url": f"{self.url}/upload/{native}", "file_id": native}

    async def _upload(self, request: web.Request) -> web.Response:
        upload = self._uploads.get(request.match_info["file"])
        data = await request.read()
        if upload is None or len(data) != upload["size"] or "Authorization" in request.headers:
            return web.Response(status=400)
        upload["data"] = data
        return web.Response(text=f"OK - {len(data)}")

    def _do_files_completeuploadexternal(self, params: Raw) -> Raw:
        channel = self._channel(params)
        made = []
        for each in params["files"]:
            upload = self._uploads.pop(each["id"], None)
            if upload is None or not upload["data"]:
                raise SlackError("file_not_found")
            mime = "image/png" if upload["name"].endswith(".png") else "application/octet-stream"
            file = self.file(upload["name"], upload["data"], mime, self.url, self.bot.id)
            self.contents[each["id"]] = self.contents.pop(file["id"])
            self.files[each["id"]] = self.files.pop(file["id"]) | {"id": each["id"]}
            made.append(self.files[each["id"]])
        by = {"user": self.bot.id, "bot_id": self.bot_id}
        self.share(channel, by, made, params.get("initial_comment", ""), **self._thread(channel, params))
        return {"files": [{"id": file["id"], "title": file["title"]} for file in made]}

    def _do_files_info(self, params: Raw) -> Raw:
        if params["file"] not in self.files:
            raise SlackError("file_not_found")
        return {"file": self.files[params["file"]]}

    async def _download(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "")
        native = request.match_info["file"].rpartition("-")[2]
        self.downloads.append((native, token))
        if self.files_elsewhere:
            raise web.HTTPFound(self.files_elsewhere)
        if token.removeprefix("Bearer ") not in self.tokens or "files:read" not in self.scopes:
            return web.Response(text="<html>Sign in</html>", content_type="text/html")
        if native not in self.contents:
            return web.Response(status=404)
        return web.Response(body=self.contents[native], content_type=self.files[native]["mimetype"])


def _is_aloud(raw: Raw) -> bool:
    return bool(raw.get("aloud")) or raw.get("subtype") == "thread_broadcast"


def _page(listed: list[Raw], params: Raw, name: str) -> Raw:
    start, limit = int(params.get("cursor") or 0), int(params.get("limit", 100))
    following = str(start + limit) if start + limit < len(listed) else ""
    page = {name: listed[start : start + limit], "response_metadata": {"next_cursor": following}}
    return page | {"has_more": bool(following)}
