"""An activity of the Bot Framework as it comes in: what of it we read.

Fields that Teams leaves out or sends as null are None; what only some channels have is read leniently.
(Bot Framework Activity schema; Teams docs, Conversation events, Messages in bot conversations.)
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

ROOT_MARK: Final = ";messageid="


class _Loose(msgspec.Struct, frozen=True, rename="camel"):
    """JSON objects with the names of the wire."""


class Person(_Loose, frozen=True):
    id: str = ""
    name: str | None = None
    role: str | None = None

    @property
    def is_bot(self) -> bool:
        """Bots of Teams and Skype have ids that begin with 28; elsewhere the role says it."""
        return self.id.startswith("28:") or self.role == "bot"


class Conversation(_Loose, frozen=True):
    id: str = ""
    name: str | None = None
    conversation_type: str | None = None
    is_group: bool | None = None


class Quoted(_Loose, frozen=True):
    message_id: str = ""
    sender_name: str | None = None
    preview: str | None = None


class Mark(_Loose, frozen=True):
    """An entry of ``entities``: a mention or a quoted message, and others that are passed over."""

    type: str = ""
    text: str | None = None
    mentioned: Person | None = None
    quoted_reply: Quoted | None = None


class Attachment(_Loose, frozen=True):
    content_type: str | None = None
    content_url: str | None = None
    content: Any = None
    name: str | None = None


class Emotion(_Loose, frozen=True):
    type: str = ""


class Place(_Loose, frozen=True):
    id: str = ""
    name: str | None = None


class ChannelData(_Loose, frozen=True):
    event_type: str | None = None
    team: Place | None = None
    channel: Place | None = None


class Activity(_Loose, frozen=True):
    type: str
    conversation: Conversation = Conversation()
    id: str | None = None
    timestamp: str | None = None
    service_url: str = ""
    channel_id: str = ""
    sender: Person | None = msgspec.field(name="from", default=None)
    recipient: Person | None = None
    text: str | None = None
    text_format: str | None = None
    attachments: tuple[Attachment, ...] | None = None
    entities: tuple[Any, ...] | None = None
    channel_data: Any = None
    members_added: tuple[Person, ...] | None = None
    members_removed: tuple[Person, ...] | None = None
    reactions_added: tuple[Emotion, ...] | None = None
    reactions_removed: tuple[Emotion, ...] | None = None
    reply_to_id: str | None = None
    topic_name: str | None = None
    action: str | None = None

    @property
    def room(self) -> str:
        """The conversation; in a channel of Teams the channel, whichever thread it is."""
        return self.conversation.id.partition(ROOT_MARK)[0]

    @property
    def root(self) -> str:
        """The first message of the thread, where the conversation names one."""
        return self.conversation.id.partition(ROOT_MARK)[2]

    def marks(self) -> list[Mark]:
        """The mentions and quotes; entries of a shape that is not known are left out."""
        found = []
        for raw in self.entities or ():
            try:
                found.append(msgspec.convert(raw, Mark))
            except msgspec.MsgspecError:
                continue
        return found

    def data(self) -> ChannelData:
        """What is Teams' own; empty where it is another channel's."""
        if self.channel_data is None:
            return ChannelData()
        try:
            return msgspec.convert(self.channel_data, ChannelData)
        except msgspec.MsgspecError:
            return ChannelData()

    def at_ms(self, otherwise_ms: int) -> int:
        """When it happened, by the service's clock."""
        try:
            moment = datetime.fromisoformat(self.timestamp or "")
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return int(moment.timestamp() * 1000)
        except (ValueError, OverflowError):
            return otherwise_ms


decode = msgspec.json.Decoder(Activity).decode
"""``decode(raw)``: an activity. Raises msgspec.MsgspecError for what is none."""
