import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.check import validators as validation
from reformatters_dagster.core.check.validators import (
    CheckCurrentData,
    CheckExpectedShards,
    CheckRecentNans,
    CheckResult,
    CheckValueRange,
    OpenedStore,
    Validator,
    run_validators,
)
from reformatters_dagster.core.ledger.entries import LedgerEntry, LedgerView, MissingFile, VariableCoverage
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.errors import StoreUnavailable, UnknownVariable
from reformatters_dagster.core.spec.values import Float32Array, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, GribField, Statistic

START = Timestamp("2026-07-29T00")
NOW = Timestamp("2026-07-30T12")
FORECAST = AppendAxis(name="init_time", start=START, frequency="6h")
ANALYSIS = AppendAxis(name="time", start=START, frequency="1h")
DIMS = {
    "forecast": ("init_time", "lead_time", "latitude", "longitude"),
    "ensemble": ("init_time", "ensemble_member", "lead_time", "latitude", "longitude"),
    "analysis": ("time", "latitude", "longitude"),
}
CHUNKS = {"init_time": 1, "time": 4, "ensemble_member": 3, "lead_time": 3, "latitude": 4, "longitude": 4}
SHARDS = {"init_time": 1, "time": 8, "ensemble_member": 3, "lead_time": 6, "latitude": 8, "longitude": 8}
SIZES = {"ensemble_member": 3, "lead_time": 5, "latitude": 7, "longitude": 12}


def data_var(name: str, statistic: Statistic = "instant") -> DataVar:
    field = GribField(element="X", level="surface", parameter=(0, 0, 0), surface=(1, None), statistic=statistic)
    step_type = "accum" if statistic == "acc" else statistic
    return DataVar(name=name, long_name=name, short_name=name, units="1", step_type=step_type, field=field)


TEMPERATURE = data_var("temperature_2m")
PRECIPITATION = data_var("precipitation_surface", "acc")


def nothing(_: str) -> None:
    """No object of the store."""


def no_coordinates(_: Timestamp) -> xr.Dataset:
    return xr.Dataset()


class Published:
    """A small store on disk, and the objects it is made of."""

    def __init__(self, folder: Path, shape: str, labels: int, data_vars: Sequence[DataVar] = (TEMPERATURE,)) -> None:
        self.folder, self.dims, self.data_vars = folder, DIMS[shape], tuple(data_vars)
        self.axis = ANALYSIS if shape == "analysis" else FORECAST
        self.arrays = {v.name: np.zeros((labels, *(SIZES[d] for d in self.dims[1:])), "f4") for v in data_vars}

    def __getitem__(self, name: str) -> Float32Array:
        return self.arrays[name]

    def write(self) -> "Published":
        labels = len(next(iter(self.arrays.values())))
        coords: dict[str, object] = {
            self.axis.name: pd.date_range(START, periods=labels, freq=self.axis.frequency, unit="us"),
            "lead_time": pd.timedelta_range("0h", periods=SIZES["lead_time"], freq="1h", unit="us"),
        }
        ds = xr.Dataset(
            {name: (self.dims, values) for name, values in self.arrays.items()},
            {name: values for name, values in coords.items() if name in self.dims},
            {"dataset_id": "noaa-gfs-forecast"},
        )
        encoding: Mapping[str, Mapping[str, object]] = {
            name: {
                "chunks": tuple(CHUNKS[dim] for dim in self.dims),
                "shards": tuple(SHARDS[dim] for dim in self.dims),
                "fill_value": np.nan,
            }
            for name in self.arrays
        }
        with zarr.config.set({"array.write_empty_chunks": True}):
            ds.to_zarr(self.folder, zarr_format=3, consolidated=False, encoding=encoding)
        return self

    def shard_keys(self, name: str) -> set[str]:
        return {
            p.relative_to(self.folder / name).as_posix() for p in (self.folder / name / "c").rglob("*") if p.is_file()
        }

    def open(self, data_vars: Sequence[DataVar] | None = None) -> OpenedStore:
        ds = xr.open_zarr(self.folder, consolidated=False, chunks=None)
        rows = self.data_vars if data_vars is None else tuple(data_vars)
        return OpenedStore(ds, self.axis, rows, self.shard_keys, nothing, no_coordinates)


type Publish = Callable[..., Published]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    def _publish(shape: str, labels: int, data_vars: Sequence[DataVar] = (TEMPERATURE,)) -> Published:
        return Published(tmp_path / "store.zarr", shape, labels, data_vars)

    return _publish


# Current data


def test_current_data_is_due_max_delay_after_its_label(publish: Publish) -> None:
    opened = publish("forecast", 3).write().open()  # up to 2026-07-29T12
    check = CheckCurrentData(max_delay="5h")

    at_the_last_moment = check.check(opened, Timestamp("2026-07-29T22:59:59"))
    assert at_the_last_moment.passed
    assert at_the_last_moment.metadata == {"due": "2026-07-29T12:00", "newest": "2026-07-29T12:00", "steps_late": 0}

    too_late = check.check(opened, Timestamp("2026-07-29T23:00"))
    assert not too_late.passed
    assert too_late.severity == "ERROR"
    assert too_late.metadata["steps_late"] == 1
    assert "init_time 2026-07-29T18:00 is due" in too_late.message
    assert "newest published is 2026-07-29T12:00" in too_late.message
    assert "reformat update noaa-gfs-forecast" in too_late.message


def test_current_data_says_the_same_until_the_next_label_falls_due(publish: Publish) -> None:
    opened = publish("forecast", 3).write().open()
    minutes = pd.date_range("2026-07-29T23:00", "2026-07-30T04:59", freq="7min")
    results = [CheckCurrentData(max_delay="5h").check(opened, minute) for minute in minutes]
    assert all(result == results[0] for result in results)
    assert CheckCurrentData(max_delay="5h").check(opened, Timestamp("2026-07-30T05:00")).metadata["steps_late"] == 2


def test_current_data_of_an_archive_that_has_just_begun(publish: Publish) -> None:
    opened = publish("forecast", 0).write().open()
    check = CheckCurrentData(max_delay="5h")
    before = check.check(opened, START + pd.Timedelta("4h59min"))
    assert before.passed
    assert before.message == "no init_time is due yet; the first is 2026-07-29T00:00"
    after = check.check(opened, START + pd.Timedelta("5h"))
    assert not after.passed
    assert "newest published is none" in after.message
    assert after.metadata["steps_late"] == 1


def test_current_data_may_be_ahead(publish: Publish) -> None:
    opened = publish("analysis", 30).write().open()
    result = CheckCurrentData(max_delay="2h").check(opened, START + pd.Timedelta("20h"))
    assert result.passed
    assert result.metadata["steps_late"] == 0


@given(
    labels=st.integers(1, 30),
    delay=st.integers(0, 3000),
    elapsed=st.integers(-3000, 10_000),
)
def test_current_data_passes_exactly_when_no_missing_label_is_due(labels: int, delay: int, elapsed: int) -> None:
    axis_labels = pd.date_range(START, periods=labels, freq="6h", unit="us")
    ds = xr.Dataset(coords={"init_time": axis_labels}, attrs={"dataset_id": "x"})
    opened = OpenedStore(ds, FORECAST, (), lambda _: set(), nothing, no_coordinates)
    now = START + pd.Timedelta(minutes=elapsed)
    result = CheckCurrentData(max_delay=pd.Timedelta(minutes=delay)).check(opened, now)
    first_missing = START + labels * pd.Timedelta("6h")
    assert result.passed == (now < first_missing + pd.Timedelta(minutes=delay))


# Recent NaNs


@pytest.mark.parametrize("shape", ["forecast", "ensemble", "analysis"])
def test_recent_nans_passes_a_full_store(publish: Publish, shape: str) -> None:
    result = CheckRecentNans(window=3).check(publish(shape, 10).write().open(), NOW)
    assert result.passed
    assert result.metadata["worst_nan_fraction"] == 0
    assert "0 % NaN" in result.message


@pytest.mark.parametrize("shape", ["forecast", "ensemble", "analysis"])
def test_recent_nans_sees_only_its_window(publish: Publish, shape: str) -> None:
    store = publish(shape, 10)
    store["temperature_2m"][:8] = np.nan
    opened = store.write().open()
    assert CheckRecentNans(window=2).check(opened, NOW).passed
    third = CheckRecentNans(window=3).check(opened, NOW)
    assert not third.passed
    assert third.severity == "ERROR"
    assert "'temperature_2m' has 100 % at" in third.message
    assert "where 0 % is allowed" in third.message
    assert "reformat status noaa-gfs-forecast" in third.message


def test_recent_nans_measures_a_missing_lead_time_wherever_it_samples(publish: Publish) -> None:
    store = publish("forecast", 4)
    store["temperature_2m"][-1, 2] = np.nan
    result = CheckRecentNans(sampled_chunks=1).check(store.write().open(), NOW)
    assert not result.passed
    assert result.metadata["worst_nan_fraction"] == pytest.approx(1 / 5)
    assert "has 20 % at 2026-07-29T18:00" in result.message


def test_recent_nans_measures_every_member(publish: Publish) -> None:
    store = publish("ensemble", 2)
    store["temperature_2m"][-1, 1] = np.nan
    result = CheckRecentNans(sampled_chunks=1).check(store.write().open(), NOW)
    assert result.metadata["worst_nan_fraction"] == pytest.approx(1 / 3)


def test_recent_nans_at_the_budget_passes_and_above_fails(publish: Publish) -> None:
    store = publish("forecast", 2)
    store["temperature_2m"][-1, 2] = np.nan
    opened = store.write().open()
    assert CheckRecentNans(max_nan_fraction=0.2).check(opened, NOW).passed
    assert not CheckRecentNans(max_nan_fraction=0.19).check(opened, NOW).passed


def test_recent_nans_budgets_run_from_the_newest_and_the_last_repeats(publish: Publish) -> None:
    store = publish("forecast", 5)
    store["temperature_2m"][-1, :2] = np.nan
    store["temperature_2m"][-3, 3] = np.nan
    opened = store.write().open()
    assert CheckRecentNans(max_nan_fraction=(0.45, 0.0), window=2).check(opened, NOW).passed
    third = CheckRecentNans(max_nan_fraction=(0.45, 0.0), window=3).check(opened, NOW)
    assert not third.passed
    assert "at 2026-07-29T12:00" in third.message
    assert "at 2026-07-30T00:00" not in third.message


def test_recent_nans_does_not_read_a_label_that_may_be_empty(publish: Publish) -> None:
    store = publish("forecast", 3)
    store["temperature_2m"][-1] = np.nan
    store.write()
    for shard in (store.folder / "temperature_2m/c/2").rglob("*"):
        if shard.is_file():
            shard.write_bytes(b"not a shard")
    assert CheckRecentNans(max_nan_fraction=(1.0, 0.0)).check(store.open(), NOW).passed


def test_recent_nans_of_the_newest_label_alone_may_still_fill(publish: Publish) -> None:
    store = publish("forecast", 3)
    store["temperature_2m"][-1, -1] = np.nan
    result = CheckRecentNans().check(store.write().open(), NOW)
    assert not result.passed
    assert result.severity == "WARN"


def test_recent_nans_of_a_variable_without_any_value_is_an_error(publish: Publish) -> None:
    store = publish("forecast", 3)
    store["temperature_2m"][-1] = np.nan
    assert CheckRecentNans().check(store.write().open(), NOW).severity == "ERROR"


def test_recent_nans_expects_no_hour_0_of_a_windowed_variable(publish: Publish) -> None:
    store = publish("forecast", 2, (TEMPERATURE, PRECIPITATION))
    store["precipitation_surface"][:, 0] = np.nan
    opened = store.write().open()
    assert CheckRecentNans().check(opened, NOW).passed
    as_if_instant = opened.data_vars[0], data_var("precipitation_surface")
    assert not CheckRecentNans().check(store.open(as_if_instant), NOW).passed


def test_recent_nans_of_a_windowed_analysis_counts_every_step(publish: Publish) -> None:
    store = publish("analysis", 4, (PRECIPITATION,))
    store["precipitation_surface"][-1] = np.nan
    assert not CheckRecentNans().check(store.write().open(), NOW).passed


def test_recent_nans_that_measured_nothing_fails(publish: Publish) -> None:
    empty = CheckRecentNans().check(publish("forecast", 0).write().open(), NOW)
    assert not empty.passed
    assert "nothing was measured of 'temperature_2m' in the newest 2 labels of init_time" in empty.message


def test_recent_nans_that_may_look_at_no_variable_fails(publish: Publish) -> None:
    result = CheckRecentNans(exclude=("temperature_2m",)).check(publish("forecast", 2).write().open(), NOW)
    assert not result.passed
    assert "nothing was measured at all" in result.message


def test_recent_nans_of_a_young_archive_whose_only_label_may_be_empty_fails(publish: Publish) -> None:
    result = CheckRecentNans(max_nan_fraction=(1.0, 0.0)).check(publish("forecast", 1).write().open(), NOW)
    assert not result.passed
    assert "nothing was measured" in result.message


def test_recent_nans_of_a_variable_the_store_lacks_fails(publish: Publish) -> None:
    opened = publish("forecast", 2).write().open((TEMPERATURE, PRECIPITATION))
    result = CheckRecentNans().check(opened, NOW)
    assert not result.passed
    assert "'precipitation_surface'" in result.message


def test_recent_nans_looks_at_what_it_is_told(publish: Publish) -> None:
    store = publish("forecast", 2, (TEMPERATURE, PRECIPITATION))
    store["precipitation_surface"][:] = np.nan
    opened = store.write().open()
    assert CheckRecentNans(exclude=("precipitation_surface",)).check(opened, NOW).passed
    assert CheckRecentNans(include=("temperature_2m",)).check(opened, NOW).passed
    result = CheckRecentNans(name="recent_nans_rain", include=("precipitation_surface",)).check(opened, NOW)
    assert (result.name, result.passed) == ("recent_nans_rain", False)
    assert result.metadata["variables_measured"] == 1


@pytest.mark.parametrize(
    "validator", [CheckRecentNans(include=("temprature",)), CheckRecentNans(exclude=("temprature",))]
)
def test_recent_nans_refuses_an_unknown_variable(publish: Publish, validator: CheckRecentNans) -> None:
    opened = publish("forecast", 2, (TEMPERATURE, PRECIPITATION)).write().open()
    with pytest.raises(UnknownVariable, match=r"'temprature'.*it has precipitation_surface, temperature_2m"):
        validator.check(opened, NOW)


@pytest.mark.parametrize("share", [1.0, 2.5, (1.0,), (1.0, 1.0)])
def test_recent_nans_that_could_never_fail_is_a_configuration_error(share: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="could never fail"):
        CheckRecentNans(max_nan_fraction=share)


def test_recent_nans_whose_window_reaches_no_strict_budget_is_a_configuration_error() -> None:
    with pytest.raises(ValueError, match="newest 1 labels"):
        CheckRecentNans(max_nan_fraction=(1.0, 0.0), window=1)


@pytest.mark.parametrize("share", [(), -0.1, (0.0, float("nan"))])
def test_recent_nans_refuses_a_share_that_is_none(share: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be one share or more, none below 0"):
        CheckRecentNans(max_nan_fraction=share)


def test_recent_nans_samples_the_same_places_again_and_others_for_other_labels(publish: Publish) -> None:
    store = publish("forecast", 12)
    store["temperature_2m"][..., :4] = np.nan  # one of the three columns of chunks from west to east
    opened = store.write().open()
    check = CheckRecentNans(window=1, sampled_chunks=1)
    younger = [replace(opened, ds=opened.ds.isel(init_time=slice(0, labels))) for labels in range(1, 13)]

    np.random.seed(1)  # noqa: NPY002
    first = [check.check(store_then, NOW) for store_then in younger]
    np.random.seed(2)  # noqa: NPY002
    assert [check.check(store_then, NOW) for store_then in younger] == first
    assert {result.passed for result in first} == {True, False}


def test_recent_nans_reads_every_column_when_asked_for_all(publish: Publish) -> None:
    store = publish("forecast", 1)
    store["temperature_2m"][..., 6, 11] = np.nan  # a single point, in the clipped corner chunk
    result = CheckRecentNans(sampled_chunks=100).check(store.write().open(), NOW)
    assert result.metadata["worst_nan_fraction"] == pytest.approx(1 / (7 * 12))


def test_recent_nans_leaves_the_rest_of_the_archive_unread(publish: Publish) -> None:
    store = publish("forecast", 6).write()
    for index in range(4):
        for shard in (store.folder / f"temperature_2m/c/{index}").rglob("*"):
            if shard.is_file():
                shard.write_bytes(b"not a shard")
    assert CheckRecentNans().check(store.open(), NOW).passed


# Value range


BOUNDED = TEMPERATURE.model_copy(update={"valid_range": (-110.0, 75.0), "units": "degree_Celsius"})


@pytest.mark.parametrize(
    ("value", "passed"), [(-110.0, True), (75.0, True), (75.5, False), (-273.0, False), (9e9, False)]
)
def test_a_value_beyond_what_is_possible_is_a_warning(publish: Publish, value: float, *, passed: bool) -> None:
    store = publish("forecast", 3, (BOUNDED,))
    store["temperature_2m"][2, 4, 6, 11] = value
    result = CheckValueRange(sampled_chunks=100).check(store.write().open(), NOW)
    assert result.passed is passed
    assert result.metadata == {"variables_beyond": 0 if passed else 1, "variables_measured": 1}
    if not passed:
        assert result.severity == "WARN"
        assert "at init_time 2026-07-29T12:00 'temperature_2m' reaches from" in result.message
        assert "degree_Celsius where -110 to 75 is possible; compare with the source" in result.message


def test_only_the_newest_label_and_what_is_a_number_is_held_to_a_range(publish: Publish) -> None:
    store = publish("forecast", 3, (BOUNDED,))
    store["temperature_2m"][1] = 9e9
    store["temperature_2m"][2, 0] = np.nan
    assert CheckValueRange(sampled_chunks=100).check(store.write().open(), NOW).passed


def test_a_field_of_nothing_but_nan_and_one_without_a_range_are_not_judged(publish: Publish) -> None:
    store = publish("forecast", 1, (BOUNDED, PRECIPITATION))
    store["temperature_2m"][...] = np.nan
    store["precipitation_surface"][...] = 9e9
    result = CheckValueRange().check(store.write().open(), NOW)
    assert result.passed
    assert result.message == "values of 0 of 1 variables are within what is possible, the others have none"
    assert result.metadata["variables_measured"] == 0


# Expected shards


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


# NaN that is a value


def test_recent_nans_leave_out_variables_in_which_nan_is_a_value(publish: Publish) -> None:
    ceiling = data_var("ceiling").model_copy(update={"source_fill_value": 9999.0})
    store = publish("forecast", 3, (TEMPERATURE, ceiling))
    store["ceiling"][:] = np.nan
    opened = store.write().open()
    result = CheckRecentNans().check(opened, NOW)
    assert result.passed
    assert result.metadata["variables_measured"] == 1
    named = CheckRecentNans(include=("ceiling",)).check(opened, NOW)
    assert (named.passed, named.metadata["worst_nan_fraction"]) == (False, 1.0)


# Shards that no run could have made

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


def shards_of(opened: OpenedStore, ledger: LedgerView | None, now: str) -> CheckResult:
    return CheckExpectedShards().check(replace(opened, ledger=ledger), Timestamp(now))


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
    assert result.message == "all 16 shards are stored; 4 have none, since the source has no file of them"
    assert result.metadata["variables_incomplete"] == 0
    assert "lacking 2 of 10 shards" in (half := shards_of(holed, ledger, "2026-07-30T00").message)
    assert half.endswith("writes the first; 2 have none, since the source has no file of them")


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


def test_expected_shards_asks_the_ledger_of_few_partitions_only(
    holed: OpenedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Timestamp] = []
    ledger = ledger_of({0: [ABSENT], 1: [ABSENT]}, asked=asked)
    assert shards_of(holed, ledger, "2026-08-29").passed
    assert len(asked) == 2
    monkeypatch.setattr(validation, "MOST_HOLES", 1)
    assert not shards_of(holed, ledger, "2026-08-29").passed
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


# All of them


def test_every_validator_answers_when_one_breaks(publish: Publish) -> None:
    def unreachable(name: str) -> set[str]:
        raise StoreUnavailable(f"s3://bucket does not answer when asked for {name}")

    opened = publish("forecast", 3).write().open()
    broken = replace(opened, shard_keys=unreachable)
    validators: list[Validator] = [
        CheckCurrentData(max_delay="12h"),
        CheckExpectedShards(),
        CheckRecentNans(include=("temprature",)),
        CheckRecentNans(name="recent_nans_too"),
    ]
    results = run_validators(validators, broken, Timestamp("2026-07-29T18"))
    assert [result.name for result in results] == ["current_data", "expected_shards", "recent_nans", "recent_nans_too"]
    assert [result.passed for result in results] == [True, False, False, True]
    assert results[1].severity == "ERROR"
    assert results[1].message.startswith("the check itself broke: StoreUnavailable: s3://bucket does not answer")
    assert "UnknownVariable" in results[2].message
    assert "temperature_2m" in results[2].message
