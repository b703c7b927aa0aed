"""A strict double of a Rocket.Chat server: REST v1 and the live stream, in the documented shapes and errors."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

from tests.fakes.rocketchat_stream import StreamWorld, iso
from tests.fakes.rocketchat_world import Room, ServerError, User

VERSION = "8.1.2"
MESSAGE_FIELDS = {
    "_id",
    "rid",
    "msg",
    "tmid",
    "tshow",
    "alias",
    "avatar",
    "emoji",
    "attachments",
    "groupable",
    "customFields",
}
FILE_FIELDS = {"msg", "tmid", "alias", "avatar", "emoji", "groupable", "description"}


@dataclass
class Fault:
    """Something to go wrong, ``times`` times."""

    what: str
    status: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: str = ""
    times: int = 1


class RocketChatDouble(StreamWorld):
    """The server. ``requests`` is what was asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.requests: list[tuple[str, str, Any]] = []
        self.faults: list[Fault] = []
        self.has_media = True
        self.duplicates_fail = False
        """What chat.sendMessage answers for an id that is there: an error, or a success without a message."""
        self.limit = (10, 60.0)
        self._calls: dict[tuple[str, str], list[float]] = {}
        self._tokens = itertools.count(1)
        self.redirect_files = ""
        self.seen_headers: list[dict[str, str]] = []

    def fail(self, what: str, **more: Any) -> None:
        """Let the next request whose ``METHOD path`` begins so go wrong."""
        self.faults.append(Fault(what, **more))

    # --- REST

    async def call(self, request: web.Request) -> web.StreamResponse:
        """``/api/v1/<name>``: faults, login, limits, then the call itself."""
        name, _, rest = request.match_info["name"].partition("/")
        is_form = request.content_type == "multipart/form-data"
        body = await request.post() if is_form else (await request.json() if request.can_read_body else None)
        self.requests.append((request.method, name, body))
        fault = next((f for f in self.faults if f"{request.method} {name}".startswith(f.what)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
            if fault.drop == "after":
                await self._answer(request, name, rest, body)
            if fault.drop:
                assert request.transport
                request.transport.abort()
                return web.Response()
            return web.json_response(
                fault.body or {"success": False, "error": "broken"}, status=fault.status, headers=fault.headers
            )
        return await self._answer(request, name, rest, body)

    async def _answer(self, request: web.Request, name: str, rest: str, body: Any) -> web.StreamResponse:
        if name == "login" and request.method == "POST":
            return self._sign_in(body)
        user = self._user(request)
        if user is None:
            words = "You must be logged in to do this."
            return web.json_response({"status": "error", "message": words}, status=401)
        if name == "logout" and request.method == "POST":
            user.tokens.discard(request.headers["X-Auth-Token"])
            return web.json_response({"status": "success", "data": {"message": "You've been logged out!"}})
        if limited := self._limited(user, name):
            return limited
        handler: Callable[..., Any] | None = getattr(self, f"{request.method.lower()}_{name.replace('.', '_')}", None)
        if handler is None or (name in ("rooms.media", "rooms.mediaConfirm") and not self.has_media):
            return web.json_response({"success": False, "error": "unrecognized API endpoint"}, status=404)
        try:
            found = handler(user, rest, body if request.method == "POST" else dict(request.query))
            found = await found if isinstance(found, Awaitable) else found
        except ServerError as error:
            return web.json_response({"success": False, "error": str(error), "errorType": error.error}, status=400)
        return web.json_response(iso({**found, "success": True}))

    def _user(self, request: web.Request) -> User | None:
        user = self.users.get(request.headers.get("X-User-Id", ""))
        return user if user and request.headers.get("X-Auth-Token") in user.tokens else None

    def _sign_in(self, body: Any) -> web.Response:
        user = self.named(str(body.get("user")))
        if not user or not user.password or body.get("password") != user.password:
            said = {"status": "error", "error": "Unauthorized", "message": "Unauthorized"}
            return web.json_response(said, status=401)
        if user.totp:
            said = {"status": "error", "error": "totp-required", "message": "TOTP Required [totp-required]"}
            return web.json_response(said, status=401)
        token = f"signed-in-token-{next(self._tokens)}"
        user.tokens.add(token)
        data = {"userId": user.id, "authToken": token, "me": {"_id": user.id, "username": user.username}}
        return web.json_response({"status": "success", "data": data})

    def _limited(self, user: User, name: str) -> web.Response | None:
        if self.may(user, "api-bypass-rate-limit"):
            return None
        count, within_s = self.limit
        now = asyncio.get_running_loop().time()
        calls = [at for at in self._calls.get((user.id, name), []) if now - at < within_s]
        self._calls[user.id, name] = calls
        if len(calls) < count:
            calls.append(now)
            return None
        wait_s = within_s - (now - calls[0])
        words = (
            "Error, too many requests. Please slow down. "
            f"You must wait {round(wait_s)} seconds before trying this endpoint again. [error-too-many-requests]"
        )
        headers = {"X-RateLimit-Limit": str(count), "X-RateLimit-Remaining": "0"}
        headers["X-RateLimit-Reset"] = str(self.now() + int(wait_s * 1000))
        return web.json_response({"success": False, "error": words}, status=429, headers=headers)

    def _in(self, user: User, rid: Any) -> Room:
        room = self.rooms.get(str(rid))
        if room is None or user.id not in room.members:
            raise ServerError("error-room-not-found", 'The required "roomId" param provided does not match any channel')
        return room

    def get_users_getPersonalAccessTokens(self, user: User, rest: str, query: Any) -> Any:
        self._must_make_tokens(user)
        return {"tokens": [{"name": name, "lastTokenPart": token[-6:]} for name, token in user.named_tokens.items()]}

    def post_users_removePersonalAccessToken(self, user: User, rest: str, body: Any) -> Any:
        self._must_make_tokens(user)
        token = user.named_tokens.pop(body.get("tokenName"), None)
        if token is None:
            raise ServerError("error-token-does-not-exists", "Token does not exist [error-token-does-not-exists]")
        user.tokens.discard(token)
        return {}

    def _must_make_tokens(self, user: User) -> None:
        if not user.may_make_tokens:
            raise ServerError("not-authorized", "Not Authorized [not-authorized]")

    def get_me(self, user: User, rest: str, query: Any) -> Any:
        """Who am I?"""
        return {**user.short(), "roles": user.roles, "active": True}

    def get_settings_public(self, user: User, rest: str, query: Any) -> Any:
        """Settings that everybody may know."""
        wanted = query["_id"].split(",")
        return {"settings": [{"_id": name, "value": self.settings[name]} for name in wanted if name in self.settings]}

    def get_permissions_listAll(self, user: User, rest: str, query: Any) -> Any:
        """Who may what."""
        return {"update": [{"_id": name, "roles": roles} for name, roles in self.permissions.items()], "remove": []}

    def get_rooms_get(self, user: User, rest: str, query: Any) -> Any:
        """The user's rooms."""
        found = [self.described(room) for room in self.rooms.values() if user.id in room.members]
        return {"update": found, "remove": []}

    def get_rooms_info(self, user: User, rest: str, query: Any) -> Any:
        """One room."""
        return {"room": self.described(self._in(user, query.get("roomId")))}

    def get_users_info(self, user: User, rest: str, query: Any) -> Any:
        """A user."""
        found = self.users.get(query.get("userId", "")) or self.named(query.get("username", ""))
        if not found:
            raise ServerError("error-invalid-user", "User not found.")
        return {"user": {**found.short(), "roles": found.roles}}

    def _roles(self, user: User, kinds: str, query: Any) -> Any:
        room = self._in(user, query.get("roomId"))
        assert room.t in kinds
        rows = [{"rid": room.id, "u": self.users[uid].short(), "roles": roles} for uid, roles in room.members.items()]
        return {"roles": [row for row in rows if row["roles"]]}

    def get_channels_roles(self, user: User, rest: str, query: Any) -> Any:
        """Who runs a channel."""
        return self._roles(user, "c", query)

    def get_groups_roles(self, user: User, rest: str, query: Any) -> Any:
        """Who runs a group."""
        return self._roles(user, "p", query)

    def _history(self, user: User, kind: str, query: Any) -> Any:
        room = self._in(user, query.get("roomId"))
        if room.t != kind:
            raise ServerError("error-room-not-found", "The room is of another kind")
        oldest = datetime.fromisoformat(query["oldest"]).timestamp() * 1000
        inclusive = query.get("inclusive") == "true"
        found = [m for m in room.messages if m["ts"] > oldest or (inclusive and m["ts"] >= oldest)]
        if query.get("showThreadMessages") != "true":
            found = [m for m in found if not m.get("tmid") or m.get("tshow")]
        found = found[::-1][int(query.get("offset", 0)) :]
        return {"messages": found[: min(int(query.get("count", 20)), 100)]}

    def get_channels_history(self, user: User, rest: str, query: Any) -> Any:
        """What was said in a channel."""
        return self._history(user, "c", query)

    def get_groups_history(self, user: User, rest: str, query: Any) -> Any:
        """What was said in a group."""
        return self._history(user, "p", query)

    def get_im_history(self, user: User, rest: str, query: Any) -> Any:
        """What was said in a direct room."""
        return self._history(user, "d", query)

    def get_chat_syncMessages(self, user: User, rest: str, query: Any) -> Any:
        """What was said, changed or deleted since then, the newest first."""
        room = self._in(user, query.get("roomId"))
        if "lastUpdate" not in query:
            raise ServerError("error-param-required", 'The "lastUpdate" query parameter is required.')
        since = datetime.fromisoformat(query["lastUpdate"]).timestamp() * 1000
        updated = [m for m in room.messages[::-1] if m["_updatedAt"] > since]
        deleted = [{"_id": native, "_deletedAt": at} for native, at in room.trash if at > since]
        return {"result": {"updated": updated, "deleted": deleted}}

    def get_chat_getMessage(self, user: User, rest: str, query: Any) -> Any:
        """One message."""
        found = self.find(query.get("msgId", ""))
        if not found or user.id not in found[0].members:
            raise ServerError("undefined")
        return {"message": found[1]}

    def _checked(self, user: User, room: Room, message: dict[str, Any]) -> None:
        if room.ro and not room.members[user.id]:
            raise ServerError("You can't send messages because the room is readonly.")
        if len(message.get("msg", "").encode("utf-16-le")) // 2 > self.settings["Message_MaxAllowedSize"]:
            raise ServerError("error-message-size-exceeded", "Message size exceeds Message_MaxAllowedSize")
        if (message.get("alias") or message.get("avatar")) and not self.may(user, "message-impersonate", room):
            raise ServerError("Not enough permission")
        if message.get("avatar") and not message["avatar"].startswith(("http://", "https://", "/")):
            raise ServerError("Invalid href value provided")
        if message.get("tmid"):
            parent = self.find(message["tmid"])
            message["tmid"] = parent[1].get("tmid") or message["tmid"] if parent else message["tmid"]

    def post_chat_sendMessage(self, user: User, rest: str, body: Any) -> Any:
        """Post a message under an id of the caller's."""
        message = dict(body["message"])
        if body.keys() - {"message", "previewUrls"} or message.keys() - MESSAGE_FIELDS:
            raise ServerError("invalid-params", "must NOT have additional properties")
        room = self._in(user, message.get("rid"))
        self._checked(user, room, message)
        if self.find(message.get("_id", "")):
            if self.duplicates_fail:
                raise ServerError("Cannot read properties of undefined (reading 'u')")
            return {}
        return {"message": self.insert(room.id, user.id, message)}

    def _own(self, user: User, body: Any) -> dict[str, Any]:
        found = self.find(body["msgId"])
        if not found:
            raise ServerError(f'No message found with the id of "{body["msgId"]}".')
        if body["roomId"] != found[0].id:
            raise ServerError("The room id provided does not match where the message is from.")
        if found[1]["u"]["_id"] != user.id:
            raise ServerError("error-action-not-allowed", "Not allowed")
        return found[1]

    def post_chat_update(self, user: User, rest: str, body: Any) -> Any:
        """Change a message."""
        message = self._own(user, body)
        self._checked(user, self.rooms[message["rid"]], {"msg": body["text"]})
        return {"message": self.update(body["msgId"], user.id, body["text"])}

    def post_chat_delete(self, user: User, rest: str, body: Any) -> Any:
        """Take a message away."""
        message = self._own(user, body)
        self.delete(message["_id"])
        return {"_id": message["_id"], "ts": str(self.now()), "message": message}

    def post_chat_react(self, user: User, rest: str, body: Any) -> Any:
        """Put a reaction on a message, or take it away."""
        if not self.find(body["messageId"]):
            raise ServerError(
                "error-message-not-found", 'The provided "messageId" does not match any existing message.'
            )
        self.react(body["messageId"], user.id, body["emoji"], body.get("shouldReact"))
        return {}

    def _taken(self, user: User, rid: str, form: Any) -> str:
        self._in(user, rid)
        file = form["file"]
        data = file.file.read()
        if len(data) > self.settings["FileUpload_MaxFileSize"]:
            raise ServerError("error-file-too-large", "File is too large")
        return self.upload(file.filename, file.content_type, data)

    def post_rooms_media(self, user: User, rest: str, form: Any) -> Any:
        """Take a file that is not posted yet."""
        file = self._taken(user, rest, form)
        return {"file": {"_id": file, "url": f"/file-upload/{file}/{self.files[file][0]}"}}

    def post_rooms_mediaConfirm(self, user: User, rest: str, body: Any) -> Any:
        """Post it."""
        rid, _, file = rest.partition("/")
        if file not in self.files or body.keys() - FILE_FIELDS:
            raise ServerError("invalid-file")
        self._checked(user, self._in(user, rid), body)
        return {"message": self.file_message(rid, user.id, file, dict(body))}

    def post_rooms_upload(self, user: User, rest: str, form: Any) -> Any:
        """Take and post a file, as older servers do."""
        if self.has_media:
            raise ServerError("the endpoint is gone")
        file = self._taken(user, rest, form)
        fields = {key: value for key, value in form.items() if key != "file"}
        self._checked(user, self._in(user, rest), fields)
        return {"message": self.file_message(rest, user.id, file, fields)}

    async def download(self, request: web.Request) -> web.StreamResponse:
        """``/file-upload/<id>/<name>``."""
        self.seen_headers.append(dict(request.headers))
        if self.redirect_files:
            return web.Response(status=302, headers={"Location": self.redirect_files})
        found = self.files.get(request.match_info["file"])
        if self._user(request) is None or found is None:
            return web.Response(status=403 if found else 404)
        return web.Response(body=found[2], content_type=found[1])


@asynccontextmanager
async def running_rocketchat() -> AsyncIterator[RocketChatDouble]:
    """The double on a free port."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    double = RocketChatDouble("")

    async def info(request: web.Request) -> web.Response:
        return web.json_response({"version": VERSION.rpartition(".")[0], "success": True})

    app.router.add_get("/api/info", info)
    app.router.add_get("/websocket", double.websocket)
    app.router.add_get("/file-upload/{file}/{name}", double.download)
    app.router.add_route("*", "/api/v1/{name:.+}", double.call)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    double.url = double.settings["Site_Url"] = f"http://127.0.0.1:{port}"
    try:
        yield double
    finally:
        for line in list(double.lines_up):
            await line.socket.close()
        await runner.cleanup()
