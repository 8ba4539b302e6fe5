"""How kernels are compiled: with the GIL released, and once per machine.

In: a function numba understands. Out: the compiled one. Importing this takes seconds, so only kernels do.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numba


def use_a_copy_of_a_read_only_cache() -> None:
    """Let numba find what `NUMBA_CACHE_DIR` holds where that is part of an image, which nobody can write to.

    numba takes no folder in which it could not keep a result, and a processor that the image was not compiled for has some. The
    copy goes with the process.
    """
    kept: str = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    if kept and Path(kept).is_dir() and not os.access(kept, os.W_OK):
        folder = tempfile.mkdtemp(prefix="kernels_")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]


use_a_copy_of_a_read_only_cache()


def compiled[**P, R](function: Callable[P, R], inline: Literal["never", "always"] = "never") -> Callable[P, R]:
    """Compile at the first call, and keep the result beside the module, or in the user's cache folder.

    Every process compiles anew where neither can be written and `NUMBA_CACHE_DIR` names no folder. Division by 0 gives inf: a
    check that raises would keep loops from being vectorized.
    """
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy", inline=inline)(function)
    except RuntimeError:  # no folder can hold the cache
        return numba.njit(nogil=True, error_model="numpy", inline=inline)(function)
