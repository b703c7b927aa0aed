"""What GroupMe sends, as far as it is of use. Ids come as text or as numbers, and any field may be null."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

Id = str | int | None
Kind = TypeVar("Kind")


class Malformed(ValueError):
    """Not what GroupMe sends."""


class Message(msgspec.Struct, frozen=True):
    """A message, the same in callbacks, on the push channel and in the index."""

    id: Id = None
    group_id: Id = None
    sender_id: Id = None
    user_id: Id = None
    sender_type: str | None = None
    name: str | None = None
    avatar_url: str | None = None
    text: str | None = None
    created_at: int | float | None = None
    updated_at: int | float | None = None
    deleted_at: int | float | str | None = None
    source_guid: Id = None
    system: bool | None = None
    attachments: list[dict[str, Any]] | None = None
    event: dict[str, Any] | None = None
    favorited_by: list[Id] | None = None

    @property
    def native(self) -> str:
        """Its id; Malformed where it has none."""
        return need_id(self.id, "a message's id")

    @property
    def sender(self) -> str:
        """Who posted it: a user's id, a bot's, ``system`` or ``calendar``."""
        return id_of(self.sender_id) or id_of(self.user_id)

    @property
    def at_ms(self) -> int:
        """When it was said, Unix time in milliseconds."""
        return int((self.created_at or 0) * 1000)

    def parts(self, kind: str) -> list[dict[str, Any]]:
        """Its attachments of one kind."""
        return [part for part in self.attachments or () if part.get("type") == kind]


class Member(msgspec.Struct, frozen=True):
    """A member of a group."""

    user_id: Id = None
    nickname: str | None = None
    name: str | None = None
    roles: list[str] | None = None


class Group(msgspec.Struct, frozen=True):
    """A group. ``members`` is there only where one group was asked for."""

    id: Id = None
    name: str | None = None
    members: list[Member] | None = None


class Bot(msgspec.Struct, frozen=True):
    """A bot of the token's user."""

    bot_id: Id = None
    group_id: Id = None
    name: str | None = None
    callback_url: str | None = None


class Me(msgspec.Struct, frozen=True):
    """The token's user."""

    id: Id = None
    user_id: Id = None
    name: str | None = None


def id_of(value: object) -> str:
    """An id as text; empty where it is none."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def need_id(value: object, what: str) -> str:
    """An id as text. Raises Malformed."""
    found = id_of(value)
    if not found or not found.isascii() or not found.isprintable() or len(found) > 64:
        raise Malformed(f"{what} is missing")
    return found


def read(value: Any, kind: type[Kind]) -> Kind:
    """Decoded JSON as one of the types above. Raises Malformed."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from None


def parse(body: bytes, kind: type[Kind]) -> Kind:
    """JSON as one of the types above. Raises Malformed for whatever else it is."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
