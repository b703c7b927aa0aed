"""What a member's client makes of a message's content: the words, and the formatting over them.

After the rules of Discord's client, written for tests of their own: nothing of it is shared with any adapter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

Span = tuple[str, int, int, str]
"""Kind, start, length, value."""
RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(rule, re.DOTALL))
    for name, rule in (
        ("pre", r"```(?:([A-Za-z0-9_+\-.#]+)\n)?\n*([^\n].*?)\n*```"),
        ("code", r"(`+)(.*?[^`])\1(?!`)"),
        ("escape", r"\\([^0-9A-Za-z\s])"),
        ("user", r"<@!?(\d+)>"),
        ("role", r"<@&(\d+)>"),
        ("channel", r"<#(\d+)>"),
        ("custom", r"<a?:(\w+):(\d+)>"),
        ("time", r"<t:(-?\d{1,13})(?::[tTdDfFR])?>"),
        ("auto", r"<(https?://[^ >]+)>"),
        ("url", r"https?://[^\s<]+[^<.,:;\"'\]\s]"),
        ("link", r"\[((?:\\.|[^\[\]\\])+)\]\((https?://[^\s()]+)\)"),
        ("strong", r"\*\*((?:\\.|[^\\])+?)\*\*(?!\*)"),
        ("under", r"__((?:\\.|[^\\])+?)__(?!_)"),
        ("em", r"\*(?=\S)((?:\*\*|\\.|\s+(?:\\.|[^\s*\\]|\*\*)|[^\s*\\])+?)\*(?!\*)|\b_((?:__|\\.|[^\\_])+?)_\b"),
        ("strike", r"~~(.+?)~~(?!_)"),
        ("spoiler", r"\|\|(.+?)\|\|"),
    )
)
BLOCKS = re.compile(r" *>>> (.*)|((?: *> [^\n]*(?:\n|\Z))+)|(?:(#{1,3})|-#) +([^\n]+)", re.DOTALL)
LIST = re.compile(r" *(?:[-*]|\d+\.) +(?=\S)")
KINDS = {"strong": "bold", "under": "underline", "em": "italic", "strike": "strike", "spoiler": "spoiler"}


def shown(content: str, name_of: Callable[[str], str] = lambda native: native) -> tuple[str, list[Span]]:
    """(what is read, its formatting). ``name_of``: the name of a user, role or channel."""
    words: list[str] = []
    spans: list[Span] = []

    def size() -> int:
        return sum(map(len, words))

    def wrap(kind: str, inner: str, value: str = "", *, quoting: bool = False) -> None:
        start = size()
        read(inner, quoting=quoting)
        spans.append((kind, start, size() - start, value))

    def leaf(kind: str, said: str, value: str = "") -> None:
        spans.append((kind, size(), len(said), value))
        words.append(said)

    def block(source: str, at: int, quoting: bool) -> int:
        found = BLOCKS.match(source, at)
        if found is None or (quoting and found[4] is None):
            if listed := LIST.match(source, at):
                words.append("• ")
                return listed.end()
            return at
        if found[4] is not None:
            wrap("bold", found[4], quoting=True) if found[3] else read(found[4], quoting=True)
            return found.end()
        inner = found[1] if found[1] is not None else re.sub(r"(?m)^ *> ", "", found[2].removesuffix("\n"))
        wrap("quote", inner, quoting=True)
        return found.end() - (1 if found[1] is None and found[2].endswith("\n") else 0)

    def inline(source: str, at: int, quoting: bool) -> int:
        best: tuple[str, re.Match[str]] | None = None
        for name, rule in RULES:
            if (found := rule.match(source, at)) and (best is None or found.end() > best[1].end()):
                best = name, found
                if name not in ("strong", "under", "em"):
                    break
        if best is None:
            words.append(source[at])
            return at + 1
        name, found = best
        if name in KINDS:
            wrap(KINDS[name], next(filter(None, found.groups())), quoting=quoting)
        elif name == "link":
            wrap("link", found[1], found[2], quoting=True)
        elif name == "pre":
            leaf("pre", found[2], found[1] or "")
        elif name == "code":
            leaf("code", re.sub(r"^ (?= *`)|(?<=`) $", "", found[2]))
        elif name == "user":
            leaf("mention", f"@{name_of(found[1])}", found[1])
        elif name in ("role", "channel"):
            words.append(("@" if name == "role" else "#") + name_of(found[1]))
        elif name == "custom":
            leaf("emoji", f":{found[1]}:", found[1])
        elif name == "time":
            leaf("timestamp", datetime.fromtimestamp(int(found[1]), UTC).strftime("%Y-%m-%d %H:%M"), found[1])
        else:
            words.append(found[1] if found.groups() else found[0])
        return found.end()

    def read(source: str, *, quoting: bool) -> None:
        at = 0
        while at < len(source):
            fresh = (at == 0 and (not words or words[-1].endswith("\n"))) or source[at - 1 : at] == "\n"
            after = block(source, at, quoting) if fresh else at
            at = after if after > at else inline(source, at, quoting)

    read(content, quoting=False)
    return "".join(words), spans


def calls(content: str, allowed: dict[str, object] | None, *, by_webhook: bool) -> list[str]:
    """Who would be notified: the server looks for the words wherever they stand, escaped or not."""
    kinds = ["users"] if by_webhook else ["users", "roles", "everyone"]
    if allowed is not None:
        parse = allowed.get("parse", [])
        assert isinstance(parse, list)
        kinds = parse
    found = []
    for kind, rule in (("everyone", r"@(?:everyone|here)\b"), ("users", r"<@!?\d+>"), ("roles", r"<@&\d+>")):
        if kind in kinds:
            found += re.findall(rule, content)
    return found
