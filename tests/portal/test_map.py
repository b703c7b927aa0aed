"""The map: where rooms stand, and what the page says."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from portal import drawing
from tests.portal.conftest import GARDEN, Site


def place(count: int, edges: list[drawing.Edge]) -> drawing.Placed:
    """The finished layout."""
    places = drawing.first_places(count, edges)
    for _ in drawing.rounds(places, edges):
        pass
    return drawing.in_pixels(places)


def overlaps(placed: drawing.Placed) -> list[tuple[drawing.Point, drawing.Point]]:
    """Pairs of boxes that lie on one another."""
    return [
        (a, b)
        for a, b in combinations(placed.centres, 2)
        if abs(a[0] - b[0]) < drawing.BOX_WIDTH_PX and abs(a[1] - b[1]) < drawing.BOX_HEIGHT_PX
    ]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 14).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_no_two_rooms_overlap(case: tuple[int, list[drawing.Edge]]) -> None:
    """Whatever is connected with whatever, every box is free and inside the picture."""
    count, edges = case
    placed = place(count, [(a, b) for a, b in edges if a != b])
    assert overlaps(placed) == []
    for x, y in placed.centres:
        assert drawing.BOX_WIDTH_PX / 2 <= x <= placed.width_px - drawing.BOX_WIDTH_PX / 2
        assert drawing.BOX_HEIGHT_PX / 2 <= y <= placed.height_px - drawing.BOX_HEIGHT_PX / 2


def test_sixty_rooms_fit_a_few_screens() -> None:
    """A star, a chain and a ring of 60 rooms are drawn without overlaps, and the same every time."""
    star = [(0, i) for i in range(1, 60)]
    chain = [(i, i + 1) for i in range(59)]
    for edges in (star, chain, [*chain, (59, 0)]):
        placed = place(60, edges)
        assert overlaps(placed) == []
        assert placed.width_px < 2600
        assert placed == place(60, edges)


def test_hundreds_of_rooms_are_placed_without_the_long_way() -> None:
    """Above the limit rooms stand where they were put first, still apart."""
    count = drawing.MOST_FORCED + 40
    placed = place(count, [(0, i) for i in range(1, count)])
    assert len(placed.centres) == count
    assert overlaps(placed) == []


def test_an_arrow_ends_at_the_box() -> None:
    """Lines stop at the border of a box, from whichever side they come."""
    assert drawing.border((0, 0), (1000, 0)) == (drawing.BOX_WIDTH_PX / 2 + 4, 0)
    assert drawing.border((0, 0), (0, -1000)) == (0, -(drawing.BOX_HEIGHT_PX / 2 + 4))
    assert drawing.border((5, 5), (5, 5)) == (5, 5)


async def test_the_map_says_the_same_twice(site: Site) -> None:
    """The drawing and the list below it name every room and the way each tube relays."""
    site.town.add("irc/#shop", "#shop <b>", paused=True)
    site.town.join(GARDEN, "irc/#shop", direction="a_to_b", paused=True)
    async with site.browser().get(f"/map/{site.deps.links.sign('map', GARDEN)}") as response:
        html = await response.text()
    assert "3 rooms, one conversation" in html
    assert html.count("#shop &lt;b&gt;") == 3
    assert html.count("map-line") == 2
    assert 'marker-end="url(#arrow-paused)"' in html
    assert "sends to, paused:" in html
    assert "hears, paused:" in html
    assert "12 waiting" in html
