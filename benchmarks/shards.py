"""What another way to write shards makes of a whole job.

A second writer would have to save 15 % of a job's CPU time to be worth having. In: a folder. Out: runs of this project's job
by writer, turn by turn.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.child import Run, in_folder, run_pipeline
from benchmarks.compare import digest
from benchmarks.inputs import make_task

WRITERS = {
    "zarr-python, the faster of its codec pipelines": "fused",
    "zarr-python, its default codec pipeline": "default",
    "threads of our own": "threads",
}
"""Names of the writers, as `threaded_shards.use_writer` takes them."""


def measure(folder: Path, say: Callable[[str], None], rounds: int) -> Mapping[str, list[Run]]:
    """The benchmark's job with each writer, by turns; every one must write the same bytes."""
    task = in_folder(make_task(folder), folder / "writers")
    runs: dict[str, list[Run]] = {name: [] for name in WRITERS}
    digests = set()
    for turn in range(1 + rounds):
        for name in WRITERS if turn % 2 else reversed([*WRITERS]):
            say(f"{name}: " + (f"run {turn} of {rounds}" if turn else "warmed up and checked"))
            run = run_pipeline("ours", task, "--writer", WRITERS[name])
            digests.add(digest(task))
            runs[name].extend([run] if turn else [])
    if len(digests) > 1:
        raise SystemExit("the writers wrote different bytes, so their times cannot be compared")
    return runs
