"""Byte ranges are grouped into requests: each range once, near ones together."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.grib.index import coalesce

RANGES = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 40)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=25
)


@given(RANGES, st.integers(0, 60), st.randoms())
def test_coalesced_ranges(ranges: list[tuple[int, int]], max_gap: int, random: Any) -> None:
    groups = coalesce(ranges, max_gap)
    assert sorted(position for group in groups for position in group) == list(range(len(ranges)))
    spans = [(min(ranges[k][0] for k in group), max(ranges[k][1] for k in group)) for group in groups]
    for before, after in pairwise(spans):
        assert after[0] - before[1] > max_gap
    for group in groups:
        reached = ranges[group[0]][1]
        for position in group[1:]:
            start, stop = ranges[position]
            assert start - reached <= max_gap
            reached = max(reached, stop)
    shuffled = random.sample(ranges, len(ranges))
    assert spans == [
        (min(shuffled[k][0] for k in group), max(shuffled[k][1] for k in group))
        for group in coalesce(shuffled, max_gap)
    ]


def test_neighbours_share_a_request_and_distant_ranges_do_not() -> None:
    assert coalesce([(200, 300), (0, 100), (100, 150), (1000, 1001)], 50) == [[1, 2, 0], [3]]
    assert coalesce([(0, 100), (151, 200)], 50) == [[0], [1]]
    assert coalesce([], 50) == []
