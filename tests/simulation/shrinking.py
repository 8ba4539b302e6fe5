"""A failing seed becomes a short list of events.

In: a seed and a promise that it breaks. Out: the fewest faults found that break it still. All other chance stays as it is, since
every number depends on the seed and a name only.
"""

from typing import Any

from reformatters_dagster.core.job.region_job import RegionJob
from tests.simulation.faults import Families
from tests.simulation.layouts import Layout
from tests.simulation.world import simulate

MOST_TRIES = 200


def shrink(
    seed: int,
    promise: str,
    families: Families | None = None,
    *,
    most_tries: int = MOST_TRIES,
    region_job: type[RegionJob[Any]] | None = None,
    layout: Layout | None = None,
) -> list[str]:
    """Names of faults of a seed that suffice to break a promise: halves are left out, then quarters, and so on.

    Raises
    ------
    ValueError
        When the seed does not break the promise.
    """
    whole = simulate(seed, families=families, region_job=region_job, layout=layout)
    if promise not in whole.promises:
        raise ValueError(f"seed {seed} was to be shrunk; it does not break {promise!r}")
    kept, left_out, tries, size = whole.faults, list[str](), 0, max(len(whole.faults) // 2, 1)
    while tries < most_tries and kept:
        smaller = None
        for start in range(0, len(kept), size):
            tries += 1
            without = [*left_out, *kept[start : start + size]]
            outcome = simulate(seed, families=families, left_out=without, region_job=region_job, layout=layout)
            if promise in outcome.promises:
                # Other faults may happen where some do not.
                smaller, left_out = outcome.faults, without
                break
        if smaller is not None:
            kept = smaller
        elif size == 1:
            break
        size = max(min(size, len(kept)) // (1 if smaller is not None else 2), 1)
    return kept
