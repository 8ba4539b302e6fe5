"""Where a seed works on the disk: a folder with its template, gone when the seed ends, in whatever way.

In: nothing. Out: the folder of this process, and the datasets whose templates are committed there. In memory where the machine
has that: thousands of small files are written and deleted.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from reformatters_dagster.core.run.dataset import DynamicalDataset
from tests.simulation.dataset import simulated_dataset
from tests.simulation.layouts import LAYOUTS, Layout

_NAME = "simulation-"


def folder() -> Path:
    """The same for every seed of a process, since templates are known by their folder."""
    return _parent() / f"{_NAME}{os.getpid()}"


def dataset(layout: Layout) -> DynamicalDataset:
    """What is simulated; its template is on the disk within `folders`."""
    return _made()[0][layout]


@contextmanager
def folders() -> Iterator[None]:
    """The folder of a seed, with its template, gone at the end of the block."""
    _, templates = _made()
    try:
        for name, data in templates.items():
            file = folder() / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        yield
    finally:
        shutil.rmtree(folder(), ignore_errors=True)


@cache
def _made() -> tuple[dict[Layout, DynamicalDataset], dict[str, bytes]]:
    """The dataset of each layout, and the files of all templates by their place in the folder."""
    _sweep()
    try:
        made = {layout: simulated_dataset(folder() / "templates", layout) for layout in LAYOUTS.values()}
        files = [file for file in folder().rglob("*") if file.is_file()]
        return made, {file.relative_to(folder()).as_posix(): file.read_bytes() for file in files}
    finally:
        shutil.rmtree(folder(), ignore_errors=True)


def _parent() -> Path:
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())


def _sweep() -> None:
    """Remove the folders of processes that were killed in the middle of a seed."""
    for left in _parent().glob(f"{_NAME}*"):
        number = left.name.removeprefix(_NAME)
        if number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()
