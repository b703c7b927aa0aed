"""What the pages of accounts need from the rest of the system, as protocols: the composition root fits it together.

The desk trusts whoever asks: the pages look first whether the visitor may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from core.contract import Finding, Invite
from core.giving import Handout
from core.model import AccountId, RoomId
from portal.sessions import Session

Kind = Literal["text", "number", "secret", "lines", "yes_no", "choice"]
"""lines: a secret of several lines."""
State = Literal["online", "offline", "elsewhere", "waiting"]
"""elsewhere: another process has it, and only that one knows. waiting: no process has it."""


@dataclass(frozen=True, slots=True)
class Field:
    """Something that is asked for when an account is added."""

    name: str
    title: str
    hint: str
    kind: Kind
    needed: bool
    choices: tuple[str, ...] = ()

    @property
    def is_secret(self) -> bool:
        """Is it never shown again?"""
        return self.kind in ("secret", "lines")


@dataclass(frozen=True, slots=True)
class Form:
    """A platform on which accounts can be added."""

    platform: str
    title: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """A team gives its account by signing in at the service. ``destinations``: origins that the browser is led to."""

    button: str
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AppView:
    """An app that the operator registers once, for all teams. ``steps``: what it needs at the service."""

    form: Form
    button: str
    is_registered: bool
    steps: tuple[str, ...] = ()


class NotTaken(Exception):
    """The account was not added. ``problems``: by the field's name, and under the empty name all others."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = dict(problems)


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account for people."""

    id: AccountId
    platform_title: str
    added_at_ms: int
    owner: str = ""
    """The person whose it is; empty: the operator's."""
    owner_name: str = ""
    state: State = "waiting"
    why: str = ""
    """Why it is offline."""


@dataclass(frozen=True, slots=True)
class RoomChoice:
    """A room that an account sees."""

    room: RoomId
    title: str
    detail: str = ""
    is_connected: bool = False


@dataclass(frozen=True, slots=True)
class RoomsSeen:
    """The rooms that an account sees, by title; ``trouble``: why there may be more."""

    rooms: tuple[RoomChoice, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class LookedAt:
    """What was found when somebody looked at an account."""

    at_ms: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Guide:
    """How to go on with an account: what is left to do, and how it is brought into a room."""

    steps: tuple[str, ...] = ()
    invite: Invite | None = None
    file: str = ""
    """The name of a file that the service has to be given, as long as :meth:`Desk.file` hands it out."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The tubes of an account's rooms: a line for people each, and the rooms of the account that they end in."""

    lines: tuple[str, ...] = ()
    rooms: tuple[RoomId, ...] = field(default=())


class Desk(Protocol):
    """Adds accounts and looks after them."""

    def forms(self) -> Sequence[Form]:
        """The platforms on which accounts can be added, by title."""

    async def add(self, platform: str, answers: Mapping[str, str], by: Session) -> AccountId:
        """Ask the service, and add the account as one of ``by``; one of theirs that is there already is found.
        Raises NotTaken.
        """

    async def way(self, platform: str) -> Way | None:
        """How an account is given by signing in at the service; None where the operator has registered no app."""

    async def leave(self, platform: str, state: str, by: Session) -> str:
        """The address at the service where ``by`` agrees; it leads back with ``state``. Raises NotTaken."""

    async def redeem(self, platform: str, answer: Mapping[str, str], by: Session) -> AccountId:
        """Add the account that the service's answer is about, as :meth:`add` does; one of theirs that is there already
        is renewed. Raises NotTaken.
        """

    async def apps(self) -> Sequence[AppView]:
        """What the operator can register or has registered, by title."""

    async def register(self, platform: str, answers: Mapping[str, str]) -> None:
        """Ask the service, and keep the app. Raises NotTaken."""

    async def forget(self, platform: str) -> None:
        """Keep the app no longer."""

    async def accounts(self) -> Sequence[AccountView]:
        """All accounts that were added (not those of guest rooms), by id."""

    async def account(self, account_id: str) -> AccountView | None:
        """One of them, or None."""

    async def look(self, account: AccountView) -> LookedAt:
        """Ask the service how the account is, and keep the answer for a while."""

    async def looked(self, account: AccountView) -> LookedAt | None:
        """What was found last, if that was kept."""

    async def guide(self, account: AccountView, code: str) -> Guide:
        """How to go on; ``code`` is what an invitation connects with."""

    async def file(self, account: AccountView) -> Handout | None:
        """The file that the service has to be given; None where there is none, or the account is no longer new, since
        it holds secrets."""

    async def rooms(self, account: AccountView) -> RoomsSeen:
        """The rooms it sees now."""

    async def connect(self, choice: RoomChoice, account: AccountView, by: Session, argument: str) -> str:
        """Give the command ``connect`` in a room of the account; returns the reply for people."""

    async def connections(self, account: AccountView) -> Connections:
        """The tubes of its rooms."""

    async def remove(self, account: AccountView, by: Session, *, end: bool) -> str:
        """Revoke the account's secrets at the service, and forget it and them. ``end``: its tubes, too, and the other
        rooms are told. Returns what became of the secrets, in words."""
