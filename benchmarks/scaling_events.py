"""What Dagster keeps of runs: rows and bytes a run, in SQLite and in Postgres, and what is left once the runs are deleted.

In: a folder. Out: an `EventLog` for each kind of storage. Real partitions of a small forecast are made in this process, with two
numbers of variables, so that a run of any number of variables can be told from them.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa
import yaml  # type: ignore[import-untyped]

from benchmarks.pipelines.ours import INIT
from benchmarks.postgres import Postgres, programs, throw_away_postgres
from benchmarks.probe_partition import STEP, dataset_in, settings_in
from dataset_defs.noaa.gfs.variables import GFS_DATA_VARS
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import asset_key
from reformatters_dagster.sample_upstream import write_sample_upstream

FEW = ("temperature_2m", "precipitation_surface")
MANY = tuple(row.name for row in GFS_DATA_VARS)
RUNS = 4
"""Partitions made of each number of variables. The first pays for the tables, so it is not counted."""
INITS: list[Timestamp] = list(pd.date_range(INIT, periods=RUNS + 1, freq="6h", unit="us"))
NOW = INITS[-1] + pd.Timedelta("5h")


@dataclass(frozen=True)
class PerRun:
    """Of one run."""

    variables: int
    rows: float
    """Of the event log."""
    bytes: float
    """By which the storage grew, its indexes included."""


@dataclass(frozen=True)
class EventLog:
    """What one kind of storage keeps."""

    few: PerRun
    many: PerRun
    left: float
    """Share of the bytes that is left when every run was deleted, and the storage was told to give room back."""
    forgotten: bool
    """Whether Dagster then takes partitions for never materialized."""

    def of(self, variables: int) -> PerRun:
        """A run of so many variables, on the line through the two that were measured."""
        share = (variables - self.few.variables) / (self.many.variables - self.few.variables)
        rows, size = (
            getattr(self.few, what) + share * (getattr(self.many, what) - getattr(self.few, what))
            for what in ("rows", "bytes")
        )
        return PerRun(variables, rows, size)


@dataclass(frozen=True)
class Storage:
    """An instance of Dagster, and how much room it takes."""

    instance: dg.DagsterInstance
    size: Callable[[], int]
    shrink: Callable[[], None]


@contextmanager
def sqlite(folder: Path) -> Iterator[Storage]:
    """Storage as on a laptop."""
    with _instance(folder, {}) as instance:

        def size() -> int:
            return sum(path.stat().st_size for path in folder.rglob("*.db*"))

        def shrink() -> None:
            for path in folder.rglob("*.db"):
                engine = sa.create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
                with engine.connect() as connection:
                    connection.execute(sa.text("VACUUM"))
                engine.dispose()

        yield Storage(instance, size, shrink)


@contextmanager
def postgres(folder: Path, server: Postgres) -> Iterator[Storage]:
    """Storage as in production."""
    engine = sa.create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with _instance(folder, {"storage": server.storage()}) as instance:

        def ask(words: str) -> Any:
            with engine.connect() as connection:
                answer = connection.execute(sa.text(words))
                return answer.scalar() if answer.returns_rows else None

        def shrink() -> None:
            ask("VACUUM FULL")

        yield Storage(instance, lambda: int(ask("SELECT pg_database_size(current_database())")), shrink)
    engine.dispose()


@contextmanager
def _instance(folder: Path, config: dict[str, Any]) -> Iterator[dg.DagsterInstance]:
    folder.mkdir(parents=True)
    logs = {"python_log_level": "INFO", "managed_python_loggers": ["reformatters_dagster"]}
    (folder / "dagster.yaml").write_text(
        yaml.safe_dump({"telemetry": {"enabled": False}, "python_logs": logs, **config})
    )
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def write_inputs(folder: Path) -> None:
    """The upstream that all of these runs read, in a folder `mirror` of it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sample_upstream(folder / "mirror", INITS, range(2), variables=MANY, step=STEP)


def measure(folder: Path, say: Callable[[str], None]) -> dict[str, EventLog]:
    """By kind of storage; without Postgres where this machine has none."""
    write_inputs(folder)
    say("event log: SQLite")
    with sqlite(folder / "sqlite") as storage:
        found = {"SQLite": measured_in(folder / "one", folder / "mirror", storage)}
    if programs() is not None:
        say("event log: Postgres")
        with throw_away_postgres() as server, postgres(folder / "postgres", server) as storage:
            found["Postgres"] = measured_in(folder / "other", folder / "mirror", storage)
    return found


def measured_in(folder: Path, mirror: Path, storage: Storage) -> EventLog:
    """Make partitions of few and of many variables, then delete all runs."""
    few, many = (per_run(folder / str(len(names)), mirror, names, storage) for names in (FEW, MANY))
    full, key = storage.size(), asset_key(_dataset(folder / str(len(MANY)), MANY))
    runs = storage.instance.get_runs()
    for run in runs:
        storage.instance.delete_run(run.run_id)
    storage.shrink()
    grown = RUNS * (few.bytes + many.bytes)
    left = max(0.0, (grown - (full - storage.size())) / grown)
    return EventLog(few, many, left, forgotten=not storage.instance.get_materialized_partitions(key))


def _dataset(folder: Path, names: tuple[str, ...]) -> DynamicalDataset:
    probe = dataset_in(folder)
    rows = tuple(row for row in GFS_DATA_VARS if row.name in names)
    template = probe.template_config.model_copy(update={"data_vars": rows, "dataset_id": f"bench-of-{len(names)}"})
    return replace(probe, template_config=template, start_is_chosen=True)


def per_run(folder: Path, mirror: Path, names: tuple[str, ...], storage: Storage) -> PerRun:
    """Make partitions one after another, and see by how much the storage grows."""
    dataset = _dataset(folder, names)
    dataset.template_config.update_template()
    settings = settings_in(folder).model_copy(update={"upstream": str(mirror)})
    dataset.initialise(dataset.workspace(settings), None, NOW)
    job = build_definitions([dataset], settings).resolve_job_def(dataset.job_name("backfill"))
    sizes, rows = [], []
    for label in INITS:
        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        done = job.execute_in_process(quiet, instance=storage.instance, partition_key=partition_key(label))
        rows.append(len(storage.instance.all_logs(done.run_id)))
        sizes.append(storage.size())
    return PerRun(len(names), sum(rows[1:]) / RUNS, (sizes[-1] - sizes[0]) / RUNS)
