"""Every store key of codes and links. All keys of one script share a hash tag, thus a slot of a cluster."""

from __future__ import annotations

PREFIX = "bb:"

OVERALL_GUESSES = PREFIX + "{codes}:guesses:all"
"""Hash ``n``, ``until_ms``: wrong codes typed anywhere, and when the count starts again."""


def code(digest: str) -> str:
    """Hash ``subject``, ``by``, ``expires_ms``, ``claim`` of the code with this keyed hash."""
    return f"{PREFIX}{{codes}}:code:{digest}"


def codes_of(subject: str) -> str:
    """Sorted set of the keyed hashes of a subject's codes, by expiry in ms."""
    return f"{PREFIX}{{codes}}:of:{subject}"


def person_guesses(person: str) -> str:
    """As OVERALL_GUESSES, for one person."""
    return f"{PREFIX}{{codes}}:guesses:person:{person}"


def room_guesses(room: str) -> str:
    """As OVERALL_GUESSES, for one room."""
    return f"{PREFIX}{{codes}}:guesses:room:{room}"


def link_generation(purpose: str, subject: str) -> str:
    """String: what the live links of a purpose and subject carry. A new one revokes them all."""
    return f"{PREFIX}{{link:{purpose}:{subject}}}:generation"


def link_uses(purpose: str, subject: str) -> str:
    """Hash: ``<link>`` → uses so far, ``<link>:<claim>`` → 1; only for links with a limit."""
    return f"{PREFIX}{{link:{purpose}:{subject}}}:uses"


def once(link: str) -> str:
    """String: empty while a one-time link is unused, then the claim that used it."""
    return f"{PREFIX}once:{link}"
