"""Stretches hold what depends on a change, and are apart from each other."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.job.stretches import cut_stretches


@given(
    changed=st.sets(st.integers(10, 49)),
    before=st.integers(0, 3),
    steps=st.integers(0, 2),
)
def test_stretches_hold_all_that_depends_and_read_all_it_depends_on(changed: set[int], before: int, steps: int) -> None:
    region, processing = slice(10, 50), slice(10 - before, 50)
    stretches = cut_stretches(changed, region, processing, steps)
    written = [at for one in stretches for at in range(one.write.start, one.write.stop)]
    assert len(written) == len(set(written))
    wanted = {at for c in changed for at in range(c - steps, c + steps + 1) if 10 <= at < 50}
    assert set(written) >= wanted
    assert changed <= {at for one in stretches for at in one.wholly_written(region, steps)}
    for one in stretches:
        needed = range(max(one.write.start - steps, processing.start), min(one.write.stop + steps, 50))
        assert range(one.read.start, one.read.stop) == needed
    for one in stretches:
        whole = one.wholly_written(region, steps)
        for at in range(one.write.start, one.write.stop):
            depend = range(max(at - steps, region.start), min(at + steps + 1, region.stop))
            assert (at in whole) == (set(depend) <= set(range(one.write.start, one.write.stop)))
    for one, following in pairwise(stretches):
        assert one.read.stop < following.read.start
