"""The adapters' own routes, below ``/bots/<account>/``: found anew for each request, since accounts come and go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import web
from yarl import URL

from core.contract import Route
from core.model import AccountId
from portal.deps import PortalDeps

PREFIX = "/bots"


def router(account: AccountId, routes: Sequence[Route]) -> web.UrlDispatcher:
    """The routes of one account, as whole paths."""
    found = web.UrlDispatcher()
    for route in routes:
        found.add_route(route.method, f"{PREFIX}/{account}/{route.path.lstrip('/')}", route.handler)
    return found


class AdapterRoutes(web.AbstractResource):
    """Leads each request to the router of its account."""

    def __init__(self, deps: PortalDeps) -> None:
        super().__init__()
        self._deps = deps

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """The handler; or else the methods that the path takes, none where there is no such path or account."""
        account = self._deps.account(request.path.removeprefix(f"{PREFIX}/").partition("/")[0])
        if account is None:
            return None, set()
        match = await account.router.resolve(request)
        if match.http_exception is None:
            return match, set()
        if isinstance(match.http_exception, web.HTTPMethodNotAllowed):
            return None, match.http_exception.allowed_methods
        return None, set()

    @property
    def canonical(self) -> str:
        """What all these paths begin with."""
        return PREFIX

    def raw_match(self, path: str) -> bool:
        """It is the same as no other resource."""
        return False

    def url_for(self, **kwargs: str) -> URL:
        """The address that all these paths begin with."""
        return URL(PREFIX)

    def add_prefix(self, prefix: str) -> None:
        """It is mounted at the top, once. Raises ValueError."""
        raise ValueError(f"the adapters' routes are below {PREFIX} and nowhere else")

    def get_info(self) -> Any:
        """For who inspects the application."""
        return {"path": PREFIX}

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(())
