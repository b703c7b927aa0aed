"""The portal's desk for accounts: the same questions, preparations and looks as on the command line, for people who
are not the operator.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from msgspec import inspect
from msgspec.structs import replace

from bots import registry
from bridgebot import given
from bridgebot.commands import adding
from bridgebot.commands.questions import Question, questions, read
from bridgebot.fence import Fence, Typed, refuse_private
from bridgebot.tending import Tending
from core.accounts import AccountError
from core.contract import Platform, Rejected, Retry
from core.giving import SignIn
from core.logs import Redactor
from core.model import AccountId
from core.owners import NoNameLeft, Owner
from core.store import TRANSIENT, StoreDown
from portal.desk import AppView, Field, Form, Kind, NotTaken, Way
from portal.sessions import Session

if TYPE_CHECKING:
    from bridgebot.roles import Node

log = structlog.get_logger()

PREPARE_S: Final = 20.0
MOST_PER_PERSON: Final = 20
_LINES: Final = re.compile(r"(?i)\b(json|pem|certificate|path|file)\b")
_CONTENT: Final = ("{", "-----BEGIN")
_ADDRESS: Final = re.compile(r"(?i)address|server|host|url|domain|\bsite\b")
_ANOTHERS: Final = (
    "This account is here already, and somebody else added it. Connect its rooms by typing the commands in them, or "
    "ask the operator."
)


class Onboarding(Tending):
    """Implements :class:`portal.desk.Desk`; looking after accounts is in Tending."""

    def __init__(self, node: Node, fence: Fence) -> None:
        super().__init__(node, fence)
        self._redeeming = asyncio.Lock()

    def forms(self) -> Sequence[Form]:
        """See Desk.forms. Platforms whose library is not installed are left out."""
        found = []
        for name in registry.names():
            try:
                platform = registry.platform(name)
            except registry.UnknownPlatform:
                continue
            if asked := questions(platform.config):
                found.append(Form(platform.id, platform.title, tuple(map(_field, asked))))
        return sorted(found, key=lambda form: form.title.casefold())

    async def add(self, platform: str, answers: Mapping[str, str], by: Session) -> AccountId:
        """See Desk.add."""
        found = registry.platform(platform)
        config = _configuration(found, answers)
        secrets = _secrets(found, answers)
        for secret in filter(None, secrets):
            self.node.on_secret(secret)
        with _told_in_words(found, Redactor(secrets)):
            if by.operator:
                order = adding.Order(found, str(found.id), config, is_answered=True)
                return (await adding.added(self.node.accounts, order, self.node.settings.site_url))[0]
            await refuse_private(_typed(found, answers))
            await self._count(by)
            return await self._add_for(by, found, config)

    # --- the operator's apps

    async def apps(self) -> Sequence[AppView]:
        """See Desk.apps."""
        there = await self.node.apps.names()
        return sorted(
            (self._app_view(platform, sign_in, platform.id in there) for platform, sign_in in given.platforms()),
            key=lambda app: app.form.title.casefold(),
        )

    def _app_view(self, platform: Platform, sign_in: SignIn, is_registered: bool) -> AppView:
        form = Form(platform.id, platform.title, tuple(map(_field, questions(sign_in.app))))
        settings = self.node.settings
        urls = given.redirect_url(settings, platform.id), given.app_url(settings, platform.id)
        return AppView(form, sign_in.button, is_registered, tuple(sign_in.steps(*urls)))

    async def register(self, platform: str, answers: Mapping[str, str]) -> None:
        """See Desk.register."""
        found = registry.platform(platform)
        if found.sign_in is None:
            raise NotTaken({"": f"Accounts on {found.title} are added with tokens of their own."})
        asked = replace(found, config=found.sign_in.app)
        app = _configuration(asked, answers)
        secrets = _secrets(asked, answers)
        for secret in filter(None, secrets):
            self.node.on_secret(secret)
        with _told_in_words(found, Redactor(secrets)):
            await self.node.apps.put(found, await given.prepared(found.sign_in, app, self.node.settings.site_url))

    async def forget(self, platform: str) -> None:
        """See Desk.forget."""
        await self.node.apps.remove(registry.platform(platform))

    # --- by signing in at the service

    async def way(self, platform: str) -> Way | None:
        """See Desk.way."""
        try:
            found = await given.app_on(self.node.apps, platform)
        except AccountError as error:
            log.error("an app cannot be used", platform=platform, why=str(error))
            return None
        if found is None:
            return None
        _, sign_in, app = found
        return Way(sign_in.button, tuple(sign_in.destinations(app)))

    async def leave(self, platform: str, state: str, by: Session) -> str:
        """See Desk.leave."""
        found, sign_in, app = await self._app(platform)
        with _told_in_words(found, Redactor()):
            if not by.operator:
                await self._count(by)
            return sign_in.address(app, state, given.redirect_url(self.node.settings, found.id))

    async def redeem(self, platform: str, answer: Mapping[str, str], by: Session) -> AccountId:
        """See Desk.redeem. The addresses are the operator's, so there is no fence."""
        found, sign_in, app = await self._app(platform)
        with _told_in_words(found, Redactor([answer.get("code", "")])):
            if not by.operator:
                await self._count(by)
            url = given.redirect_url(self.node.settings, found.id)
            name, config = await given.redeemed(sign_in, app, answer, url)
            async with self._redeeming:  # of two at once for one team the second finds the first
                return await self._keep(by, found, name or found.id, config)

    async def _app(self, platform: str) -> tuple[Platform, SignIn, Any]:
        try:
            found = await given.app_on(self.node.apps, platform)
        except AccountError as error:
            raise NotTaken({"": str(error)}) from None
        if found is None:
            raise NotTaken({"": "The operator has registered no app there. Add the account with tokens of your own."})
        return found

    async def _keep(self, by: Session, platform: Platform, name: str, config: Any) -> AccountId:
        """Add what a team has given, or renew it. Raises AccountError, NotTaken, NoNameLeft."""
        accounts = self.node.accounts
        if known := given.there(accounts, await accounts.list(), platform, config):
            account, before = known
            owner = await self.owners.of(account)
            if not by.operator and (owner is None or owner.person != by.person):
                raise NotTaken({"": _ANOTHERS})
            await accounts.renew(account, given.renewed(before, config))
            return account.id
        if by.operator:
            return (await accounts.ensure(name, platform.id, config))[0]
        owner = Owner(by.person, by.name, by.room, platform.id)
        account_id = await accounts.add(await self.owners.reserve(name, owner), platform.id, config)
        added = await accounts.get(account_id)
        if added is None:
            raise Retry(0, "it is gone again")
        await self.owners.confirm(added, owner)
        log.info("an account was added in the portal", account=account_id, person=by.person)
        return account_id

    # --- with tokens

    async def _add_for(self, by: Session, platform: Platform, config: Any) -> AccountId:
        """Add it as an account of a person who is not the operator. Raises Rejected, Retry, AccountError, NotTaken."""
        owner = Owner(by.person, by.name, by.room, platform.id)
        reserved: list[AccountId] = []

        async def prepare(given: Any, public_url: str) -> tuple[str, Any]:
            name, prepared = await self._prepared(platform, given, public_url)
            reserved.append(await self.owners.reserve(name or platform.id, owner))
            return reserved[0], prepared

        order = adding.Order(replace(platform, prepare=prepare), platform.id, config, is_answered=True)
        account_id, is_new = await adding.added(self.node.accounts, order, self.node.settings.site_url)
        account = await self.node.accounts.get(account_id)
        if account is None:
            raise Retry(0, "it is gone again")
        if not is_new:
            there = await self.owners.of(account)
            if there is None or there.person != by.person:
                raise NotTaken({"": _ANOTHERS})
        elif account_id not in reserved:
            await self.node.accounts.remove(account_id)
            raise Retry(0, "somebody was quicker with that name")
        else:
            await self.owners.confirm(account, owner)
            log.info("an account was added in the portal", account=account_id, person=by.person)
        return account_id

    async def _prepared(self, platform: Platform, config: Any, public_url: str) -> tuple[str, Any]:
        """As Platform.prepare, behind the fence."""
        try:
            name, prepared = await self.fence.run(lambda: _asked(platform, config, public_url), PREPARE_S)
        except TimeoutError:
            raise Retry(0, f"no answer in {PREPARE_S:.0f} s") from None
        await refuse_private(_told(platform.config, prepared))
        return name, prepared

    async def _count(self, by: Session) -> None:
        owners = await self.owners.of_all(await self.node.accounts.list())
        own = [owner for owner in owners.values() if owner.person == by.person]
        if len(own) >= MOST_PER_PERSON:
            raise Rejected(f"You have {len(own)} accounts here, which is all that one person may. Remove one first.")


@contextmanager
def _told_in_words(platform: Platform, hide: Redactor) -> Iterator[None]:
    """Whatever keeps an account from being added is a NotTaken."""
    try:
        yield
    except (NotTaken, StoreDown, *TRANSIENT):
        raise
    except Rejected as error:
        raise NotTaken({"": hide(f"{platform.title} does not take it: {error.reason}")}) from None
    except Retry as error:
        raise NotTaken(
            {"": hide(f"{platform.title} does not answer: {adding.sentence(error)} Try again in a moment.")}
        ) from None
    except (AccountError, NoNameLeft) as error:
        raise NotTaken({"": hide(str(error))}) from None
    except Exception:  # the visitor may try another account, and the operator reads what it was
        log.exception("an account could not be prepared", platform=platform.id)
        told = "Something went wrong while asking the service. Tell the operator, who finds it in the log."
        raise NotTaken({"": told}) from None


async def _asked(platform: Platform, config: Any, public_url: str) -> tuple[str, Any]:
    return await platform.prepare(config, public_url)


def _configuration(platform: Platform, answers: Mapping[str, str]) -> Any:
    """The configuration that the answers make. Raises NotTaken."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for question in questions(platform.config):
        text = answers.get(question.name, "").strip()
        if text:
            try:
                values[question.name] = _value(question, text)
            except ValueError as error:
                problems[question.name] = str(error)
        elif question.needed:
            problems[question.name] = f"{question.title} is needed."
    if problems:
        raise NotTaken(problems)
    try:
        return msgspec.convert(values, platform.config)
    except msgspec.ValidationError as error:
        raise NotTaken({"": Redactor(_secrets(platform, answers))(str(error))}) from None


def _value(question: Question, text: str) -> Any:
    # A platform may read a path as the file's content, for the operator. Nobody else may name files of this machine.
    if _kind(question) == "lines" and not text.startswith(_CONTENT):
        raise ValueError(f"{question.title}: paste what is in the file, from its first to its last line.")
    if "\0" in text:
        raise ValueError(f"{question.title} cannot be that. Type or copy it again.")
    return read(question, text, files=False)


def _secrets(platform: Platform, answers: Mapping[str, str]) -> list[str]:
    return [answers.get(question.name, "").strip() for question in questions(platform.config) if question.secret]


def _field(question: Question) -> Field:
    kind = _kind(question)
    choices: tuple[str, ...] = ()
    if isinstance(question.kind, inspect.LiteralType):
        choices = tuple(str(value) for value in question.kind.values)
    return Field(question.name, question.title, question.hint, kind, question.needed, choices)


def _kind(question: Question) -> Kind:
    if question.secret:
        return "lines" if _LINES.search(f"{question.title} {question.hint}") else "secret"
    kinds: dict[type, Kind] = {
        inspect.BoolType: "yes_no",
        inspect.LiteralType: "choice",
        inspect.IntType: "number",
        inspect.FloatType: "number",
    }
    return kinds.get(type(question.kind), "text")


def _typed(platform: Platform, answers: Mapping[str, str]) -> list[Typed]:
    return [
        Typed(question.title, answers.get(question.name, "").strip(), question.secret, _is_address(question))
        for question in questions(platform.config)
    ]


def _is_address(question: Question) -> bool:
    return bool(_ADDRESS.search(f"{question.name} {question.title} {question.hint}"))


def _told(config_type: type[msgspec.Struct], prepared: Any) -> list[Typed]:
    """What the service's own word has put into the configuration, and what was typed: addresses in it count again."""
    changed = [
        (field.name, getattr(prepared, field.name))
        for field in msgspec.structs.fields(config_type)
        if getattr(prepared, field.name) != field.default
    ]
    return [Typed(name, value, is_secret=True) for name, value in changed if isinstance(value, str)]
