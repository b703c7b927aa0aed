"""Accounts that people add: the list of one's own, and the form of a platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from aiohttp import web

from portal.came_from import remember, targets
from portal.company import RULES
from portal.desk import AccountView, Desk, Form, NotTaken
from portal.errors import Oops, Way
from portal.forms import DEPS, read_form
from portal.headers import leading_to
from portal.limits import allow
from portal.pages.portal_link import opened
from portal.render import page
from portal.sessions import Session, known, put_flash, take_flash, visitor

_MOST_BY_PERSON = 10
_MOST_BY_ADDRESS = 30
_MOST_BY_ALL = 300
_MOST_BY_OPERATOR = 60
_MOST_CHARS = 20_000


def the_desk(request: web.Request) -> Desk:
    """The desk of this installation. Raises HTTPNotFound when its portal has no accounts."""
    desk = request.app[DEPS].desk
    if desk is None:
        raise web.HTTPNotFound
    return desk


def is_theirs(account: AccountView, session: Session) -> bool:
    """May this visitor see and change this account?"""
    return session.operator or bool(account.owner and account.owner == session.person)


def may_add(request: web.Request, session: Session) -> bool:
    """May this visitor add accounts?"""
    who = request.app[DEPS].settings.add_accounts
    return session.operator or who == "members" or (who == "company" and not session.room)


def _may_as_company(request: web.Request, session: Session) -> bool:
    """Might this visitor add accounts once they sign in with the company's account?"""
    return RULES in request.app and request.app[DEPS].settings.add_accounts == "company" and bool(session.room)


def must_be_allowed(request: web.Request, session: Session) -> None:
    """Raises Oops 403."""
    if not may_add(request, session):
        if _may_as_company(request, session):
            portal = request.match_info.get("token")
            way = Way(f"/p/{portal}/sign-in" if portal else "/sign-in", "Use my company account")
            raise Oops(403, "Your company account is needed here", "Sign in with it to add your team's account.", way)
        raise Oops(403, "The operator adds accounts here", "Ask whoever runs this bridge to add your team's account.")


async def list_page(request: web.Request) -> web.Response:
    """``GET /accounts``: the visitor's accounts, and where more can be added."""
    desk = the_desk(request)
    session = await visitor(request)
    context = {
        "accounts": [account for account in await desk.accounts() if is_theirs(account, session)],
        "forms": desk.forms() if may_add(request, session) else (),
        "apps": await desk.apps() if session.operator else (),
        "session": session,
        "may_as_company": _may_as_company(request, session),
        "targets": await targets(request, session),
        "flash": await take_flash(request),
    }
    return page(request, "accounts.html", context)


# --- from a portal


async def from_portal(request: web.Request) -> web.Response:
    """``GET /p/<token>/account``: on to the accounts, or how to sign in first. Changes nothing."""
    the_desk(request)
    _, room = await opened(request)
    session = await known(request)
    if session:
        must_be_allowed(request, session)
    path = f"/p/{request.match_info['token']}"
    context = {
        "room": room,
        "path": path,
        "session": session,
        "is_company": RULES in request.app,
        "by_chat": request.app[DEPS].settings.add_accounts == "members",
    }
    return page(request, "from_portal.html", context)


async def come_from_portal(request: web.Request) -> web.Response:
    """``POST /p/<token>/account``: what is chosen next is connected with this portal's room."""
    await read_form(request)
    the_desk(request)
    await opened(request)
    must_be_allowed(request, await visitor(request))
    response = web.Response(status=303, headers={"Location": "/accounts"})
    remember(request, response, request.match_info["token"])
    return response


# --- adding


def form_of(request: web.Request) -> Form:
    """The form of the platform in the page's address. Raises Oops 404."""
    wanted = request.match_info["platform"]
    for form in the_desk(request).forms():
        if form.platform == wanted:
            return form
    raise Oops(404, "No account can be added there", "Choose a service from the list on your accounts' page.")


async def form_page(request: web.Request) -> web.Response:
    """``GET /add/<platform>``: the form, empty."""
    must_be_allowed(request, await visitor(request))
    return await _show(request, form_of(request))


async def _show(
    request: web.Request, form: Form, typed: Mapping[str, str] | None = None, problems: Mapping[str, str] | None = None
) -> web.Response:
    """The form with what was typed. A secret is never sent back."""
    way = await the_desk(request).way(form.platform)
    kept = {} if typed is None else {one.name: typed.get(one.name, "") for one in form.fields if not one.is_secret}
    first = next((one.name for one in form.fields if one.name in (problems or {})), "")
    context: dict[str, Any] = {
        "form": form,
        "way": way,
        "values": kept,
        "problems": problems or {},
        "first": first,
        "again": typed is not None and any(one.is_secret and typed.get(one.name) for one in form.fields),
    }
    headers = leading_to(way.destinations) if way else {}
    return page(request, "add_account.html", context, status=422 if problems else 200, headers=headers)


async def add(request: web.Request) -> web.Response:
    """``POST /add/<platform>``: the service is asked at once; then on to the account, or back to the form."""
    fields = await read_form(request)
    session = await visitor(request)
    must_be_allowed(request, session)
    form = form_of(request)
    desk = the_desk(request)
    typed = {one.name: fields.get(one.name, "") for one in form.fields}
    must_be_short(form, typed)
    await count(request, session)
    try:
        account_id = await desk.add(form.platform, typed, session)
    except NotTaken as error:
        return await _show(request, form, typed, error.problems)
    account = await desk.account(account_id)
    if account is None or not is_theirs(account, session):
        _gone()
    await desk.look(account)
    await put_flash(request, f"{form.title} takes it: {account.id} is here.")
    raise web.HTTPSeeOther(f"/account/{account.id}")


def _gone() -> NoReturn:
    raise Oops(404, "There is no such account", "Look at the list of your accounts.")


def must_be_short(form: Form, typed: Mapping[str, str]) -> None:
    """Raises Oops 413."""
    if any(len(text) > _MOST_CHARS for text in typed.values()):
        raise Oops(413, "That is too long", f"No answer about {form.title} has so many characters. Copy it again.")


async def count(request: web.Request, session: Session) -> None:
    """Whoever may try many passwords finds one: so there are few tries, by person, by address and in all."""
    if session.operator:
        await allow(request, "prepare", _MOST_BY_OPERATOR, "the operator")
        return
    await allow(request, "prepare", _MOST_BY_PERSON, session.person)
    await allow(request, "prepare", _MOST_BY_ADDRESS)
    await allow(request, "prepare", _MOST_BY_ALL, "all")
