"""Planning, sensors, status and loading do the same work on a long archive as on a short one."""

import cProfile
import pstats
from pathlib import Path
from typing import cast

import dagster as dg
import pytest

from benchmarks.scale import archive_of

SHORT, LONG = 40, 1_200
MOST_GROWTH = 1.1
GROWS = {"commit of the metadata": 1.5}
"""Coordinates of the whole archive are written, as few objects."""


def calls_of(folder: Path, partitions: int) -> dict[str, int]:
    """Function calls of each operation, which unlike seconds are the same on every machine."""
    calls = {}
    with dg.DagsterInstance.ephemeral() as instance, archive_of(folder, partitions) as archive:
        for name, operation in archive.operations(instance).items():
            operation()
            with cProfile.Profile() as profile:
                operation()
            calls[name] = cast("int", pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
    return calls


@pytest.mark.slow
def test_no_operation_grows_with_the_archive(tmp_path: Path) -> None:
    short, long = calls_of(tmp_path, SHORT), calls_of(tmp_path, LONG)
    grown = {name: long[name] / calls for name, calls in short.items()}
    assert {name: ratio for name, ratio in grown.items() if ratio > GROWS.get(name, MOST_GROWTH)} == {}
    assert short["tick of the heal sensor"] > 10_000  # it looked at the partitions of its window
