"""Kernels run wherever compiled code can or cannot be kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_kernels_run_where_no_compiled_code_can_be_kept(tmp_path: Path) -> None:
    core = tmp_path / "reformatters_dagster/core"
    core.mkdir(parents=True)
    modules = ("spec/compiled.py", "spec/values.py", "grib/kernels.py", "field/kernels.py")
    for name in ("__init__.py", *(f"{room}/__init__.py" for room in ("spec", "grib", "field")), *modules):
        (core / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "reformatters_dagster/core" / name, core / name)
    shutil.copy(ROOT / "reformatters_dagster/__init__.py", core.parent)
    for room in ("grib", "field"):
        (core / room / "__pycache__").touch()
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), "/dev/null/nowhere")
    script = """
import numpy as np
from reformatters_dagster.core.grib import kernels
out = np.array([1, 2, 3], np.float32)
print(kernels.__file__, kernels.spread(np.frombuffer(b"\\xa0", np.uint8), 2, out), out.tolist())
from reformatters_dagster.core.field import kernels
bits = np.array([1.01, 2.01], np.float32).view(np.uint32)
kernels.round_mantissa(bits, 1)
print(kernels.__file__, bits.view(np.float32).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    unpacked, rounded = f"{core / 'grib/kernels.py'} 2 [1.0, nan, 2.0]", f"{core / 'field/kernels.py'} [1.0, 2.0]"
    assert done.stdout.splitlines() == [unpacked, rounded], done.stderr
