"""A strict double of a Mattermost server: REST API version 4 and websocket, as its API reference and model describe.

Errors have Mattermost's shape: ``{"id", "message", "detailed_error", "request_id", "status_code"}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.mattermost_stream import Problem, Sockets, forbidden
from tests.fakes.mattermost_text import EMOJI
from tests.fakes.mattermost_world import Channel, Raw, User

RESERVED = ("from_webhook", "override_username", "override_icon_url", "from_bot", "webhook_display_name")
POST_FIELDS = {"channel_id", "message", "root_id", "file_ids", "props", "pending_post_id", "metadata"}
SEEN_S = 30.0
USER = web.RequestKey("user", User)


@dataclass
class Fault:
    """What goes wrong with the next request that ``path`` (a regular expression of "METHOD path") matches."""

    path: str
    status: int = 0
    body: str | Raw = ""
    headers: dict[str, str] = field(default_factory=dict)
    drop: str = ""
    """``before`` or ``after`` the request is done."""
    hold: asyncio.Event | None = None


class MattermostDouble(Sockets):
    """The server, on a free port of the loopback interface."""

    def __init__(self) -> None:
        super().__init__()
        self.bot = self.person("bridge", is_bot=True)
        self.faults: list[Fault] = []
        self.transcript: list[tuple[str, str, Any]] = []
        """Method, path and body of every request."""
        self.may_revoke = False
        """Whether users have the permission revoke_user_access_token."""
        self.more_sessions: list[Raw] = []
        self._seen: dict[str, str] = {}
        self._app = web.Application(middlewares=[self._around], client_max_size=1 << 30)
        self._routes()
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.1)
        self.url = ""

    def _routes(self) -> None:
        table: list[tuple[str, str, Callable[..., Awaitable[Any]]]] = [
            ("GET", "config/client", self._config),
            ("POST", "users/login", self._login),
            ("POST", "users/logout", self._logout),
            ("GET", "users/me/sessions", self._sessions),
            ("POST", "users/tokens/revoke", self._revoke),
            ("GET", "users/me", self._me),
            ("GET", "users/me/teams", self._my_teams),
            ("GET", "users/me/channels", self._my_channels),
            ("GET", "users/{user}", self._user),
            ("GET", "channels/{channel}", self._channel),
            ("GET", "channels/{channel}/members/{user}", self._member),
            ("GET", "teams/{team}/members/{user}", self._team_member),
            ("GET", "channels/{channel}/posts", self._posts),
            ("POST", "posts", self._create),
            ("GET", "posts/{post}", self._post),
            ("PUT", "posts/{post}/patch", self._patch),
            ("DELETE", "posts/{post}", self._delete),
            ("POST", "reactions", self._react),
            ("DELETE", "users/{user}/posts/{post}/reactions/{emoji}", self._unreact),
            ("POST", "files", self._upload),
            ("GET", "files/{file}", self._file),
            ("GET", "websocket", self._websocket),
        ]
        for method, path, handler in table:
            self._app.router.add_route(method, f"/api/v4/{path}", handler)

    async def __aenter__(self) -> MattermostDouble:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        await self._runner.cleanup()

    # --- around every request

    @web.middleware
    async def _around(self, request: web.Request, handler: Any) -> web.StreamResponse:
        path = request.path.removeprefix("/api/v4/")
        fault = next((f for f in self.faults if re.fullmatch(f.path, f"{request.method} {path}")), None)
        if fault:
            self.faults.remove(fault)
            self.changed()
            if fault.hold:
                await fault.hold.wait()
            if fault.drop == "before":
                return self._dropped(request)
            if fault.status:
                return _faulty(fault)
        try:
            if path not in ("config/client", "users/login", "websocket"):
                request[USER] = self._who(request)
            answer: web.StreamResponse = await handler(request)
        except Problem as problem:
            answer = problem.response()
        except web.HTTPNotFound:
            answer = Problem(404, "api.context.404.app_error", "Sorry, we could not find the page.").response()
        self.changed()
        return self._dropped(request) if fault and fault.drop == "after" else answer

    def _dropped(self, request: web.Request) -> web.Response:
        if request.transport:
            request.transport.abort()
        return web.Response()

    async def _body(self, request: web.Request, *allowed: str) -> Raw:
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or set(body) - set(allowed):
            raise Problem(400, "api.context.invalid_body_param.app_error", f"Invalid or missing parameter: {body}")
        self.transcript.append((request.method, request.path.removeprefix("/api/v4/"), body))
        return body

    def _in(self, request: web.Request, channel: str) -> Channel:
        found = self.channels.get(channel)
        if found is None:
            raise Problem(404, "app.channel.get.existing.app_error", "Unable to find the existing channel.")
        if request[USER].id not in found.members:
            raise forbidden()
        return found

    def _own(self, request: web.Request, post: str) -> Raw:
        found = self.posts.get(post)
        if found is None or found["delete_at"] or found["user_id"] != request[USER].id:
            raise forbidden()
        return found

    # --- who and where

    async def _config(self, request: web.Request) -> web.Response:
        if request.query.get("format") != "old":
            raise Problem(400, "api.config.client.old_format.app_error")
        return web.json_response(self.config, headers={"X-Version-Id": f"{self.config['Version']}.x"})

    async def _login(self, request: web.Request) -> web.Response:
        body = await self._body(request, "login_id", "password", "token", "device_id")
        found = [user for user in self.users.values() if user.username == body["login_id"] and user.password]
        if not found or found[0].password != body["password"]:
            raise Problem(401, "api.user.login.invalid_credentials_email_username")
        if found[0].mfa:
            raise Problem(401, "mfa.validate_token.authenticate.app_error")
        found[0].is_integration = False
        return web.json_response(found[0].raw(), headers={"Token": found[0].token})

    async def _logout(self, request: web.Request) -> web.Response:
        """Ends the session; that of a token comes back with its next use."""
        if not request[USER].is_integration:
            request[USER].token = f"ended-{request[USER].id}"
        return web.json_response({"status": "OK"})

    async def _sessions(self, request: web.Request) -> web.Response:
        user = request[USER]
        props = {"type": "UserAccessToken", "user_access_token_id": f"id-of-{user.id}"} if user.is_integration else {}
        return web.json_response([{"id": "s1", "token": "", "user_id": user.id, "props": props}, *self.more_sessions])

    async def _revoke(self, request: web.Request) -> web.Response:
        body, user = await self._body(request, "token_id"), request[USER]
        if not self.may_revoke:
            raise forbidden()
        if body.get("token_id") != f"id-of-{user.id}":
            raise Problem(400, "app.user_access_token.get.app_error", "Unable to get the token.")
        user.token = f"revoked-{user.id}"
        return web.json_response({"status": "OK"})

    async def _me(self, request: web.Request) -> web.Response:
        return web.json_response(request[USER].raw())

    async def _user(self, request: web.Request) -> web.Response:
        user = self.users.get(request.match_info["user"])
        if user is None:
            raise Problem(404, "app.user.missing_account.const", "Unable to find the user.")
        return web.json_response(user.raw())

    def _joined(self, user: User) -> list[Channel]:
        return [c for c in self.channels.values() if user.id in c.members and not c.delete_at]

    async def _my_teams(self, request: web.Request) -> web.Response:
        mine = {channel.team_id for channel in self._joined(request[USER])}
        return web.json_response([team for team in self.teams.values() if team["id"] in mine])

    async def _my_channels(self, request: web.Request) -> web.Response:
        return web.json_response([channel.raw() for channel in self._joined(request[USER])])

    async def _channel(self, request: web.Request) -> web.Response:
        return web.json_response(self._in(request, request.match_info["channel"]).raw())

    async def _member(self, request: web.Request) -> web.Response:
        channel = self._in(request, request.match_info["channel"])
        user = request.match_info["user"]
        if user not in channel.members:
            raise Problem(404, "app.channel.get_member.missing.app_error", "No channel member found.")
        is_admin = channel.members[user]
        roles = "channel_user channel_admin" if is_admin else "channel_user"
        return web.json_response(
            {"channel_id": channel.id, "user_id": user, "roles": roles, "scheme_user": True, "scheme_admin": is_admin}
        )

    async def _team_member(self, request: web.Request) -> web.Response:
        team, user = request.match_info["team"], request.match_info["user"]
        is_admin = (team, user) in self.team_admins
        roles = "team_user team_admin" if is_admin else "team_user"
        return web.json_response({"team_id": team, "user_id": user, "roles": roles, "scheme_admin": is_admin})

    # --- posts

    async def _posts(self, request: web.Request) -> web.Response:
        channel = self._in(request, request.match_info["channel"])
        query = request.query
        if int(query.get("per_page", "60")) > 200:
            raise Problem(400, "api.context.invalid_url_param.app_error")
        mine = [post for post in self.posts.values() if post["channel_id"] == channel.id]
        if "since" in query:
            mine = [post for post in mine if post["update_at"] > int(query["since"])][-1000:]
        else:
            mine = [post for post in mine if not post["delete_at"]]
            size = int(query.get("per_page", "60"))
            if "after" in query:
                start = self.posts.get(query["after"])
                mine = [post for post in mine if start and post["create_at"] > start["create_at"]][:size]
            else:
                mine = mine[-size:]
        order = [post["id"] for post in reversed(mine)]
        shown = {post["id"]: self.shown_post(post) for post in mine}
        for post in mine:
            if (root := post["root_id"]) and root not in shown:
                shown[root] = self.shown_post(self.posts[root])
        return web.json_response({"order": order, "posts": shown, "next_post_id": "", "prev_post_id": ""})

    async def _post(self, request: web.Request) -> web.Response:
        post = self.posts.get(request.match_info["post"])
        if post is None or post["delete_at"]:
            raise Problem(404, "app.post.get.app_error", "Unable to get the post.")
        self._in(request, post["channel_id"])
        return web.json_response(self.shown_post(post))

    async def _create(self, request: web.Request) -> web.Response:
        body = await self._body(request, *POST_FIELDS)
        user: User = request[USER]
        pending = str(body.get("pending_post_id") or "")
        if pending and pending in self._seen:
            if not self._seen[pending]:
                raise Problem(500, "api.post.deduplicate_create_post.pending")
            known = self.posts[self._seen[pending]] | {"pending_post_id": ""}
            return web.json_response(self.shown_post(known), status=201)
        channel = self._in(request, str(body.get("channel_id") or ""))
        self._check(channel, body, user)
        props = self._props(dict(body.get("props") or {}), user)
        post = self.post(
            user,
            channel,
            body.get("message", ""),
            root_id=body.get("root_id", ""),
            props=props,
            file_ids=body.get("file_ids") or [],
            pending_post_id=pending,
        )
        if pending:
            self._seen[pending] = post["id"]
            asyncio.get_running_loop().call_later(SEEN_S, self._seen.pop, pending, None)
        return web.json_response(self.shown_post(post), status=201)

    def _check(self, channel: Channel, body: Raw, user: User) -> None:
        if channel.delete_at:
            raise Problem(400, "api.post.create_post.can_not_post_to_deleted.error")
        if len(body.get("message", "")) > int(self.config["MaxPostSize"]):
            raise Problem(400, "model.post.is_valid.message_length.app_error")
        files = body.get("file_ids") or []
        if not body.get("message", "").strip() and not files:
            raise Problem(400, "api.context.invalid_body_param.app_error", "Invalid or missing message.")
        if len(files) > 10 or any(file not in self.files for file in files):
            raise Problem(400, "api.post.create_post.files.app_error")
        if root := body.get("root_id"):
            found = self.posts.get(root)
            if found is None or found["delete_at"] or found["root_id"]:
                raise Problem(400, "api.post.create_post.root_id.app_error", "Invalid RootId parameter.")
            if found["channel_id"] != channel.id:
                raise Problem(400, "api.post.create_post.channel_root_id.app_error")
        hardened = self.config.get("ExperimentalEnableHardenedMode") == "true"
        if hardened and not user.is_integration and set(RESERVED) & set(body.get("props") or {}):
            raise Problem(400, "api.context.invalid_body_param.app_error", "Invalid or missing props.")

    def _props(self, props: Raw, user: User) -> Raw:
        """From version 12 only the server itself says what a post is from."""
        if self.major >= 12:
            props = {name: value for name, value in props.items() if name not in RESERVED}
        return props | ({"from_bot": "true"} if user.is_bot else {})

    async def _patch(self, request: web.Request) -> web.Response:
        body = await self._body(request, "message", "props", "file_ids", "is_pinned")
        post = self._own(request, request.match_info["post"])
        if len(body.get("message", "")) > int(self.config["MaxPostSize"]):
            raise Problem(400, "model.post.is_valid.message_length.app_error")
        self.edit(post, body.get("message", post["message"]))
        return web.json_response(self.shown_post(post))

    async def _delete(self, request: web.Request) -> web.Response:
        self.delete(self._own(request, request.match_info["post"]), request[USER])
        return web.json_response({"status": "OK"})

    # --- reactions and files

    async def _react(self, request: web.Request) -> web.Response:
        body = await self._body(request, "user_id", "post_id", "emoji_name")
        if body["user_id"] != request[USER].id:
            raise forbidden()
        if body["emoji_name"] not in EMOJI:
            raise Problem(404, "app.emoji.get_by_name.no_result", "Unable to find the emoji.")
        post = self.posts.get(body["post_id"])
        if post is None or post["delete_at"]:
            raise forbidden()
        self.react(request[USER], post, body["emoji_name"])
        return web.json_response(body, status=201)

    async def _unreact(self, request: web.Request) -> web.Response:
        info = request.match_info
        post = self.posts.get(info["post"])
        if post is None or info["user"] != request[USER].id:
            raise forbidden()
        self.react(request[USER], post, info["emoji"], added=False)
        return web.json_response({"status": "OK"})

    async def _upload(self, request: web.Request) -> web.Response:
        channel = self._in(request, request.query.get("channel_id", ""))
        if self.config["EnableFileAttachments"] != "true":
            raise Problem(403, "api.file.attachments.disabled.app_error")
        found = []
        async for part in await request.multipart():
            if part.name == "files":  # type: ignore[union-attr]
                data = bytes(await part.read())  # type: ignore[union-attr]
                if len(data) > int(self.config["MaxFileSize"]):
                    raise Problem(413, "api.file.upload_file.too_large_detailed.app_error")
                mime = part.headers.get("Content-Type", "")  # type: ignore[union-attr]
                name = part.filename or ""  # type: ignore[union-attr]
                found.append(self.upload(name, mime, data, request[USER], channel))
        if not found:
            raise Problem(400, "api.file.upload_file.no_files.app_error")
        infos = [self.files[file][0] for file in found]
        return web.json_response({"file_infos": infos, "client_ids": []}, status=201)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        found = self.files.get(request.match_info["file"])
        if found is None:
            raise Problem(404, "app.file_info.get.app_error", "Unable to get the file info.")
        answer = web.StreamResponse()
        answer.content_type = found[0]["mime_type"] or "application/octet-stream"
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(found[1]), 65_536):
                await answer.write(found[1][start : start + 65_536])
            await answer.write_eof()
        return answer


def _faulty(fault: Fault) -> web.Response:
    if isinstance(fault.body, dict):
        return web.json_response(fault.body, status=fault.status, headers=fault.headers)
    return web.Response(text=fault.body, status=fault.status, headers=fault.headers)
