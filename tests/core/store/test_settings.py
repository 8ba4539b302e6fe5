"""What a deployment's variables mean, and which are refused."""

import tempfile
import time
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from reformatters_dagster.core.spec.errors import Refused, UpstreamMissing
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.settings import Settings, parse_time
from tests.tiny import tiny_template

JULY = pd.Timestamp("2026-07-29T18")


def settings_of(**variables: str) -> Settings:
    """Read REFORMATTERS_* variables, beside others that do not count."""
    environment = {f"REFORMATTERS_{name.upper()}": text for name, text in variables.items()}
    return Settings.from_environment(environment | {"STORE": "elsewhere", "REFORMATTERS_": "nothing"})


def test_nothing_is_set() -> None:
    assert settings_of() == Settings(store="data/stores", replicas=(), upstream=None, tmp=None, start=None, starts={})
    assert settings_of(store=" ", replicas=",", upstream="", tmp="", start=" ") == settings_of()
    assert settings_of().tmp_folder() == Path(tempfile.gettempdir()) / "reformatters"


def test_everything_is_set() -> None:
    found = settings_of(
        store="s3://bucket/stores",
        replicas=" gs://one , /mnt/two,",
        upstream="/mnt/mirror",
        tmp="/mnt/tmp",
        start=" noaa-gfs-forecast=2026-07-29T18:00, 2026-01-01, test-a-b = 2025-12-31T06 ,",
    )
    assert (found.store, found.replicas) == ("s3://bucket/stores", ("gs://one", "/mnt/two"))
    assert (found.upstream, found.tmp_folder()) == ("/mnt/mirror", Path("/mnt/tmp"))
    assert found.start == pd.Timestamp("2026-01-01")
    assert found.starts == {"noaa-gfs-forecast": JULY, "test-a-b": pd.Timestamp("2025-12-31T06")}


@pytest.mark.parametrize(
    ("start", "wrong"),
    [("yesterday", "'yesterday'"), ("noaa-gfs-forecast=", "''"), ("2026-07-29,a-b=2026-13-01", "'2026-13-01'")],
)
def test_a_start_that_cannot_be_read(start: str, wrong: str) -> None:
    message = rf"REFORMATTERS_START='{start}': time {wrong} cannot be read.*; write one time, or dataset-id=time,…"
    with pytest.raises(Refused, match=message):
        settings_of(start=start)


def test_a_start_of_a_dataset_that_there_is_not_is_refused() -> None:
    known = ["noaa-gfs-forecast", "noaa-gefs-analysis"]
    settings_of(start="2026-01-01,noaa-gfs-forecast=2026-07-29").refuse_unknown_starts(known)
    misspelt = settings_of(start="noaa-gfs-forcast=2026-07-29,dwd-icon=2026-07-29")
    message = "REFORMATTERS_START names dwd-icon, noaa-gfs-forcast; there are noaa-gefs-analysis, noaa-gfs-forecast"
    with pytest.raises(Refused, match=message):
        misspelt.refuse_unknown_starts(known)
    message = "REFORMATTERS_START names noaa-gfs-forcast; there are .*, those of dwd, those of ecmwf: correct the name"
    with pytest.raises(Refused, match=message):
        misspelt.refuse_unknown_starts(known, {"dwd", "ecmwf"})
    misspelt.refuse_unknown_starts(["ecmwf-ifs-ens-forecast"], {"dwd", "noaa"})
    with pytest.raises(
        Refused, match="REFORMATTERS_START names dwd-icon; there are ecmwf-ifs-ens-forecast, those of noaa"
    ):
        misspelt.refuse_unknown_starts(["ecmwf-ifs-ens-forecast"], {"noaa"})


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("", "2024-02-28T00"),
        ("2024-02-28T11", "2024-02-28T00"),
        ("2024-02-28T12", "2024-02-28T12"),
        ("2024-02-29T01", "2024-02-29T00"),
        ("2024-02-27T23", "2024-02-27T12"),
        ("other-forecast=2024-03-01", "2024-02-28T00"),
        ("tiny-forecast=2024-03-01", "2024-03-01T00"),
        ("2024-04-01,tiny-forecast=2024-03-01T13", "2024-03-01T12"),
    ],
)
def test_an_archive_starts_with_a_whole_shard_of_the_templates_grid(tmp_path: Path, start: str, first: str) -> None:
    template = tiny_template(tmp_path)
    moved = settings_of(start=start).start_of(template)
    assert moved.append_dim.start == pd.Timestamp(first)
    assert moved.model_copy(update={"append_dim": template.append_dim}) == template


def test_a_workspace_is_where_the_settings_say(tmp_path: Path) -> None:
    (tmp_path / "mirror" / GFS_ARCHIVES[0].folder).mkdir(parents=True)
    found = Settings(
        store=f"file://{tmp_path}/stores",
        replicas=(str(tmp_path / "copies"),),
        upstream=str(tmp_path / "mirror"),
        tmp=str(tmp_path / "tmp"),
    ).workspace(tiny_template(tmp_path), GFS_ARCHIVES)
    assert found.stores.primary.url == str(tmp_path / "stores/tiny-forecast/v1.2.3.zarr")
    assert [replica.url for replica in found.stores.replicas] == [str(tmp_path / "copies/tiny-forecast/v1.2.3.zarr")]
    assert found.stores.internal.url == str(tmp_path / "stores/tiny-forecast/_internal/v1.2.3")
    assert found.tmp == tmp_path / "tmp"
    archives = found.upstream.archives_for(JULY, JULY)
    assert [archive.url for archive in archives] == [str(tmp_path / "mirror" / one.folder) for one in GFS_ARCHIVES]
    assert not (tmp_path / "stores").exists()


def test_an_upstream_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UpstreamMissing, match=r"nowhere' is no folder.*check REFORMATTERS_UPSTREAM or --upstream"):
        Settings(upstream=str(tmp_path / "nowhere")).workspace(tiny_template(tmp_path), GFS_ARCHIVES)


@pytest.mark.parametrize(
    "text", ["2026-07-29T18", "2026-07-29T18:00", "2026-07-29 18:00:00", "2026-07-29T18Z", "20260729T18"]
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_times_are_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch, text: str, zone: str) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        assert parse_time(text) == JULY
    time.tzset()


@given(st.datetimes(min_value=Timestamp("1900").to_pydatetime()))
def test_a_time_that_was_written_is_read_again(moment: datetime) -> None:
    written = pd.Timestamp(moment).floor("min")
    read = parse_time(f"{written:%Y-%m-%dT%H:%M}")
    assert read == written
    assert (read.unit, read.tzinfo) == ("us", None)


@pytest.mark.parametrize(
    "text", ["", "now", "today", "18:00", "NaT", "29.07.2026", "07/08/2026", "2026-02-30", "2026-07-29T24:30"]
)
def test_words_and_other_orders_are_no_times(text: str) -> None:
    with pytest.raises(Refused, match=rf"time '{text}' cannot be read; write UTC as 2026-07-29T18 or 2026-07-29T18:00"):
        parse_time(text)


@pytest.mark.parametrize("text", ["2026-07-29T18+02:00", "2026-07-29T18:00-05:00"])
def test_other_zones_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not UTC; write UTC as 2026-07-29T18"):
        parse_time(text)
