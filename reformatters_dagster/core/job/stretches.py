"""Stretches of the append dimension: what is computed together, and what is read for it.

In: positions to compute anew, and how far a value reaches. Out: slices to read and to write, apart from each other.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Stretch:
    """Positions of the append dimension that are computed together."""

    read: slice
    write: slice
    """Those of `read` whose values go into the shard."""

    @property
    def length(self) -> int:
        """How many positions are read."""
        return int(self.read.stop - self.read.start)

    def wholly_written(self, region: slice, reach: int) -> range:
        """Positions that are written together with all positions of the region that depend on them."""
        start = self.write.start if self.write.start == region.start else self.write.start + reach
        stop = self.write.stop if self.write.stop == region.stop else self.write.stop - reach
        return range(start, stop)

    def runs(self, without: Collection[int]) -> Iterator[slice]:
        """The positions to write as slices, cut up around those that are left out."""
        start = self.write.start
        holes = sorted(at for at in without if self.write.start <= at < self.write.stop)
        for hole in [*holes, self.write.stop]:
            if start < hole:
                yield slice(start, hole)
            start = hole + 1


def cut_stretches(changed: Collection[int], region: slice, processing: slice, reach: int) -> list[Stretch]:
    """Stretches that hold every changed position and all that depends on it; what that depends on is read too.

    Parameters
    ----------
    changed : collection of int
        Positions within the region.
    region, processing : slice
        The shard's positions, and the ones that may be read.
    reach : int
        How many steps away a value can be that another depends on: the longest of the variables.
    """
    found: list[Stretch] = []
    for position in sorted(changed):
        write = slice(max(position - reach, region.start), min(position + reach + 1, region.stop))
        read = slice(max(write.start - reach, processing.start), min(write.stop + reach, processing.stop))
        if found and read.start <= found[-1].read.stop:
            before = found.pop()
            write, read = slice(before.write.start, write.stop), slice(before.read.start, read.stop)
        found.append(Stretch(read=read, write=write))
    return found
