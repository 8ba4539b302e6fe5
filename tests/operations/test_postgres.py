"""Postgres is backed up, restored and lost by the commands of `docs/operations.md`, as they stand there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from benchmarks.postgres import USER, Postgres, programs, throw_away_postgres
from tests.cli.conftest import backfilled
from tests.cli.deployment import ID, LABEL, Deployment
from tests.operations.page import commands_of

__all__ = ["backfilled"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(programs() is None, reason="this machine has no Postgres, and no wheel brings one"),
]

DATABASE = "dagster"
KEY = dg.AssetKey(["noaa", "gfs_forecast"])
SINCE = "2026-07-30T00:00"
"""A partition that is written after the dump."""


@dataclass(frozen=True)
class Operated:
    """A store with one partition, and a Dagster instance in a database that operators can lose."""

    store: Deployment
    server: Postgres
    home: Path

    def run(self, *commands: str) -> None:
        """What an operator types."""
        path = [str(self.server.programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        environment = (
            os.environ
            | self.store.environment
            | {
                "PATH": os.pathsep.join(path),
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.server.port),
                "PGUSER": USER,
                "DAGSTER_HOME": str(self.home),
            }
        )
        for command in commands:
            done = subprocess.run(
                command, shell=True, cwd=self.home, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def write_another_partition(self) -> None:
        """As far as the ledger tells."""
        ledger = self.store.folder / "stores" / ID / "_internal/v0.1.0/ledger"
        written = (ledger / f"{LABEL}.json").read_text()
        (ledger / f"{SINCE}.json").write_text(written.replace(f'"partition": "{LABEL}"', f'"partition": "{SINCE}"'))

    def known(self) -> set[str]:
        """Partitions that Dagster takes for made."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return instance.get_materialized_partitions(KEY)

    def runs(self) -> int:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return instance.get_runs_count()


@pytest.fixture
def operated(backfilled: tuple[Deployment, object], tmp_path: Path) -> Iterator[Operated]:
    store = Deployment(Path(shutil.copytree(backfilled[0].folder, tmp_path / "copy")))
    home = tmp_path / "home"
    home.mkdir()
    with throw_away_postgres() as server:
        url = server.url(DATABASE)
        (home / "dagster.yaml").write_text(
            f"telemetry: {{enabled: false}}\nstorage: {{postgres: {{postgres_url: '{url}'}}}}\n"
        )
        operated = Operated(store, server, home)
        operated.run(*commands_of("Lose Postgres altogether"))
        yield operated


def test_a_lost_database_is_made_anew_and_learns_every_partition(operated: Operated) -> None:
    assert operated.known() == {LABEL}
    operated.write_another_partition()
    operated.run("dropdb dagster", *commands_of("Lose Postgres altogether"))
    assert operated.known() == {LABEL, SINCE}


def test_a_dump_brings_back_the_runs_and_the_ledger_what_was_made_since(operated: Operated) -> None:
    with dg.DagsterInstance.from_config(str(operated.home)) as instance:
        instance.add_run(
            dg.DagsterRun("noaa_gfs_forecast__backfill", run_id="a" * 8, status=dg.DagsterRunStatus.SUCCESS)
        )
    operated.run(*commands_of("Back up Postgres"))
    with dg.DagsterInstance.from_config(str(operated.home)) as instance:
        instance.wipe()
    operated.write_another_partition()
    assert (operated.known(), operated.runs()) == (set(), 0)
    operated.run(*commands_of("Restore Postgres from a dump"))
    assert (operated.known(), operated.runs()) == ({LABEL, SINCE}, 1)
