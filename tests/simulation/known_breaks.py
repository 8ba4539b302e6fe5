"""Breaks that are open: seeds that find them.

Each row fails as it says, strictly: whoever mends a break deletes its rows. `families` are the faults that a seed is run with.
"""

from dataclasses import dataclass

from tests.simulation.faults import Families, only


@dataclass(frozen=True)
class Row:
    """One seed that breaks one promise."""

    what: str
    seed: int
    families: tuple[str, ...]
    promise: str

    @property
    def faults(self) -> Families:
        return only(*self.families)


OPEN: tuple[Row, ...] = ()
