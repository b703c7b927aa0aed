"""The links that lead to the portal: the purpose each is signed for, its path, and what it carries.

============  =========================================================================  ==================
purpose       made with                                                                  opened at
============  =========================================================================  ==================
``portal``    ``issue_revocable("portal", room, {"direction", "approval"}, …)``          ``/p/<token>``
``manage``    ``issue_once("manage", {"room", "person", "name"}, manage_ttl_s)``         ``/manage/<token>``
``operator``  ``issue_once("operator", {"name"}, manage_ttl_s)``                         ``/manage/<token>``
``map``       ``sign("map", room)``                                                      ``/map/<token>``
``file``      ``sign("file", {"a": account, "r": ref, "n": name, "m": mime})``            ``/f/<token>``
============  =========================================================================  ==================

Both fields of a portal's data may be missing: ``direction`` is ``both``, ``in`` (only into the portal's room) or
``out`` (only out of it: read-only), ``approval`` says that the room is asked before anybody is connected.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from codes.links import BadLink, ExpiredLink, LinkError
from core.keys import PREFIX
from core.model import AccountId, RoomId
from portal.errors import Oops

PORTAL, MANAGE, OPERATOR, MAP, FILE = "portal", "manage", "operator", "map", "file"
SITE = f"{PREFIX}portal:site"
"""Store key: where browsers reach the portal that was started last. The command line makes links to it."""

T = TypeVar("T")


class PortalTerms(msgspec.Struct, frozen=True):
    """What a portal allows."""

    direction: Literal["both", "in", "out"] = "both"
    approval: bool = False


class ManageLink(msgspec.Struct, frozen=True):
    """Whose page it opens: the person, and the room they may change."""

    room: RoomId
    person: str
    name: str


class OperatorLink(msgspec.Struct, frozen=True):
    """Signs in whoever has the operator's shell."""

    name: str


class FileLink(msgspec.Struct, frozen=True):
    """A file at its origin."""

    account: AccountId = msgspec.field(name="a")
    ref: str = msgspec.field(name="r")
    name: str = msgspec.field(name="n")
    mime: str = msgspec.field(name="m", default="application/octet-stream")


def read(payload: Any, type_: type[T]) -> T:
    """The payload as ``type_``. Raises BadLink for one that we signed in another shape."""
    try:
        return msgspec.convert(payload, type_)
    except msgspec.ValidationError:
        raise BadLink from None


def explain(error: LinkError, again: str) -> Oops:
    """The page for a link that does not work: 401 when it was never ours, 410 when it is over."""
    if isinstance(error, BadLink):
        return Oops(401, "This link is not complete", f"Copy the whole link and try again. {again}")
    title = "This link is too old" if isinstance(error, ExpiredLink) else "This link no longer works"
    return Oops(410, title, f"{error} {again}")
