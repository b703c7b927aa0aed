"""What the contract suite asks of every platform holds for the component too, where it works another way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.store import Redis
from tests.contract.harness import Stage, staged
from tests.contract.stage import Session
from tests.contract.test_contract import (
    session,
    test_a_huge_text_is_cut,
    test_our_own_posts_do_not_come_back,
    test_the_same_key_again_posts_nothing,
)
from tests.contract.test_fidelity import (
    test_deletions_out,
    test_edits_out,
    test_files_out,
    test_history,
    test_names_and_pictures,
    test_reactions_out,
    test_replies_out,
    test_typing,
)

__all__ = [
    "session",
    "test_a_huge_text_is_cut",
    "test_deletions_out",
    "test_edits_out",
    "test_files_out",
    "test_history",
    "test_names_and_pictures",
    "test_our_own_posts_do_not_come_back",
    "test_reactions_out",
    "test_replies_out",
    "test_the_same_key_again_posts_nothing",
    "test_typing",
]


@pytest.fixture
async def stage(store: Redis, session: Session) -> AsyncIterator[Stage]:
    """The component in its room."""
    async with staged("xmpp.component", store, session) as made:
        yield made
