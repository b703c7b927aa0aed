"""The operator's apps: registered once at a service, so that teams give their accounts by signing in there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from portal.desk import AppView, NotTaken
from portal.errors import Oops
from portal.forms import read_form
from portal.pages.accounts import count, must_be_short, the_desk
from portal.render import page
from portal.sessions import put_flash, take_flash, visitor


async def _app(request: web.Request) -> AppView:
    """The app of the page's address, for the operator. Raises Oops."""
    desk = the_desk(request)
    if not (await visitor(request)).operator:
        raise Oops(403, "The operator registers apps here", "Sign in with the link of: bridgebot portal-link")
    wanted = request.match_info["platform"]
    found = next((app for app in await desk.apps() if app.form.platform == wanted), None)
    if found is None:
        raise Oops(404, "No app can be registered there", "Choose a service from the list of all accounts.")
    return found


async def app_page(request: web.Request) -> web.Response:
    """``GET /app/<platform>``: the form, and what the app needs at the service."""
    return _show(request, await _app(request), flash=await take_flash(request))


def _show(
    request: web.Request,
    app: AppView,
    typed: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    flash: str = "",
) -> web.Response:
    """The form with what was typed. A secret is never sent back."""
    form, problems = app.form, problems or {}
    context: dict[str, Any] = {
        "app": app,
        "form": form,
        "values": {one.name: (typed or {}).get(one.name, "") for one in form.fields if not one.is_secret},
        "problems": problems,
        "first": next((one.name for one in form.fields if one.name in problems), ""),
        "again": any(one.is_secret and (typed or {}).get(one.name) for one in form.fields),
        "flash": flash,
    }
    return page(request, "app.html", context, status=422 if problems else 200)


async def register(request: web.Request) -> web.Response:
    """``POST /app/<platform>``: the service is asked at once; then the button is there."""
    fields = await read_form(request)
    app = await _app(request)
    typed = {one.name: fields.get(one.name, "") for one in app.form.fields}
    must_be_short(app.form, typed)
    await count(request, await visitor(request))
    try:
        await the_desk(request).register(app.form.platform, typed)
    except NotTaken as error:
        return _show(request, app, typed, error.problems)
    await put_flash(request, f"{app.form.title} knows the app. The button “{app.button}” is there from now on.")
    raise web.HTTPSeeOther(f"/app/{app.form.platform}")


async def forget(request: web.Request) -> web.Response:
    """``POST /app/<platform>/forget``: the app and its secrets are gone from here."""
    await read_form(request)
    app = await _app(request)
    await the_desk(request).forget(app.form.platform)
    await put_flash(request, f"The app on {app.form.title} is forgotten here.")
    raise web.HTTPSeeOther("/accounts")
