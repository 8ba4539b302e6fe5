"""`python -m reformatters_dagster.compile_kernels`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRANSFORM = """
import numpy as np, pandas as pd
from reformatters_dagster.core.spec.variables import Deaccumulation
from reformatters_dagster.core.field.transforms import deaccumulate_in_place, interpolate_in_place, round_in_place
values = np.ones((2, 4, 30, 20), np.float32)
rule = Deaccumulation(reset=None, kind="average", invalid_below=-1.0)
held = np.array([False, True, False, False])
deaccumulate_in_place(values, np.arange(4.0), rule, axis=1, skip_step=held, keep_mantissa_bits=5, threads=2)
interpolate_in_place(values, held, axis=1, threads=2)
round_in_place(values, 3, threads=2)
"""


def run(cache: Path, *arguments: str) -> dict[str, int]:
    """Run Python, and see what compiled code there is then: by room and file, and when it was written."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, check=True)
    return {f"{path.parent.name.split('_')[0]}/{path.name}": path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}


@pytest.mark.slow
def test_after_it_nothing_is_left_to_compile(tmp_path: Path) -> None:
    compiled = run(tmp_path, "-m", "reformatters_dagster.compile_kernels")
    assert {name.split("-")[0] for name in compiled} >= {
        "grib/kernels.unpack_simple",
        "grib/kernels.unpack_groups",
        "grib/kernels.spread",
        "field/kernels.deaccumulate",
    }
    assert run(tmp_path, "-m", "tests.fuzz_grib", "300", "3") == compiled
    assert run(tmp_path, "-c", TRANSFORM) == compiled
