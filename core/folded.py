"""A post that stands for several messages, after it was posted: an edit changes its line, a deletion takes it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from core.composer import SEVERAL, Composer
from core.contract import Adapter, Deletes, Edits
from core.deps import Deps
from core.idmap import IdMap
from core.jobs import Done, Job
from core.model import Author, RoomId, Text, account_of, said_in
from core.text.ops import concat
from core.text.safety import defuse_mass_mentions
from core.wire import Folded, FoldedLine, Posted

LINE_END = Text("\n")


def text_of(lines: Sequence[FoldedLine]) -> Text:
    """What a reader sees: one message below the other."""
    parts: list[Text] = []
    for line in lines:
        parts += (LINE_END, line.opening, line.words)
    return defuse_mass_mentions(concat(*parts[1:]))


class Removed(NamedTuple):
    """What became of a deletion. ``shown``: readers see that the message is gone."""

    shown: bool
    done: Done


class FoldedPosts:
    """Changes the posts of one account that stand for several messages; raises what the adapter raises."""

    def __init__(self, adapter: Adapter, composer: Composer, deps: Deps) -> None:
        self._adapter = adapter
        self._composer = composer
        self._deps = deps

    async def edit(self, job: Job, posted: Posted) -> Done | None:
        """Change a message's line. None: the post cannot be changed."""
        folded = await self._find(job, posted)
        at = next((i for i, line in enumerate(folded.lines) if line.message == job.delivery.message), None)
        if at is None or not can_edit(self._adapter, job.room) or not _has_words(folded):
            return None
        delivery, line = job.delivery, folded.lines[at]
        caps = self._adapter.capabilities(job.room)
        words = self._composer.renderer.words(delivery.text, caps)
        if delivery.files:
            words = self._composer.renderer.files(words, self._composer.link_lines(delivery))
        lines = (*folded.lines[:at], replace(line, words=words), *folded.lines[at + 1 :])
        return await self._change(job, posted, replace(folded, lines=lines))

    async def remove(self, job: Job, posted: Posted) -> Removed:
        """Take a message's line out; with the last one goes the post."""
        folded = await self._find(job, posted)
        lines = tuple(line for line in folded.lines if line.message != job.delivery.message)
        if len(lines) == len(folded.lines):
            return Removed(True, Done(job))
        left = replace(folded, lines=lines)
        if lines and can_edit(self._adapter, job.room) and _has_words(folded):
            return Removed(True, await self._change(job, posted, left))
        caps = self._adapter.capabilities(job.room)
        gone = not lines and isinstance(self._adapter, Deletes) and caps.delete != "fallback"
        if gone and isinstance(self._adapter, Deletes):
            await self._adapter.delete(job.room, folded.natives)
        return Removed(gone, recorded(Done(job), posted.fold, left))

    async def _find(self, job: Job, posted: Posted) -> Folded:
        (folded,) = await self._deps.ids.folded([(job.room, posted.fold)])
        return folded or Folded((), ())

    async def _change(self, job: Job, posted: Posted, folded: Folded) -> Done:
        assert isinstance(self._adapter, Edits)  # noqa: S101 - the caller looked
        of_one = len({line.author_id for line in folded.lines}) == 1
        room, _ = said_in(folded.lines[0].message)
        name = self._composer.renderer.name(posted.author_name)
        author = Author(f"{account_of(room)}/{folded.lines[0].author_id}", name) if of_one else SEVERAL
        outbound = replace(self._composer.post(job, text_of(folded.lines)), author=author)
        receipt = await self._adapter.edit(folded.natives, outbound)
        if receipt.natives:
            folded = replace(folded, natives=receipt.natives)
        return recorded(Done(job), posted.fold, folded)


def can_edit(adapter: Adapter, room: RoomId) -> bool:
    """Whether posts of a room can be changed."""
    return isinstance(adapter, Edits) and adapter.capabilities(room).edit != "fallback"


def recorded(done: Done, fold: str, folded: Folded) -> Done:
    """The end of a job that leaves a post of several like this."""
    return done._replace(kept=IdMap.folded_fields(fold, folded), week=IdMap.week_of(fold))


def _has_words(folded: Folded) -> bool:
    return any(line.words.plain for line in folded.lines)
