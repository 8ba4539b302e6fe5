"""Where a demo keeps its things. In: a folder and the time. Out: the places of a demo, begun anew where it is old."""

import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dataset_defs.contrib.demo import DATASET as RADAR
from dataset_defs.ecmwf.ifs_ens.demo import DATASET as ENSEMBLE
from dataset_defs.noaa.gfs.demo import DATASET
from dataset_defs.noaa.gfs.forecast import GfsSourceFileCoord
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.errors import ReformatError, Refused
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.settings import Settings, parse_time
from reformatters_dagster.sample_upstream.ecmwf import ifs_path
from reformatters_dagster.sample_upstream.mrms import mrms_path

type Say = Callable[[str], None]

SAMPLE_DATA = "SAMPLE DATA"
LEAD_HOURS = tuple(range(13))
ENSEMBLE_LEAD_HOURS = tuple(range(0, 13, 3))
LATE_HOUR = 9
"""Lead time whose file of the second init time comes late."""
CYCLE, HOUR, DAY = pd.Timedelta("6h"), pd.Timedelta("1h"), pd.Timedelta("1D")
DATASETS = (DATASET, ENSEMBLE, RADAR)

DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
python_logs:
  managed_python_loggers: [reformatters_dagster]
  python_log_level: INFO
run_coordinator:
  module: reformatters_dagster.orchestration.run_coordinator
  class: DatasetRunCoordinator
  config:
    max_concurrent_runs: 2
    tag_concurrency_limits:
      - {key: reformatters/exclusive, value: {applyLimitPerUniqueValue: true}, limit: 1}
"""
WORKSPACE_YAML = """\
load_from:
  - python_module: {module_name: reformatters_dagster.demo.definitions, attribute: noaa, location_name: noaa}
  - python_module: {module_name: reformatters_dagster.demo.definitions, attribute: ecmwf, location_name: ecmwf}
  - python_module: {module_name: reformatters_dagster.demo.definitions, attribute: contrib, location_name: contrib}
"""


@dataclass(frozen=True)
class Demo:
    """Where a demo keeps its things, and the times it is about."""

    folder: Path
    first: Timestamp
    radar_until: Timestamp
    """The newest hour of radar."""

    @property
    def second(self) -> Timestamp:
        return self.first + CYCLE

    @property
    def init_times(self) -> list[Timestamp]:
        return [self.first, self.second]

    @property
    def ensemble_init(self) -> Timestamp:
        """The init time of the ensemble, which has one a day."""
        return self.first.floor(DAY)

    @property
    def radar_hours(self) -> list[Timestamp]:
        """Every hour of the radar's store, from its first day on."""
        return list(pd.date_range(self.first.floor(DAY), self.radar_until, freq=HOUR, unit="us"))

    @property
    def upstream(self) -> Path:
        return self.folder / "upstream"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace.yaml"

    def sample_files(self, init_time: Timestamp) -> Iterator[Path]:
        """Files of one init time, and the indexes beside them."""
        for hour in LEAD_HOURS:
            key = GfsSourceFileCoord(init_time=init_time, lead_time=pd.Timedelta(hours=hour)).key()
            data = self.upstream / DATASET.archives[0].folder / key
            yield from (data, data.with_name(f"{data.name}.idx"))

    def ensemble_files(self) -> list[Path]:
        """Files of the ensemble and of its control run, and the indexes beside them."""
        paths = [
            self.upstream / ifs_path(self.ensemble_init, hour, single=single)
            for hour in ENSEMBLE_LEAD_HOURS
            for single in (True, False)
        ]
        return [*paths, *(path.with_suffix(".index") for path in paths)]

    def radar_files(self) -> list[Path]:
        return [self.upstream / mrms_path(hour) for hour in self.radar_hours]

    def store_folders(self, dataset: DynamicalDataset) -> list[Path]:
        """The store of a dataset, and what is kept about it."""
        stores = self.settings.stores(dataset.template_config)
        return [Path(store.url.removeprefix("file://")) for store in (stores.primary, stores.internal)]

    @property
    def settings(self) -> Settings:
        return Settings(
            store=str(self.folder / "stores"),
            upstream=str(self.upstream),
            tmp=str(self.folder / "tmp"),
            start=self.first,
        )

    @property
    def environment(self) -> dict[str, str]:
        """What makes `dg dev` show this demo."""
        return {
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "REFORMATTERS_STORE": str(self.folder / "stores"),
            "REFORMATTERS_UPSTREAM": str(self.upstream),
            "REFORMATTERS_TMP": str(self.folder / "tmp"),
            "REFORMATTERS_START": f"{self.first:%Y-%m-%dT%H}",
        }


def open_demo(folder: Path, now: Timestamp, say: Say) -> Demo:
    """The demo of a folder; one of an earlier cycle is begun anew, since its forecasts are no longer the newest.

    Of an earlier one the stores and its sample files are deleted. Whatever else the folder holds stays: other datasets'
    stores, other upstream files, what Dagster remembers.

    Raises
    ------
    ReformatError
        When the folder holds something that is no demo.
    """
    newest = (now - DATASET.soft_deadline).floor(CYCLE)
    demo = Demo(folder.resolve(), newest - CYCLE, (now - RADAR.soft_deadline).floor(HOUR))
    marker = demo.folder / "first_init_time"
    if marker.exists():
        first = _read_marker(marker)
        if first == demo.first:
            return demo
        _delete_what_is_old(Demo(demo.folder, first, demo.radar_until), demo, say)
    elif demo.folder.exists() and any(demo.folder.iterdir()):
        raise ReformatError(f"the demo was to be made in {demo.folder}; it holds other files: give an empty --folder")
    dagster = demo.folder / "dagster"
    dagster.mkdir(parents=True, exist_ok=True)
    if not (dagster / "dagster.yaml").exists():
        (dagster / "dagster.yaml").write_text(DAGSTER_YAML)
    demo.workspace.write_text(WORKSPACE_YAML)
    exports = (f"export {name}={shlex.quote(value)}\n" for name, value in demo.environment.items())
    (demo.folder / "env").write_text("".join(exports))
    marker.write_text(f"{demo.first.isoformat()}\n")
    return demo


def _read_marker(marker: Path) -> Timestamp:
    text = marker.read_text()
    try:
        return parse_time(text)
    except Refused as error:
        raise ReformatError(f"{marker} was to hold an init time; it holds {text!r}: give an empty --folder") from error


def _delete_what_is_old(earlier: Demo, demo: Demo, say: Say) -> None:
    """The marker is written anew later: what is interrupted here is done again."""
    old = [init_time for init_time in earlier.init_times if init_time not in demo.init_times]
    stores = ", ".join(dataset.dataset_id for dataset in DATASETS)
    say(
        f"The demo in {demo.folder} is of another cycle, {earlier.second}, and begins anew: its stores of {stores} "
        f"and its sample files of {' and '.join(map(str, old))} are deleted; everything else there stays"
    )
    for folder in (folder for dataset in DATASETS for folder in earlier.store_folders(dataset)):
        if folder.exists():
            shutil.rmtree(folder)
    kept = {*demo.radar_files(), *demo.ensemble_files()}
    others = [path for path in (*earlier.radar_files(), *earlier.ensemble_files()) if path not in kept]
    for path in [*others, *(path for init_time in old for path in earlier.sample_files(init_time))]:
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == earlier.upstream:
                break
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
