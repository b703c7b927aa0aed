"""The messages between a room's page and the server, and the record of a message in the store."""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec

ClientId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
"""An id that the browser makes: the same on every try of the same wish."""
TargetId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class _Wish(msgspec.Struct, frozen=True, tag_field="t", forbid_unknown_fields=True, kw_only=True):
    """What a browser sends."""


class Hello(_Wish, tag="hello", frozen=True):
    """First: everything after the change numbered ``last`` is wanted; 0: everything."""

    last: Annotated[int, msgspec.Meta(ge=0)] = 0


class Say(_Wish, tag="say", frozen=True):
    id: ClientId
    text: str = ""
    reply: TargetId | None = None
    files: Annotated[tuple[TargetId, ...], msgspec.Meta(max_length=10)] = ()


class Edit(_Wish, tag="edit", frozen=True):
    id: ClientId
    target: TargetId
    text: str


class Delete(_Wish, tag="delete", frozen=True):
    id: ClientId
    target: TargetId


class React(_Wish, tag="react", frozen=True):
    id: ClientId
    target: TargetId
    emoji: Annotated[str, msgspec.Meta(min_length=1, max_length=48)]
    on: bool


class Rename(_Wish, tag="rename", frozen=True):
    id: ClientId
    name: Annotated[str, msgspec.Meta(max_length=400)]


class TypingNow(_Wish, tag="typing", frozen=True):
    pass


class Ping(_Wish, tag="ping", frozen=True):
    pass


Wish = Hello | Say | Edit | Delete | React | Rename | TypingNow | Ping
decode_wish = msgspec.json.Decoder(Wish).decode


class FileView(msgspec.Struct, frozen=True):
    """``url`` is below the adapter's base path, or absolute."""

    url: str
    name: str
    size: int
    image: bool


class ReplyView(msgspec.Struct, frozen=True):
    id: str
    name: str
    excerpt: str


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A message as it stands now. The store keeps it, and pages get it, in this form."""

    id: str
    at: int
    """Unix time in milliseconds."""
    kind: Literal["guest", "relayed", "bot"]
    by: str = ""
    """The guest's id in this room; empty for what was not said in it."""
    name: str = ""
    body: tuple[Any, ...] = ()
    """Nodes: a string, or ``[entity type, value, [nodes]]``."""
    src: str = ""
    """What the guest typed, for editing."""
    cid: str = ""
    edit: str = ""
    """Native id of the last edit."""
    deleted: bool = False
    emote: bool = False
    reply: ReplyView | None = None
    files: tuple[FileView, ...] = ()
    refs: tuple[str, ...] = ()
    """Ids of the files a guest shared."""
    reactions: dict[str, dict[str, str]] = {}
    """Emoji to who (an id within the room) to name."""


encode = msgspec.json.encode
decode_record = msgspec.json.Decoder(Record).decode


class Live(msgspec.Struct, frozen=True):
    """The head of a published change. ``seq`` 0: passing, not kept (typing)."""

    t: str
    seq: int = 0
    n: int = 0


decode_live = msgspec.json.Decoder(Live).decode


def digest(*parts: str) -> str:
    """A 128-bit id made of ``parts``: the same for the same parts, and telling nothing about them."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        raw = part.encode()
        hashed.update(len(raw).to_bytes(4, "big") + raw)
    return hashed.hexdigest()
