"""A deployment for the command line: one archive that starts at one real file, and what a command answered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from dataset_defs.noaa.gfs.forecast import DATASET
from reformatters_dagster.cli import app

ID = "noaa-gfs-forecast"
ARCHIVE = "noaa-gfs-bdp-pds"
KEY = "gfs.20260729/18/atmos/gfs.t18z.pgrb2.0p25.f000"
TMP_2M = "FahrenheitResearch__arwen--s3-raw-tmp2m-20260729t18z-f000.grib2"
LABEL = "2026-07-29T18:00"
VARIABLES = len(DATASET.template_config.variables)
ONE_PARTITION = ("--start", "2026-07-29T18", "--end", "2026-07-30", "--variables", "temperature_2m")
COMMANDS = (
    "list",
    "update-template",
    "backfill",
    "update",
    "begin-anew",
    "validate",
    "status",
    "report",
    "store-urls",
    "rebuild-status",
    "deploy-check",
    "prune-runs",
    "serve-metrics",
    "new-dataset",
    "demo",
)


@dataclass(frozen=True)
class Deployment:
    """Folders of one deployment whose archive starts at the one real file."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "REFORMATTERS_STORE": str(self.folder / "stores"),
            "REFORMATTERS_UPSTREAM": str(self.folder / "upstream"),
            "REFORMATTERS_TMP": str(self.folder / "tmp"),
            "REFORMATTERS_START": "2026-07-29T18",
        }

    @property
    def store(self) -> Path:
        return self.folder / "stores" / ID / "v0.1.0.zarr"

    def reformat(self, *args: str, **environment: str) -> Result:
        without = {"REFORMATTERS_REPLICAS": None}
        return CliRunner().invoke(app, args, env=without | self.environment | environment)

    def bytes_of_store(self) -> Mapping[str, bytes]:
        files = (path for path in (self.folder / "stores").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def mirror(folder: Path, message: bytes) -> None:
    path = folder / "upstream" / ARCHIVE / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(message)
    path.with_name(f"{path.name}.idx").write_text("1:0:d=2026072918:TMP:2 m above ground:anl:\n")


def answer(result: Result, exit_code: int = 0) -> Any:
    """The one JSON document on stdout."""
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def assert_fails(result: Result, exit_code: int, error: str, *words: str) -> None:
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"{error}: ")
    assert [word for word in words if word not in last] == []
    assert "Traceback" not in result.stderr
