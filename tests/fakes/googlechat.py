"""A double of Google Chat: the Chat API, the token endpoint, both key sets, Pub/Sub and the Workspace Events API on one
port, made from Google's published protos (google/chat/v1, google/pubsub/v1, apps/events/subscriptions/v1) and guides.

It is strict: tokens and their scopes, field names, ids, sizes, membership and rates are looked at, and errors come as
Google's do. People's doings are in :mod:`tests.fakes.googlechat_people`.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

from aiohttp import web

from tests.fakes import googlechat_keys as keys
from tests.fakes.googlechat_events import Events
from tests.fakes.googlechat_model import BOT, READ, Failure, Fault, Space

CREATE_PARAMS = {"requestId", "messageId", "messageReplyOption", "threadKey"}
CREATE_FIELDS = {"text", "markupSyntax", "thread", "cardsV2", "fallbackText", "quotedMessageMetadata"}
SYNTAXES = {"MARKUP_SYNTAX_MARKDOWN", "MARKUP_SYNTAX_CHAT"}
OWN_ID = re.compile(r"client-[a-z0-9-]{1,56}")
MAX_BYTES = 32_000


class GoogleChatDouble(Events):
    """The service. ``clock``: Unix time in seconds, which also stands in the messages."""

    app = "users/90000"
    app_name = "BridgeBot"
    project_number = "123456789012"
    email = "bridge@garden.iam.gserviceaccount.com"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._ticks = count(1)
        self.approved = True
        """An administrator approved the app's scopes."""
        self.limits_rate = False
        self.poll_s = 1.0
        self.key_name = "service-account"
        self.chat_key, self.oidc_key = "chat-key-1", "google-key-1"
        self.spaces: dict[str, Space] = {}
        self.users: dict[str, dict[str, Any]] = {
            self.app: {"name": self.app, "displayName": self.app_name, "type": "BOT"}
        }
        self.tokens: dict[str, set[str]] = {}
        self.faults: list[Fault] = []
        self.transcript: list[tuple[str, str, Any]] = []
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.queue: list[dict[str, Any]] = []
        self.leased: dict[str, dict[str, Any]] = {}
        self.media: dict[str, bytes] = {}
        self.requests_seen: dict[tuple[str, str], str] = {}
        self.token_grants = 0
        self.key_reads = 0
        self.is_down = False
        self.news = asyncio.Event()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.2)

    async def __aenter__(self) -> GoogleChatDouble:
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.poll_s = 0
        self.changed()
        await self._runner.cleanup()
        self._socket.close()

    def key_file(self) -> str:
        """The JSON of the app's service account."""
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "garden",
                "private_key_id": "k1",
                "private_key": keys.pem(self.key_name),
                "client_email": self.email,
                "client_id": "1",
                "token_uri": f"{self.url}/token",
            }
        )

    def urls(self) -> dict[str, str]:
        """What stands in an account's configuration instead of Google's addresses."""
        return {
            "chat_url": self.url,
            "pubsub_url": self.url,
            "events_url": self.url,
            "oidc_keys_url": f"{self.url}/oidc-keys",
            "chat_keys_url": f"{self.url}/chat-keys",
        }

    def now_s(self) -> float:
        """A little later each time."""
        return self._clock() + next(self._ticks) / 1000

    def stamp(self) -> str:
        """Now, as Google writes it."""
        return datetime.fromtimestamp(self.now_s(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def changed(self) -> None:
        """Wake who waits for something."""
        self.news.set()
        self.news = asyncio.Event()

    # --- HTTP ---

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._middleware], client_max_size=1 << 20)
        add = app.router.add_route
        add("POST", "/token", self._token)
        add("GET", "/chat-keys", self._chat_keys)
        add("GET", "/oidc-keys", self._oidc_keys)
        add("GET", "/v1/spaces", self._list_spaces)
        add("GET", "/v1/spaces/{space}", self._get_space)
        add("GET", "/v1/spaces/{space}/members/{member}", self._get_member)
        add("POST", "/v1/spaces/{space}/messages", self._create)
        add("GET", "/v1/spaces/{space}/messages", self._list_messages)
        add("GET", "/v1/spaces/{space}/messages/{message}", self._get_message)
        add("PATCH", "/v1/spaces/{space}/messages/{message}", self._patch)
        add("DELETE", "/v1/spaces/{space}/messages/{message}", self._delete)
        add("GET", "/v1/media/{resource:.+}", self._media)
        add("POST", "/v1/subscriptions", self._subscribe)
        add("PATCH", "/v1/subscriptions/{id}", self._renew)
        add("DELETE", "/v1/subscriptions/{id}", self._unsubscribe)
        add("POST", "/v1/subscriptions/{id}:reactivate", self._reactivate)
        add("GET", "/v1/projects/{project}/subscriptions/{name}", self._get_subscription)
        for verb in ("pull", "acknowledge", "modifyAckDeadline"):
            add("POST", f"/v1/projects/{{project}}/subscriptions/{{name}}:{verb}", self._pubsub)
        return app

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.is_down:
            _cut(request)
        fault = next((one for one in self.faults if one.path in request.path and one.method == request.method), None)
        if fault:
            self.faults.remove(fault)
            await asyncio.sleep(fault.delay_s)
            if fault.cut == "before":
                _cut(request)
            if fault.answer:
                response = fault.answer.response()
                response.headers.update(fault.headers)
                return response
        try:
            answer: web.StreamResponse = await handler(request)
        except Failure as failure:
            answer = failure.response()
        if fault and fault.cut == "after":
            _cut(request)
        return answer

    async def _body(self, request: web.Request, allowed: set[str]) -> dict[str, Any]:
        try:
            body = await request.json()
        except ValueError:
            raise Failure(400, "Invalid JSON payload received.") from None
        if unknown := set(body) - allowed:
            raise Failure(400, f'Invalid JSON payload received. Unknown name "{min(unknown)}": Cannot find field.')
        self.transcript.append((request.method, request.path, body))
        return body

    def _authorise(self, request: web.Request, *scopes: str) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if "access_token" in request.query or scheme != "Bearer" or token not in self.tokens:
            raise Failure(401, "Request had invalid authentication credentials.")
        if not self.tokens[token] & set(scopes):
            raise Failure(403, "Request had insufficient authentication scopes.", {}, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        if READ in self.tokens[token] and not self.approved:
            raise Failure(403, "The caller does not have permission")

    # --- tokens and keys ---

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        try:
            if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
                raise ValueError("Invalid grant_type")
            claims = keys.verified(self.key_name, str(form["assertion"]), f"{self.url}/token", self._clock())
            if claims["iss"] != self.email:
                raise ValueError("Invalid grant: account not found")
        except (ValueError, KeyError) as error:
            return web.json_response({"error": "invalid_grant", "error_description": str(error)}, status=400)
        self.token_grants += 1
        token = f"ya29.{secrets.token_urlsafe(24)}"
        self.tokens[token] = set(str(claims["scope"]).split())
        return web.json_response({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    async def _chat_keys(self, request: web.Request) -> web.Response:
        self.key_reads += 1
        return web.json_response({self.chat_key: keys.certificate(self.chat_key)})

    async def _oidc_keys(self, request: web.Request) -> web.Response:
        self.key_reads += 1
        headers = {"Cache-Control": "public, max-age=20000, must-revalidate"}
        return web.json_response({"keys": [keys.jwk(self.oidc_key)]}, headers=headers)

    # --- spaces and members ---

    def _space(self, request: web.Request) -> Space:
        space = self.spaces.get(request.match_info["space"])
        if space is None or not space.has_app:
            raise Failure(404, "Space not found, or the app is not a member of it.")
        return space

    async def _list_spaces(self, request: web.Request) -> web.Response:
        self._authorise(request, BOT)
        size = int(request.query.get("pageSize", "100"))
        start = int(request.query.get("pageToken", "0"))
        found = [space.resource() for space in self.spaces.values() if space.has_app]
        answer: dict[str, Any] = {"spaces": found[start : start + size]}
        if start + size < len(found):
            answer["nextPageToken"] = str(start + size)
        return web.json_response(answer if found else {})

    async def _get_space(self, request: web.Request) -> web.Response:
        self._authorise(request, BOT)
        return web.json_response(self._space(request).resource())

    async def _get_member(self, request: web.Request) -> web.Response:
        self._authorise(request, BOT)
        space, member = self._space(request), request.match_info["member"]
        user = self.app if member == "app" else f"users/{member}"
        if user != self.app and user not in space.members:
            raise Failure(404, "Membership not found.")
        return web.json_response(
            {
                "name": f"spaces/{space.id}/members/{member}",
                "state": "JOINED",
                "role": space.members.get(user, "ROLE_MEMBER"),
                "member": {key: self.users[user][key] for key in ("name", "displayName", "type")},
            }
        )

    # --- messages ---

    async def _create(self, request: web.Request) -> web.Response:
        self._authorise(request, BOT)
        if unknown := set(request.query) - CREATE_PARAMS:
            raise Failure(400, f"Unknown query parameter {min(unknown)}")
        body = await self._body(request, CREATE_FIELDS)
        space = self._space(request)
        seen = self.requests_seen.get((space.id, request.query.get("requestId", "")))
        if seen and seen in space.messages:
            return web.json_response(self.shown(space, space.messages[seen]))
        own_id = request.query.get("messageId", "")
        if own_id and not OWN_ID.fullmatch(own_id):
            raise Failure(400, "Invalid message_id.")
        if any(own_id and message.get("clientAssignedMessageId") == own_id for message in space.messages.values()):
            raise Failure(409, "The message ID is already in use.")
        self._check_content(body)
        self._spend(space)
        message = self._made(space, body, request.query.get("messageReplyOption", ""))
        message["clientAssignedMessageId"] = own_id
        if request.query.get("requestId"):
            self.requests_seen[space.id, request.query["requestId"]] = message["name"].rpartition("/")[2]
        self.happened(space, "message.v1.created", "message", message)
        self.changed()
        return web.json_response(self.shown(space, message))

    def _check_content(self, body: dict[str, Any]) -> None:
        if not body.get("text") and not body.get("cardsV2"):
            raise Failure(400, "Message cannot be empty.")
        if body.get("markupSyntax", "MARKUP_SYNTAX_MARKDOWN") not in SYNTAXES:
            raise Failure(400, "Invalid value at 'message.markup_syntax'")
        if len(json.dumps(body, ensure_ascii=False).encode()) > MAX_BYTES:
            raise Failure(400, "Message is too long.")

    def _spend(self, space: Space) -> None:
        now_s = time.monotonic()
        space.writes_s = [at_s for at_s in space.writes_s if now_s - at_s < 1]
        if self.limits_rate and space.writes_s:
            raise Failure(
                429,
                "Quota exceeded for quota metric 'Message writes' and limit 'Message writes per second per space'.",
                {"quota_limit": "MessageWritesPerSecondPerSpace", "service": "chat.googleapis.com"},
                "RATE_LIMIT_EXCEEDED",
            )
        space.writes_s.append(now_s)

    def _made(self, space: Space, body: dict[str, Any], reply_option: str) -> dict[str, Any]:
        thread = str(body.get("thread", {}).get("name", "")).rpartition("/")[2] if reply_option else ""
        standing = {message["thread"]["name"].rpartition("/")[2] for message in space.messages.values()}
        if thread and (thread not in standing or space.threading == "UNTHREADED_MESSAGES"):
            if reply_option == "REPLY_MESSAGE_OR_FAIL":
                raise Failure(404, "Thread not found.")
            thread = ""
        quoted = body.get("quotedMessageMetadata")
        if quoted:
            self._check_quote(space, quoted, thread)
        return self.post(space, self.app, thread, {key: body[key] for key in body if key != "thread"})

    def _check_quote(self, space: Space, quoted: dict[str, Any], thread: str) -> None:
        place, _, native = str(quoted.get("name")).rpartition("/messages/")
        message = space.messages.get(native)
        if place != f"spaces/{space.id}" or message is None:
            raise Failure(404, "Quoted message not found.")
        if quoted.get("lastUpdateTime") != message.get("lastUpdateTime", message["createTime"]):
            raise Failure(400, "Quoted message's last_update_time does not match.")
        where = message["thread"]["name"].rpartition("/")[2]
        if (message.get("threadReply") or thread) and where != thread:
            raise Failure(400, "Cannot quote a message of another thread.")

    def post(self, space: Space, sender: str, thread: str, content: dict[str, Any]) -> dict[str, Any]:
        """Somebody's message is there."""
        number = secrets.token_urlsafe(8).replace("-", "x").replace("_", "y")
        root = thread or number
        message = {
            "name": f"spaces/{space.id}/messages/{root}.{number}",
            "sender": sender,
            "createTime": self.stamp(),
            "thread": {"name": f"spaces/{space.id}/threads/{root}"},
            "threadReply": bool(thread),
            "reactions": {},
            **content,
        }
        space.messages[f"{root}.{number}"] = message
        return message

    def shown(self, space: Space, message: dict[str, Any], *, full: bool = True) -> dict[str, Any]:
        """A message as the API shows it; ``full``: with the sender's name, as interaction events have it."""
        user = self.users[message["sender"]]
        hidden = {"reactions", "sender", "markupSyntax"}
        resource = {key: value for key, value in message.items() if key not in hidden and value not in ("", False)}
        fields = user if full else {key: user[key] for key in ("name", "type")}
        return {**resource, "sender": dict(fields), "space": space.resource()}

    def find(self, space: Space, native: str) -> dict[str, Any]:
        """A message by its id or by the app's own. Raises Failure."""
        for name, message in space.messages.items():
            if native in (name, message.get("clientAssignedMessageId")):
                return message
        raise Failure(404, "Message not found.")

    async def _get_message(self, request: web.Request) -> web.Response:
        self._authorise(request, BOT, READ)
        space = self._space(request)
        return web.json_response(self.shown(space, self.find(space, request.match_info["message"])))

    async def _list_messages(self, request: web.Request) -> web.Response:
        self._authorise(request, READ)
        space = self._space(request)
        found = re.fullmatch(r'create_time > "([^"]+)"', request.query.get("filter", 'create_time > "1970"'))
        if not found or request.query.get("orderBy", "ASC") != "ASC":
            raise Failure(400, "Invalid filter.")
        size, start = int(request.query.get("pageSize", "25")), int(request.query.get("pageToken", "0"))
        listed = [self.shown(space, one, full=False) for one in space.messages.values() if one["createTime"] > found[1]]
        answer: dict[str, Any] = {"messages": listed[start : start + size]} if listed else {}
        if start + size < len(listed):
            answer["nextPageToken"] = str(start + size)
        return web.json_response(answer)

    def _own(self, request: web.Request) -> tuple[Space, dict[str, Any]]:
        self._authorise(request, BOT)
        space = self._space(request)
        message = self.find(space, request.match_info["message"])
        if message["sender"] != self.app:
            raise Failure(403, "The app can only change messages that it created.")
        return space, message

    async def _patch(self, request: web.Request) -> web.Response:
        space, message = self._own(request)
        mask = set(request.query.get("updateMask", "").split(","))
        if not mask or not mask <= {"text", "cardsV2", "quotedMessageMetadata"}:
            raise Failure(400, "Invalid update mask.")
        body = await self._body(request, CREATE_FIELDS)
        self._check_content(body)
        self._spend(space)
        message |= {key: body[key] for key in mask if key in body}
        message["markupSyntax"] = body.get("markupSyntax", "MARKUP_SYNTAX_CHAT")
        message["lastUpdateTime"] = self.stamp()
        self.happened(space, "message.v1.updated", "message", message)
        self.changed()
        return web.json_response(self.shown(space, message))

    async def _delete(self, request: web.Request) -> web.Response:
        space, message = self._own(request)
        self._spend(space)
        self.gone(space, message, "CREATOR_VIA_APP")
        return web.json_response({})

    def gone(self, space: Space, message: dict[str, Any], how: str) -> None:
        """A message was deleted."""
        del space.messages[message["name"].rpartition("/")[2]]
        left = {"name": message["name"], "createTime": message["createTime"], "deletionMetadata": {"deletionType": how}}
        self.happened(space, "message.v1.deleted", "message", left)
        self.changed()

    async def _media(self, request: web.Request) -> web.StreamResponse:
        self._authorise(request, BOT, READ)
        data = self.media.get(request.match_info["resource"])
        if request.query.get("alt") != "media" or data is None:
            raise Failure(404, "Attachment not found.")
        return web.Response(body=data)


def _cut(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise web.HTTPInternalServerError
