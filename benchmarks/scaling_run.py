"""All of `python -m benchmarks scaling`: what is worked out, what is simulated, and what is measured.

In: a folder. Out: the sections of `docs/scaling.md`, one after the other.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path

from benchmarks import scaling_events, scaling_report, scaling_servers, scaling_store
from benchmarks.figures import measured
from benchmarks.scaling import Backfill, Speeds, backfills, count_all
from benchmarks.scaling_queue import EXCLUSIVE, Scenario, Service, backfill_tags, services, simulate
from benchmarks.scaling_report import PAGE

__all__ = ["PAGE", "SCENARIOS", "sections"]

HOURS = 12.0
SCENARIOS = (
    Scenario("as shipped", hours=HOURS),
    Scenario("as shipped, runs of 16 min, as of `noaa-hrrr-analysis`", hours=HOURS, backfill_seconds=980),
    Scenario("as shipped, 12 runs of the backfill hang", hours=HOURS, hung=12),
    Scenario("without the limit of `dagster/backfill`", hours=HOURS, limits=EXCLUSIVE),
    Scenario("the same, runs of 16 min", hours=HOURS, limits=EXCLUSIVE, backfill_seconds=980),
    Scenario("the same, 20 runs of the backfill hang", hours=HOURS, limits=EXCLUSIVE, hung=20),
    Scenario(
        "without priorities and limit: first come, first served", hours=HOURS, limits=EXCLUSIVE, has_priorities=False
    ),
    Scenario("as shipped, but 12 runs at most", hours=HOURS, runs=12),
)
REFUSED = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares of requests that a store may refuse."""
SLOW = "noaa-gfs-forecast"
"""Whose backfill is queued, and whose uploads are throttled."""


def sections(
    folder: Path, say: Callable[[str], None], only: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Name and text of each section that is wanted; all of them where none is named."""
    made: dict[str, Callable[[], str]] = {
        "backfills": lambda: scaling_report.backfills(all_backfills()),
        "starts": lambda: scaling_report.starts(all_backfills()),
        "queue": lambda: _queue(services(all_backfills()), say),
        "store": lambda: _store(all_backfills()[SLOW]),
        "events": lambda: scaling_report.events(scaling_events.measure(_emptied(folder), say), all_backfills()),
        "servers": lambda: scaling_report.servers(scaling_servers.measure(_emptied(folder), say), _tick),
    }
    if unknown := set(only or ()) - set(made):
        raise SystemExit(f"sections {sorted(unknown)} were asked for; there are {', '.join(made)}")
    for name, make in made.items():
        if not only or name in only:
            say(name)
            yield name, make()
    shutil.rmtree(folder / "scaling", ignore_errors=True)


@cache
def all_backfills() -> dict[str, Backfill]:
    """Of every dataset, a partition a run."""
    return backfills(count_all(), Speeds.of_readme())


def _queue(kept: list[Service], say: Callable[[str], None]) -> str:
    tags, outcomes = backfill_tags(all_backfills()[SLOW].one.dataset), []
    for scenario in SCENARIOS:
        say(scenario.name)
        outcomes.append(simulate(scenario, kept, tags))
    return scaling_report.queue(outcomes, kept)


def _store(one: Backfill) -> str:
    puts = round(one.puts / one.variables)
    found = [scaling_store.throttle(refused, one.variables, puts) for refused in REFUSED]
    return scaling_report.store(found, one)


def _tick(sensor: str) -> float:
    """CPU milliseconds of a tick, by `benchmarks scale`."""
    return measured("scale", f"tick of the {sensor} sensor", "10,000 partitions")


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder / "scaling", ignore_errors=True)
    return folder / "scaling"
