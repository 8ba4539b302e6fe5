"""Buckets, folders and real archives hand out the same files as a plain host."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.upstream import Upstream
from reformatters_dagster.core.spec.errors import SourceFileMissing, SourceFileUnavailable
from reformatters_dagster.core.spec.values import Timestamp
from tests.core.source.hosts import DATA, FILE, KEY, FakeTime, check_listing, over_http, source
from tests.upstreams import Answer, Cut, FaultServer, Short, Status


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


@pytest.mark.usefixtures("s3_environment")
def test_a_bucket_as_mirror(time: FakeTime) -> None:
    archive = Archive(source(), mirror="s3://upstream/up/", patience=time.patience(), list_page=3)
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
