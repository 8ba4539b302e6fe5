"""A shard that a run could have written, and that is not stored, fails the check."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.shards import MOST_HOLES, CheckExpectedShards
from reformatters_dagster.core.check.validators import CheckResult
from reformatters_dagster.core.ledger.entries import LedgerEntry, LedgerView, MissingFile, VariableCoverage
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.core.check.published import (
    FORECAST,
    NOW,
    PRECIPITATION,
    START,
    TEMPERATURE,
    Publish,
    data_var,
    no_coordinates,
    nothing,
)


@pytest.mark.parametrize(("shape", "shards"), [("forecast", 5 * 2), ("ensemble", 5 * 2), ("analysis", 1 * 2)])
def test_expected_shards_counts_the_objects_of_the_extent(publish: Publish, shape: str, shards: int) -> None:
    result = CheckExpectedShards().check(publish(shape, 5).write().open(), NOW)
    assert result.passed
    assert result.metadata == {
        "shards_expected": shards,
        "shards_missing": 0,
        "shards_without_source": 0,
        "variables_incomplete": 0,
    }
    assert result.message == f"all {shards} shards are stored"


def test_expected_shards_finds_a_gap_in_the_middle(publish: Publish) -> None:
    store = publish("forecast", 5, (TEMPERATURE, PRECIPITATION)).write()
    for name in ("temperature_2m", "precipitation_surface"):
        (store.folder / name / "c/2/0/0/1").unlink()
    result = CheckExpectedShards().check(store.open(), NOW)
    assert not result.passed
    assert result.severity == "ERROR"
    assert result.metadata == {
        "shards_expected": 20,
        "shards_missing": 2,
        "shards_without_source": 0,
        "variables_incomplete": 2,
    }
    assert result.message == (
        "lacking 1 of 10 shards: 'temperature_2m', 'precipitation_surface', from init_time 2026-07-29T12:00; "
        "`reformat backfill noaa-gfs-forecast --contains 2026-07-29T12:00 --overwrite-chunks` writes the first"
    )


def test_expected_shards_names_the_start_of_a_long_shard(publish: Publish) -> None:
    store = publish("analysis", 20).write()
    (store.folder / "temperature_2m/c/1/0/0").unlink()
    result = CheckExpectedShards().check(store.open(), NOW)
    assert "from time 2026-07-29T08:00" in result.message


def test_expected_shards_tells_a_whole_unwritten_variable_from_a_hole(publish: Publish) -> None:
    store = publish("forecast", 5, (TEMPERATURE, PRECIPITATION)).write()
    (store.folder / "temperature_2m/c/4/0/0/0").unlink()
    for shard in (store.folder / "precipitation_surface/c").rglob("*"):
        if shard.is_file():
            shard.unlink()
    message = CheckExpectedShards().check(store.open(), NOW).message
    assert message.index("10 of 10 shards: 'precipitation_surface'") < message.index("1 of 10 shards: 'temperature_2m'")
    assert "and 1 more" in message


def test_expected_shards_allows_objects_beyond_the_extent(publish: Publish) -> None:
    store = publish("forecast", 3).write()
    beyond = store.folder / "temperature_2m/c/3/0/0/0"
    beyond.parent.mkdir(parents=True)
    beyond.write_bytes(b"")
    assert CheckExpectedShards().check(store.open(), NOW).passed


def test_expected_shards_accepts_a_shard_of_nothing_but_nan(publish: Publish) -> None:
    store = publish("forecast", 3)
    store["temperature_2m"][:] = np.nan
    assert CheckExpectedShards().check(store.write().open(), NOW).passed


def test_expected_shards_of_a_variable_the_store_lacks(publish: Publish) -> None:
    opened = publish("forecast", 3).write().open((TEMPERATURE, PRECIPITATION))
    result = CheckExpectedShards().check(opened, NOW)
    assert not result.passed
    assert "not in the store: 'precipitation_surface'" in result.message
    assert "--overwrite-chunks --overwrite-metadata --variables precipitation_surface` adds them with" in result.message
    assert result.metadata["variables_incomplete"] == 1


def test_expected_shards_of_an_unsharded_variable_are_its_chunks(tmp_path: Path) -> None:
    labels = pd.date_range(START, periods=3, freq="6h", unit="us")
    ds = xr.Dataset({"t": ("init_time", np.zeros(3, "f4"))}, {"init_time": labels}, {"dataset_id": "x"})
    ds.to_zarr(tmp_path / "s", zarr_format=3, consolidated=False, encoding={"t": {"chunks": (1,)}})
    opened = OpenedStore(
        xr.open_zarr(tmp_path / "s", consolidated=False, chunks=None),
        FORECAST,
        (data_var("t"),),
        lambda _: {"c/0", "c/2"},
        nothing,
        no_coordinates,
    )
    result = CheckExpectedShards().check(opened, NOW)
    assert result.metadata["shards_missing"] == 1
    assert "from init_time 2026-07-29T06:00" in result.message


ABSENT, REFUSED = "SourceFileMissing: not published yet, or never made", "SourceFileUnavailable: 503"


def ledger_of(
    reasons: Mapping[int, Sequence[str]], *, succeeded: int = 0, asked: list[Timestamp] | None = None
) -> LedgerView:
    """The ledger of a store of 6-hourly partitions, some of which lack files of precipitation for these reasons."""

    def entry_of(label: Timestamp) -> LedgerEntry | None:
        if asked is not None:
            asked.append(label)
        place = (label - START) // FORECAST.frequency
        if place not in reasons:
            return None
        missing = tuple(MissingFile(file=f"f{n}", labels="", reason=why) for n, why in enumerate(reasons[place]))
        coverage = VariableCoverage(expected=len(missing) + succeeded, succeeded=succeeded, missing=missing)
        return LedgerEntry(
            partition="p",
            dataset_id="d",
            version="0.1.0",
            region=(label, label),
            variables={"precipitation_surface": coverage},
            extent=(START, label),
            template_hash="",
            code_version="",
            run_id="",
            written_at=label,
        )

    return LedgerView(entry_of, Timedelta("6h"), Timedelta("1D"))


@pytest.fixture
def holed(publish: Publish) -> OpenedStore:
    """Five partitions; nothing was uploaded of precipitation in the first two."""
    store = publish("forecast", 5, (TEMPERATURE, PRECIPITATION)).write()
    for place in (0, 1):
        shutil.rmtree(store.folder / f"precipitation_surface/c/{place}")
    return store.open()


def shards_of(opened: OpenedStore, ledger: LedgerView | None, now: str, most_holes: int = MOST_HOLES) -> CheckResult:
    return CheckExpectedShards(most_holes=most_holes).check(replace(opened, ledger=ledger), Timestamp(now))


def test_expected_shards_that_the_source_never_had_are_excused_once_given_up(holed: OpenedStore) -> None:
    ledger = ledger_of({0: [ABSENT, ABSENT], 1: [ABSENT]})
    found = [
        (one.passed, one.metadata["shards_missing"], one.metadata["shards_without_source"])
        for one in (
            shards_of(holed, ledger, now)
            for now in ("2026-07-29T23:59", "2026-07-30T00", "2026-07-30T05:59", "2026-07-30T06")
        )
    ]
    assert found == [(False, 4, 0), (False, 2, 2), (False, 2, 2), (True, 0, 4)]
    result = shards_of(holed, ledger, "2026-07-30T06")
    assert result.message == "all 16 shards are stored; 4 more have no source file"
    assert result.metadata["variables_incomplete"] == 0
    assert "lacking 2 of 10 shards" in (half := shards_of(holed, ledger, "2026-07-30T00").message)
    assert half.endswith("writes the first; 2 more have no source file")


@pytest.mark.parametrize(
    "ledger",
    [
        None,
        ledger_of({}),
        ledger_of({0: [ABSENT, REFUSED], 1: [REFUSED]}),
        ledger_of({0: ["CorruptMessage: cut short"], 1: ["the run was stopped"]}),
        ledger_of({0: [ABSENT], 1: [ABSENT]}, succeeded=1),
    ],
)
def test_expected_shards_that_a_run_could_make_are_missed(holed: OpenedStore, ledger: LedgerView | None) -> None:
    result = shards_of(holed, ledger, "2026-08-29")
    assert not result.passed
    assert result.metadata["shards_without_source"] == 0


def test_expected_shards_excuses_only_the_variable_that_has_no_file(holed: OpenedStore, tmp_path: Path) -> None:
    (tmp_path / "store.zarr/temperature_2m/c/0/0/0/0").unlink()
    result = shards_of(holed, ledger_of({0: [ABSENT], 1: [ABSENT]}), "2026-08-29")
    assert (result.passed, result.metadata["shards_missing"]) == (False, 1)
    assert result.message.startswith("lacking 1 of 10 shards: 'temperature_2m', from")


def test_expected_shards_asks_the_ledger_of_few_partitions_only(holed: OpenedStore) -> None:
    asked: list[Timestamp] = []
    ledger = ledger_of({0: [ABSENT], 1: [ABSENT]}, asked=asked)
    assert shards_of(holed, ledger, "2026-08-29").passed
    assert len(asked) == 2
    assert not shards_of(holed, ledger, "2026-08-29", most_holes=1).passed
    assert len(asked) == 2


def test_expected_shards_are_those_since_the_source_has_the_variable(holed: OpenedStore) -> None:
    since_third = PRECIPITATION.model_copy(update={"available_from": START + Timedelta("12h")})
    since_second = PRECIPITATION.model_copy(update={"available_from": START + Timedelta("6h")})
    later, sooner = (
        CheckExpectedShards().check(replace(holed, data_vars=(TEMPERATURE, row)), NOW)
        for row in (since_third, since_second)
    )
    assert later.passed
    assert later.message == "all 16 shards are stored"
    assert (sooner.passed, sooner.metadata["shards_missing"]) == (False, 2)
