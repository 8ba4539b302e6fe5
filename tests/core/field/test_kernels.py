"""The compiled kernels are used from threads, and loaded when they are needed."""

import subprocess
import sys
from typing import Any


def test_kernels_release_the_gil() -> None:
    from reformatters_dagster.core.field import kernels

    compiled: tuple[Any, ...] = (kernels.deaccumulate, kernels.interpolate, kernels.round_mantissa)
    for kernel in compiled:
        assert kernel.targetoptions["nogil"] is True


def test_importing_transforms_does_not_import_numba() -> None:
    script = "import sys, reformatters_dagster.core.field.transforms; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
