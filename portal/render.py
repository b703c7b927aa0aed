"""Templates: one place that renders a page and knows what every page shares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp_jinja2
from aiohttp import web
from jinja2 import FileSystemLoader, StrictUndefined

from portal.forms import form_token, set_form_cookie

HERE = Path(__file__).parent
STATIC = HERE / "static"


def setup(app: web.Application, prefix: str) -> None:
    """Make the templates known to ``app``; ``prefix`` is the word of the chat commands."""
    environment = aiohttp_jinja2.setup(
        app,
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    marks = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:10] for path in STATIC.iterdir()}
    environment.globals["asset"] = lambda name: f"/static/{name}?v={marks[name]}"
    environment.globals["command"] = f"-{prefix}"
    environment.filters["when"] = _when
    environment.tests["tappable"] = _is_tappable


def _is_tappable(url: str) -> bool:
    return urlsplit(url).scheme in ("https", "http", "tg", "irc", "ircs", "xmpp", "matrix")


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%d %b %Y, %H:%M UTC")


def page(
    request: web.Request,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Render ``template``. Inside it ``form_token()`` is the hidden field every form must have."""
    values = {"form_token": lambda: form_token(request), **(context or {})}
    response = aiohttp_jinja2.render_template(template, request, values, status=status)
    response.headers.update(headers or {})
    set_form_cookie(request, response)
    return response
