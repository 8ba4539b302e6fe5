"""The work that every pipeline does: two variables of one GFS forecast, from GRIB2 files to Zarr v3 shards.

In: a JSON file that `inputs` wrote. Out: where the messages lie, and the layout of the arrays. Imports nothing heavy, so
that a pipeline's start-up is its own.
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TEMPERATURE, RAIN = "temperature_2m", "precipitation_surface"
VARIABLES = (TEMPERATURE, RAIN)
INIT_TIME = "2026-07-29T18"
ROWS, COLUMNS = 721, 1440
CHUNK, SHARD = 121, 726
"""Points along latitude and along longitude, as in `noaa-gfs-forecast`."""
KEEP_MANTISSA_BITS = 7
RESET_HOURS = 6
KELVIN = 273.15
SHUFFLE = {TEMPERATURE: "bitshuffle", RAIN: "shuffle"}
COMPRESSOR = {"cname": "zstd", "clevel": 1, "typesize": 4, "blocksize": 2**17}

_IDX_WORDS = {TEMPERATURE: "TMP:2 m above ground", RAIN: "APCP:surface"}


@dataclass(frozen=True)
class Task:
    """What to read, where to write, and with how many workers."""

    mirror: str
    folder: str
    """Of this pipeline's tmp and output; `output` below it holds an array per variable when it is done."""
    lead_hours: int
    """How many lead times, hourly from 0."""
    workers: int
    template: str
    reference: str
    """Folder of `.npy` files with the values every pipeline comes to; empty until one has run."""

    @classmethod
    def read(cls, path: Path) -> "Task":
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path

    @property
    def output(self) -> Path:
        return Path(self.folder) / "output"

    @property
    def tmp(self) -> Path:
        return Path(self.folder) / "tmp"

    def clear(self) -> None:
        """Empty both folders."""
        for folder in (self.output, self.tmp):
            shutil.rmtree(folder, ignore_errors=True)
        self.tmp.mkdir(parents=True)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return 1, self.lead_hours, ROWS, COLUMNS

    @property
    def chunks(self) -> tuple[int, int, int, int]:
        return 1, min(self.lead_hours, 105), CHUNK, CHUNK

    @property
    def shards(self) -> tuple[int, int, int, int]:
        chunk = self.chunks[1]
        return 1, -(-self.lead_hours // chunk) * chunk, SHARD, SHARD

    def leads(self, variable: str) -> range:
        """Lead hours that have a message: a window has no length at 0."""
        return range(1 if variable == RAIN else 0, self.lead_hours)

    def grib_file(self, lead: int) -> Path:
        init = f"gfs.{INIT_TIME[:10].replace('-', '')}/{INIT_TIME[-2:]}/atmos"
        name = f"gfs.t{INIT_TIME[-2:]}z.pgrb2.0p25.f{lead:03d}"
        return Path(self.mirror) / "noaa-gfs-bdp-pds" / init / name

    def message(self, variable: str, lead: int) -> bytes:
        """The first message of a variable, found by the file's index; for rain the 6 h bucket."""
        path = self.grib_file(lead)
        lines = Path(f"{path}.idx").read_text().splitlines()
        starts = [int(line.split(":", 2)[1]) for line in lines] + [path.stat().st_size]
        at = next(i for i, line in enumerate(lines) if f":{_IDX_WORDS[variable]}:" in line)
        with path.open("rb") as file:
            file.seek(starts[at])
            return file.read(starts[at + 1] - starts[at])

    def fetch(self, variable: str, lead: int) -> Path:
        """The message as a file of its own, as a range download leaves it."""
        path = self.tmp / f"{variable}-{lead:03d}.grib2"
        path.write_bytes(self.message(variable, lead))
        return path


def report(**figures: Any) -> None:
    """What a pipeline hands back, as the last line of its output."""
    sys.stdout.write(json.dumps(figures) + "\n")
