"""Faults planted in data, the check that finds each, and the report that shows it; on clean data no check fails."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reformatters_dagster.core.spec.values import Float32Array, Timedelta
from tests.datasets import INIT, PRIMARY, RAIN, SOON, TEMPERATURE, gfs_key
from tests.planted import INITS, NEWEST, STORE, Planted, copied, sample_of, small_forecast

VALUES = "values_match_upstream"
LAST = len(INITS) - 1


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Six init times, published one after the other."""
    sample = sample_of(tmp_path_factory.mktemp("sample"), INITS)
    made = Planted(tmp_path_factory.mktemp("healthy"), small_forecast(tmp_path_factory.mktemp("templates")), sample)
    for init in INITS:
        made.arrive([init])
        made.update(init)
    return made


@pytest.fixture
def planted(healthy: Planted, tmp_path: Path) -> Planted:
    return copied(healthy, tmp_path)


def test_clean_data_fails_no_check(healthy: Planted) -> None:
    failing, page = healthy.reported()
    assert (failing, "Failed checks:" in page.text) == ({}, False)
    found = healthy.checks()
    assert {name: one.message for name, one in found.items() if not one.passed} == {}
    compared = found[VALUES].metadata
    assert compared["fields_compared"] == 9
    assert isinstance(compared["points_compared"], int)
    assert compared["points_compared"] > 1000


def nan_block(fields: Float32Array) -> Float32Array:
    fields[1:, 4:8, 20:24] = np.nan
    return fields


def test_a_block_of_nan(planted: Planted) -> None:
    planted.change(TEMPERATURE, LAST, nan_block)
    failing, page = planted.reported()
    found = failing["recent_nans"]
    # Rows 4 to 7 of 10 degrees from 90 N, columns 20 to 23 from 180 W.
    where = "lead times 1 h to 3 h, 20 N to 50 N, 20 E to 50 E"
    assert "'temperature_2m' has " in found.message
    assert f"({where})" in found.message
    assert found.metadata["where_box"] == "20 N to 50 N, 20 E to 50 E"
    assert found.metadata["where_lead_times"] == "1 h to 3 h"
    assert found.places[0].field == {"init_time": LAST, "lead_time": 1}
    assert f"Where: temperature_2m, 2026-07-31T00:00, {where}" in page.articles["check-recent_nans"]


@pytest.mark.parametrize(
    ("how", "needed"),
    [
        (lambda fields: fields[:, ::-1], {VALUES}),
        (lambda fields: np.roll(fields, fields.shape[2] // 2, axis=2), {VALUES}),
        (lambda fields: np.roll(fields, 1, axis=2), {VALUES}),
        (lambda fields: fields + np.float32(273.15), {VALUES, "stats_drift", "value_range"}),
    ],
    ids=["flipped map", "longitude shifted by 180 degrees", "longitude shifted by one cell", "kelvin"],
)
def test_fields_in_other_places_or_units(
    planted: Planted, how: Callable[[Float32Array], Float32Array], needed: set[str]
) -> None:
    planted.change(TEMPERATURE, LAST, how)
    found, page = planted.reported()
    assert found.keys() >= needed
    assert found.keys() <= {VALUES, "stats_drift", "value_range"}
    for name in needed:
        assert "'temperature_2m'" in found[name].message, name
        assert "Where: temperature_2m, 2026-07-31T00:00, " in page.articles[f"check-{name}"], name
    message = found[VALUES].message
    assert f"{PRIMARY}/{gfs_key(NEWEST, 0)[:20]}" in message
    assert "message TMP" in message
    assert "by ecCodes, which calls it shortName=2t" in message
    assert "the store has " in message
    assert "'precipitation_surface'" not in message


def test_rates_of_a_wrong_window(planted: Planted) -> None:
    """A rate is worked out again from the totals that it is made from."""
    planted.change(RAIN, LAST, lambda fields: fields * np.float32(2))
    found, page = planted.reported()
    message = found[VALUES].message
    assert "Where: precipitation_surface, 2026-07-31T00:00, " in page.articles[f"check-{VALUES}"]
    assert "'precipitation_surface' at init_time" in message
    assert "message APCP" in message


def test_a_missing_shard(planted: Planted) -> None:
    for base in ("primary", "copy"):
        (planted.site.folder / base / planted.store.relative_to(planted.site.folder / "primary")).joinpath(
            TEMPERATURE, "c/2/0/0/1"
        ).unlink()
    found, _ = planted.reported()
    assert found.keys() <= {"expected_shards", VALUES}
    words = "lacking 1 of 12 shards: 'temperature_2m', from init_time 2026-07-30T06:00"
    assert words in found["expected_shards"].message


def test_a_stale_replica(planted: Planted) -> None:
    before = planted.site.folder / "before"
    shutil.copytree(planted.site.folder / "copy", before)
    planted.change(TEMPERATURE, LAST, lambda fields: fields)
    shutil.rmtree(planted.site.folder / "copy")
    shutil.copytree(before, planted.site.folder / "copy")
    (shard,) = planted.store.glob(f"{TEMPERATURE}/c/{LAST}/0/0/0")
    copy = planted.site.folder / "copy" / shard.relative_to(planted.site.folder / "primary")
    (older,) = planted.store.glob(f"{TEMPERATURE}/c/{LAST - 1}/0/0/0")
    copy.write_bytes(older.read_bytes())
    found, _ = planted.reported()
    assert found.keys() == {"replicas_match_primary"}
    assert "differs in 1 objects of the newest shard" in found["replicas_match_primary"].message


def test_a_replica_that_cannot_be_read(planted: Planted) -> None:
    (planted.site.folder / "copy" / STORE / "zarr.json").write_text("{")
    found, page = planted.reported()
    assert found.keys() == {"replicas_match_primary"}
    assert "#check-1-readable" in page.linked
    assert "readable of replica 1" in page.text.partition("What it is")[0]
    assert "CorruptRoot" in page.articles["check-1-readable"]


def test_a_hole_in_the_middle(healthy: Planted, tmp_path: Path) -> None:
    """The source has not made one file of the last init time but one."""
    made = Planted(tmp_path, healthy.site.dataset, healthy.site.sample.folder)
    for init in INITS[-2:]:
        made.arrive([init])
    lost = made.site.upstream / PRIMARY / gfs_key(INITS[-2], 2)
    lost.unlink()
    for init in INITS[:-2]:
        made.arrive([init])
    for init in INITS:
        made.update(init)
    found, page = made.reported(NEWEST + Timedelta("7h"))
    assert {"complete_partitions", "recent_nans"} <= found.keys() <= {"complete_partitions", "recent_nans"}
    lost_file = f"2026-07-30T18:00 lacks 1 file (SourceFileMissing: {gfs_key(INITS[-2], 2)})"
    assert lost_file in found["complete_partitions"].message
    assert "at 2026-07-30T18:00 where 0 % is allowed (lead times 2 h" in found["recent_nans"].message
    assert "2026-07-30T18:00 lacks 2 fields of 1 file" in page.sections["partitions"]


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ((f"{TEMPERATURE}/zarr.json",), "consolidated_metadata"),
        ((f"{TEMPERATURE}/zarr.json", "zarr.json"), "attributes"),
    ],
)
def test_a_drifted_attribute(planted: Planted, keys: tuple[str, ...], named: str) -> None:
    for key in keys:
        planted.edit(key, lambda text: text.replace('"degree_Celsius"', '"K"'))
    found, _ = planted.reported()
    assert found.keys() == {named}
    message = found[named].message
    assert "temperature_2m" in message
    assert "units" in message
    assert "'K'" in message


def test_a_late_update(planted: Planted) -> None:
    found, _ = planted.reported(NEWEST + Timedelta("20h"))
    assert found.keys() == {"current_data"}
    words = "init_time 2026-07-31T12:00 is due, the newest published is 2026-07-31T00:00"
    assert words in found["current_data"].message


@pytest.mark.slow
def test_fifty_clean_updates_fail_no_check(tmp_path: Path) -> None:
    inits = pd.date_range(INIT, periods=50, freq="6h", unit="us")
    sample = sample_of(tmp_path / "sample", inits)
    made = Planted(tmp_path / "site", small_forecast(tmp_path / "templates"), sample)
    for init in inits:
        made.arrive([init])
        made.update(init)
        assert made.failing(init + SOON) == {}, init
