"""Coordinates have room to grow, and each kind of variable the compressor that suits it."""

import json
from pathlib import Path
from typing import Any

import pytest

from reformatters_dagster.core.spec.axes import AppendAxis
from tests.core.spec.on_disk import committed
from tests.tiny import tiny_template, tiny_var


@pytest.mark.parametrize(
    ("start", "frequency", "length"),
    [
        ("2021-05-01T00", "6h", 27_740),
        ("2024-04-01T00", "24h", 5_840),
        ("2021-05-01T00", "1h", 166_440),
        ("2026-02-10T00", "6h", 20_440),
        ("2030-01-01T00", "24h", 3_650),
        ("2045-01-01T00", "24h", 3_650),
    ],
)
def test_the_length_of_a_coordinate_chunk(start: str, frequency: str, length: int) -> None:
    axis = AppendAxis(name="init_time", start=start, frequency=frequency)
    assert axis.coordinate_chunk == length


def test_a_dataset_may_plan_for_more_years() -> None:
    axis = AppendAxis(name="init_time", start="2020-10-01", frequency="24h", years=25)
    assert axis.coordinate_chunk == 365 * 30


@pytest.mark.parametrize(
    ("row", "shuffle"),
    [
        ({"step_type": "instant"}, "bitshuffle"),
        ({"step_type": "max"}, "bitshuffle"),
        ({"step_type": "avg"}, "shuffle"),
        ({"step_type": "accum"}, "shuffle"),
        ({"step_type": "avg", "flag_values": (0, 1), "flag_meanings": "no yes"}, "bitshuffle"),
    ],
)
def test_means_and_totals_are_shuffled_by_bytes_and_all_else_by_bits(
    tmp_path: Path, row: dict[str, Any], shuffle: str
) -> None:
    template = committed(tiny_template(tmp_path, data_vars=(tiny_var("field", **row),)))
    (codec,) = json.loads((template.path / "field/zarr.json").read_text())["codecs"][0]["configuration"]["codecs"][1:]
    assert codec["configuration"] == {
        "cname": "zstd",
        "clevel": 1,
        "shuffle": shuffle,
        "typesize": 4,
        "blocksize": 2**17,
    }
