"""What is paid before the first byte: imports, compiled kernels, Dagster. In: a folder. Out: a `StartUp`.

Everything is measured on fresh processes whose bytecode is compiled already, and from outside but for imports.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.child import ROOT, in_folder, run_pipeline
from benchmarks.probe_partition import prepare
from benchmarks.task import VARIABLES, Task

REPEATS = 5
IMPORT = """
import json, sys, time
cpu, wall = time.process_time(), time.perf_counter()
__import__(sys.argv[1])
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))
"""
GFS_MESSAGES = 25 * 209
"""Variables and lead times of a partition of `noaa-gfs-forecast`."""
FIRST_MESSAGE = """
import sys
from benchmarks.pipelines.ours import Task, load_kernels
load_kernels(Task.read(__import__("pathlib").Path(sys.argv[1])))
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of one kind of process, median over the repeats."""

    cpu: float
    wall: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu - other.cpu, self.wall - other.wall)


@dataclass(frozen=True)
class StartUp:
    """By name, what each thing costs; the start and the end of the interpreter are left out of imports."""

    imports: Mapping[str, Cost]
    kernels: Mapping[str, Cost]
    partition: Mapping[str, Cost]
    """A partition of next to no data, by how it is run."""
    whole: float
    """CPU seconds of a partition of `noaa-gfs-forecast`, estimated: those of the benchmark's job for each of its messages."""


def measure(folder: Path, task: Task, say: Callable[[str], None]) -> StartUp:
    """Imports of every code location, first use of the kernels, and a small partition without and with Dagster."""
    path = task.write(folder / "startup.json")
    say("the benchmark's job")
    job = run_pipeline("ours", in_folder(task, folder / "ours"))
    locations = sorted(path.parent.name for path in (ROOT / "dataset_defs").glob("*/definitions.py"))
    imports = {}
    for name in [f"dataset_defs.{location}.definitions" for location in locations]:
        say(f"import {name}")
        imports[name] = _import(name)
    say("kernels")
    kernels = {
        "compiled before": _cost("-c", FIRST_MESSAGE, str(path)),
        "compiled now, cache empty": _cost("-c", FIRST_MESSAGE, str(path), repeats=1, empty_cache=True),
    }
    loaded = _cost("-c", FIRST_MESSAGE.rsplit("\n", 2)[0])
    partition = {}
    with tempfile.TemporaryDirectory(dir=folder) as where:
        prepare(Path(where))
        for mode, repeats in (("core", REPEATS), ("in_process", REPEATS), ("multiprocess", 1)):
            say(f"a partition: {mode}")
            partition[mode] = _cost("-m", "benchmarks.probe", mode, where, repeats=repeats)
    whole = job.cpu / sum(len(task.leads(variable)) for variable in VARIABLES) * GFS_MESSAGES
    return StartUp(imports, {name: cost - loaded for name, cost in kernels.items()}, partition, whole)


def _import(name: str) -> Cost:
    command = (sys.executable, "-c", IMPORT, name)
    runs = [
        json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        for _ in range(1 + REPEATS)
    ]
    return Cost(*(median(figures) for figures in zip(*runs[1:], strict=True)))


def _cost(*arguments: str, repeats: int = REPEATS, empty_cache: bool = False) -> Cost:
    if not empty_cache:
        _run(arguments, {})
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            runs.append(_run(arguments, {"NUMBA_CACHE_DIR": cache} if empty_cache else {}))
    return Cost(median(run.cpu for run in runs), median(run.wall for run in runs))


def _run(arguments: tuple[str, ...], environment: Mapping[str, str]) -> Cost:
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env={**inherited, **environment})
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(arguments)!r} ended with status {child.returncode}; its words are above")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started)
