"""How often a visitor may do what costs us something."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address

from aiohttp import web

from core.keys import PREFIX
from portal.errors import Oops
from portal.forms import DEPS

WINDOW_S = 600


def client_address(request: web.Request) -> str:
    """The visitor's address. A proxy in front of us is believed when it sits on a private network."""
    peer = request.remote or ""
    try:
        is_proxy = ip_address(peer).is_private
    except ValueError:
        return peer
    forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    return forwarded if is_proxy and forwarded else peer


async def allow(request: web.Request, what: str, most: int, who: str | None = None) -> None:
    """Count one more ``what`` by this visitor, or by ``who`` wherever they come from. Raises Oops 429 beyond ``most``
    in WINDOW_S seconds.
    """
    deps = request.app[DEPS]
    window = deps.now_ms() // (WINDOW_S * 1000)
    who = hashlib.sha256((client_address(request) if who is None else f"={who}").encode()).hexdigest()[:32]
    key = f"{PREFIX}portal:rate:{what}:{who}:{window}"
    await deps.store.set(key, 0, ex=WINDOW_S, nx=True)
    if await deps.store.incr(key) > most:
        raise Oops(429, "That was a bit fast", "Wait a few minutes, then try again.")
