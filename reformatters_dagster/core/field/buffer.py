"""One variable over a part of the append dimension, in memory or, when it is too large, on disk.

In: 2-D fields, in any order and from any thread. Out: the array of all fields, whole or in windows of the grid.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, product
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.spec.values import Array2D, Float32Array, Window


def spatial_windows(grid: tuple[int, int], shard: tuple[int, int], budget: int) -> list[Window]:
    """Cut a grid into windows of whole shards that hold at most `budget` points, row by row.

    Parameters
    ----------
    grid, shard : (int, int)
        Points along the two dimensions of the grid, and of one shard.
    budget : int
        Points. A window is at least one shard, however small the budget.
    """
    rows, columns = (-(-size // length) for size, length in zip(grid, shard, strict=True))
    shards = max(budget // prod(shard), 1)
    down, across = (max(shards // columns, 1), columns) if shards >= columns else (1, shards)
    if grid[0] * grid[1] <= budget:
        down, across = rows, columns
    return [
        (
            slice(y * shard[0], min((y + down) * shard[0], grid[0])),
            slice(x * shard[1], min((x + across) * shard[1], grid[1])),
        )
        for y, x in product(range(0, rows, down), range(0, columns, across))
    ]


class Arena:
    """Memory that buffers use one after the other, in one job and in the next: to get it anew takes a tenth of a job's time."""

    def __init__(self) -> None:
        self._memory: Float32Array = np.empty(0, np.float32)

    def cut(self, sizes: Sequence[int]) -> list[Float32Array]:
        """Flat arrays of some sizes, in the memory that the last call gave out too."""
        if sum(sizes) > self._memory.size:
            self._memory = np.empty(sum(sizes), np.float32)
        ends = np.cumsum([0, *sizes])
        return [self._memory[first:last] for first, last in pairwise(ends)]


_SPARE: list[Arena] = []


@contextmanager
def spare_arena() -> Iterator[Arena]:
    """The arena of an earlier job of this process that no job uses now, or a new one.

    The arena of a job that fails is not used again: threads of that job may still write to it.
    """
    try:
        arena = _SPARE.pop()
    except IndexError:
        arena = Arena()
    yield arena
    _SPARE.append(arena)


class FieldBuffer:
    """Fields of one variable: they are put in one by one, and taken out in pieces.

    With one window all fields are in memory. With several each window has a file, and one window at a time is in memory.

    Parameters
    ----------
    shape : (append_dim, ..., y, x)
    windows : sequence of Window
        Together the whole grid.
    memory : (size,) float32
        Of `size(shape, windows)` values.
    folder : Path
        For the files of several windows. Whoever owns the folder deletes it.
    """

    def __init__(self, shape: tuple[int, ...], windows: Sequence[Window], memory: Float32Array, folder: Path) -> None:
        self.windows = list(windows)
        self.placed: npt.NDArray[np.bool_] = np.zeros(shape[:-2], np.bool_)
        self._grid = (shape[-2], shape[-1])
        self._shapes = [_shape(shape, window) for window in self.windows]
        self._memory = memory
        self._paths = [folder / f"{number}.fields" for number in range(len(windows))] if len(windows) > 1 else []

    @staticmethod
    def size(shape: tuple[int, ...], windows: Sequence[Window]) -> int:
        """Values that are in memory at once."""
        return max(prod(_shape(shape, window)) for window in windows)

    def clear(self) -> None:
        """Forget every field."""
        self.placed[...] = False

    def fill(self, position: tuple[int, ...], read: Callable[[Array2D], None]) -> None:
        """Read a (y, x) field into its place at a position of the dimensions before the grid.

        What `read` raises is raised again, and there is no field at the position.
        """
        self.placed[position] = False
        if self._paths:
            field = np.empty(self._grid, np.float32)
            read(field)
            self._spool(position, field)
        else:
            read(self._memory.reshape(self._shapes[0])[position])
        self.placed[position] = True

    def _spool(self, position: tuple[int, ...], field: Array2D) -> None:
        number = int(np.ravel_multi_index(position, self.placed.shape))
        for path, window in zip(self._paths, self.windows, strict=True):
            part = np.ascontiguousarray(field[window])
            _write_at(path, memoryview(part).cast("B"), number * part.nbytes)

    def pieces(self) -> Iterator[tuple[Window, Float32Array]]:
        """Each window with its array, NaN where no field was put in. An array is valid until the next one is taken."""
        if not self._paths:
            whole = self._memory.reshape(self._shapes[0])
            whole[~self.placed] = np.nan
            yield self.windows[0], whole
            return
        for path, window, shape in zip(self._paths, self.windows, self._shapes, strict=True):
            piece = self._memory[: prod(shape)].reshape(shape)
            if self.placed.any():
                _read_all(path, memoryview(piece.reshape(-1)).cast("B"))
            piece[~self.placed] = np.nan
            yield window, piece


def _shape(shape: tuple[int, ...], window: Window) -> tuple[int, ...]:
    return *shape[:-2], *(part.stop - part.start for part in window)


def _write_at(path: Path, data: memoryview, offset: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while data:
            written = os.pwrite(file, data, offset)
            data, offset = data[written:], offset + written
    finally:
        os.close(file)


def _read_all(path: Path, into: memoryview) -> None:
    """Read what a file holds. It ends with the last field that was put in."""
    with path.open("rb", buffering=0) as file:
        while into and (count := file.readinto(into)):
            into = into[count:]
