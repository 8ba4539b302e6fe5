"""The tables of `docs/scaling.md`: figures to words.

In: what `scaling` and its kin worked out or measured. Out: Markdown of each section, by its name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from benchmarks.report import stamp, table
from benchmarks.scaling import UNTIL, Assumptions, Backfill, Speeds
from benchmarks.scaling_events import EventLog
from benchmarks.scaling_queue import Outcome, Service
from benchmarks.scaling_servers import QUEUED, Standing
from benchmarks.scaling_store import PREFIX_PUTS, Throttled

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
NAMED = ("noaa-gfs-forecast", "noaa-hrrr-forecast-48-hour", "noaa-gefs-forecast-35-day")
"""Backfills that the page begins with."""
BATCHES = (1, 4, 8, 24)
REAL_MAP = 30_000
"""Bytes by which the map of a real field is larger than that of the coarse one that is measured: 38.8 kB against 8.7 kB."""
STEP_ROWS, ROW_BYTES, STEPS_MEASURED = 13, 2_000, 2
"""Of each mapped step, tried with a toy dataset: 13 events of 1.6 to 2.3 kB. The runs that are measured have two such steps."""
DATASETS_AHEAD = 20


def backfills(found: Mapping[str, Backfill]) -> str:
    """What full backfills take, and what the figures rest on."""
    first = next(iter(found.values()))
    rows = [_backfill_row(name, found[name]) for name in (*NAMED, *(name for name in found if name not in NAMED))]
    head = [
        "dataset",
        "partitions",
        "pods at a time",
        "pod hours",
        "days",
        "requests upstream, 10⁶",
        "puts, 10⁶",
        "gets, 10⁶",
    ]
    head += ["TB in", "TB out", "compute, $", "requests, $", "a month's storage, $"]
    return (
        f"Every partition from the template's start to {UNTIL:%Y-%m-%d}, once, a partition a run, "
        f"{first.assumed.runs_at_once} runs at a time.\n\n{table(head, rows)}\n\n{_speeds(first.speeds)}\n\n"
        f"{_assumptions(first.assumed)}\n"
    )


def _backfill_row(name: str, one: Backfill) -> list[str]:
    count = one.one.partitions
    return [
        f"`{name}`",
        f"{count:,}",
        f"{one.pods_at_once}",
        f"{one.pod_hours:,.0f}",
        f"{one.wall_hours / 24:.1f}",
        *(f"{count * each / 1e6:,.2f}" for each in (one.requests_upstream, one.puts, one.gets)),
        *(f"{count * each / 1e12:,.1f}" for each in (one.bytes_in, one.bytes_out)),
        *(f"{dollars:,.0f}" for dollars in (one.compute_dollars, one.request_dollars, one.month_dollars)),
    ]


def _speeds(speeds: Speeds) -> str:
    return (
        f"From [the benchmarks](../benchmarks/README.md): {speeds.cpu_per_value * 1e9:.1f} CPU s for 10⁹ values from message to "
        f"shard, of whatever packing; {100 * speeds.parallel:.0f} % of the workers busy; a run pays {speeds.run_start:.1f} s "
        f"besides its work, and {speeds.partition_start:.1f} s of it for each further partition in the same process."
    )


def _assumptions(assumed: Assumptions) -> str:
    rows = []
    for one in fields(Assumptions):
        value = getattr(assumed, one.name)
        if isinstance(value, Mapping):
            rows += [[f"`{one.name}` of {model}", f"{size:g}"] for model, size in value.items()]
        else:
            rows.append([f"`{one.name}`", f"{value:g}"])
    where = "fields of `Assumptions` in `benchmarks/scaling.py`, where each is explained"
    return f"Assumed ({where}):\n\n{table(['assumption', 'value'], rows)}"


def starts(found: Mapping[str, Backfill]) -> str:
    """The share of runs that starts pods, and what several partitions in a run save."""
    rows = []
    for name, one in found.items():
        if one.by_group:
            continue
        batches = [replace(one, partitions_per_run=size) for size in BATCHES]
        rows.append(
            [
                f"`{name}`",
                f"{one.work:.0f}",
                *(f"{100 * batch.start_share:.0f} %" for batch in batches),
                *(f"{batch.pod_hours:,.0f}" for batch in batches),
                f"{one.one.dataset.partitions_per_run}",
            ]
        )
    head = ["dataset", "work of a partition, s"]
    head += [f"no work, {size} a run" for size in BATCHES] + [f"pod hours, {size} a run" for size in BATCHES]
    return f"{table([*head, 'declared'], rows)}\n"


def queue(outcomes: Sequence[Outcome], kept: Sequence[Service]) -> str:
    """What became of updates in each scenario, and what was left to deadlines in the first."""
    rows = [
        [
            one.scenario.name,
            f"{one.scenario.runs}",
            f"{one.backfilled:,}",
            f"{one.updates}",
            f"{one.longest_wait / 60:.1f}",
            f"{one.late}",
        ]
        for one in outcomes
    ]
    shipped = outcomes[0]
    slack = [
        [
            f"`{service.dataset.dataset_id}`",
            f"{service.arrives / 3600:g}",
            f"{service.update / 60:.1f}",
            f"{service.deadline / 3600:g}",
            f"{shipped.slack[service.dataset.dataset_id] / 60:.0f}",
        ]
        for service in kept
        if service.dataset.dataset_id in shipped.slack
    ]
    head = ["scenario", "runs at most", "backfilled", "updates", "longest wait, min", "late"]
    return (
        f"{shipped.scenario.backfill:,} runs of a backfill are queued at 00 UTC, each takes about "
        f"{shipped.scenario.backfill_seconds:.0f} s; {shipped.scenario.hours:g} hours of virtual time.\n\n{table(head, rows)}\n\n"
        "As shipped, by dataset (when files arrive is an assumption, `ARRIVES` in `benchmarks/scaling_queue.py`; the deadline "
        "is that of `CheckCurrentData`):\n\n"
        + table(["dataset", "files there after, h", "update, min", "deadline, h", "least time left, min"], slack)
        + "\n"
    )


def store(found: Sequence[Throttled], one: Backfill) -> str:
    """What 503s do to a run, and how many pods it takes until they begin."""
    rows = [
        [
            f"{100 * each.refused:.0f} %",
            "none ends" if each.failed == 1 else f"{each.longer:.1f}",
            f"{100 * each.failed:.0f} %",
        ]
        for each in found
    ]
    rate = one.puts / one.run
    return (
        f"Runs of `{one.one.dataset.dataset_id}`, {one.puts:.0f} puts each.\n\n"
        f"{table(['requests that the store refuses', 'uploads take, times as long', 'runs that fail'], rows)}\n\n"
        f"A run puts {rate:.1f} requests a second, so {PREFIX_PUTS / rate:,.0f} runs at a time reach the {PREFIX_PUTS:,} "
        "a second that S3 documents for one prefix.\n"
    )


def events(found: Mapping[str, EventLog], datasets: Mapping[str, Backfill]) -> str:
    """Rows and bytes of a run, and what a backfill and a year of updates leave."""
    rows = []
    for name in NAMED:
        one = datasets[name]
        for storage, log in found.items():
            of_run = log.of(one.variables)
            more = STEP_ROWS * (one.one.groups - STEPS_MEASURED)
            size = of_run.bytes + REAL_MAP + ROW_BYTES * more
            a_year = 365 * 24 * 3600 / (one.one.dataset.template_config.append_dim.frequency.total_seconds())
            rows.append(
                [
                    f"`{name}`",
                    storage,
                    f"{of_run.rows + more:.0f}",
                    f"{size / 1e3:.0f}",
                    f"{one.one.partitions * size / 1e9:.1f}",
                    f"{a_year * size / 1e9:.1f}",
                ]
            )
    head = ["dataset", "storage", "rows a run", "kB a run", "full backfill, GB", "a year of updates, GB"]
    words = [
        f"{storage}: {100 * log.left:.0f} % of the bytes are left once all runs are deleted and the storage was told to give "
        f"room back; partitions {'count as never materialized then' if log.forgotten else 'stay materialized'}."
        for storage, log in found.items()
    ]
    return (
        f"{stamp()} Runs of {min(log.few.variables for log in found.values())} and of "
        f"{max(log.many.variables for log in found.values())} variables, made in one process; other numbers on the line through "
        f"them, and {REAL_MAP / 1e3:.0f} kB more for the map of a real field. Each group of variables "
        f"beyond two adds {STEP_ROWS} rows of {ROW_BYTES / 1e3:.0f} kB; queue and launcher add about ten.\n\n"
        f"{table(head, rows)}\n\n" + "\n".join(f"- {line}" for line in words) + "\n"
    )


def servers(found: Standing, tick: Callable[[str], float]) -> str:
    """Code servers, sensors and connections, for the datasets that there are and for 20."""
    rows = [[f"`{name}`", f"{count}", f"{size:.0f}"] for name, (count, size) in found.servers.items()]
    ahead = len(found.servers) * found.base + DATASETS_AHEAD * found.per_dataset
    rows.append([f"{len(found.servers)} servers, {DATASETS_AHEAD} datasets", f"{DATASETS_AHEAD}", f"{ahead:.0f}"])
    upstream, heal = tick("upstream"), tick("heal")
    busy = DATASETS_AHEAD * (upstream / 60_000 + heal / 300_000)
    words = [
        f"- Ticks: {upstream:.0f} CPU ms of `__upstream` each minute and {heal:.0f} of `__heal` each five, by "
        f"`benchmarks scale`: {DATASETS_AHEAD} datasets keep a core {100 * busy:.1f} % busy. A tick also waits for listings, "
        f"for up to 20 s: where all archives are so slow, 8 threads take {DATASETS_AHEAD * 20 / 8:.0f} s for them all.",
    ]
    if found.connections:
        most = (100 - 3 - 3 * 21) // found.connections
        words += [
            f"- Postgres: a run held {found.connections} connections at most, each for a statement or little more; runs, daemon "
            "and code servers keep none open. The webserver has three pools of 1 connection and up to 20 more. Of Postgres' "
            f"default of 100 connections 3 are reserved: beside a webserver at its worst, {most} processes may ask at the same "
            "moment. Above that Postgres refuses connections; Dagster asks again a few times, then the run fails.",
            f"- A look of the queue at {QUEUED:,} queued runs of a backfill took {found.look:.1f} s here. It reads every queued "
            f"run each time, so at 10,000 it takes {10_000 / QUEUED * found.look:.1f} s, by which any launch may be late.",
        ]
    return (
        f"{stamp()} Memory of one process each, once it answers.\n\n{table(['code server', 'datasets', 'MB'], rows)}\n\n"
        + "\n".join(words)
        + "\n"
    )
