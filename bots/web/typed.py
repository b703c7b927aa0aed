"""What a guest types, as the model's text."""

from __future__ import annotations

from bots.web.body import LINK, TRAILING
from core.model import Entity, Text


def parse(text: str) -> Text:
    """Links become links; everything else stays as typed."""
    entities = []
    for found in LINK.finditer(text):
        url = found.group().rstrip(TRAILING)
        entities.append(Entity("link", found.start(), len(url), url))
    return Text(text, tuple(entities))
