"""`python -m reformatters_dagster.compile_kernels`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


COMPILE = """
import numba
from pathlib import Path
from reformatters_dagster import compile_kernels
compile_kernels.main()
print(numba.config.CACHE_DIR)
print(*sorted(f"{path.name} {path.stat().st_mtime_ns}" for path in Path(numba.config.CACHE_DIR).rglob("*.nbc")), sep="\\n")
"""


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody can write to a folder; root is kept from it by a mount alone."""
    if os.geteuid():
        paths = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in paths:
            path.chmod(0o555)
        yield
        for path in paths:
            path.chmod(0o755)
        return
    if subprocess.run(["mount", "--bind", folder, folder], check=False).returncode:
        pytest.skip("root may not mount here, and can write to every folder")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_cache_that_nobody_can_write_to_is_used(tmp_path: Path) -> None:
    """As that of an image is, in a pod whose root file system is read-only."""
    compiled = run(tmp_path, "-m", "reformatters_dagster.compile_kernels")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    with read_only(tmp_path):
        command = [sys.executable, "-c", COMPILE]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    used, *kernels = done.stdout.splitlines()
    assert used != str(tmp_path)
    assert not Path(used).exists()
    # Each was copied with its time, and none was made.
    times = {name.partition("/")[2]: written for name, written in compiled.items() if name.endswith(".nbc")}
    assert {line.split()[0]: int(line.split()[1]) for line in kernels} == times
