"""A strict double of GroupMe: its API (v3 and v4), bots with callbacks, the image and the file service.

Made from dev.groupme.com and the community's documentation. It refuses what the real one refuses, keeps a transcript,
and can be told to fail, to lose answers and to deliver again. What people do is in groupme_world.py, the push service
in groupme_push.py.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from tests.fakes.groupme_world import Bot, Fault, Group, GroupMeWorld, Refused

__all__ = ["Bot", "GroupMeDouble", "running_groupme"]

REACTIONS = {"❤️", "👍", "🤣", "🎉", "🔥", "😮", "👀", "😭", "🥺", "🙏", "💀", "🫶", "🤬", "💅", "🫠"}
ATTACHMENTS = {"image", "file", "reply", "mentions", "location", "emoji", "video"}
SAME_GUID_S = 60.0


class GroupMeDouble(GroupMeWorld):
    """The service. Start it with :func:`running_groupme`."""

    # --- the HTTP side

    async def start(self, runner: web.AppRunner) -> None:
        """Listen on a free port."""
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self._client = aiohttp.ClientSession()

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    @web.middleware
    async def _envelope(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith(("/faye", "/media")):
            response: web.StreamResponse = await handler(request)
            return response
        body = await request.read()
        self.requests.append((request.method, request.path, _json(body)))
        self.token_in_address = self.token_in_address or "token" in request.query
        fault = self._fault(f"{request.method} {request.path}")
        if fault and fault.drop == "before":
            _break(request)
        if fault and fault.until:
            await fault.until.wait()
        try:
            if fault and fault.status:
                raise Refused(fault.status, "told to fail", headers=fault.headers)
            answered: web.StreamResponse = await handler(request)
        except Refused as refused:
            envelope = {"meta": {"code": refused.status, "errors": list(refused.errors)}, "response": None}
            return web.json_response(envelope, status=refused.status, headers=refused.headers)
        if fault and fault.drop == "after":
            _break(request)
        return answered

    def _fault(self, what: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.match, what):
                fault.times -= 1
                return fault
        return None

    def _who(self, request: web.Request) -> str:
        user = self.user_of(request.headers.get("X-Access-Token"))
        if not user:
            raise Refused(401, "unauthorized")
        return user

    def _here(self, request: web.Request) -> Group:
        found = self.groups.get(request.match_info["group"])
        if found is None or self._who(request) not in found.members:
            raise Refused(404, "group not found")
        return found

    def _charge(self, group: str) -> None:
        most, seconds = self.rate
        now = time.monotonic()
        recent = self._posted_s[group] = [at for at in self._posted_s[group] if now - at < seconds]
        if len(recent) >= most:
            raise Refused(429, "Enhance Your Calm")
        recent.append(now)

    async def me(self, request: web.Request) -> web.Response:
        user = self._who(request)
        return _answer({"id": user, "user_id": user, "name": self.users[user], "email": "x@example.org"})

    async def list_groups(self, request: web.Request) -> web.Response:
        user = self._who(request)
        page, size = int(request.query.get("page", "1")), int(request.query.get("per_page", "10"))
        mine = [group for group in self.groups.values() if user in group.members]
        shown = mine[(page - 1) * size : page * size]
        return _answer([{"id": g.id, "name": g.name, "type": "private", "members": None} for g in shown])

    async def show_group(self, request: web.Request) -> web.Response:
        group = self._here(request)
        return _answer({"id": group.id, "name": group.name, "members": list(group.members.values())})

    async def index(self, request: web.Request) -> web.Response:
        group, query = self._here(request), request.query
        limit = int(query.get("limit", "20"))
        if limit > 100:
            raise Refused(400, "limit is too large")
        found = [m for m in group.messages if not m["deleted_at"]]
        if "after_id" in query:
            found = [m for m in found if int(m["id"]) > int(query["after_id"])][:limit]
        else:
            if "before_id" in query:
                found = [m for m in found if int(m["id"]) < int(query["before_id"])]
            found = found[::-1][:limit]
        if not found:
            return web.Response(status=304)
        return _answer({"count": len(group.messages), "messages": found})

    async def create(self, request: web.Request) -> web.Response:
        group, user = self._here(request), self._who(request)
        message = (await request.json()).get("message")
        if not isinstance(message, dict) or not set(message) <= {"source_guid", "text", "attachments"}:
            raise Refused(400, "message is invalid")
        guid = message.get("source_guid")
        if not isinstance(guid, str) or not guid:
            raise Refused(400, "source_guid is required")
        attachments = self._checked(group, message.get("text"), message.get("attachments"))
        self._charge(group.id)
        if time.monotonic() - self._guids.get((user, guid), -SAME_GUID_S) < SAME_GUID_S:
            raise Refused(409, "Conflict")
        self._guids[user, guid] = time.monotonic()
        made = self._new(group.id, user, message.get("text") or "", attachments, source_guid=guid)
        return _answer({"message": made}, status=201)

    def _checked(self, group: Group, text: object, attachments: object, *, empty: bool = True) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = list(attachments) if isinstance(attachments, list) else []
        if text is not None and not isinstance(text, str):
            raise Refused(400, "text is invalid")
        if not text and (not found or not empty):
            raise Refused(400, "text is required")
        if len((text or "").encode("utf-16-le")) > 2000:
            raise Refused(400, "text is too long (maximum is 1000 characters)")
        for item in found:
            self._check(group, text or "", item)
        return found

    def _check(self, group: Group, text: str, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind not in ATTACHMENTS:
            raise Refused(400, f"attachment type {kind} is invalid")
        if kind == "image" and not str(item.get("url")).startswith(f"{self.url}/media/"):
            raise Refused(400, "image url is not from the image service")
        if kind == "file" and item.get("file_id") not in group.files:
            raise Refused(400, "file_id is invalid")
        if kind == "reply" and not str(item.get("base_reply_id")).isdigit():
            raise Refused(400, "base_reply_id is invalid")
        if kind == "mentions":
            people, loci, units = item["user_ids"], item["loci"], len(text.encode("utf-16-le")) // 2
            if len(people) != len(loci) or any(start + length > units for start, length in loci):
                raise Refused(400, "loci are invalid")
            if any(person not in group.members for person in people):
                raise Refused(400, "mentioned users are not members")

    async def show(self, request: web.Request) -> web.Response:
        group = self._here(request)
        return _answer({"message": self.find(group.id, request.match_info["message"])})

    async def update(self, request: web.Request) -> web.Response:
        group, user = self._here(request), self._who(request)
        message = self.find(group.id, request.match_info["message"])
        if message["user_id"] != user:
            raise Refused(403, "not your message")
        body = await request.json()
        message["attachments"] = self._checked(group, body.get("text"), body.get("attachments"))
        self.edit(group.id, message["id"], body.get("text") or "")
        return _answer({"message": message})

    async def destroy(self, request: web.Request) -> web.Response:
        group, user = self._here(request), self._who(request)
        message = self.find(group.id, request.match_info["message"])
        if message["user_id"] != user:
            raise Refused(403, "not your message")
        self.delete(group.id, message["id"])
        return web.Response(status=204)

    async def like(self, request: web.Request) -> web.Response:
        group, user = self._here(request), self._who(request)
        message = self.find(group.id, request.match_info["message"])
        emoji = ""
        if request.match_info["what"] == "like":
            body = _json(await request.read()) or {"like_icon": {"type": "unicode", "code": "❤️"}}
            icon = body.get("like_icon") or {}
            if icon.get("type") != "unicode" or icon.get("code") not in REACTIONS:
                raise Refused(400, "like_icon is invalid")
            emoji = icon["code"]
        self.react(group.id, message["id"], user, emoji)
        return _answer({"reactions": message["reactions"]})

    # --- bots

    async def list_bots(self, request: web.Request) -> web.Response:
        user = self._who(request)
        return _answer([_bot(bot) for bot in self.bots.values() if bot.owner == user])

    async def make_bot(self, request: web.Request) -> web.Response:
        user, wanted = self._who(request), (await request.json()).get("bot") or {}
        group = self.groups.get(str(wanted.get("group_id")))
        if not wanted.get("name") or group is None or user not in group.members:
            raise Refused(400, "group_id is invalid")
        bot_id = f"b0{next(self._numbers):024x}"
        bot = self.bot(bot_id, group.id, wanted["name"], wanted.get("callback_url") or "", user)
        return _answer({"bot": _bot(bot)}, status=201)

    async def destroy_bot(self, request: web.Request) -> web.Response:
        user, body = self._who(request), await request.json()
        bot = self.bots.get(body.get("bot_id"))
        if bot is None or bot.owner != user:
            raise Refused(404, "bot not found")
        del self.bots[body["bot_id"]]
        return web.Response(status=200)

    async def bot_post(self, request: web.Request) -> web.Response:
        body = await request.json()
        bot = self.bots.get(body.get("bot_id"))
        if bot is None:
            raise Refused(404, "bot not found")
        if not set(body) <= {"bot_id", "text", "attachments", "picture_url"}:
            raise Refused(400, "unknown field")
        group = self.groups[bot.group_id]
        attachments = self._checked(group, body.get("text"), body.get("attachments"), empty=False)
        self._charge(group.id)
        more = {"sender_type": "bot", "sender_id": bot.sender_id, "user_id": bot.sender_id, "name": bot.name}
        self._new(group.id, bot.sender_id, body["text"], attachments, **more)
        return web.Response(status=202)

    # --- files

    async def upload_picture(self, request: web.Request) -> web.Response:
        self._who(request)
        kind = request.headers.get("Content-Type", "")
        data = await request.read()
        if not kind.startswith("image/") or not data:
            raise Refused(400, "not a picture")
        url = self.picture(data, kind.removeprefix("image/"))
        return web.json_response({"payload": {"url": url, "picture_url": url}})

    async def upload_file(self, request: web.Request) -> web.Response:
        group, data = self._here(request), await request.read()
        if len(data) >= 50_000_000:
            raise Refused(413, "too large")
        job = f"job{next(self._numbers)}"
        self._jobs[job] = (self.file(group.id, request.query["name"], data), self.pending_job_looks)
        return web.json_response({"status_url": f"{self.url}/file/v1/{group.id}/uploadStatus?job={job}"}, status=201)

    async def upload_status(self, request: web.Request) -> web.Response:
        self._here(request)
        file_id, looks = self._jobs[request.query["job"]]
        self._jobs[request.query["job"]] = (file_id, looks - 1)
        if looks > 0:
            return web.json_response({"status": "enqueued"})
        return web.json_response({"status": "completed", "file_id": file_id})

    async def file_data(self, request: web.Request) -> web.Response:
        group, wanted = self._here(request), (await request.json())["file_ids"]
        rows = []
        for file_id in wanted:
            name, data = group.files[file_id]
            mime = "application/pdf" if name.endswith(".pdf") else "text/plain"
            about = {"file_name": name, "file_size": len(data), "mime_type": mime}
            rows.append({"file_id": file_id, "file_data": about})
        return web.json_response(rows)

    async def download(self, request: web.Request) -> web.Response:
        group = self._here(request)
        if request.match_info["file"] not in group.files:
            raise Refused(404, "file not found")
        return web.Response(body=group.files[request.match_info["file"]][1])

    async def media(self, request: web.Request) -> web.Response:
        found = self.pictures.get(request.match_info["name"])
        if found is None:
            return web.Response(status=404)
        return web.Response(body=found[1], content_type=found[0])

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        one, conversation = "/v4/groups/{group}/messages/{message}", "/v3/conversations/{group}/messages/{message}"
        return [
            web.get("/v3/users/me", self.me),
            web.get("/v3/groups", self.list_groups),
            web.get("/v3/groups/{group}", self.show_group),
            web.get("/v3/groups/{group}/messages", self.index),
            web.post("/v3/groups/{group}/messages", self.create),
            web.get(one, self.show),
            web.put(one, self.update),
            web.delete(conversation, self.destroy),
            web.post("/v3/messages/{group}/{message}/{what:like|unlike}", self.like),
            web.get("/v3/bots", self.list_bots),
            web.post("/v3/bots", self.make_bot),
            web.post("/v3/bots/post", self.bot_post),
            web.post("/v3/bots/destroy", self.destroy_bot),
            web.post("/image/pictures", self.upload_picture),
            web.post("/file/v1/{group}/files", self.upload_file),
            web.get("/file/v1/{group}/uploadStatus", self.upload_status),
            web.post("/file/v1/{group}/fileData", self.file_data),
            web.get("/file/v1/{group}/files/{file}", self.download),
            web.get("/media/{name}", self.media),
            web.get("/faye", self.push.socket),
            web.post("/faye", self.push.post),
        ]


def _bot(bot: Bot) -> dict[str, Any]:
    shown = {"bot_id": bot.bot_id, "group_id": bot.group_id, "name": bot.name, "callback_url": bot.callback_url}
    return {**shown, "avatar_url": None, "dm_notification": False}


def _answer(response: Any, status: int = 200) -> web.Response:
    return web.json_response({"response": response, "meta": {"code": status}}, status=status)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def _break(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise asyncio.CancelledError


@asynccontextmanager
async def running_groupme() -> AsyncIterator[GroupMeDouble]:
    """The double on a free port."""
    double = GroupMeDouble()
    app = web.Application(middlewares=[double._envelope], client_max_size=64 * 1024 * 1024)
    app.add_routes(double.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await double.start(runner)
    try:
        yield double
    finally:
        double.push.close()
        await double.stop()
        await runner.cleanup()
