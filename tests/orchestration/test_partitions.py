"""Shards as partitions: keys that are labels, crons only where they are exact, and the shard in progress from its first moment.

That every dataset's partitions are its own shards is asked in `dataset_defs/test_every_dataset.py`.
"""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._utils.schedules import cron_string_iterator
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import MOMENT, Timedelta, Timestamp
from reformatters_dagster.orchestration.partitions import GrowingShards, exact_cron, partition_label, shard_partitions
from tests.tiny import TinyTemplate, shard_labels, tiny_analysis, tiny_template

EXACT_HOURS = (1, 2, 3, 4, 6, 8, 12, 24, 7 * 24)
NOT_EXACT = (
    "30min",
    "90min",
    "5h",
    "7h",
    "9h",
    "10h",
    "18h",
    "25h",
    "36h",
    "2D",
    "3D",
    "14D",
    "28D",
    "60D",
    "90D",
    "360D",
)
MINUTES = st.integers(10_519_200, 68_000_000).map(lambda minutes: pd.Timestamp(minutes * 60, unit="s").as_unit("us"))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Chatham")


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A machine whose clock shows another time than UTC."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    assert os.environ.get("TZ") == before
    time.tzset()


def forecast(folder: Path, start: str, frequency: str, shard: int = 1) -> TinyTemplate:
    axis = AppendAxis(name="init_time", start=start, frequency=frequency)
    sizes = {"lead_time": 4, "latitude": 4, "longitude": 4}
    chunks = {"init_time": 1, "lead_time": 2, "latitude": 2, "longitude": 2}
    return tiny_template(folder, append_dim=axis, chunks=chunks, shards={"init_time": shard} | sizes)


def analysis(folder: Path, start: str, days: int) -> TinyTemplate:
    axis = AppendAxis(name="time", start=start, frequency="1h")
    sizes = {"latitude": 4, "longitude": 4}
    return tiny_analysis(folder, append_dim=axis, shards={"time": days * 24} | sizes, chunks={"time": 24} | sizes)


def keys_at(partitions: dg.PartitionsDefinition[str], now: Timestamp) -> list[str]:
    return list(partitions.get_partition_keys(current_time=now.tz_localize("UTC").to_pydatetime()))


def begun(template: TinyTemplate, now: Timestamp) -> list[str]:
    """Keys of the template's own shards that have begun, the one that begins this moment included."""
    return [partition_key(label) for label in shard_labels(template, now + MOMENT)]


@given(MINUTES)
def test_a_key_is_the_label_of_its_shard(label: Timestamp) -> None:
    key = partition_key(label)
    assert partition_label(key) == label
    assert partition_key(partition_label(key)) == key
    assert partition_label(key).unit == "us"


@given(MINUTES, MINUTES)
def test_keys_sort_as_their_labels_do(one: Timestamp, other: Timestamp) -> None:
    assert (partition_key(one) < partition_key(other)) == (one < other)


@pytest.mark.parametrize("text", ["2026-07-29", "2026-07-29T18", "2026-07-29T18:00:00", "2026-07-29 18:00", "latest"])
def test_another_text_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"time data|unconverted data"):
        partition_label(text)


@pytest.mark.parametrize(
    ("start", "length", "cron"),
    [
        ("2021-05-01T00:00", "1h", "0 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23 * * *"),
        ("2018-07-13T12:00", "6h", "0 0,6,12,18 * * *"),
        ("2018-07-13T15:00", "12h", "0 3,15 * * *"),
        ("2015-01-01T00:30", "24h", "30 0 * * *"),
        ("2026-07-26T06:00", "7D", "0 6 * * 0"),
        ("2026-07-29T06:00", "7D", "0 6 * * 3"),
    ],
)
def test_the_cron_names_the_hours_of_the_grid(start: str, length: str, cron: str) -> None:
    assert exact_cron(pd.Timestamp(start), Timedelta(length)) == cron


@given(MINUTES, st.sampled_from(EXACT_HOURS), st.integers(0, 3000))
def test_a_cron_fires_at_every_shard_boundary_and_at_no_other_time(start: Timestamp, hours: int, shards: int) -> None:
    length = Timedelta(hours=hours)
    cron = exact_cron(start, length)
    assert cron is not None
    here = start + shards * length
    after = (here - MOMENT).tz_localize("UTC").timestamp()
    ticks = cron_string_iterator(after, cron, "UTC")
    fired = [pd.Timestamp(next(ticks)).tz_localize(None) for _ in range(30)]
    assert fired == [here + k * length for k in range(30)]


@pytest.mark.parametrize("length", NOT_EXACT)
@pytest.mark.parametrize("start", ["2015-01-01T00:00", "2018-07-13T12:00"])
def test_no_cron_is_made_up_for_other_lengths(start: str, length: str) -> None:
    assert exact_cron(pd.Timestamp(start), Timedelta(length)) is None


@pytest.mark.parametrize(
    ("start", "frequency", "shard"),
    [
        ("2018-07-13T12:00", "6h", 1),
        ("2021-05-01T00:00", "6h", 2),
        ("2020-10-01T00:00", "24h", 1),
        ("2014-10-01T00:00", "1h", 1),
        ("2024-02-27T00:00", "12h", 14),
        ("2018-07-13T12:00", "6h", 3),
    ],
)
@pytest.mark.usefixtures("zone")
def test_keys_of_forecasts_are_the_shards_that_have_begun(
    tmp_path: Path, start: str, frequency: str, shard: int
) -> None:
    template = forecast(tmp_path, start, frequency, shard)
    partitions = shard_partitions(template)
    assert isinstance(partitions, dg.TimeWindowPartitionsDefinition) == (shard != 3)
    for days in (0, 27, 100):
        now = pd.Timestamp(start) + Timedelta(days=days, hours=7, minutes=13)
        assert keys_at(partitions, now) == begun(template, now)


@pytest.mark.parametrize("days", [60, 90, 360])
@pytest.mark.usefixtures("zone")
def test_keys_of_analyses_are_the_shards_that_have_begun(tmp_path: Path, days: int) -> None:
    template = analysis(tmp_path, "2014-10-01T00:00", days)
    partitions = shard_partitions(template)
    assert isinstance(partitions, GrowingShards)
    now = pd.Timestamp("2026-07-29T18:17")
    keys = keys_at(partitions, now)
    assert keys == begun(template, now)
    labels = [partition_label(key) for key in keys]
    assert {later - earlier for earlier, later in pairwise(labels)} == {Timedelta(days=days)}
    assert labels[-1] <= now < labels[-1] + Timedelta(days=days)


@pytest.mark.parametrize("template", ["forecast", "analysis"])
@pytest.mark.usefixtures("zone")
def test_the_shard_in_progress_exists_from_its_first_moment(tmp_path: Path, template: str) -> None:
    made = (
        forecast(tmp_path, "2026-01-01T00:00", "6h") if template == "forecast" else analysis(tmp_path, "2026-01-01", 60)
    )
    partitions = shard_partitions(made)
    boundary = made.append_dim.start + 3 * made.shard_duration
    key = partition_key(boundary)
    assert key not in keys_at(partitions, boundary - MOMENT)
    for now in (boundary, boundary + MOMENT, boundary + made.shard_duration - MOMENT):
        assert keys_at(partitions, now)[-1] == key


def test_nothing_has_begun_before_the_start(tmp_path: Path) -> None:
    for template in (forecast(tmp_path, "2099-01-01", "6h"), analysis(tmp_path, "2099-01-01", 60)):
        assert list(shard_partitions(template).get_partition_keys()) == []


def test_growing_shards_know_the_new_shard_without_being_built_again(tmp_path: Path) -> None:
    begin = pd.Timestamp(datetime.now(UTC).replace(tzinfo=None)).floor("h") - Timedelta(days=59)
    partitions = shard_partitions(analysis(tmp_path, str(begin), 60))
    assert isinstance(partitions, GrowingShards)
    assert list(partitions.get_partition_keys()) == [partition_key(begin)]
    later = keys_at(partitions, begin + Timedelta(days=61))
    assert later == [partition_key(begin), partition_key(begin + Timedelta(days=60))]
    assert partitions.has_partition_key(partition_key(begin))
    assert not partitions.has_partition_key(partition_key(begin + Timedelta(days=1)))
