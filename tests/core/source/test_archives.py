"""Bytes come back whole or not at all, whatever an archive does; a real HTTP host and a real folder misbehave."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.spec.errors import CorruptMessage, SourceFileMissing, SourceFileUnavailable
from reformatters_dagster.core.spec.values import Timestamp
from tests.core.source.hosts import ASKS, DATA, FILE, KEY, NOMADS, Ask, FakeTime, each_ask, over_http, source
from tests.upstreams import Answer, Cut, FaultServer, Short, Slow, Status, Whole


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


def test_a_file_that_is_too_large_is_not_fetched(faultless: Archive) -> None:
    assert faultless.get(KEY, most=5000)[0] == DATA
    with pytest.raises(CorruptMessage, match=f"'{KEY}' at '.*noaa' has 5000 bytes, it can need 4999 at most"):
        faultless.get(KEY, most=4999)


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


def test_an_archive_that_is_waited_for_is_told_once_a_minute(
    server: FaultServer, time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "reformatters_dagster")
    archive = over_http(server, time, pause=lambda attempt, jitter: 50.0, deadline=1000.0)
    server.script(f"noaa/{KEY}", *[Status(500)] * 3)
    archive.get(KEY)
    told = f"archive=noaa is waited for: file={KEY} attempt={{}} of 6: status 500"
    assert [record.getMessage() for record in caplog.records] == [told.format(1), told.format(3)]


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
