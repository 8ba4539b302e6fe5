"""One pipeline in a process of its own. In: its name and a task. Out: what it reports, its CPU seconds, its peak memory."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import Self

from benchmarks.task import Task

ROOT = Path(__file__).parents[1]
EVERY = 0.02


@dataclass(frozen=True)
class Run:
    """What one run of one pipeline cost."""

    cpu: float
    """Seconds of the work, the second time in its process."""
    wall: float
    process_cpu: float
    """Seconds of a process that does the work once, and of its children: interpreter, imports and all."""
    peak: float
    """Highest memory at one time, in MB: anonymous memory of every process, and shared memory once."""
    stages: dict[str, float] = field(default_factory=dict)
    bytes: int = 0
    """Compressed."""


def run_pipeline(name: str, task: Task, *options: str) -> Run:
    """Run `benchmarks.pipelines.<name>`; its output is left in the task's folder, which is emptied before."""
    folder = Path(task.folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = task.write(folder / "task.json")
    command = [sys.executable, "-m", f"benchmarks.pipelines.{name}", str(path), *options]
    # Bytecode and compiled kernels are there from the second run on, as in production.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    with Memory(child.pid) as memory:
        assert child.stdout is not None
        with child.stdout as words:
            lines = words.read().splitlines()
        child.wait()
    if child.returncode:
        raise SystemExit(f"pipeline {name!r} ended with status {child.returncode}; its words are above")
    told = json.loads(lines[-1])
    return Run(
        cpu=told["cpu"],
        wall=told["wall"],
        process_cpu=told["process_cpu"],
        peak=memory.peak / 1e6,
        stages=told.get("stages", {}),
        bytes=told.get("bytes") or sum(shard.stat().st_size for shard in shards_of(task)),
    )


def shards_of(task: Task) -> list[Path]:
    """Every shard object of an output."""
    return sorted(path for path in task.output.rglob("*") if path.is_file() and "c" in path.parts)


def in_folder(task: Task, folder: Path) -> Task:
    return replace(task, folder=str(folder))


class Memory(Thread):
    """Looks every 20 ms at what a process and its children hold."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._pid = pid
        self._over = Event()

    def run(self) -> None:
        while not self._over.wait(EVERY):
            held = [_held(pid) for pid in _tree(self._pid)]
            if held:
                self.peak = max(self.peak, sum(own for own, _ in held) + max(shared for _, shared in held))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()


def _tree(pid: int) -> list[int]:
    try:
        tasks = [*Path(f"/proc/{pid}/task").iterdir()]
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(below for child in children for below in _tree(child))]


def _held(pid: int) -> tuple[int, int]:
    """Bytes of anonymous and of shared memory; files, which every process shares, are left out."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    found = {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if "Rss" in name
    }
    return found.get("RssAnon", 0), found.get("RssShmem", 0)
