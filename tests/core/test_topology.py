"""The graph of rooms and tubes: who hears whom, in any shape."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import AccountId, RoomId, account_of, room_id
from core.topology import Topology
from core.wire import ConnectAsked, Direction, RoomState, Tube

ROOMS = [room_id(AccountId(f"account{i % 3}"), f"room{i}") for i in range(7)]
A, B, C, D = ROOMS[:4]


def graph(*tubes: tuple[RoomId, RoomId] | tuple[RoomId, RoomId, Direction], paused: Iterable[RoomId] = ()) -> Topology:
    """All ROOMS, and tubes between them."""
    made = [
        Tube(str(i), tube[0], tube[1], tube[2] if len(tube) > 2 else "both", created_at_ms=i)  # type: ignore[misc]
        for i, tube in enumerate(tubes)
    ]
    return Topology([RoomState(room, room, "", paused=room in paused) for room in ROOMS], made)


def hears(topology: Topology, origin: RoomId) -> list[RoomId]:
    """Every room that a message said in ``origin`` goes to, as often as it goes there."""
    return [room for reach in topology.reach(origin) for room in reach.rooms]


SHAPES = {
    "chain": [(A, B), (B, C), (C, D)],
    "star": [(A, B), (A, C), (A, D)],
    "ring": [(A, B), (B, C), (C, D), (D, A)],
    "mesh": [(A, B), (A, C), (A, D), (B, C), (B, D), (C, D)],
    "twice": [(A, B), (B, A), (B, C), (C, D)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_room_hears_once(shape: str) -> None:
    """In a chain, star, ring or mesh every room hears every other one once, and never itself."""
    topology = graph(*SHAPES[shape])
    for origin in (A, B, C, D):
        assert sorted(hears(topology, origin)) == sorted({A, B, C, D} - {origin})
        assert topology.sameroom(origin) == min(A, B, C, D)
    assert hears(topology, ROOMS[4]) == []


tubes_drawn = st.lists(
    st.tuples(st.sampled_from(ROOMS), st.sampled_from(ROOMS), st.sampled_from(["both", "a>b", "b>a"])).filter(
        lambda tube: tube[0] != tube[1]
    ),
    max_size=14,
)


def reachable(tubes: Iterable[Tube], origin: RoomId) -> set[RoomId]:
    """The slow and plain way to find who hears: follow open directions until nothing is added."""
    found = {origin}
    while True:
        more = {tube.b for tube in tubes if tube.a in found and tube.direction != "b>a" and not tube.paused}
        more |= {tube.a for tube in tubes if tube.b in found and tube.direction != "a>b" and not tube.paused}
        if more <= found:
            return found - {origin}
        found |= more


@given(tubes_drawn, st.sets(st.sampled_from(ROOMS)), st.sets(st.sampled_from(ROOMS)))
def test_reach_is_what_can_be_walked(
    tubes: list[tuple[RoomId, RoomId, Direction]], paused: set[RoomId], away: set[RoomId]
) -> None:
    """In any graph a message goes once to each room that open tubes lead to, but to none that is paused or away."""
    topology = graph(*tubes, paused=paused)
    for room in away:
        topology.put_room(RoomState(room, room, "", paused=room in paused, away="gone"))
    for origin in ROOMS:
        got = hears(topology, origin)
        walked = reachable(topology.tubes.values(), origin) - paused - away
        assert len(got) == len(set(got))
        assert set(got) == (set() if origin in paused else walked)
        for account, rooms, styles in topology.reach(origin):
            assert {account_of(room) for room in rooms} == {account}
            assert len(rooms) == len(styles)


@given(tubes_drawn, st.data())
def test_changes_are_seen_at_once(tubes: list[tuple[RoomId, RoomId, Direction]], data: st.DataObject) -> None:
    """After tubes were cut and rooms renamed, answers are those of a graph that was built so from the start."""
    topology = graph(*tubes)
    for room in ROOMS:
        topology.reach(room), topology.sameroom(room), topology.bans_in_reach(room)
    for tube_id in data.draw(st.lists(st.sampled_from(sorted(topology.tubes)), unique=True)) if topology.tubes else []:
        topology.drop_tube(tube_id)
    gone = data.draw(st.sets(st.sampled_from(ROOMS), max_size=2))
    for room in gone:
        topology.drop_room(room)
    fresh = Topology(topology.rooms.values(), topology.tubes.values())
    for room in ROOMS:
        assert sorted(hears(topology, room)) == sorted(hears(fresh, room))
        assert topology.component(room)[0] == room
        assert set(topology.component(room)) == set(fresh.component(room))
        assert topology.sameroom(room) == fresh.sameroom(room)
        assert topology.tubes_of(room) == fresh.tubes_of(room)
    assert not gone & {end for tube in topology.tubes.values() for end in (tube.a, tube.b)}


def test_one_way_tubes() -> None:
    """What is said at the wrong end of a one-way tube stays there, and a chain of them leads one way only."""
    topology = graph((A, B, "a>b"), (C, B, "b>a"), (C, D, "both"))
    assert sorted(hears(topology, A)) == sorted([B, C, D])
    assert hears(topology, B) == [C, D]
    assert hears(topology, C) == [D]
    assert hears(topology, D) == [C]


def test_a_paused_tube_and_its_resumption() -> None:
    """A paused tube carries nothing either way, and the rooms stay one sameroom."""
    topology = graph((A, B), (B, C))
    tube = topology.tubes["0"]
    topology.put_tube(Tube(tube.id, tube.a, tube.b, paused=True))
    assert hears(topology, A) == []
    assert hears(topology, C) == [B]
    assert C in topology.component(A)
    topology.put_tube(tube)
    assert hears(topology, A) == [B, C]


def test_a_paused_room_lets_others_through() -> None:
    """A paused room neither speaks nor hears; those behind it still hear one another."""
    topology = graph((A, B), (B, C), paused=[B])
    assert (hears(topology, A), hears(topology, B), hears(topology, C)) == ([C], [], [A])


def test_bans_are_looked_at_only_where_they_matter() -> None:
    """A ban in one sameroom does not slow down another, and lifting it is seen at once."""
    topology = graph((A, B), (C, D))
    assert not topology.bans_in_reach(A)
    topology.put_room(RoomState(B, "b", "", bans={"person x": "X"}))
    assert topology.bans_in_reach(A)
    assert not topology.bans_in_reach(B)
    assert not topology.bans_in_reach(C)
    topology.put_room(RoomState(B, "b", ""))
    assert not topology.bans_in_reach(A)


def test_a_room_that_is_unknown_reaches_nobody() -> None:
    """Whatever is said in a room that the relay never heard of goes nowhere."""
    topology = graph((A, B))
    stranger = room_id(AccountId("account0"), "stranger")
    assert topology.reach(stranger) == ()
    assert topology.component(stranger) == [stranger]


def test_a_new_id_takes_everything_along() -> None:
    """Under its new id a room has its tubes, and others' bans and pending questions still mean it."""
    new = room_id(AccountId("account0"), "new")
    topology = graph((A, B), (C, A, "a>b"))
    asking = ConnectAsked(B, A, "Bob", asked_in=A)
    topology.put_room(RoomState(B, "b", "", bans={f"room {A}": "a", "person x": "X"}, asking=asking))
    renamed = topology.renamed(A, new)
    assert (renamed.state.room, renamed.state.title) == (new, A)
    assert [(tube.a, tube.b, tube.direction) for tube in renamed.tubes] == [(new, B, "both"), (C, new, "a>b")]
    assert [state.bans for state in renamed.others] == [{f"room {new}": "a", "person x": "X"}]
    assert renamed.others[0].asking == ConnectAsked(B, new, "Bob", asked_in=new)
    assert renamed.gone == []


def test_a_new_id_that_had_tubes_already() -> None:
    """Where the new id is connected already, no tube leads to itself and none is there twice."""
    topology = graph((A, B), (A, C), (A, D), (B, C))
    renamed = topology.renamed(A, B)
    assert sorted(renamed.gone) == ["0", "1"]
    assert [(tube.a, tube.b) for tube in renamed.tubes] == [(B, D)]
