"""The steps between decoding and writing, as a pipeline on numpy has them.

In: one variable's values, (lead_time, ...) float32. Out: the same memory, overwritten with what
`reformatters_dagster.core.field.transforms` computes.
"""

import numpy as np
import numpy.typing as npt

from benchmarks.task import KEEP_MANTISSA_BITS, RESET_HOURS

type Values = npt.NDArray[np.float32]

INVALID_BELOW = np.float32(-7e-5)


def deaccumulate(totals: Values) -> None:
    """Hourly totals that restart every 6 h to mean rates, backwards so that each total is there when it is needed."""
    for lead in range(totals.shape[0] - 1, 0, -1):
        rate = totals[lead]
        if (lead - 1) % RESET_HOURS:
            rate -= totals[lead - 1]
        rate /= np.float32(3600)
        rate[rate <= INVALID_BELOW] = np.nan
        np.maximum(rate, 0, out=rate)
    totals[0] = np.nan


def round_mantissa(values: Values, keep: int = KEEP_MANTISSA_BITS) -> None:
    """Round to `keep` bits of mantissa, ties to even."""
    for row in values:
        bits = row.view(np.uint32)
        missing = np.isnan(row)
        odd = bits >> np.uint32(23 - keep)
        odd &= np.uint32(1)
        odd += np.uint32((1 << (22 - keep)) - 1)
        bits += odd
        bits &= np.uint32(0xFFFFFFFF << (23 - keep) & 0xFFFFFFFF)
        row[missing] = np.nan
