"""`python -m reformatters_dagster.compile_kernels`: compile every kernel now, so that an image or a machine holds them all.

In: nothing. Out: compiled code where numba keeps it, `NUMBA_CACHE_DIR` before anywhere else. A process that finds it there starts
6 s of CPU earlier.
"""

import math

import numpy as np
import pandas as pd

from reformatters_dagster.core.field.transforms import deaccumulate_in_place, interpolate_in_place, round_in_place
from reformatters_dagster.core.spec.values import Placing
from reformatters_dagster.core.spec.variables import Deaccumulation


def main() -> None:
    """Call each kernel on next to nothing, with arguments of the types that it always gets."""
    from reformatters_dagster.core.grib import kernels

    octets, out, placing = np.frombuffer(bytes(kernels.WORD), np.uint8), np.zeros(1, np.float32), Placing(1)
    scale = kernels.Scale(0.0, 1.0, 1.0, math.nan, 1.0, 0.0)
    groups = kernels.Groups(*[0] * len(kernels.Groups._fields))
    kernels.unpack_simple(octets, 0, 8, scale, placing, out)
    kernels.claims(octets, 0, 0, groups, 0)
    kernels.unpack_groups(octets, 0, groups, scale, placing, out[:0])
    kernels.spread(octets, 0, out)
    steps = np.zeros((3, 1), np.float32)
    deaccumulate_in_place(steps, np.array([0.0, 1.0, 2.0]), Deaccumulation(reset=pd.Timedelta("6h")), axis=0)
    interpolate_in_place(steps, np.array([False, True, False]), axis=0)
    round_in_place(steps, 7)


if __name__ == "__main__":
    main()
