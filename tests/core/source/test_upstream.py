"""Archives are asked in order, as long as they keep the files and the run goes on."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import pytest

from reformatters_dagster.core.source.upstream import Upstream
from reformatters_dagster.core.spec.errors import SourceFileMissing, SourceFileUnavailable, UpstreamMissing
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.core.source.hosts import KEY, FakeTime, source
from tests.upstreams import FaultServer, Status

LABEL = Timestamp("2026-07-29T18:00")


def test_a_stopped_run_waits_no_longer_and_asks_for_nothing_more(server: FaultServer) -> None:
    server.script(f"noaa/{KEY}", *[Status(503)] * 50)
    upstream = Upstream([source()], mirror=server.url, patience=Patience(deadline=1e6, jitter=lambda low, high: 1e3))
    (archive,) = upstream.archives_for(LABEL, LABEL)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(archive.get, KEY)
        while len(server.requests) < 2:
            sleep(0.01)
        upstream.stop.set()
        with pytest.raises(
            SourceFileUnavailable, match="is asked for nothing more: the run was stopped; start it again"
        ):
            asked.result(timeout=30)
    assert len(server.requests) == 2


def test_another_patience_goes_by_the_same_clock_and_stops_with_the_run(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", *[Status(503)] * 50)
    upstream = Upstream([source()], mirror=server.url, patience=time.patience())
    hurried = upstream.asked_with(Patience(attempts=2))
    for asked, attempts in ((hurried, 2), (upstream, 6)):
        server.requests.clear()
        with pytest.raises(SourceFileUnavailable, match=f"in {attempts} attempts"):
            asked.archives_for(LABEL, LABEL)[0].get(KEY)
        assert len(server.requests) == attempts
    assert len(time.sleeps) == 1 + 5
    upstream.stop.set()
    with pytest.raises(SourceFileUnavailable, match="the run was stopped"):
        hurried.archives_for(LABEL, LABEL)[0].get(KEY)


def test_a_mirror_that_does_not_exist_says_what_was_asked_and_what_to_check(tmp_path: Path) -> None:
    archives = [source(folder="noaa-gfs-bdp-pds"), source(folder="nomads.ncep.noaa.gov/gfs")]
    wanted = r"'noaa-gfs-bdp-pds', 'nomads.ncep.noaa.gov/gfs'; check REFORMATTERS_UPSTREAM or --upstream"
    for gone in (str(tmp_path / "typo"), (tmp_path / "typo").as_uri()):
        with pytest.raises(UpstreamMissing, match=rf"typo' is no folder, and was to hold {wanted}"):
            Upstream(archives, mirror=gone)
    with pytest.raises(UpstreamMissing, match=rf"holds none of {wanted}"):
        Upstream(archives, mirror=str(tmp_path))


def test_a_mirror_that_is_no_url_we_know() -> None:
    with pytest.raises(
        UpstreamMissing, match=r"'ftp://host' cannot be opened \(.*\); give a folder, s3://.*--upstream"
    ):
        Upstream([source()], mirror="ftp://host")


def test_one_folder_of_a_mirror_may_be_yet_to_come(tmp_path: Path, time: FakeTime) -> None:
    (tmp_path / "noaa").mkdir()
    upstream = Upstream([source(), source(folder="later")], mirror=str(tmp_path), patience=time.patience())
    _, later = upstream.archives_for(Timestamp("2026-07-29"), Timestamp("2026-07-29"))
    with pytest.raises(SourceFileMissing, match="no such file"):
        later.head("f000")
    assert list(later.list("")) == []
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "f000").write_bytes(b"GRIB")
    assert later.get("f000")[0] == b"GRIB"
    assert [info.key for info in later.list("")] == ["f000"]


@pytest.mark.parametrize(
    ("age", "names"),
    [("0h", ["s3", "nomads", "dwd"]), ("24h", ["s3", "nomads", "dwd"]), ("25h", ["s3", "nomads"]), ("11D", ["s3"])],
)
def test_archives_keep_their_order_and_leave_when_their_files_are_gone(
    server: FaultServer, age: str, names: list[str]
) -> None:
    archives = [source(folder="s3"), source(folder="nomads", newest="10D"), source(folder="dwd", newest="24h")]
    label = Timestamp("2026-07-29T18:00")
    kept = Upstream(archives, mirror=server.url).archives_for(label, label + Timedelta(age))
    assert [archive.name for archive in kept] == names


@pytest.mark.parametrize(
    ("label", "names"),
    [("2019-12-31T21", ["old", "new"]), ("2020-01-01T00", ["old", "new"]), ("2020-01-01T03", ["new"])],
)
def test_an_archive_that_is_closed_is_asked_for_what_it_may_have(
    server: FaultServer, label: str, names: list[str]
) -> None:
    upstream = Upstream([source(folder="old", until="2020-01-01T00"), source(folder="new")], mirror=server.url)
    kept = upstream.archives_for(Timestamp(label), Timestamp("2026-07-29"))
    assert [archive.name for archive in kept] == names
