"""Codes on a real store: one claim wins, nothing is learnt by guessing, nothing secret is stored."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from codes.alphabet import new_code
from codes.pairing import CLAIM_KEPT_MS, CodeError, GuessLimits, PairingCodes, Redeemed, TooManyGuesses, WrongCode
from core.store import Redis
from tests.conftest import FakeClock
from tests.servers.store import dump_of

SECRET = "a secret of quite enough characters"
LIMITS = GuessLimits(per_person=5, per_room=15, overall=40, window_s=600)


@pytest.fixture
def codes(store: Redis, clock: FakeClock) -> PairingCodes:
    """Codes of 120 s with small limits."""
    return PairingCodes(store, SECRET, now_ms=clock.now_ms, ttl_s=120, limits=LIMITS)


async def redeem(codes: PairingCodes, text: str, claim: str = "c1", person: str = "bob", room: str = "r2") -> Redeemed:
    return await codes.redeem(text, claim=claim, person=person, room=room)


async def work_of(store: Redis, attempt: Callable[[], Any]) -> dict[str, int]:
    """The store commands that an attempt causes, with how often."""
    await store.config_resetstat()
    with pytest.raises(CodeError):
        await attempt()
    stats = await store.info("commandstats")
    return {name: s["calls"] for name, s in stats.items() if name.startswith(("cmdstat_h", "cmdstat_p", "cmdstat_e"))}


async def test_a_code_tells_what_it_was_issued_for(codes: PairingCodes, clock: FakeClock) -> None:
    """Issue in one room, redeem in another, however it is typed."""
    issued = await codes.issue("r1", by="alice")
    assert issued.expires_ms == clock.now_ms() + 120_000
    assert await redeem(codes, f" “{issued.code.lower()}”. ") == Redeemed("r1", "alice")


async def test_a_code_works_once(codes: PairingCodes) -> None:
    """Another claim on a used code gets what a wrong code gets, also by the same person in the same room."""
    code = (await codes.issue("r1", by="alice")).code
    await redeem(codes, code, claim="first")
    with pytest.raises(WrongCode):
        await redeem(codes, code, claim="second")


async def test_the_winning_claim_gets_its_answer_again(codes: PairingCodes, clock: FakeClock) -> None:
    """A claim that is run again after a crash hears the same, past the code's end and when locked out."""
    code = (await codes.issue("r1", by="alice")).code
    first = await redeem(codes, code)
    clock.advance(121_000)
    for n in range(5):
        with pytest.raises(WrongCode):
            await redeem(codes, "wrong", claim=f"w{n}")
    assert await redeem(codes, code) == first


async def test_a_claim_is_kept_long_enough_by_the_store(codes: PairingCodes, store: Redis) -> None:
    """The store keeps a used code for a day, an unused one little longer than it lives, and nothing for ever."""
    code = (await codes.issue("r1", by="alice")).code
    (key,) = [k async for k in store.scan_iter("*:code:*")]
    assert 120_000 < await store.pttl(key) <= 180_000
    await redeem(codes, code)
    assert CLAIM_KEPT_MS - 60_000 < await store.pttl(key) <= CLAIM_KEPT_MS
    with pytest.raises(WrongCode):
        await redeem(codes, "wrong", claim="w")
    assert all([await store.pttl(k) > 0 async for k in store.scan_iter()])


async def test_a_code_typed_in_its_own_room_is_not_used_up(codes: PairingCodes) -> None:
    """The room itself gets an answer that names it, and the other room can still use the code."""
    code = (await codes.issue("r1", by="alice")).code
    assert (await redeem(codes, code, claim="own", room="r1")).subject == "r1"
    assert (await redeem(codes, code, claim="other", room="r2")).subject == "r1"


async def test_a_code_ends(codes: PairingCodes, clock: FakeClock) -> None:
    """It works in its last millisecond and not after."""
    one, two = await codes.issue("r1", by="alice"), await codes.issue("r1", by="alice")
    clock.advance(119_999)
    await redeem(codes, one.code, claim="in time")
    clock.advance(1)
    with pytest.raises(WrongCode):
        await redeem(codes, two.code, claim="late")


async def test_of_two_rooms_at_once_one_wins(store: Redis, clock: FakeClock) -> None:
    """Two rooms redeem the same code at the same moment, 200 times: never none, never both."""
    limits = GuessLimits(per_person=10**6, per_room=10**6, overall=10**6, window_s=600)
    codes = PairingCodes(store, SECRET, now_ms=clock.now_ms, ttl_s=120, limits=limits)
    winners = set()
    for n in range(200):
        code = (await codes.issue("r1", by="alice")).code
        attempts = [redeem(codes, code, claim=f"{n}-{room}", room=room) for room in ("r2", "r3")]
        answers = await asyncio.gather(*(attempts if n % 2 else reversed(attempts)), return_exceptions=True)
        assert sorted(type(a).__name__ for a in answers) == ["Redeemed", "WrongCode"]
        winners.add(isinstance(answers[0], Redeemed) == bool(n % 2))
    assert winners == {True, False}


async def test_revoked_codes_are_worthless(codes: PairingCodes, clock: FakeClock) -> None:
    """Revoking takes all unused codes of a subject and nothing else, and says how many were still good."""
    old = await codes.issue("r1", by="alice")
    clock.advance(100_000)
    mine = [await codes.issue("r1", by="alice") for _ in range(2)]
    used, other = await codes.issue("r1", by="alice"), await codes.issue("r9", by="carol")
    await redeem(codes, used.code, claim="used")
    clock.advance(30_000)
    assert await codes.revoke("r1") == 2
    for n, issued in enumerate([old, *mine]):
        with pytest.raises(WrongCode):
            await redeem(codes, issued.code, claim=f"c{n}")
    assert await redeem(codes, other.code, claim="other") == Redeemed("r9", "carol")
    assert await redeem(codes, used.code, claim="used") == Redeemed("r1", "alice")
    assert await codes.revoke("r1") == 0


async def test_ten_thousand_guesses_by_one_person(codes: PairingCodes, clock: FakeClock) -> None:
    """Five wrong codes, then nothing but the lock, even for the right code; others are not locked out."""
    right = await codes.issue("r1", by="alice")
    said = {WrongCode: 0, TooManyGuesses: 0}
    for n in range(10_000):
        with pytest.raises(CodeError) as raised:
            await redeem(codes, new_code(), claim=f"c{n}", person="mallory", room=f"r{n % 7}")
        said[raised.type] += 1
    assert said == {WrongCode: 5, TooManyGuesses: 9995}
    with pytest.raises(TooManyGuesses) as locked:
        await redeem(codes, right.code, claim="right", person="mallory")
    assert locked.value.retry_after_s == 600
    assert await redeem(codes, right.code, person="bob") == Redeemed("r1", "alice")


async def test_a_lock_ends_with_its_window(codes: PairingCodes, clock: FakeClock) -> None:
    """Trying during the lock does not make it longer; after the window the person may try again."""
    for n in range(5):
        with pytest.raises(WrongCode):
            await redeem(codes, "wrong", claim=f"c{n}")
    clock.advance(599_999)
    with pytest.raises(TooManyGuesses) as locked:
        await redeem(codes, "wrong", claim="locked")
    assert locked.value.retry_after_s == 1
    clock.advance(1)
    right = await codes.issue("r1", by="alice")
    assert await redeem(codes, right.code, claim="right") == Redeemed("r1", "alice")


async def test_right_codes_are_not_counted(codes: PairingCodes) -> None:
    """Somebody who connects twenty rooms is not taken for a guesser."""
    for n in range(20):
        code = (await codes.issue("r1", by="alice")).code
        assert await redeem(codes, code, claim=f"c{n}") == Redeemed("r1", "alice")


async def test_changing_persons_lock_the_room_and_changing_rooms_lock_all(codes: PairingCodes) -> None:
    """A new person for each guess ends with the room's limit, a new room as well with the overall one."""
    right = await codes.issue("r1", by="alice")
    wrong_in: dict[str, int] = {}
    for n in range(1000):
        room = f"r{n // 100}"
        try:
            await redeem(codes, new_code(), claim=f"c{n}", person=f"p{n}", room=room)
        except WrongCode:
            wrong_in[room] = wrong_in.get(room, 0) + 1
        except TooManyGuesses:
            pass
    assert wrong_in == {"r0": 15, "r1": 15, "r2": 10}
    with pytest.raises(TooManyGuesses):
        await redeem(codes, right.code, claim="right", person="somebody", room="elsewhere")


async def test_wrong_used_and_expired_are_one(codes: PairingCodes, store: Redis, clock: FakeClock) -> None:
    """The same words and the same work in the store, so neither tells a guesser anything; also when locked."""
    used, expired = await codes.issue("r1", by="alice"), await codes.issue("r1", by="alice")
    await redeem(codes, used.code, claim="used")
    clock.advance(120_000)
    live = await codes.issue("r1", by="alice")
    bad = {"used": used.code, "expired": expired.code, "wrong": new_code(), "no code": "hello"}
    work = [await work_of(store, lambda t=t, n=n: redeem(codes, t, claim=f"again {n}")) for n, t in bad.items()]
    assert work == [work[0]] * 4
    assert work[0]["cmdstat_hset"] == 3
    with pytest.raises(WrongCode):
        await redeem(codes, "fifth", claim="fifth")
    locked = [await work_of(store, lambda t=t: redeem(codes, t)) for t in [*bad.values(), live.code]]
    assert locked == [locked[0]] * 5
    assert "cmdstat_hset" not in locked[0]


async def test_the_store_holds_no_code(codes: PairingCodes, store: Redis) -> None:
    """Nothing in a dump is the code, in any spelling, nor an unkeyed or differently keyed hash of it."""
    used, live = await codes.issue("r1", by="alice"), await codes.issue("r1", by="alice")
    await redeem(codes, used.code)
    with pytest.raises(WrongCode):
        await redeem(codes, "XXXXX-XXXX", claim="wrong")
    held = (await dump_of(store)).lower()
    assert b"alice" in held
    for code in (used.code, live.code, "XXXXX-XXXX"):
        for spelling in (code, code.replace("-", "")):
            assert spelling.lower().encode() not in held
    other_key = PairingCodes(store, "another secret", now_ms=lambda: 0, ttl_s=120, limits=LIMITS)
    with pytest.raises(WrongCode):
        await redeem(other_key, live.code)


async def test_a_code_that_is_taken_is_not_issued_again(store: Redis, clock: FakeClock) -> None:
    """When the source of codes repeats one, the next one is taken; a source that only repeats is an error."""
    source = iter(["HLDMU-42K7", "HLDMU-42K7", "HLDMU-42K8"])
    codes = PairingCodes(
        store, SECRET, now_ms=clock.now_ms, ttl_s=120, limits=LIMITS, new_code=lambda: next(source, "HLDMU-42K7")
    )
    assert [(await codes.issue(r, by="alice")).code for r in ("r1", "r2")] == ["HLDMU-42K7", "HLDMU-42K8"]
    assert (await redeem(codes, "HLDMU-42K7")).subject == "r1"
    with pytest.raises(RuntimeError):
        await codes.issue("r3", by="alice")


async def test_a_claim_and_a_key_are_needed(codes: PairingCodes, store: Redis) -> None:
    """An empty claim would match every unused code, an empty key would hash nothing: both are refused."""
    with pytest.raises(ValueError, match="claim"):
        await redeem(codes, "HLDMU-42K7", claim="")
    with pytest.raises(ValueError, match="SECRET_KEY"):
        PairingCodes(store, "", now_ms=lambda: 0, ttl_s=120, limits=LIMITS)
