"""The web application: routes, and what stands around every one of them."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.typedefs import Handler

from core.store import TRANSIENT
from portal import render
from portal.access import AccessLogger
from portal.company import RULES, rules_of
from portal.deps import PortalDeps
from portal.errors import Oops, error_pages
from portal.forms import DEPS, ForeignForm
from portal.headers import refuse_coded_bodies, set_headers
from portal.mounts import AdapterRoutes, AppRoutes
from portal.oidc import CALLBACK, PROVIDER, Provider
from portal.pages import account, accounts, apps, files, giving, landing, manage, map, portal_link, service, sign_in
from portal.tokens import SITE

log = logging.getLogger("bridgebot.portal")

MOST_BODY_BYTES = 1024 * 1024
"""Largest body of a form or webhook. Uploads, which adapters read as a stream, have caps of their own."""


@web.middleware
async def _refuse_foreign_forms(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ForeignForm:
        raise Oops(403, "This form is too old, or not ours", "Open the page again and try once more.") from None


def make_app(deps: PortalDeps) -> web.Application:
    """All pages, and the routes of all adapters. Serve it with :func:`make_runner`. Raises SettingsError."""
    app = web.Application(
        client_max_size=MOST_BODY_BYTES,
        middlewares=[error_pages, _refuse_foreign_forms, refuse_coded_bodies],
    )
    app[DEPS] = deps
    render.setup(app, deps.settings.prefix)
    app.on_response_prepare.append(set_headers)
    app.on_startup.append(_say_where)
    _add_pages(app)
    _add_company(app)
    service.add_pages(app, service.Watched(deps.health, deps.metrics, deps.metrics_token))
    app.router.register_resource(AdapterRoutes(deps))
    app.router.register_resource(AppRoutes(deps))
    return app


async def _say_where(app: web.Application) -> None:
    """Tell the command line where the portal is: by itself it knows only what was meant to be."""
    try:
        await app[DEPS].store.set(SITE, app[DEPS].public_url)
    except TRANSIENT as error:
        log.warning("the store did not answer: %s", type(error).__name__)


def _add_company(app: web.Application) -> None:
    """The company's sign-in, where the settings name one and there is something to sign in to."""
    deps = app[DEPS]
    rules = rules_of(deps.settings)
    if rules is None or deps.desk is None:
        return
    app[RULES] = rules
    app[PROVIDER] = Provider(deps.settings, rules, lambda: deps.now_ms() / 1000)
    app.on_cleanup.append(_close_provider)
    app.router.add_get("/sign-in", sign_in.sign_in_page)
    app.router.add_post("/sign-in", sign_in.begin)
    app.router.add_get("/p/{token}/sign-in", sign_in.sign_in_page)
    app.router.add_post("/p/{token}/sign-in", sign_in.begin)
    # A look at the headers alone must not use the code up.
    app.router.add_get(CALLBACK, sign_in.come_back, allow_head=False)


async def _close_provider(app: web.Application) -> None:
    await app[PROVIDER].close()


def _add_pages(app: web.Application) -> None:
    add = app.router
    add.add_get("/", landing.landing)
    add.add_post("/try", landing.make_two)
    add.add_get("/try/{a}/{b}", landing.two_rooms)
    add.add_get("/p/{token}", portal_link.portal_page)
    add.add_get("/p/{token}/qr.svg", portal_link.qr_code)
    add.add_get("/p/{token}/account", accounts.from_portal)
    add.add_post("/p/{token}/account", accounts.come_from_portal)
    add.add_post("/p/{token}/code", portal_link.get_code)
    add.add_get("/manage/{token}", manage.manage_page)
    add.add_post("/manage/{token}", manage.redeem)
    add.add_get("/room", manage.room_page)
    add.add_post("/room/leave", manage.leave)
    add.add_post("/room/{name}", manage.act)
    add.add_get("/accounts", accounts.list_page)
    add.add_get("/add/{platform}", accounts.form_page)
    add.add_post("/add/{platform}", accounts.add)
    add.add_post("/add/{platform}/sign-in", giving.leave)
    add.add_get("/add/{platform}/done", giving.come_back)
    add.add_get("/app/{platform}", apps.app_page)
    add.add_post("/app/{platform}", apps.register)
    add.add_post("/app/{platform}/forget", apps.forget)
    add.add_get("/account/{id}", account.account_page)
    add.add_post("/account/{id}/look", account.look)
    add.add_post("/account/{id}/connect", account.connect)
    add.add_post("/account/{id}/file", account.file)
    add.add_post("/account/{id}/remove", account.remove)
    add.add_get("/map/{token}", map.map_page)
    add.add_get("/f/{token}", files.file, allow_head=False)
    add.add_static("/static/", render.STATIC)


def make_runner(app: web.Application) -> web.AppRunner:
    """Serves ``app``; bodies stay as they were sent, and the access log knows no secrets."""
    return web.AppRunner(
        app,
        access_log_class=AccessLogger,
        access_log=logging.getLogger("bridgebot.access"),
        auto_decompress=False,
        handle_signals=False,
    )
