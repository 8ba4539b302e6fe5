"""Bytes come back whole or not at all, whatever an archive does; a real HTTP host and a real folder misbehave."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from reformatters_dagster.core.source import archives as download
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.rate_limit import RateLimit
from reformatters_dagster.core.source.upstream import Upstream
from reformatters_dagster.core.spec.errors import SourceFileMissing, SourceFileUnavailable, UpstreamMissing
from reformatters_dagster.core.spec.failures import Failure
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.upstreams import Answer, Cut, FaultServer, Short, Slow, Status, Whole

DATA = bytes(i * i % 251 for i in range(5000))
DAY, FILE = "gfs.20260729", "18/atmos/gfs.t18z.pgrb2.0p25.f000"
KEY = f"{DAY}/{FILE}"
FILES = {
    f"noaa/{KEY}": DATA,
    "noaa/empty": b"",
    "noaa/Days:1-10/a b+c.grib2": b"colon",
    "long.html": bytes(6000),
    "short.html": bytes(6),
}
NOMADS = {302: "throttled", 403: "missing", 404: "missing", 429: "throttled"}

type Ask = Callable[[Archive], object]
ASKS: dict[str, Ask] = {
    "head": lambda archive: archive.head(KEY),
    "get": lambda archive: archive.get(KEY),
    "range": lambda archive: archive.get_ranges(KEY, [(10, 1000)]),
    "ranges": lambda archive: archive.get_ranges(KEY, [(10, 1000), (2000, 2100)]),
    "open range": lambda archive: archive.get_ranges(KEY, [(10, 1000), (4000, None)]),
}
each_ask = pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)


@dataclass
class FakeTime:
    """A clock that only sleeping moves, and not even that once it `stands_still`."""

    now: float = 0.0
    stands_still: bool = False
    sleeps: list[float] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.sleeps.append(round(seconds, 6))
            self.now += 0.0 if self.stands_still else seconds

    def patience(self, **changes: Any) -> Patience:
        return Patience(sleep=self.sleep, clock=lambda: self.now, jitter=lambda low, high: (low + high) / 2, **changes)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture(scope="module")
def host() -> Iterator[FaultServer]:
    with FaultServer(FILES) as server:
        yield server


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A host of each test's own: requests that were given up arrive late, and would take what the next test has scripted."""
    with FaultServer(FILES) as server:
        yield server


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upstream")
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def source(**changes: Any) -> SourceArchive:
    return SourceArchive.model_validate({"url": "https://nomads.example/pub", "folder": "noaa", **changes})


def over_http(
    server: FaultServer, time: FakeTime, answers: Mapping[int, str] | None = None, **patience: Any
) -> Archive:
    """The archive as the server has it, with the default table of statuses when `answers` is not given."""
    archive = source() if answers is None else source(answers=answers)
    return Archive(archive, mirror=server.url, patience=time.patience(**patience))


@pytest.fixture
def bucket(server: FaultServer, time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """The same files as objects of an S3 bucket, where `KEY` is `FILE` of the archive `DAY`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    return Archive(source(folder=DAY), mirror="s3://noaa", patience=time.patience())


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


# Without fault


@pytest.fixture(scope="module", params=["http", "folder", "file URL"])
def faultless(request: pytest.FixtureRequest, host: FaultServer, mirror: Path) -> Archive:
    at = {"http": host.url, "folder": str(mirror), "file URL": mirror.as_uri()}[request.param]
    return Archive(source(), mirror=at, patience=FakeTime().patience())


@given(ends=st.lists(st.lists(st.integers(0, 5000), min_size=2, max_size=2, unique=True), max_size=5))
@settings(max_examples=30, deadline=None)
def test_ranges_are_the_slices_of_the_file(faultless: Archive, ends: list[list[int]]) -> None:
    wanted = [(min(pair), max(pair)) for pair in ends]
    assert faultless.get_ranges(KEY, wanted) == [DATA[start:end] for start, end in wanted]
    assert faultless.get_ranges(KEY, [*wanted, (4321, None)])[-1] == DATA[4321:]


def test_a_file_and_what_is_known_of_it_over_http(server: FaultServer, time: FakeTime) -> None:
    archive = over_http(server, time)
    data, info = archive.get(KEY)
    assert data == DATA
    assert info == archive.head(KEY)
    assert (info.key, info.size, info.etag) == (KEY, 5000, '"5000"')
    assert info.last_modified == Timestamp("2026-07-29T18:00")
    assert [request.method for request in server.requests] == ["GET", "HEAD"]
    assert (archive.name, archive.url) == ("noaa", f"{server.url}/noaa")
    assert archive.get("Days:1-10/a b+c.grib2")[0] == b"colon"


def test_a_file_and_what_is_known_of_it_in_a_folder(mirror: Path, time: FakeTime) -> None:
    os.utime(mirror / "noaa" / KEY, (1785348000, 1785348000))
    archive = Archive(source(), mirror=str(mirror), patience=time.patience())
    data, info = archive.get(KEY)
    assert data == DATA
    assert info == archive.head(KEY)
    assert (info.key, info.size, info.last_modified) == (KEY, 5000, Timestamp("2026-07-29T18:00"))
    assert info.etag
    assert (archive.name, archive.url) == ("noaa", str(mirror / "noaa"))
    assert archive.get("Days:1-10/a b+c.grib2")[0] == b"colon"


def test_each_range_is_one_request(server: FaultServer, time: FakeTime, bucket: Archive) -> None:
    ranges = [(0, 10), (100, 110), (4000, 4010)]
    for archive, key in ((over_http(server, time), KEY), (bucket, FILE)):
        server.reset()
        assert archive.get_ranges(key, ranges) == [DATA[start:end] for start, end in ranges]
        assert sorted(str(r.range) for r in server.requests) == ["bytes=0-9", "bytes=100-109", "bytes=4000-4009"]


# What an archive may answer


@each_ask
def test_a_404_is_a_missing_file_and_asked_for_once(server: FaultServer, time: FakeTime, ask: Ask) -> None:
    server.script(f"noaa/{KEY}", Status(404), Status(404))
    with pytest.raises(SourceFileMissing, match=r"f000' at 'http.*/noaa' is missing \(status 404\): not published yet"):
        ask(over_http(server, time))
    assert len(server.requests) == 1
    assert time.sleeps == []


@each_ask
@pytest.mark.parametrize("code", [401, 403])
def test_a_refusal_is_told_and_asked_for_once(server: FaultServer, time: FakeTime, ask: Ask, code: int) -> None:
    server.script(f"noaa/{KEY}", Status(code), Status(code))
    with pytest.raises(SourceFileUnavailable, match=rf"was refused \(status {code}\); check the archive's URL and who"):
        ask(over_http(server, time))
    assert len(server.requests) == 1


def test_the_table_of_the_archive_decides_what_a_403_means(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", Status(403))
    with pytest.raises(SourceFileMissing, match="status 403"):
        over_http(server, time, NOMADS).head(KEY)


@each_ask
@pytest.mark.parametrize("code", [429, 503])
def test_throttling_is_waited_out(server: FaultServer, time: FakeTime, ask: Ask, code: int) -> None:
    server.script(f"noaa/{KEY}", Status(code), Status(code))
    ask(over_http(server, time))
    assert time.sleeps == [0.5, 5.5]


def test_an_archive_that_throttles_to_the_end_is_given_up(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", *[Status(503)] * 9)
    with pytest.raises(SourceFileUnavailable, match=r"throttled in 6 attempts \(status 503\); try later or another"):
        over_http(server, time).get(KEY)
    assert time.sleeps == [0.5, 5.5, 10.5, 15.5, 20.5]
    assert len(server.requests) == 6


def test_a_broken_server_is_asked_six_times_with_growing_waits(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", *[Status(code) for code in (500, 502, 504, 507, 500, 500, 500)])
    with pytest.raises(SourceFileUnavailable, match=r"could not be read in 6 attempts \(status 500\)"):
        over_http(server, time).get(KEY)
    assert time.sleeps == [0.1, 1.1, 2.1, 3.1, 4.1]
    assert len(server.requests) == 6


def test_waits_vary_so_that_many_jobs_do_not_return_at_once() -> None:
    waits = {Patience().pause_after(6, Failure(verdict="retry", found="")) for _ in range(20)}
    assert len(waits) > 1
    assert all(4.1 <= wait <= 6.1 for wait in waits)


def test_no_attempt_begins_after_the_deadline(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", *[Status(500)] * 9)
    with pytest.raises(SourceFileUnavailable, match="in 3 attempts"):
        over_http(server, time, deadline=3.0).get(KEY)
    assert time.sleeps == [0.1, 1.1]


@each_ask
@pytest.mark.parametrize("target", ["/long.html", "/short.html", f"/noaa/{KEY}", None])
def test_a_redirect_is_never_taken_for_the_file(
    server: FaultServer, time: FakeTime, ask: Ask, target: str | None
) -> None:
    server.script(f"noaa/{KEY}", *[Status(302, target)] * 50)
    found = "a page of HTML|HTTP error: error following redirect|Received redirect without LOCATION"
    with pytest.raises(SourceFileUnavailable, match=rf"throttled in 2 attempts \(({found})"):
        ask(over_http(server, time, NOMADS, attempts=2))
    assert time.sleeps == [0.5]


def test_a_redirect_is_waited_out(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", Status(302, "/long.html"))
    assert over_http(server, time, NOMADS).get(KEY)[0] == DATA
    assert time.sleeps == [0.5]


@pytest.fixture(scope="module")
def cut_off(host: FaultServer) -> tuple[Archive, FakeTime]:
    time = FakeTime()
    return over_http(host, time, deadline=1e9), time


@given(after=st.integers(0, 89), cuts=st.integers(1, 5), whole=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_cut_connection_is_asked_again(
    host: FaultServer, cut_off: tuple[Archive, FakeTime], after: int, cuts: int, whole: bool
) -> None:
    archive, time = cut_off
    host.reset()
    host.script(f"noaa/{KEY}", *[Cut(after)] * cuts)
    time.sleeps.clear()
    if whole:
        assert archive.get(KEY)[0] == DATA
    else:
        assert archive.get_ranges(KEY, [(10, 100), (2000, 2090)]) == [DATA[10:100], DATA[2000:2090]]
    assert len(time.sleeps) == cuts


@pytest.mark.parametrize("ask", [ASKS["get"], ASKS["ranges"]])
def test_a_connection_that_is_always_cut_is_an_error(server: FaultServer, time: FakeTime, ask: Ask) -> None:
    server.script(f"noaa/{KEY}", *[Cut(50)] * 9)
    with pytest.raises(SourceFileUnavailable, match=r"could not be read in 6 attempts \(connection cut\)"):
        ask(over_http(server, time))


def test_a_whole_file_for_a_range_is_refused(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", Whole())
    assert ASKS["range"](over_http(server, time)) == [DATA[10:1000]]
    assert time.sleeps == [0.1]
    server.script(f"noaa/{KEY}", *[Whole()] * 9)
    with pytest.raises(SourceFileUnavailable, match=r"in 6 attempts \(a whole body came back for a range\)"):
        ASKS["range"](over_http(server, time))


@pytest.mark.parametrize("ask", [ASKS["range"], ASKS["ranges"], ASKS["open range"]])
def test_a_range_that_comes_back_short_is_asked_again(server: FaultServer, time: FakeTime, ask: Ask) -> None:
    server.script(f"noaa/{KEY}", Short())
    ask(over_http(server, time))
    assert time.sleeps == [0.1]
    server.script(f"noaa/{KEY}", *[Short()] * 9)
    with pytest.raises(SourceFileUnavailable, match=r"\(989 bytes for range \(10, 1000\) of a file of 5000\)"):
        ask(over_http(server, time))


def test_a_slow_answer_ends_at_the_timeout(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", Slow(0.6))
    assert over_http(server, time, timeout=0.3).get(KEY)[0] == DATA
    assert time.sleeps == [0.1]
    server.script(f"noaa/{KEY}", Slow(0.6))
    with pytest.raises(SourceFileUnavailable, match=r"in 1 attempt \(timed out\)"):
        over_http(server, time, timeout=0.3, attempts=1).get(KEY)


def test_a_host_that_is_down(time: FakeTime) -> None:
    with FaultServer({}) as gone:
        pass
    with pytest.raises(SourceFileUnavailable, match=r"in 6 attempts \(no connection\)"):
        over_http(gone, time).head(KEY)


def test_a_range_beyond_the_end(server: FaultServer, time: FakeTime) -> None:
    archive = over_http(server, time)
    with pytest.raises(SourceFileUnavailable, match=r"\(100 bytes for range \(4900, 6000\) of a file of 5000\)"):
        archive.get_ranges(KEY, [(4900, 6000)])
    with pytest.raises(SourceFileUnavailable, match=r"\(a range past the end of a file of 5000 bytes\)"):
        archive.get_ranges(KEY, [(5000, 6000)])


def test_an_empty_file_is_not_published_yet(server: FaultServer, mirror: Path, time: FakeTime) -> None:
    for archive in (over_http(server, time), Archive(source(), mirror=str(mirror), patience=time.patience())):
        with pytest.raises(SourceFileMissing, match=r"'empty' at .* is missing \(it is empty\)"):
            archive.get_ranges("empty", [(0, 100)])


def test_many_threads_share_an_archive(server: FaultServer, time: FakeTime) -> None:
    faults: list[Answer] = [Cut(7), Short(), Status(500), Whole()]
    server.script(f"noaa/{KEY}", *faults * 8)
    archive = over_http(server, time, attempts=40, deadline=1e9)
    ranges = [(100 * i, 100 * i + 150) for i in range(48)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda span: archive.get_ranges(KEY, [span])[0], ranges))
    assert read == [DATA[start:end] for start, end in ranges]
    assert len(server.requests) == 48 + 32


# Buckets


@pytest.mark.parametrize("fault", [Cut(7), Short(), Status(503), Status(500)], ids=str)
def test_ranges_of_a_bucket_survive_faults(server: FaultServer, bucket: Archive, time: FakeTime, fault: Answer) -> None:
    server.script(f"noaa/{KEY}", *[fault] * 3)
    ranges = [(i, i + 100) for i in range(0, 4000, 500)]
    assert bucket.get_ranges(FILE, ranges) == [DATA[start:end] for start, end in ranges]
    assert time.sleeps[0] == (0.5 if fault == Status(503) else 0.1)


def test_a_missing_object_of_a_bucket(bucket: Archive) -> None:
    with pytest.raises(SourceFileMissing, match="status 404"):
        bucket.get_ranges("nothing", [(0, 1), (5, 6)])


@pytest.mark.parametrize(
    ("url", "asked"),
    [("s3://noaa-gfs/a", "s3.eu-central-1.amazonaws.com"), ("gs://ecmwf/a", "storage.googleapis.com")],
)
def test_real_archives_are_asked_at_home_whatever_the_environment_says_of_the_final_stores(
    server: FaultServer, time: FakeTime, monkeypatch: pytest.MonkeyPatch, url: str, asked: str
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "GOOGLE_BASE_URL"):
        monkeypatch.setenv(name, server.url)
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    monkeypatch.setenv("AWS_REGION", "af-south-1")
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    (archive,) = Upstream([source(url=url, region="eu-central-1")], patience=time.patience(attempts=1)).archives_for(
        Timestamp("2026-07-29"), Timestamp("2026-07-29")
    )
    assert archive.url == url
    with pytest.raises(SourceFileUnavailable, match=re.escape(url)) as raised:
        archive.head(KEY)
    assert f"https://{asked}/{urlsplit(url).netloc}/" in str(raised.value.__cause__)
    # A request that an earlier test gave up may still come in late.
    about_this = [
        request for request in server.requests if request.method == "CONNECT" or urlsplit(url).netloc in request.path
    ]
    assert [(request.method, request.path) for request in about_this] == [("CONNECT", f"{asked}:443")]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="upstream")
    for name in [*(f"noaa/gfs.20260729/{i}" for i in range(7)), "noaa/gfs.20260728/9", "noaa-other/1"]:
        client.put_object(Bucket="upstream", Key=f"up/{name}", Body=name.encode())
    client.close()
    yield url
    server.stop()


@pytest.fixture
def s3_environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.mark.usefixtures("s3_environment")
def test_a_bucket_as_mirror(time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LIST_PAGE", 3)
    archive = Archive(source(), mirror="s3://upstream/up/", patience=time.patience())
    assert archive.url == "s3://upstream/up/noaa"
    assert archive.get("gfs.20260729/3")[0] == b"noaa/gfs.20260729/3"
    assert archive.get_ranges("gfs.20260729/3", [(0, 4), (5, 8), (9, 10)]) == [b"noaa", b"gfs", b"2"]
    check_listing(archive)


@pytest.mark.usefixtures("s3_environment")
def test_a_bucket_that_does_not_exist_is_no_missing_file(time: FakeTime) -> None:
    archive = Archive(source(), mirror="s3://no-such-bucket-here", patience=time.patience())
    with pytest.raises(SourceFileUnavailable, match=r"refused \(no such bucket\); check the archive's URL"):
        archive.get(KEY)
    with pytest.raises(SourceFileUnavailable, match="no such bucket"):
        list(archive.list(""))


def check_listing(archive: Archive) -> None:
    day = [f"gfs.20260729/{i}" for i in range(7)]
    assert archive.can_list
    assert [info.key for info in archive.list("gfs.20260729")] == day
    assert [info.key for info in archive.list("")] == ["gfs.20260728/9", *day]
    assert [info.key for info in archive.list("gfs.20260729/", start_after=day[1], limit=4)] == day[2:6]
    assert list(archive.list("gfs.2026")) == []
    assert next(archive.list("gfs.20260729", limit=1)) == archive.head(day[0])


# A folder that stands for the archives


def test_a_folder_is_listed_in_order(tmp_path: Path, time: FakeTime) -> None:
    for name in [*(f"noaa/gfs.20260729/{i}" for i in reversed(range(7))), "noaa/gfs.20260728/9", "noaa-other/1"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    check_listing(Archive(source(), mirror=str(tmp_path), patience=time.patience()))


def test_plain_http_cannot_list(server: FaultServer, time: FakeTime) -> None:
    archive = over_http(server, time)
    assert not archive.can_list
    with pytest.raises(SourceFileUnavailable, match=r"plain HTTP and cannot list 'gfs'; ask for files by key"):
        archive.list("gfs")


def test_a_key_the_folder_lacks(mirror: Path, time: FakeTime) -> None:
    archive = Archive(source(), mirror=str(mirror), patience=time.patience())
    for ask in (archive.head, archive.get, lambda key: archive.get_ranges(key, [(0, 5), (9, 12)])):
        with pytest.raises(SourceFileMissing, match=r"'gfs/f384' at '.*noaa' is missing \(no such file\)"):
            ask("gfs/f384")
    assert time.sleeps == []


@pytest.mark.parametrize(
    ("ranges", "found"),
    [
        ([(0, 10), (4990, 5010)], r"10 bytes for range \(4990, 5010\) of a file of 5000"),
        ([(5000, 5010)], "a range past the end of a file of 5000 bytes"),
        ([(6000, None)], "a range past the end of a file of 5000 bytes"),
    ],
)
def test_a_truncated_file_in_a_folder_is_told_at_once(
    mirror: Path, time: FakeTime, ranges: list[tuple[int, int]], found: str
) -> None:
    archive = Archive(source(), mirror=str(mirror), patience=time.patience())
    with pytest.raises(SourceFileUnavailable, match=rf"could not be read in 1 attempt \({found}\)"):
        archive.get_ranges(KEY, ranges)
    assert time.sleeps == []


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


# Which archives, how fast


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


def test_the_rate_limit_gives_each_thread_its_own_turn(time: FakeTime) -> None:
    time.stands_still = True
    limit = RateLimit(100, time.patience())
    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            pool.submit(limit.wait)
    assert sorted(time.sleeps) == pytest.approx([0.6 * turn for turn in range(1, 50)])


def test_an_idle_host_saves_up_no_burst(time: FakeTime) -> None:
    limit = RateLimit(60, time.patience())
    limit.wait()
    time.now += 3600
    for _ in range(3):
        limit.wait()
    assert time.sleeps == [1.0, 1.0]


def open_at(server: FaultServer, time: FakeTime, *sources: SourceArchive) -> list[Archive]:
    """Archives at the server as if it were their real host."""
    real = [one.model_copy(update={"url": f"{server.url}/noaa"}) for one in sources]
    return Upstream(real, patience=time.patience()).archives_for(Timestamp("2026-07-29"), Timestamp("2026-07-29"))


def test_archives_of_one_host_share_the_lowest_of_their_limits(server: FaultServer, time: FakeTime) -> None:
    archives = open_at(
        server, time, source(requests_per_minute=600), source(requests_per_minute=60), source(requests_per_minute=None)
    )
    for archive in archives:
        archive.head(KEY)
        archive.get_ranges(KEY, [(0, 1), (5, 9)])
    assert len(server.requests) == 9
    assert time.sleeps == [1.0] * 8


def test_a_mirror_is_not_rate_limited(server: FaultServer, time: FakeTime) -> None:
    upstream = Upstream([source(requests_per_minute=1)], mirror=server.url, patience=time.patience())
    (archive,) = upstream.archives_for(Timestamp("2026-07-29"), Timestamp("2026-07-29"))
    for _ in range(5):
        archive.head(KEY)
    assert time.sleeps == []


def test_a_throttled_host_is_left_alone_by_all_its_archives(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", *[Status(429)] * 9)
    limited = source(requests_per_minute=60_000)
    first, second = open_at(server, time, limited, limited)
    time.stands_still = True
    with pytest.raises(SourceFileUnavailable, match="throttled"):
        first.head(KEY)
    server.reset()
    time.sleeps.clear()
    second.head(KEY)
    assert time.sleeps == [pytest.approx(20.5, abs=0.01)]
