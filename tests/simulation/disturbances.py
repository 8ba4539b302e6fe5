"""What happens to a deployment from outside, as data: outages, lost objects, people who run things by hand.

In: a seed and its families. Out: events with a time, in no order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.simulation.chance import chance
from tests.simulation.faults import Families
from tests.simulation.layouts import HOUR

type What = Literal[
    "archive out",
    "store out",
    "replica out",
    "object lost",
    "update by hand",
    "backfill by hand",
    "heal by hand",
    "ticks",
    "newer version",
    "older version",
]


@dataclass(frozen=True)
class Disturbance:
    """One event."""

    at: float
    what: What
    hours: float = 0.0
    """How long it lasts."""
    draw: float = 0.0
    """Between 0 and 1: which of several is meant."""

    @property
    def name(self) -> str:
        return f"{self.what} at {self.at / HOUR:.2f} h for {self.hours} h"


def disturbances(seed: int, families: Families, hours: float) -> Iterator[Disturbance]:
    """Those of a seed."""
    rng = chance(seed, "disturbances")
    rows: tuple[tuple[float, What, int], ...] = (
        (families.outages, "archive out", 2),
        (families.store_outages, "store out", 2),
        (families.replica_outages, "replica out", 2),
        (families.lost_objects, "object lost", 2),
        (families.second_writers, "update by hand", 4),
        (families.second_writers, "backfill by hand", 3),
        (families.second_writers, "heal by hand", 4),
        (families.odd_sensors, "ticks", 10),
        (families.other_versions, "newer version", 5),
        (families.other_versions, "older version", 5),
    )
    for rate, what, most in rows:
        for _ in range(most):
            drawn = rng.random(), rng.uniform(1, hours), rng.choice((0.02, 0.3, 2, 5, 9)), rng.random()
            if drawn[0] < rate:
                yield Disturbance(drawn[1] * HOUR, what, drawn[2], drawn[3])
