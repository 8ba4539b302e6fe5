"""How kernels are compiled: with the GIL released, and once per machine.

In: a function numba understands. Out: the compiled one. Importing this takes seconds, so only kernels do.
"""

from collections.abc import Callable
from typing import Literal

import numba


def compiled[**P, R](function: Callable[P, R], inline: Literal["never", "always"] = "never") -> Callable[P, R]:
    """Compile at the first call, and keep the result beside the module, or in the user's cache folder.

    Every process compiles anew where neither can be written and `NUMBA_CACHE_DIR` names no folder. Division by 0 gives inf: a
    check that raises would keep loops from being vectorized.
    """
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy", inline=inline)(function)
    except RuntimeError:  # no folder can hold the cache
        return numba.njit(nogil=True, error_model="numpy", inline=inline)(function)
