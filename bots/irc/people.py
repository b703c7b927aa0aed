"""Who is who: authors by their ``nick!user@host`` and account, and which nicks an author goes by."""

from __future__ import annotations

from collections.abc import Mapping

from bots.irc.channels import Channels
from core.model import Author

MOST = 8192
"""Authors remembered; then all are forgotten, which costs no more than making them again."""

_Key = tuple[str, str, bool]


def author_id(source: str, account: str) -> str:
    """The id that bans and rights are given to: the account where the server names it, else user and host.

    Both outlast a change of nick. A nick alone proves nothing and gets nothing.
    """
    if account:
        return "account:" + account.lower()
    nick, _, mask = source.partition("!")
    return f"user:{mask.lower()}" if mask else f"nick:{nick.lower()}"


class People:
    """Authors seen on one connection."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self.by_source: dict[str, Author] = {}
        """Of lines without tags, for the short way in."""
        self._authors: dict[_Key, Author] = {}
        self._keys: dict[str, set[_Key]] = {}
        """Folded nick → its entries in the two above."""
        self._nicks: dict[str, set[str]] = {}
        self._ids: dict[str, set[str]] = {}
        """Folded nick → authors that go by it; the inverse of the one above."""

    def author(self, source: str, tags: Mapping[str, str]) -> Author:
        """Who ``source`` is."""
        key = (source, tags.get("account", ""), "bot" in tags or "draft/bot" in tags)
        author = self._authors.get(key)
        if author is None:
            if len(self._authors) > MOST:
                self.forget()
            nick = source.partition("!")[0]
            author = self._authors[key] = Author(author_id(source, key[1]), nick, is_bot=key[2])
            self._keys.setdefault(self._channels.fold(nick), set()).add(key)
            self.met(author.id, nick)
        if not tags:
            self.by_source[source] = author
        return author

    def met(self, author: str, nick: str) -> None:
        """This nick belongs to this author."""
        folded = self._channels.fold(nick)
        self._nicks.setdefault(author, set()).add(folded)
        self._ids.setdefault(folded, set()).add(author)

    def nicks(self, author: str) -> set[str]:
        """The folded nicks of an author; empty when it has not been met."""
        return self._nicks.get(author, set())

    def gone(self, folded: str) -> None:
        """Whoever went by this nick does not any more, or is out of sight: the next one may be somebody else."""
        for author in self._ids.pop(folded, ()):
            nicks = self._nicks[author]
            nicks.discard(folded)
            if not nicks:
                del self._nicks[author]
        for key in self._keys.pop(folded, ()):
            self._authors.pop(key, None)
            self.by_source.pop(key[0], None)

    def forget(self) -> None:
        """Start anew (our own nick changed, or there are too many)."""
        for known in (self.by_source, self._authors, self._keys, self._nicks, self._ids):
            known.clear()
