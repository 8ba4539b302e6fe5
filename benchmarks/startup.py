"""What is paid before the first byte: imports, compiled kernels, Dagster. In: a folder. Out: a `StartUp`.

Everything is measured on fresh processes whose bytecode is compiled already, and from outside but for imports.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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
KERNELS = """
import json, time
from reformatters_dagster.compile_kernels import main
import reformatters_dagster.core.grib.kernels
cpu, wall = time.process_time(), time.perf_counter()
main()
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
    imports = {}
    for name in code_locations():
        say(f"import {name}")
        imports[name] = _figures((sys.executable, "-c", IMPORT, name))
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


def code_locations() -> list[str]:
    """Modules that the code servers load."""
    return [
        f"dataset_defs.{path.parent.name}.definitions"
        for path in sorted((ROOT / "dataset_defs").glob("*/definitions.py"))
    ]


def measure_inside(
    command: Sequence[str], locations: Sequence[str], say: Callable[[str], None], repeats: int = REPEATS
) -> Mapping[str, tuple[Cost, Cost]]:
    """Imports of code locations and loading of the kernels, here and by the `python` to which a command leads, by turns.

    Parameters
    ----------
    command : sequence of str
        Runs what follows it where the project is installed, in its folder: `docker run --rm IMAGE`.
    """
    asked: dict[str, tuple[str, ...]] = {f"import `{name}`": ("-c", IMPORT, name) for name in locations}
    asked["first call of every kernel"] = ("-c", KERNELS)
    found = {}
    for what, arguments in asked.items():
        say(what)
        runs = [
            (_once((sys.executable, *arguments)), _once((*command, "python", *arguments))) for _ in range(1 + repeats)
        ]
        here, inside = zip(*runs[1:], strict=True)
        found[what] = _middle(here), _middle(inside)
    return found


def _figures(command: Sequence[str]) -> Cost:
    return _middle([_once(command) for _ in range(1 + REPEATS)][1:])


def _middle(runs: Sequence[Cost]) -> Cost:
    return Cost(median(run.cpu for run in runs), median(run.wall for run in runs))


def _once(command: Sequence[str]) -> Cost:
    """What a process says of itself in its last line."""
    child = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)!r} ended with status {child.returncode}; its words are above")
    return Cost(*json.loads(child.stdout.splitlines()[-1]))


def _cost(*arguments: str, repeats: int = REPEATS, empty_cache: bool = False) -> Cost:
    if not empty_cache:
        _run(arguments, {})
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            runs.append(_run(arguments, {"NUMBA_CACHE_DIR": cache} if empty_cache else {}))
    return _middle(runs)


def _run(arguments: tuple[str, ...], environment: Mapping[str, str]) -> Cost:
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env={**inherited, **environment})
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(arguments)!r} ended with status {child.returncode}; its words are above")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started)
