"""The adapters' own routes, below ``/bots/<account>/``, and those of the operator's apps, below ``/apps/<platform>/``:
found anew for each request, since accounts come and go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import web
from yarl import URL

from core.contract import Route
from core.model import AccountId, PlatformId
from portal.deps import PortalDeps

PREFIX = "/bots"
APPS_PREFIX = "/apps"


def router(name: AccountId | PlatformId, routes: Sequence[Route], prefix: str = PREFIX) -> web.UrlDispatcher:
    """The routes of one account, or of one app, as whole paths."""
    found = web.UrlDispatcher()
    for route in routes:
        found.add_route(route.method, f"{prefix}/{name}/{route.path.lstrip('/')}", route.handler)
    return found


class AdapterRoutes(web.AbstractResource):
    """Leads each request to the router of its account."""

    prefix = PREFIX

    def __init__(self, deps: PortalDeps) -> None:
        super().__init__()
        self._deps = deps

    def _router(self, name: str) -> web.UrlDispatcher | None:
        account = self._deps.account(name)
        return account.router if account else None

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """The handler; or else the methods that the path takes, none where there is no such path or account."""
        head = f"{self.prefix}/"
        found = (
            self._router(request.path.removeprefix(head).partition("/")[0]) if request.path.startswith(head) else None
        )
        if found is None:
            return None, set()
        match = await found.resolve(request)
        if match.http_exception is None:
            return match, set()
        if isinstance(match.http_exception, web.HTTPMethodNotAllowed):
            return None, match.http_exception.allowed_methods
        return None, set()

    @property
    def canonical(self) -> str:
        """What all these paths begin with."""
        return self.prefix

    def raw_match(self, path: str) -> bool:
        """It is the same as no other resource."""
        return False

    def url_for(self, **kwargs: str) -> URL:
        """The address that all these paths begin with."""
        return URL(self.prefix)

    def add_prefix(self, prefix: str) -> None:
        """It is mounted at the top, once. Raises ValueError."""
        raise ValueError(f"the adapters' routes are below {self.prefix} and nowhere else")

    def get_info(self) -> Any:
        """For who inspects the application."""
        return {"path": self.prefix}

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(())


class AppRoutes(AdapterRoutes):
    """Leads each request to the router of the operator's app on a platform."""

    prefix = APPS_PREFIX

    def _router(self, name: str) -> web.UrlDispatcher | None:
        return self._deps.apps().get(name)
