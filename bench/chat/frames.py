"""What the service and those who are connected to it send one another: msgpack arrays, each behind its length.

To the service::

    ["hello", account]                       what people do on this account comes here
    ["ack", count]                           so many more of the account's events are safe: redelivered no more
    ["send", number, room, text, key]        each of these is answered
    ["edit", number, room, native, text]
    ["delete", number, room, [native, …]]
    ["react", number, room, native, emoji]
    ["get", size]                            a connection of its own: so many bytes come back
    ["put", room, name]                      a connection of its own: all that follows is the file

From the service::

    ["new", room, native, text]              what people do
    ["file", room, native, size]
    ["edit", room, event, target, text]
    ["delete", room, event, target]
    ["react", room, event, target, emoji]
    ["ok", number, [native, …]]              the answer; of a file, its number is 0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

LENGTH_BYTES = 4
Frame = list[Any]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


def pack(frame: Sequence[Any]) -> bytes:
    """A frame as it travels."""
    body = _encode(frame)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class Unpacker:
    """Turns a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete by now."""
        data = self._rest + data if self._rest else data
        frames, at, end = [], 0, len(data)
        while end - at >= LENGTH_BYTES:
            stop = at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "big")
            if stop > end:
                break
            frames.append(_decode(data[at + LENGTH_BYTES : stop]))
            at = stop
            if frames[-1][0] == "put":
                break
        self._rest = data[at:]
        return frames

    def rest(self) -> bytes:
        """What has come and is no frame: the beginning of a file."""
        rest, self._rest = self._rest, b""
        return rest
