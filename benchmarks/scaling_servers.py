"""What stands by beside the runs: memory of code servers, Postgres connections of a run, and a look at a long queue.

In: a folder. Out: figures, measured on real processes and storages.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from benchmarks.child import ROOT
from benchmarks.postgres import Postgres, programs, throw_away_postgres
from benchmarks.scaling_events import FEW, PerRun, per_run, postgres, write_inputs
from dataset_defs import of_provider
from reformatters_dagster.orchestration.names import BACKFILL_TAG

PROVIDERS = ("contrib", "dwd", "ecmwf", "noaa")
QUEUED = 2_000
READY = 120.0


@dataclass(frozen=True)
class Standing:
    """What was measured of processes that stand by."""

    servers: dict[str, tuple[int, float]]
    """By provider, how many datasets its code server holds, and its memory in MB."""
    connections: int
    """Most connections to Postgres that one run had at a time; 0 where there is no Postgres."""
    look: float
    """Seconds of one look of Dagster's queue at `QUEUED` runs of a backfill that is at its limit; 0 without Postgres."""

    @property
    def per_dataset(self) -> float:
        """MB that one more dataset costs, from the smallest and the largest server."""
        sizes = sorted(self.servers.values())
        (few, less), (many, more) = sizes[0], sizes[-1]
        return (more - less) / (many - few)

    @property
    def base(self) -> float:
        """MB of a code server before its first dataset."""
        few, less = min(self.servers.values())
        return less - few * self.per_dataset


def measure(folder: Path, say: Callable[[str], None]) -> Standing:
    """All of it; what needs Postgres is left out where this machine has none."""
    servers = {}
    for provider in PROVIDERS:
        say(f"code server of {provider}")
        servers[provider] = (len(of_provider(provider)), _memory_of(provider, folder))
    if programs() is None:
        return Standing(servers, 0, 0.0)
    say("connections of a run")
    write_inputs(folder)
    with throw_away_postgres() as server, postgres(folder / "connections", server) as storage:
        most = _most_connections(server, lambda: per_run(folder / "run", folder / "mirror", FEW, storage))
        say(f"a look at {QUEUED} queued runs")
        look = _look(storage.instance)
    return Standing(servers, most, look)


def _memory_of(provider: str, folder: Path) -> float:
    """MB of a code server, its children included, once it answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    module = f"dataset_defs.{provider}.definitions"
    command = [sys.executable, "-m", "dagster", "api", "grpc", "--module-name", module, "--port", str(port)]
    environment = os.environ | {"REFORMATTERS_STORE": str(folder / "stores")}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + READY
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{' '.join(command)!r} did not answer within {READY:.0f} s")
            time.sleep(0.2)
        time.sleep(1)
        return sum(_resident(pid) for pid in _family(process.pid)) / 1e6
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _resident(pid: int) -> int:
    """Bytes, pages that several processes share counted once between them."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return int(rows["Pss"].split()[0]) * 1024


def _most_connections(server: Postgres, work: Callable[[], PerRun]) -> int:
    """Most connections of others, while some work is done in this process."""
    engine = sa.create_engine(server.url(), isolation_level="AUTOCOMMIT")
    counted = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> pg_backend_pid()")
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        with engine.connect() as connection:
            while not done.is_set():
                most = max(most, connection.execute(counted).scalar_one())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
        engine.dispose()
    return most


def _look(instance: dg.DagsterInstance) -> float:
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("bench"), "bench"), "bench")
    for number in range(QUEUED):
        run = dg.DagsterRun(
            "bench",
            run_id=f"00000000-0000-0000-0000-{number:012d}",
            tags={BACKFILL_TAG: "many", "dagster/partition": str(number), "reformatters/mode": "backfill"},
            status=dg.DagsterRunStatus.QUEUED,
            remote_job_origin=origin,
        )
        instance.add_run(run)
    queue = dg.QueuedRunCoordinator(
        max_concurrent_runs=20,
        tag_concurrency_limits=[{"key": BACKFILL_TAG, "limit": 0}],
        block_op_concurrency_limited_runs={"enabled": False},
    )
    # Just as much of an instance as a look asks for: real runs, and the queue's limits.
    seen: Any = SimpleNamespace(
        run_coordinator=queue, get_runs=instance.get_runs, get_run_records=instance.get_run_records
    )
    config: Any = SimpleNamespace(run_queue_config=queue.get_run_queue_config(), pool_config=None)
    started = time.perf_counter()
    chosen = QueuedRunCoordinatorDaemon(interval_seconds=5)._get_runs_to_dequeue(seen, config, None)  # noqa: SLF001
    seconds = time.perf_counter() - started
    assert chosen == []
    return seconds
