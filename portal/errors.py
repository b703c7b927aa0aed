"""Pages for what went wrong: in plain words, with what to do next, and without leaking anything."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from core.store import TRANSIENT, StoreDown
from portal.render import page

log = logging.getLogger("bridgebot.portal")


@dataclass(frozen=True, slots=True)
class Way:
    """Where to go on from an error page; a path of ours."""

    path: str
    title: str


FRONT = Way("/", "Go to the front page")


class Oops(Exception):
    """Shows an error page: ``status``, a headline, what the visitor can do, and where to."""

    def __init__(self, status: int, title: str, hint: str, way: Way = FRONT) -> None:
        super().__init__(f"{status} {title}")
        self.status, self.title, self.hint, self.way = status, title, hint, way


@dataclass(frozen=True, slots=True)
class _Words:
    title: str
    hint: str


_WORDS = {
    400: _Words("We could not read that", "Go back, reload the page and try again."),
    403: _Words("That is not allowed", "Go back, reload the page and try again."),
    404: _Words("There is nothing here", "Check the address, or start again from the front page."),
    405: _Words("That does not work here", "Start again from the front page."),
    413: _Words("That is too big", "Send something shorter."),
    415: _Words("We do not take that kind of data", "Use the form on the page."),
    429: _Words("That was a bit fast", "Wait a minute, then try again."),
    500: _Words("Something broke on our side", "Try again in a minute. If it happens again, tell the operator."),
    503: _Words("We are catching our breath", "Try again in a minute. Nothing was lost."),
}
_FALLBACK = _Words("That did not work", "Start again from the front page.")


def for_adapter(request: web.Request) -> bool:
    """Is this a request to an adapter's own routes? Those answer machines and have pages of their own."""
    return request.path.startswith(("/bots/", "/apps/"))


def _answer(
    request: web.Request, status: int, words: _Words, headers: dict[str, str], way: Way = FRONT
) -> web.Response:
    if for_adapter(request):
        return web.Response(status=status, text=f"{words.title}. {words.hint}", headers=headers)
    context = {"title": words.title, "hint": words.hint, "status": status, "way": way}
    return page(request, "error.html", context, status=status, headers=headers)


@web.middleware
async def error_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a page. Store trouble is a 503, so that platforms send their webhook again."""
    try:
        return await handler(request)
    except Oops as oops:
        headers = {"Retry-After": "60"} if oops.status == 429 else {}
        return _answer(request, oops.status, _Words(oops.title, oops.hint), headers, oops.way)
    except web.HTTPException as error:
        if error.status < 400 or for_adapter(request):
            raise
        kept = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _answer(request, error.status, _WORDS.get(error.status, _FALLBACK), kept)
    except (StoreDown, *TRANSIENT) as error:
        log.warning("the store did not answer: %s", type(error).__name__)
        return _answer(request, 503, _WORDS[503], {"Retry-After": "5"})
    except Exception:
        log.exception("a page failed")
        return _answer(request, 500, _WORDS[500], {})
