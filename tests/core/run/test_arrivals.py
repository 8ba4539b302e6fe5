"""What has arrived is what a listing shows of what is wanted, and its fingerprint tells when that changed."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.run.arrivals import Arrivals, _before, _spread, find_arrivals, find_elsewhere
from reformatters_dagster.core.source.upstream import Upstream
from reformatters_dagster.core.spec.axes import lead_time
from reformatters_dagster.core.spec.errors import SourceFileUnavailable
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.datasets import (
    INIT,
    LEADS,
    NOMADS,
    PRIMARY,
    SECOND,
    SOON,
    TEMPERATURE,
    Site,
    gfs_forecast,
    gfs_key,
    lay_out,
)
from tests.stores import S3Bucket
from tests.upstreams import FaultServer, Status

pytest_plugins = ["tests.datasets", "tests.stores"]


def arrived(site: Site, label: Timestamp = INIT, now: Timestamp = INIT + SOON) -> Arrivals:
    return find_arrivals(site.dataset, site.workspace, label, now)


def test_nothing_has_arrived(site: Site) -> None:
    found = arrived(site)
    assert (found.label, found.expected, found.present, found.newest) == (INIT, 10, 0, None)
    assert not found.complete
    assert found.etags == {}


def test_files_arrive_one_by_one(site: Site) -> None:
    seen = [arrived(site)]
    for lead in LEADS:
        site.arrive(INIT, leads=[lead])
        seen.append(arrived(site))
        assert arrived(site) == seen[-1]
    assert [found.present for found in seen] == list(range(11))
    assert [found.complete for found in seen] == [False] * 10 + [True]
    assert len({found.fingerprint for found in seen}) == 11
    assert set(seen[-1].etags) == {gfs_key(INIT, lead) for lead in LEADS}


def test_a_file_counts_once_its_index_is_there(site: Site) -> None:
    site.arrive(INIT)
    index = Path(f"{site.file(3)}.idx")
    text = index.read_bytes()
    index.unlink()
    without = arrived(site)
    assert without.present == 9
    assert gfs_key(INIT, 3) not in without.etags
    index.write_bytes(text)
    assert arrived(site).complete
    assert arrived(site).fingerprint != without.fingerprint


def test_a_file_published_again_changes_the_fingerprint(site: Site) -> None:
    site.arrive(INIT)
    before = arrived(site)
    changed = site.file(4)
    os.utime(changed, (1_800_000_000, 1_800_000_000))
    after = arrived(site)
    assert (after.present, after.newest) == (10, pd.Timestamp(1_800_000_000, unit="s"))
    assert after.fingerprint != before.fingerprint
    assert {key for key, etag in after.etags.items() if before.etags[key] != etag} == {gfs_key(INIT, 4)}


def test_other_files_of_the_folder_do_not_count(site: Site) -> None:
    site.arrive(INIT, leads=[0, 9])
    before = arrived(site)
    for name in (
        "pgrb2.0p25.f010",
        "pgrb2.0p25.f003.tmp",
        "pgrb2.1p00.f003",
        "pgrb2.0p25.anl",
        "goessimpgrb2.0p25.f003",
    ):
        (site.file(0).parent / f"gfs.t18z.{name}").write_bytes(b"other")
    site.arrive(SECOND)
    assert arrived(site) == before
    assert before.present == 2


def test_a_partition_of_one_file(site: Site, tmp_path: Path) -> None:
    """The file's key is what both its key and that of its index begin with."""
    sizes = {"init_time": 1, "lead_time": 1, "latitude": 19, "longitude": 36}
    analysis_step = gfs_forecast(
        tmp_path / "one", variables=[TEMPERATURE], dims=(lead_time(hourly_to="0h"),), chunks=sizes, shards=sizes
    )
    small = Site(site.folder, analysis_step, site.sample)
    assert arrived(small).expected == 1
    small.arrive(INIT, leads=[0])
    assert arrived(small).complete


def test_a_shard_in_progress_wants_what_can_be_there(analysis: Site) -> None:
    """Of hours up to now: the file of each, and for rates at a whole 6 h the last one of the forecast before."""
    now = [arrived(analysis, now=INIT + Timedelta(hours=hours)) for hours in (0, 2, 5, 100)]
    assert [(found.expected, found.present) for found in now] == [(2, 2), (4, 4), (7, 7), (7, 7)]
    analysis.file(4).unlink()
    found = arrived(analysis)
    assert (found.expected, found.present) == (7, 6)


@pytest.mark.parametrize(("older_looked_for", "asked"), [(2, 5), (3, 6), (24, None)])
def test_of_a_shard_nobody_began_a_few_of_the_older_files_are_looked_for(
    analysis: Site, older_looked_for: int, asked: int | None
) -> None:
    """A folder for each init time of a year would be a listing of minutes."""
    now, since = INIT + Timedelta("100h"), INIT + Timedelta("3h")

    def look() -> Arrivals:
        return find_arrivals(
            analysis.dataset, analysis.workspace, INIT, now, settled_before=since, older_looked_for=older_looked_for
        )

    found = look()
    assert (found.expected, found.present, found.asked) == (7, asked or 7, asked)
    assert found.complete == (asked is None)
    analysis.file(5).unlink()
    assert look().present == found.present - 1, "those of late are all looked for"


def test_a_listing_ends_with_its_time(site: Site) -> None:
    site.arrive(INIT)
    hurried = Upstream(site.dataset.archives, mirror=str(site.upstream), patience=Patience(asked_for=0.0))
    message = "is asked for nothing more: the time for it is over; the next look asks"
    with pytest.raises(SourceFileUnavailable, match=message):
        find_arrivals(site.dataset, replace(site.workspace, upstream=hurried), INIT, INIT + SOON)


def test_the_first_archive_that_lists_is_asked(site: Site) -> None:
    site.arrive(INIT, leads=[1])
    site.arrive(INIT, archive=NOMADS)
    assert arrived(site).present == 1
    only_nomads = site.having(archives=site.dataset.archives[1:])
    assert arrived(Site(site.folder, only_nomads.dataset, site.sample)).present == 10


@pytest.mark.parametrize("url", ["http://localhost:9/gfs", "https://localhost:9/gfs"])
def test_archives_that_cannot_list_are_an_error(site: Site, url: str) -> None:
    there = SourceArchive(url=url, folder=PRIMARY)
    plain = Site(site.folder, site.having(archives=(there,)).dataset, site.sample, settings={"upstream": None})
    with pytest.raises(
        SourceFileUnavailable, match="files of 2026-07-29T18:00 were to be listed; no archive that keeps them can list"
    ):
        arrived(plain)


def test_archives_that_keep_nothing_so_old_are_an_error(site: Site) -> None:
    (site.upstream / NOMADS).mkdir(parents=True)
    nomads = Site(site.folder, site.having(archives=site.dataset.archives[1:]).dataset, site.sample)
    assert arrived(nomads, now=INIT + Timedelta("12h")).present == 0
    with pytest.raises(SourceFileUnavailable, match="no archive that keeps them can list"):
        arrived(nomads, now=INIT + Timedelta("13h"))


def elsewhere(site: Site, now: Timestamp = INIT + SOON, seconds: int = 1000) -> Arrivals | None:
    """What the other archives have, asked within so many looks at the clock."""
    clock = iter(range(1000))
    return find_elsewhere(site.dataset, site.workspace, INIT, now, is_late=lambda: next(clock) >= seconds)


def test_another_archive_that_lists_is_listed(site: Site) -> None:
    (site.upstream / NOMADS).mkdir(parents=True)
    assert elsewhere(site) is None
    site.arrive(INIT, leads=[1, 2], archive=NOMADS)
    found = elsewhere(site)
    assert found is not None
    assert (found.present, found.expected, found.elsewhere, found.asked) == (2, 10, NOMADS, None)
    assert set(found.etags) == {gfs_key(INIT, 1), gfs_key(INIT, 2)}
    assert elsewhere(site) == found
    site.arrive(INIT, leads=[1, 2])
    assert arrived(site).present == 2
    assert arrived(site).fingerprint != found.fingerprint
    assert elsewhere(site, now=INIT + Timedelta("13h")) is None, "it keeps files for 12 hours"


def test_there_is_no_other_archive(site: Site) -> None:
    only_one = site.having(archives=site.dataset.archives[:1])
    only_one.arrive(INIT)
    assert elsewhere(only_one) is None


@pytest.fixture
def host() -> Iterator[FaultServer]:
    with FaultServer({}) as server:
        yield server


@pytest.fixture
def hosted(site: Site, host: FaultServer) -> Site:
    """The second archive is a host that cannot list, and has every file."""
    lay_out(site.sample.folder, site.folder, [gfs_key(INIT, lead) for lead in LEADS], archive="host")
    files = (site.folder / "host").rglob("*.f0*")
    host.files = {f"gfs/{path.relative_to(site.folder / 'host').as_posix()}": path.read_bytes() for path in files}
    (site.upstream / PRIMARY).mkdir(parents=True)
    here, _ = site.dataset.archives
    there = SourceArchive(url=f"{host.url}/gfs", folder=NOMADS, answers={302: "throttled", 404: "missing"})
    mixed = Upstream([here], mirror=str(site.upstream), patience=Patience(attempts=1))
    mixed._archives += Upstream([there], patience=Patience(attempts=1))._archives
    # `workspace` is cached, and opened from the settings otherwise.
    found = replace(site)
    found.__dict__["workspace"] = replace(site.workspace, upstream=mixed)
    return found


def test_another_archive_that_cannot_list_is_asked_for_a_few_files(hosted: Site, host: FaultServer) -> None:
    found = elsewhere(hosted)
    assert found is not None
    assert (found.present, found.expected, found.elsewhere, found.asked) == (3, 10, NOMADS, 3)
    assert not found.complete
    assert set(found.etags) == {gfs_key(INIT, lead) for lead in (0, 4, 9)}
    assert {request.method for request in host.requests} == {"HEAD"}
    assert len(host.requests) == 6, "each file and its index"
    assert elsewhere(hosted) == found


def test_its_fingerprint_changes_with_the_files_alone(hosted: Site, host: FaultServer) -> None:
    first = elsewhere(hosted)
    host.server = "of-another-server"
    again = elsewhere(hosted)
    assert first is not None
    assert again is not None
    assert again.etags != first.etags
    assert again.fingerprint == first.fingerprint
    host.files = dict(host.files)
    for end in ("", ".idx"):
        del host.files[f"gfs/{gfs_key(INIT, 9)}{end}"]
    second = elsewhere(hosted)
    assert second is not None
    assert (second.present, second.asked) == (2, 3)
    assert second.fingerprint != first.fingerprint
    del host.files[f"gfs/{gfs_key(INIT, 4)}.idx"]
    third = elsewhere(hosted)
    assert third is not None
    assert third.present == 1
    host.files = {}
    host.requests.clear()
    assert elsewhere(hosted) is None
    assert len(host.requests) == 3, "a file that is not there needs no index"


def test_one_that_does_not_answer_is_not_taken_for_one_that_has_less(
    hosted: Site, host: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    host.script(f"gfs/{gfs_key(INIT, 4)}", Status(503))
    assert elsewhere(hosted) is None
    assert f"archive={NOMADS} label=2026-07-29T18:00 could not be asked" in caplog.text
    assert elsewhere(hosted) is not None


@pytest.mark.parametrize("seconds", [0, 1, 5])
def test_nothing_is_asked_once_the_time_is_over(
    hosted: Site, host: FaultServer, seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert elsewhere(hosted, seconds=seconds) is None
    assert len(host.requests) == seconds
    assert f"'{host.url}/gfs' is asked for nothing more: the time for it is over; the next look asks" in caplog.text


@given(st.sets(st.integers(0, 500)))
def test_a_few_of_many_are_spread_over_them(numbers: set[int]) -> None:
    keys = [f"{number:03d}" for number in sorted(numbers)]
    few = _spread(keys, 3)
    assert few == sorted(set(few))
    assert len(few) == min(3, len(keys))
    assert {*keys[:1], *keys[-1:]} <= set(few)


@pytest.fixture
def bucket(site: Site, s3: S3Bucket) -> Site:
    """A mirror in a bucket whose list pages hold a hundred keys, most of them of other files."""
    from obstore.store import from_url

    folder = site.folder / "to-upload"
    lay_out(site.sample.folder, folder, [gfs_key(INIT, lead) for lead in LEADS])
    store = from_url(s3.url, client_options={"allow_http": True})
    for path in folder.rglob("*.f0*"):
        store.put(path.relative_to(folder).as_posix(), path.read_bytes())
    for i in range(150):
        store.put(f"{PRIMARY}/{gfs_key(INIT, 0).rpartition('/')[0]}/gfs.t18z.atmf{i:03d}.nc", b"other")
    return Site(site.folder, site.dataset, site.sample, settings={"upstream": s3.url})


def test_a_bucket_lists_as_a_folder_does(bucket: Site) -> None:
    assert arrived(bucket).complete


@given(st.sets(st.text("ab/.0", min_size=1), min_size=1))
def test_listing_begins_before_every_key(keys: set[str]) -> None:
    """A listing leaves out the key it begins after."""
    start = _before(sorted(keys))
    assert all(start is None or start < key for key in keys)
    assert all(key.startswith(start or "") for key in keys)
