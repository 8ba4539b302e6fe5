"""This project's pipeline against others: run by turns, checked against each other, and then timed.

In: a folder for inputs and outputs. Out: a `Comparison`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import zarr

from benchmarks.child import Run, in_folder, run_pipeline, shards_of
from benchmarks.inputs import make_task
from benchmarks.task import COLUMNS, KEEP_MANTISSA_BITS, ROWS, VARIABLES, Task

OURS, LIMIT = "ours", "limit"
PIPELINES: Mapping[str, str] = {
    OURS: "this project",
    "gdal": "(a) GDAL, process pool over shared memory, zarr-python",
    "cfgrib_xarray": "(b) cfgrib, xarray `to_zarr`",
    LIMIT: "(c) limit: memcpy and c-blosc alone",
}
FLOAT32_AT_FREEZING = 2.0**-15
"""Spacing of float32 numbers at 273.15: GDAL and cfgrib round kelvin to float32 before they subtract."""
MOST_ROUNDED_OTHERWISE = 2e-3
"""Share of values that may therefore be rounded to the neighbour in the last mantissa bit that is kept."""


class Disagreement(SystemExit):
    """Two pipelines came to other values, so their times cannot be compared."""


@dataclass(frozen=True)
class Comparison:
    """Every run of every pipeline, round by round, and what the outputs have in common."""

    task: Task
    runs: dict[str, list[Run]]
    agreement: dict[str, str]
    """Per pipeline, in words, how its output agrees with that of this project."""
    stages: Run
    """This project's work, stage after stage on one thread."""

    def ratios(self, figure: Callable[[Run], float], name: str, over: str) -> list[float]:
        """Per round, one pipeline's figure over another's."""
        pairs = zip(self.runs[name], self.runs[over], strict=True)
        return [figure(one) / figure(other) for one, other in pairs]

    def median(self, figure: Callable[[Run], float], name: str) -> float:
        return median(map(figure, self.runs[name]))


def compare(
    folder: Path, rounds: int, names: tuple[str, ...], say: Callable[[str], None], lead_hours: int
) -> Comparison:
    """Make the inputs, run every pipeline once to check and to warm it, then all of them by turns.

    Raises
    ------
    Disagreement
        Before anything was timed, when outputs differ; later when a run's output is not what its first one was.
    """
    say("inputs")
    task = make_task(folder, lead_hours)
    digests, agreement = {}, {}
    for name in names:
        say(f"{name}: output is checked")
        own = in_folder(task, folder / name)
        run_pipeline(name, own)
        if name == OURS:
            _keep_reference(own)
        if name != LIMIT:
            digests[name] = digest(own)
            agreement[name] = "the same bytes" if digests[name] == digests[OURS] else _agreement(name, own)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            say(f"{name}: run {turn + 1} of {rounds}")
            own = in_folder(task, folder / name)
            runs[name].append(run_pipeline(name, own))
            if name != LIMIT and digest(own) != digests[name]:
                raise Disagreement(f"run {turn + 1} of {name!r} wrote other bytes than its first run")
    stages = run_pipeline(OURS, in_folder(task, folder / "stages"), "--stages")
    return Comparison(task, runs, agreement, stages)


def values_of(task: Task, variable: str) -> npt.NDArray[np.float32]:
    """One variable of an output, (init_time, lead_time, latitude, longitude)."""
    return np.asarray(zarr.open_array(task.output / variable, mode="r")[:])


def _keep_reference(task: Task) -> None:
    for variable in VARIABLES:
        np.save(Path(task.reference) / f"{variable}.npy", values_of(task, variable))


def digest(task: Task) -> str:
    """Of every shard that a run wrote."""
    digest = hashlib.sha256()
    for path in shards_of(task):
        digest.update(str(path.relative_to(task.output)).encode() + path.read_bytes())
    return digest.hexdigest()


def _agreement(name: str, task: Task) -> str:
    """How far other bytes hold the same values, in words; raises `Disagreement`."""
    shares = []
    for variable in VARIABLES:
        found, wanted = values_of(task, variable), np.load(Path(task.reference) / f"{variable}.npy")
        if found.shape != (1, task.lead_hours, ROWS, COLUMNS):
            raise Disagreement(f"{name!r} wrote {variable} of shape {found.shape!r}")
        differ = ~((found == wanted) | (np.isnan(found) & np.isnan(wanted)))
        step = np.abs(wanted[differ]) * 2.0**-KEEP_MANTISSA_BITS + FLOAT32_AT_FREEZING
        off = ~(np.abs(found[differ] - wanted[differ]) <= step)
        shares.append(float(differ.mean()))
        if off.any() or shares[-1] > MOST_ROUNDED_OTHERWISE:
            raise Disagreement(
                f"{name!r} differs from this project in {differ.sum()} of {differ.size} values of {variable}, "
                f"{off.sum()} of them by more than the last mantissa bit: no time is worth telling"
            )
    return f"{max(shares):.1e} of the values are the neighbour in the last bit kept, all others the same"
