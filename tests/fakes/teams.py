"""A strict double of the Bot Connector with Teams behind it, made from the vendor's documentation.

Login (client credentials), the OpenID document with its keys, conversations and their activities, members, teams,
reactions, attachments; it signs what people do and posts it to the bot's endpoint. Sources: Bot Framework docs,
Authentication with the Bot Connector API and the API reference; Teams docs, Messages in bot conversations,
Conversation events, Format your bot messages, Rate limiting, Send and receive files; Teams SDK, reactions and quotes.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import secrets
import socket
import time
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

import aiohttp
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.teams_world import BadXml, Conversation, Ids, Message, Person, shown

ISSUER = "https://api.botframework.com"
SCOPE = "https://api.botframework.com/.default"
RATES = ((1.0, 7), (2.0, 8), (30.0, 60))
MAX_PAYLOAD_BYTES = 100_000
REACTION = re.compile(r"like|heart|laugh|surprised|sad|angry|launch|[0-9a-f]{4,5}_[a-z0-9]+")
_QUOTED = re.compile(r'<quoted messageId="(\d+)"/>\s?')


@cache
def rsa_key(name: str) -> Any:
    """A key pair for the whole session: they take a moment to make."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Fault:
    """What happens to the next request whose method and path fit, instead of the usual."""

    fits: str
    """A regular expression over ``POST /v3/conversations/…``."""
    status: int = 0
    """Answer this; 0: break the connection."""
    taken: bool = False
    """The request is carried out before."""
    headers: dict[str, str] | None = None
    body: dict[str, Any] | None = None
    delay_s: float = 0.0
    times: int = 1


class BotService:
    """Listens on a free port of this machine. ``app_id``, ``secret`` and ``tenant`` are the bot's registration."""

    def __init__(self, *, rates: bool = False, reactions: bool = True) -> None:
        self.app_id = "11111111-2222-3333-4444-555555555555"
        self.secret = "s3cret~of-the-b0t"
        self.tenant = "99999999-8888-7777-6666-555555555555"
        self.endpoint = ""
        self.rates = rates
        self.reactions = reactions
        self.token_life_s = 3600
        self.conversations: dict[str, Conversation] = {}
        self.teams: dict[str, str] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.faults: list[Fault] = []
        self.transcript: list[tuple[str, str, str]] = []
        """Method, path, body of every request of the bot."""
        self.tokens: dict[str, float] = {}
        self.key_id = "key-1"
        self.endorsements = ["msteams"]
        self.ids = Ids()
        self.changed = asyncio.Event()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.service_url = f"{self.url}/amer/"

    async def __aenter__(self) -> BotService:
        self._http = aiohttp.ClientSession()
        app = web.Application(client_max_size=4_000_000, middlewares=[self._watch])
        add = app.router.add_route
        add("POST", f"/login/{self.tenant}/oauth2/v2.0/token", self._login)
        add("GET", "/openid", self._openid)
        add("GET", "/keys", self._keys)
        base = "/amer/v3/conversations/{conversation}"
        add("POST", f"{base}/activities", self._create)
        add("POST", f"{base}/activities/{{id}}", self._create)
        add("PUT", f"{base}/activities/{{id}}", self._update)
        add("DELETE", f"{base}/activities/{{id}}", self._delete)
        add("PUT", f"{base}/activities/{{id}}/reactions/{{type}}", self._react)
        add("DELETE", f"{base}/activities/{{id}}/reactions/{{type}}", self._react)
        add("GET", f"{base}/pagedMembers", self._members)
        add("GET", "/amer/v3/teams/{team}", self._team)
        add("GET", "/amer/v3/teams/{team}/conversations", self._channels)
        add("GET", "/amer/v3/attachments/{id}/views/original", self._attachment)
        add("GET", "/sharepoint/{id}", self._download)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await self._runner.cleanup()
        self._socket.close()

    async def silence(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()

    def settings(self) -> dict[str, Any]:
        """What an account must be told to use this double."""
        return {
            "app_id": self.app_id,
            "app_secret": self.secret,
            "tenant_id": self.tenant,
            "login_url": f"{self.url}/login",
            "openid_url": f"{self.url}/openid",
            "service_hosts": (f"127.0.0.1:{self.port}",),
            "allow_http_loopback": True,
            "trusted_addresses": ("127.0.0.1",),
        }

    # --- rooms ---

    @property
    def bot(self) -> Person:
        """The bot as people see it."""
        return Person(f"28:{self.app_id}", "BridgeBot")

    def person(self, name: str) -> Person:
        """Somebody new."""
        return self.ids.person(name)

    def channel(self, team: str = "Garden Club", name: str = "Seeds", *people: Person) -> Conversation:
        """A channel of a team."""
        team_id = next((key for key, known in self.teams.items() if known == team), "")
        if not team_id:
            team_id = f"19:{secrets.token_hex(16)}@thread.tacv2"
            self.teams[team_id] = team
        made = Conversation(f"19:{secrets.token_hex(16)}@thread.tacv2", "channel", name, team_id, team)
        return self._keep(made, people)

    def chat(self, *people: Person, personal: bool = False) -> Conversation:
        """A chat of several, or with one person alone."""
        native = f"a:1{secrets.token_urlsafe(40)}" if personal else f"19:{secrets.token_hex(16)}@thread.v2"
        return self._keep(Conversation(native, "personal" if personal else "groupChat"), people)

    def _keep(self, made: Conversation, people: tuple[Person, ...]) -> Conversation:
        made.members = {person.name: person for person in people}
        self.conversations[made.id] = made
        return made

    # --- tokens ---

    async def _login(self, request: web.Request) -> web.Response:
        form = await request.post()
        problem = ""
        if form.get("grant_type") != "client_credentials" or form.get("scope") != SCOPE:
            problem = "AADSTS70003: wrong grant or scope"
        elif form.get("client_id") != self.app_id:
            problem = "AADSTS700016: Application not found in the directory"
        elif form.get("client_secret") != self.secret:
            problem = "AADSTS7000215: Invalid client secret provided."
        if problem:
            body = {"error": "invalid_client", "error_description": problem, "error_codes": [1]}
            return web.json_response(body, status=401)
        token = secrets.token_urlsafe(60)
        self.tokens[token] = time.monotonic() + self.token_life_s
        return web.json_response({"token_type": "Bearer", "expires_in": self.token_life_s, "access_token": token})

    async def _openid(self, request: web.Request) -> web.Response:
        return web.json_response({"issuer": ISSUER, "jwks_uri": f"{self.url}/keys"})

    async def _keys(self, request: web.Request) -> web.Response:
        raw = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(self.key_id).public_key()))
        key = raw | {"kid": self.key_id, "use": "sig", "x5t": self.key_id, "endorsements": self.endorsements}
        return web.json_response({"keys": [key]})

    def sign(self, *, key: str = "", algorithm: str = "RS256", head: dict[str, Any] | None = None, **more: Any) -> str:
        """A token for what is sent to the bot; ``more`` overrides claims, None takes one away."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": self.app_id,
            "nbf": now - 60,
            "exp": now + 3600,
            "serviceurl": self.service_url,
        } | more
        claims = {name: value for name, value in claims.items() if value is not None}
        secret: Any = rsa_key(key or self.key_id)
        if algorithm != "RS256":
            secret = None if algorithm == "none" else "k" * 64
        return jwt.encode(claims, secret, algorithm, headers={"kid": self.key_id, "x5t": self.key_id} | (head or {}))

    # --- what the bot asks ---

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        body = (await request.read()).decode("utf-8", "replace")
        self.transcript.append((request.method, request.path_qs, body))
        line = f"{request.method} {request.path}"
        fault = next((one for one in self.faults if re.search(one.fits, line)), None)
        if fault is None:
            return await handler(request)
        fault.times -= 1
        if not fault.times:
            self.faults.remove(fault)
        if fault.taken:
            await handler(request)
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if not fault.status:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(fault.body or {"error": {}}, status=fault.status or 500, headers=fault.headers)

    def _refuse(self, status: int, code: str, message: str = "", **headers: str) -> web.Response:
        return web.json_response({"error": {"code": code, "message": message}}, status=status, headers=headers)

    def _authorised(self, request: web.Request) -> web.Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or self.tokens.get(token, 0.0) < time.monotonic():
            return self._refuse(401, "BotUnauthorized", "Authorization has been denied for this request.")
        return None

    def _find(self, request: web.Request) -> tuple[Conversation, str] | web.Response:
        """The conversation of a request and the thread that it names."""
        if refused := self._authorised(request):
            return refused
        native, _, root = unquote(request.match_info["conversation"]).partition(";messageid=")
        conversation = self.conversations.get(native)
        if conversation is None:
            return self._refuse(404, "ConversationNotFound")
        if not conversation.has_bot:
            return self._refuse(403, "BotNotInConversationRoster")
        if root and (conversation.kind != "channel" or root not in conversation.messages):
            return self._refuse(400, "BadArgument", "Unknown thread")
        return conversation, root

    def _limited(self, conversation: Conversation) -> web.Response | None:
        now = time.monotonic()
        if self.rates:
            for window_s, most in RATES:
                if sum(now - at < window_s for at in conversation.posted_s) >= most:
                    return self._refuse(429, "TooManyRequests", "API calls quota exceeded", **{"Retry-After": "1"})
        conversation.posted_s.append(now)
        return None

    async def _create(self, request: web.Request) -> web.Response:
        found = self._find(request)
        if isinstance(found, web.Response):
            return found
        conversation, root = found
        if refused := self._limited(conversation):
            return refused
        activity = await self._activity(request)
        if isinstance(activity, web.Response):
            return activity
        if activity["type"] == "typing":
            if conversation.kind == "channel":
                return self._refuse(400, "BadArgument", "Typing is not shown in channels")
            conversation.typing.append(self.bot.name)
            self.changed.set()
            return web.json_response({}, status=201)
        pieces = [activity]
        if activity.get("text") and activity.get("attachments"):
            # Teams makes two messages of it, and the id of neither comes back.
            pieces = [activity | {"attachments": []}, activity | {"text": "", "entities": []}]
        made = []
        for piece in pieces:
            message = Message(self.ids.message(), self.bot.name, "", root=root)
            if (problem := self._fill(conversation, message, piece)) is not None:
                return problem
            made.append(message)
        for message in made:
            conversation.messages[message.id] = message
        self.changed.set()
        return web.json_response({"id": made[0].id} if len(made) == 1 else {}, status=201)

    async def _activity(self, request: web.Request) -> dict[str, Any] | web.Response:
        raw = await request.text()
        bare = re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]*", "", raw)
        if len(bare.encode("utf-16-le")) > MAX_PAYLOAD_BYTES:
            return self._refuse(413, "MessageSizeTooBig")
        try:
            activity: dict[str, Any] = json.loads(raw)
        except ValueError:
            return self._refuse(400, "BadSyntax")
        if activity.get("type") not in ("message", "typing"):
            return self._refuse(400, "BadSyntax", "type")
        if activity.get("textFormat", "markdown") not in ("plain", "markdown", "xml"):
            return self._refuse(400, "BadSyntax", "textFormat")
        if activity["type"] == "message" and not activity.get("text") and not activity.get("attachments"):
            return self._refuse(400, "BadArgument", "Activity with nothing in it")
        return activity

    def _fill(self, conversation: Conversation, message: Message, activity: dict[str, Any]) -> web.Response | None:
        source, message.quotes = activity.get("text") or "", ""
        for entity in activity.get("entities") or ():
            if entity["type"] != "quotedReply":
                return self._refuse(400, "BadArgument", "entities")
            message.quotes = entity["quotedReply"]["messageId"]
            if message.quotes not in conversation.messages or not _QUOTED.search(source):
                return self._refuse(400, "BadArgument", "quotedReply")
            source = _QUOTED.sub("", source)
        try:
            message.plain, message.spans = shown(source) if activity.get("textFormat") == "xml" else (source, [])
        except BadXml as error:
            return self._refuse(400, "BadSyntax", str(error))
        message.summary = activity.get("summary") or ""
        message.files, message.card = [], None
        for attachment in activity.get("attachments") or ():
            if attachment["contentType"].startswith("image/"):
                data = base64.b64decode(attachment["contentUrl"].partition(";base64,")[2], validate=True)
                if len(data) > 1_048_576:
                    return self._refuse(413, "MessageSizeTooBig")
                message.files.append((attachment["name"], attachment["contentType"], data))
            elif attachment["contentType"] == "application/vnd.microsoft.card.adaptive":
                message.card = attachment["content"]
            else:
                return self._refuse(400, "BadArgument", "attachment")
        return None

    def _own(self, request: web.Request) -> tuple[Conversation, Message] | web.Response:
        found = self._find(request)
        if isinstance(found, web.Response):
            return found
        message = found[0].messages.get(request.match_info["id"])
        if message is None or message.deleted:
            return self._refuse(404, "ActivityNotFoundInConversation")
        return found[0], message

    async def _update(self, request: web.Request) -> web.Response:
        found = self._own(request)
        if isinstance(found, web.Response):
            return found
        if found[1].author != self.bot.name:
            return self._refuse(403, "ForbiddenOperationException")
        activity = await self._activity(request)
        if isinstance(activity, web.Response):
            return activity
        if problem := self._fill(*found, activity):
            return problem
        self.changed.set()
        return web.json_response({"id": found[1].id})

    async def _delete(self, request: web.Request) -> web.Response:
        found = self._own(request)
        if isinstance(found, web.Response):
            return found
        if found[1].author != self.bot.name:
            return self._refuse(403, "ForbiddenOperationException")
        found[1].deleted = True
        self.changed.set()
        return web.Response(status=200)

    async def _react(self, request: web.Request) -> web.Response:
        if not self.reactions:
            return self._refuse(405, "MethodNotAllowed")
        found = self._own(request)
        if isinstance(found, web.Response):
            return found
        kind = request.match_info["type"]
        if not REACTION.fullmatch(kind):
            return self._refuse(400, "BadArgument", "reaction type")
        who = found[1].reactions.setdefault(kind, set())
        who.add(self.bot.id) if request.method == "PUT" else who.discard(self.bot.id)
        self.changed.set()
        return web.Response(status=200)

    async def _members(self, request: web.Request) -> web.Response:
        found = self._find(request)
        if isinstance(found, web.Response):
            return found
        people = [{"id": one.id, "name": one.name, "aadObjectId": one.aad} for one in found[0].members.values()]
        return web.json_response({"members": people[: int(request.query.get("pageSize", "50"))]})

    async def _team(self, request: web.Request) -> web.Response:
        team = unquote(request.match_info["team"])
        if refused := self._authorised(request):
            return refused
        if team not in self.teams:
            return self._refuse(404, "NotFound")
        return web.json_response({"id": team, "name": self.teams[team], "aadGroupId": secrets.token_hex(8)})

    async def _channels(self, request: web.Request) -> web.Response:
        team = unquote(request.match_info["team"])
        if refused := self._authorised(request):
            return refused
        found = [{"id": one.id, "name": one.name} for one in self.conversations.values() if one.team == team]
        return web.json_response({"conversations": [{"id": team, "name": None}, *found]})

    async def _attachment(self, request: web.Request) -> web.Response:
        return self._authorised(request) or self._bytes(request)

    async def _download(self, request: web.Request) -> web.Response:
        return self._bytes(request)

    def _bytes(self, request: web.Request) -> web.Response:
        kind, data = self.files.get(request.match_info["id"], ("", b""))
        return web.Response(body=data, content_type=kind) if kind else self._refuse(404, "NotFound")

    # --- what is sent to the bot ---

    async def deliver(self, activity: dict[str, Any], token: str | None = None, **headers: str) -> int:
        """Post an activity to the bot's endpoint; the status of its answer."""
        raw = json.dumps(activity).encode()
        return await self.deliver_raw(raw, f"Bearer {self.sign() if token is None else token}", **headers)

    async def deliver_raw(self, raw: bytes, authorization: str | None, **more: str) -> int:
        """Post anything."""
        headers = {"Content-Type": "application/json; charset=utf-8"} | more
        if authorization is not None:
            headers["Authorization"] = authorization
        async with self._http.post(self.endpoint, data=io.BytesIO(raw), headers=headers) as answer:
            return answer.status
