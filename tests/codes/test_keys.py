"""Store keys: on a cluster, what one script touches is in one slot."""

import pytest
from redis.crc import key_slot

from codes import keys


@pytest.mark.parametrize("name", ["irc/#garden", "a}b{c", "{x}", "", "}", "комната"])
def test_the_keys_of_a_script_share_a_slot(name: str) -> None:
    """Also for names with braces in them, which would otherwise make a tag of their own."""
    codes = [keys.code("ab12"), keys.codes_of(name), keys.person_guesses(name), keys.room_guesses(name)]
    assert len({key_slot(key.encode()) for key in [*codes, keys.OVERALL_GUESSES]}) == 1
    links = [keys.link_generation("portal", name), keys.link_uses("portal", name)]
    assert len({key_slot(key.encode()) for key in links}) == 1


def test_different_things_have_different_keys() -> None:
    """A person is not a room, and a purpose is not a subject."""
    made = [f("x") for f in (keys.code, keys.codes_of, keys.person_guesses, keys.room_guesses, keys.once)]
    made += [keys.OVERALL_GUESSES, keys.link_generation("x", "y"), keys.link_uses("x", "y")]
    assert len(set(made)) == len(made)
