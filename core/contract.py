"""What a chat service must and may offer to the relay: the only thing an adapter and the core share.

An adapter is one account on one platform. It implements :class:`Adapter` and as many of the optional
protocols below as the service can do; the core finds them by type. It raises only the errors below.
Adapters keep nothing that matters in memory: what they must remember goes into :class:`Services`' store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

from core.giving import Handout, SignIn, no_handout, nothing_to_revoke
from core.model import (
    AccountId,
    Author,
    NativeId,
    PlatformEvent,
    PlatformId,
    RoomId,
    Text,
)

if TYPE_CHECKING:
    from aiohttp import web
    from redis.asyncio import Redis


# --- errors -------------------------------------------------------------------------------------------------


class AdapterError(Exception):
    """Base of everything an adapter may raise."""


class Retry(AdapterError):
    """Certainly not sent; worth another try after ``after_s`` seconds (a 429, a busy server).

    ``whole_account``: the platform refuses everything of this account for so long, not only this room's posts.
    """

    def __init__(self, after_s: float, reason: str = "", *, whole_account: bool = False) -> None:
        super().__init__(reason or f"try again in {after_s} s")
        self.after_s = after_s
        self.whole_account = whole_account


class Offline(Retry):
    """Certainly not sent: the account has no connection. Tried again at once when ``Emit.online()`` is called."""


class Rejected(AdapterError):
    """Will never be accepted. ``reason`` is shown to people in the room the message came from."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AuthLost(AdapterError):
    """The account's credentials no longer work. Everything for it waits until the operator renews them."""


class Uncertain(AdapterError):
    """The request left and no answer came: sent or not, nobody knows."""


# --- capabilities -------------------------------------------------------------------------------------------

Level = Literal["full", "partial", "fallback", "drop"]
"""full: as the platform's own users do it. partial: with something missing. fallback: a readable substitute.
drop: silently nothing (allowed only for typing)."""
Unit = Literal["bytes", "utf16", "characters"]


class Capabilities(msgspec.Struct, frozen=True):
    """What a room can show, and its limits. The core adapts to this and never to a platform's name."""

    edit: Level = "fallback"
    delete: Level = "fallback"
    reply: Level = "fallback"
    thread: Level = "fallback"
    reaction: Level = "fallback"
    file: Level = "fallback"
    typing: Level = "drop"
    names: Level = "fallback"
    """full: posts under the author's own name; the core then puts no name into the text."""
    avatars: Level = "drop"
    entities: frozenset[str] = frozenset()
    """Entity types the room shows as such; the others reach the reader as plain text."""
    text_limit: int = 4000
    """Longest text of one post, in ``text_unit``. The adapter splits; the core caps the number of parts."""
    text_unit: Unit = "characters"
    file_limit_bytes: int = 0
    rate_per_s: float = 0.0
    """Posts per second that the room takes in the long run; 0: no limit of the platform's own."""
    rate_burst: int = 1
    account_rate_per_s: float = 0.0
    """Posts per second that the platform takes from the whole account; the same in all its rooms. 0: no limit."""
    account_rate_burst: int = 1
    bold_names: bool = False
    """Where the author's name stands in the text, people of this platform expect it in bold."""
    idempotent: bool = False
    """The platform drops a second post with the same ``Outbound.key``."""
    multiline: bool = True


# --- what goes out ------------------------------------------------------------------------------------------


class OutFile(msgspec.Struct, frozen=True):
    """A file to post. ``open()`` streams its bytes from the origin; ``link`` is a signed, expiring link to it."""

    name: str
    mime: str
    size_bytes: int
    link: str
    open: Callable[[], AsyncIterator[bytes]]


class Outbound(msgspec.Struct, frozen=True):
    """One post for one room, ready for the platform: ``text`` already holds the author's name where the
    room's ``names`` capability is not ``full``, and a readable substitute for all the room cannot show.
    """

    room: RoomId
    key: str
    """Idempotency key: the same on every try of the same post; printable ASCII, at most 64 characters."""
    text: Text
    author: Author | None = None
    """None: the bot itself speaks (a reply to a command, a notice). The id is one that no author of another account
    has; it is empty for a post that stands for messages of several people, whose names are then in the text."""
    reply_to: NativeId | None = None
    """The answered message as it is known in ``room``. Set only where the room's ``reply`` is not fallback."""
    thread: NativeId | None = None
    files: tuple[OutFile, ...] = ()
    max_parts: int = 8


class Receipt(msgspec.Struct, frozen=True):
    """The platform took it. ``natives``: the platform's ids of the posts made, in order; empty where unknown."""

    natives: tuple[NativeId, ...] = ()


class RoomInfo(msgspec.Struct, frozen=True):
    """A room for people. ``title`` as members know it (``#garden``), ``detail`` where it is (``Libera.Chat``)."""

    room: RoomId
    title: str
    detail: str = ""


class Invite(msgspec.Struct, frozen=True):
    """How to bring the bot into a room: a link that does it in one tap, or else the exact steps in words."""

    title: str
    steps: tuple[str, ...]
    url: str = ""


class Since(msgspec.Struct, frozen=True):
    """The newest message of a room that was taken in: where its history is read on."""

    native: NativeId
    at_ms: int


class Remembered(msgspec.Struct, frozen=True):
    """A stretch of history: ``events`` in order, with the native ids that they had (or would have had) live."""

    events: tuple[PlatformEvent, ...]
    more: bool = False
    """There is more after the last of ``events``: ask again from there."""
    complete: bool = True
    """False: the platform no longer has everything since then."""


# --- what the host gives to an adapter ----------------------------------------------------------------------


class Emit(Protocol):
    """An adapter's way into the relay."""

    def __call__(self, event: PlatformEvent) -> None:
        """Hand over an event. Never blocks; the event is durable only after :meth:`accepted`."""

    async def accepted(self) -> None:
        """Return when every event handed over so far is durable. Acknowledge to the platform after this.

        Raises :class:`core.store.StoreDown` when the store cannot take them: do not acknowledge.
        Pollers and streams call it before they read on, which is what holds a flood back.
        """

    def online(self) -> None:
        """The account can post (again): what waits for it is sent now."""

    def offline(self, reason: str) -> None:
        """The account cannot post for now; ``reason`` is shown to the operator."""


class Services(msgspec.Struct, frozen=True):
    """What the host lends to an adapter."""

    store: Redis
    """For what the adapter must remember; every key through ``key``."""
    key: Callable[..., str]
    """``key("room", id)``: a store key of this account, in the account's cluster slot."""
    now_ms: Callable[[], int]
    random_id: Callable[[], str]
    """A new unguessable id: 128 bits, letters and digits."""
    public_url: str
    """Where people's browsers reach the portal; no trailing slash."""
    prefix: str
    """The word of the chat commands, after the dash."""
    sign: Callable[[str, str], str]
    """``sign(purpose, payload)``: a link token; its salt is the purpose within this platform."""
    verify: Callable[[str, str, int], str]
    """``verify(purpose, token, max_age_s)``: the payload, or ValueError in plain words."""


# --- the adapter --------------------------------------------------------------------------------------------


@runtime_checkable
class Adapter(Protocol):
    """One account. The instance may also live unstarted in a process that only serves its HTTP routes or
    opens its files; everything but start, stop and send must work there too.
    """

    account: AccountId

    async def start(self, emit: Emit) -> None:
        """Connect, and keep connected (with backoff) until :meth:`stop`. Return without waiting for the
        connection. Raise AuthLost or Rejected only for what no reconnect can mend.
        """

    async def stop(self) -> None:
        """Finish what is under way and disconnect. Called once, also after a failed start."""

    def capabilities(self, room: RoomId) -> Capabilities:
        """What ``room`` can show. Cheap: called for every post. Return the same object while nothing changes."""

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it, in as many parts as needed. Raises any AdapterError."""

    def room_info(self, room: RoomId) -> RoomInfo:
        """The room for people; from memory, never by a request. Falls back to the room's own id."""


@runtime_checkable
class Streams(Protocol):
    """The platform is one ordered stream (IRC, XMPP): many posts may be under way under one confirmation."""

    async def send_stream(self, posts: Sequence[Outbound]) -> Sequence[Receipt | AdapterError]:
        """Post all of them in order; one result for each. Returns when the service has confirmed them or
        the confirmation is overdue (Uncertain)."""


@runtime_checkable
class Edits(Protocol):
    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Replace the posts ``natives`` by ``outbound``; the receipt names the posts that now stand."""


@runtime_checkable
class Deletes(Protocol):
    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take our posts away. A post that is already gone is no error."""


@runtime_checkable
class Reacts(Protocol):
    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Put ``emoji`` on a message in the author's stead, or take it away. Rejected, where the platform does not
        have that emoji or takes no reaction there: the room then reads of it in words."""


@runtime_checkable
class Types(Protocol):
    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that ``author`` is typing."""


@runtime_checkable
class Files(Protocol):
    def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream the bytes of a ``FileRef.ref`` this account gave out. Raises Rejected when it is gone."""


@runtime_checkable
class Members(Protocol):
    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Does this person run the room, as of now, by the platform's word?"""


@runtime_checkable
class History(Protocol):
    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said in ``room`` after ``since``, oldest first, without our own posts. The host asks for every
        room it knows whenever the account comes online; live events wait meanwhile, and what was taken in already
        is dropped. Raises any AdapterError."""


@runtime_checkable
class Finds(Protocol):
    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        """After an Uncertain send: did it arrive? None: certainly not there."""


@runtime_checkable
class Pings(Protocol):
    async def ping(self, room: RoomId) -> None:
        """One round trip to the platform, as near to the room as it goes."""


@runtime_checkable
class Rooms(Protocol):
    async def rooms(self) -> Sequence[RoomInfo]:
        """The rooms this account can see."""


@runtime_checkable
class Invites(Protocol):
    def invite(self, code: str) -> Invite:
        """How a stranger brings this account into a room and connects it with ``code``."""


class Route(msgspec.Struct, frozen=True):
    """An HTTP route of an adapter, mounted below ``/bots/<account>/``."""

    method: Literal["GET", "POST", "PUT"]
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]


@runtime_checkable
class Webhooks(Protocol):
    def routes(self, emit: Emit) -> Sequence[Route]:
        """The adapter's HTTP routes. Handlers check the sender's signature themselves, use only ``emit``
        and the store, and work in a process where the adapter was not started.
        """


# --- a platform, as the registry knows it -------------------------------------------------------------------


class Hears(msgspec.Struct, frozen=True):
    """What of people's doings in a room the platform lets us hear: the claims that the contract suite checks.

    full: every one of them. partial: some (the platform's page in docs/platforms says which). fallback: as readable
    text. drop: the platform tells bots nothing of it, or does not have it.
    """

    edit: Level = "drop"
    delete: Level = "drop"
    reply: Level = "drop"
    thread: Level = "drop"
    reaction: Level = "drop"
    file: Level = "drop"
    typing: Level = "drop"
    names: Level = "full"
    avatars: Level = "drop"
    history: Level = "drop"
    """What was said while we were away."""
    entities: frozenset[str] = frozenset()
    """Entity types that people's texts arrive with."""


class Finding(msgspec.Struct, frozen=True):
    """One line of ``bridgebot doctor``: what was looked at, how it is, and how to mend it."""

    ok: bool
    what: str
    mend: str = ""


async def no_findings(config: Any, url: str) -> Sequence[Finding]:
    """The check of a platform that has nothing to check."""
    return ()


async def as_given(config: Any, url: str) -> tuple[str, Any]:
    """The preparation of a platform whose accounts need none."""
    return "", config


def no_steps(account: AccountId, config: Any, url: str) -> Sequence[str]:
    """A platform whose accounts work as soon as they are added."""
    return ()


class Platform(msgspec.Struct, frozen=True):
    """A chat service. Each ``bots/<platform>/__init__.py`` has one, called ``PLATFORM``."""

    id: PlatformId
    title: str
    config: type[msgspec.Struct]
    """An account's configuration. Annotate a secret as :data:`Secret`: encrypted at rest, never shown. What the
    operator is asked for when an account is added: the fields annotated with :func:`asked`."""
    create: Callable[[AccountId, Any, Services], Adapter]
    """``create(account, config, services)``. Does no I/O."""
    from_target: Callable[[str], tuple[str, Any]]
    """``from_target("host:port/#channel")``: a suggested account id and the configuration, for
    ``bridgebot run --<platform> TARGET`` and ``accounts add``. Raises ValueError that says what to write."""
    target_help: str = ""
    check: Callable[[Any, str], Awaitable[Sequence[Finding]]] = no_findings
    """``check(config, url)``: what ``bridgebot doctor`` says of an account. ``url`` is where its routes are reached,
    ``https://bridge.example.org/bots/<account>`` without a slash at the end. Never raises for what the service says.
    """
    prepare: Callable[[Any, str], Awaitable[tuple[str, Any]]] = as_given
    """``prepare(config, public_url)``: before an account is added, ask the service whether ``config`` works and
    complete it (the bot's name, made-up secrets). Returns a suggested account id (empty: the platform's name) and
    the configuration. Raises Rejected with what is wrong and how to mend it, Retry when the service does not answer.
    """
    prepares_targets: bool = True
    """False: only what people answered is prepared. A target or JSON is taken as it is, for its service may not be
    there yet, and the adapter goes on trying."""
    identity: tuple[str, ...] = ()
    """Fields that tell accounts apart besides those that are asked for: where ``prepare`` spreads an answer over
    several."""
    next_steps: Callable[[AccountId, Any, str], Sequence[str]] = no_steps
    """``next_steps(account, config, url)``: what the operator does after adding it, a sentence each."""
    handout: Callable[[AccountId, Any, str], Handout | None] = no_handout
    """``handout(account, config, url)``: the file for the service, which ``next_steps`` speaks of."""
    sign_in: SignIn | None = None
    """How teams give their accounts without handing over a token, where the service has that."""
    revoke: Callable[[Any, str, Any], Awaitable[str]] = nothing_to_revoke
    """``revoke(config, url, app)``: before an account's secrets are erased, make them worthless at the service as far
    as that is possible from here; ``app``: the operator's, or None. Returns what was done and what people have to
    do there themselves, in whole sentences. Raises any AdapterError when the service does not do it."""
    revoke_by_hand: str = ""
    """Where people do it themselves, a sentence, for when ``revoke`` fails."""
    hears: Hears = Hears()
    redelivers: bool = True
    """The platform may hand over the same event twice, so ingest keeps dedup keys. False only for streams
    whose events have no second delivery."""
    slash: bool = False
    """The platform has slash commands, so ``/sameroom`` is one too."""


Secret = msgspec.Meta(extra={"secret": True})
"""``token: Annotated[str, Secret]`` in an account's configuration."""


def asked(title: str, hint: str = "", *, secret: bool = False) -> msgspec.Meta:
    """``token: Annotated[str, asked("Bot token", "From @BotFather: 123456:ABC…", secret=True)]``: the operator is asked
    for it when an account is added. A field with a default may be left out; ``hint`` says where to find it."""
    return msgspec.Meta(title=title, description=hint, extra={"secret": secret})
