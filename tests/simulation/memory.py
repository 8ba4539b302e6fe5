"""What a simulation remembers instead of making it again: results of pure functions, some of which take longer than a whole run.

In: functions of the code under test. Out: the same functions, which answer from memory where they are asked the same again. What
they write, they write each time; requests that they make, they make each time.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from reformatters_dagster.core.job import cutting, files, parts, positions
from reformatters_dagster.core.spec import template_files, zarr_documents
from reformatters_dagster.core.spec.values import JSON, Names
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY
from reformatters_dagster.core.store import reading
from reformatters_dagster.core.store.location import Store
from tests.simulation.objects import SimulatedStore

type Files = dict[str, bytes]


def replace_everywhere(stack: ExitStack, function: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Put a function in the place of another in every module of the project that has imported it from its own."""
    for module, attribute in _places(function, len(sys.modules)):
        stack.enter_context(patch.object(module, attribute, replacement))


@cache
def _places(function: Callable[..., Any], _modules: int) -> list[tuple[ModuleType, str]]:
    """Modules, so many of which are loaded by now, and the name in each by which it knows a function."""
    ours = [
        module
        for name, module in sys.modules.items()
        if name.startswith("reformatters_dagster.core") and name != function.__module__
    ]
    return [(module, name) for module in ours for name, value in vars(module).items() if value is function]


class Remembered:
    """The results that a process has made so far; seeds share them."""

    def __init__(self) -> None:
        self._files: dict[object, Files] = {}
        self._opened: dict[object, Any] = {}

    def written(self, key: object, path: Path, write: Callable[[Path], None]) -> None:
        """Files that a function wrote to a folder, once."""
        found = self._files.get(key)
        if found is None:
            write(path)
            self._files[key] = {
                file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
            }
            return
        for name, data in found.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def opened(self, function: Callable[..., Any], store: Store, names: Sequence[str], *args: object) -> Any:
        """What a function reads of some arrays, once for each version of them. The requests are the same each time."""
        assert isinstance(store, SimulatedStore)
        if store.get_or_none(ROOT_KEY) is not None:
            store.ask_for_all()
        key = function.__name__, store.visible(names)
        if key not in self._opened:
            self._opened[key] = function(store.still(), *args)
        return self._opened[key]

    def asked(self, function: Callable[..., Any], key_of: Callable[..., object]) -> Callable[..., Any]:
        """A function whose results nobody changes, asked once for each key of its arguments."""

        def ask(*args: Any, **kwargs: Any) -> Any:
            key = function.__name__, key_of(*args, **kwargs)
            if key not in self._opened:
                self._opened[key] = function(*args, **kwargs)
            return self._opened[key]

        return ask


@cache
def _remembered() -> Remembered:
    return Remembered()


@contextmanager
def remembering() -> Iterator[None]:
    """Let the slow pure functions answer from memory."""
    memory = _remembered()
    write_arrays = template_files.write_arrays
    published_labels, published_indexes = reading.published_labels, reading.published_indexes

    def arrays(ds: xr.Dataset, names: Any, path: Path) -> None:
        names = tuple(names)
        memory.written(("arrays", names, _identity(ds)), path, lambda path: write_arrays(ds, names, path))

    def labels(store: Store, append_dim: str) -> pd.DatetimeIndex:
        found: pd.DatetimeIndex = memory.opened(published_labels, store, [append_dim], append_dim)
        return found

    def indexes(store: Store, dims: Names) -> dict[str, pd.Index]:
        found: dict[str, pd.Index] = memory.opened(published_indexes, store, dims, dims)
        return found

    root_of = memory.asked(reading.root_of, _of_root)

    def root(store: Store) -> JSON | None:
        found = store.get_or_none(ROOT_KEY)
        return None if found is None else root_of(store, found[0])

    with ExitStack() as stack:
        for function, replacement in (
            (template_files.metadata_objects, memory.asked(template_files.metadata_objects, _identity)),
            (write_arrays, arrays),
            (published_labels, labels),
            (published_indexes, indexes),
            (reading.root_of, root_of),
            (reading.read_root, root),
            (zarr_documents.read_root_at, memory.asked(zarr_documents.read_root_at, _of_path)),
            (parts.template_in, memory.asked(parts.template_in, _of_window)),
            (files.files_of_region, memory.asked(files.files_of_region, _of_files)),
            (files.files_beside, memory.asked(files.files_beside, _of_files)),
            (positions.template_at, memory.asked(positions.template_at, _of_part)),
            (files.upstream_objects, memory.asked(files.upstream_objects, _of_objects)),
            (cutting.regions_of, memory.asked(cutting.regions_of, _of_regions)),
            (zarr_documents.is_decodable, memory.asked(zarr_documents.is_decodable, _of_chunk)),
            (zarr_documents.chunk_values, memory.asked(zarr_documents.chunk_values, _of_chunk)),
            (zarr_documents.replace_values, memory.asked(zarr_documents.replace_values, _of_values)),
        ):
            replace_everywhere(stack, function, replacement)
        yield


# Templates live as long as the process: `dataset` keeps them.
def _of_part(job: Any, part: slice) -> object:
    return id(job.template_ds), part.start, part.stop


def _of_window(region_ds: xr.Dataset, window: Any, variable: str, placed: npt.NDArray[np.bool_]) -> object:
    return id(region_ds), window, variable, placed.tobytes()


def _of_files(job: Any, data_vars: Any) -> object:
    return type(job), id(job.template_ds), job.region.start, tuple(one.name for one in data_vars)


def _of_objects(job: Any, since: Any = None, archive: Any = None) -> object:
    variables = tuple(one.name for one in job.data_vars)
    return type(job), id(job.template_ds), job.region.start, variables, since, archive is None


def _of_regions(template: Any, template_ds: Any, *, start: Any = None, end: Any = None, contains: Any = None) -> object:
    return id(template_ds), start, end, None if contains is None else tuple(contains)


def _of_path(path: Path) -> object:
    return path


def _of_root(store: Store, data: bytes) -> object:
    return data


def _of_chunk(array: Any, data: bytes) -> object:
    return repr(array), data


def _of_values(array: Any, data: bytes, values: npt.NDArray[Any]) -> object:
    return repr(array), values.tobytes()


def _identity(ds: xr.Dataset) -> object:
    """What makes the metadata of two templates the same."""
    variables = ds.variables.items()
    coords = tuple(
        (name, one.shape, one.dtype, one.encoding.get("chunks"), one.values.tobytes())
        for name, one in variables
        if name not in ds.data_vars
    )
    return coords, tuple((name, ds.variables[name].encoding.get("shards")) for name in ds.data_vars), repr(ds.attrs)
