"""Files of one message each: which archive they come from, and what is refused of them."""

import bz2
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reformatters_dagster.core.run.arrivals import find_arrivals
from reformatters_dagster.core.run.launches import Budget, survey_incomplete, survey_unpublished
from reformatters_dagster.core.source.files import FileResult
from reformatters_dagster.core.spec.errors import SourceFileUnavailable
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.sample_upstream.dwd import COPY, SERVER, icon_eu_path, write_icon_eu_sample
from tests.datasets import Site
from tests.icon_eu import (
    GRID,
    HOURLY_TO_4,
    INIT,
    RAIN,
    SOON,
    TEMPERATURE,
    assert_icon_eu_true,
    icon_eu,
    icon_eu_site,
)
from tests.upstreams import FaultServer

LEADS = range(5)
VARIABLES = (TEMPERATURE, RAIN)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same files as the copy and as the server lays them out."""
    folder = tmp_path_factory.mktemp("icon-eu")
    for archive in (COPY, SERVER):
        write_icon_eu_sample(folder, [INIT], LEADS, grid=GRID, variables=VARIABLES, archive=archive)
    return folder


@pytest.fixture
def site(tmp_path: Path, sample: Path) -> Site:
    """Everything in the copy, nothing on the server."""
    made = icon_eu_site(tmp_path, icon_eu(tmp_path, variables=VARIABLES, dims=HOURLY_TO_4))
    shutil.copytree(sample / COPY, made.upstream / COPY)
    return made


def in_copy(site: Site, lead: int, variable: str = TEMPERATURE) -> Path:
    return site.upstream / icon_eu_path(variable, INIT, lead)


def serve(site: Site, sample: Path, *leads: int) -> None:
    """Let files stand on DWD's server, as it names folders."""
    for variable in VARIABLES:
        for lead in leads:
            path = icon_eu_path(variable, INIT, lead, SERVER)
            (site.upstream / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample / path, site.upstream / path)


def results_of(site: Site, now: Timedelta = SOON) -> list[FileResult]:
    return list(site.job(now=INIT + now).process()[TEMPERATURE])


def unpacked(packed: bytes) -> bytes:
    return bz2.decompress(packed)


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (
        lambda packed: packed[:300],
        r"its 300 bytes of bz2 end before the bz2 stream does, after 0 bytes came out; fetch it again",
    ),
    "a page": (lambda _: b"<html>Not now</html>", r"was to be bz2; of its 20 bytes those from 0 on, b'<htm', are not"),
    "not compressed": (unpacked, r"was to be bz2; of its \d+ bytes those from 0 on, b'GRIB', are not"),
    "bz2 of something else": (
        lambda _: bz2.compress(b"<html>Not now</html>"),
        r"20 bytes begin with b'<htm', a message begins with b'GRIB'; .* or the file not its name",
    ),
    "bz2 of nothing": (lambda _: bz2.compress(b""), r"0 bytes begin with b'', a message begins with b'GRIB'"),
    "two messages": (
        lambda packed: bz2.compress(2 * unpacked(packed)),
        r"was to hold one message; after its (\d+) bytes come \1 more, which begin with b'GRIB': has the source begun",
    ),
    "two streams": (lambda packed: 2 * packed, r"was to hold one message; after its \d+ bytes come"),
    "half a message": (
        lambda packed: bz2.compress(unpacked(packed)[:400]),
        r"the message declares \d+ bytes, 400 are here",
    ),
    "a bomb": (
        lambda _: bz2.compress(bytes(30_000_000)),
        r"bytes of bz2 hold more than the 67472 that one field on the template's grid can take",
    ),
}


def test_a_file_that_no_field_can_need_is_not_fetched(site: Site) -> None:
    os.truncate(in_copy(site, 2), 500_000_000)
    reason = results_of(site)[2].reason or ""
    assert "_002_T_2M.grib2.bz2' at" in reason
    assert "has 500000000 bytes, it can need 74219 at most; it is damaged or another file" in reason


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_and_says_why(kind: str, site: Site) -> None:
    spoil, message = BAD[kind]
    path = in_copy(site, 2)
    path.write_bytes(spoil(path.read_bytes()))
    results = results_of(site)
    assert [result.succeeded for result in results] == [True, True, False, True, True]
    reason = results[2].reason or ""
    assert reason.startswith(f"CorruptMessage: T_2M:2 m above ground in {path}")
    assert re.search(message, reason), reason


def test_readers_and_ledger_lack_a_bad_file_alone(site: Site) -> None:
    path = in_copy(site, 2)
    path.write_bytes(path.read_bytes()[:300])
    site.backfill()
    ledger = site.ledger()
    assert ledger is not None
    assert [lost.file for lost in ledger.variables[TEMPERATURE].missing] == [
        str(path.relative_to(site.upstream / COPY))
    ]
    assert ledger.variables[RAIN].is_complete
    ds = site.read()
    assert_icon_eu_true(ds[[TEMPERATURE]], missing=[2])
    assert_icon_eu_true(ds[[RAIN]])


@pytest.mark.parametrize(
    ("variable", "lead", "message"),
    [
        (RAIN, 2, r"parameter asked \(0, 0, 0\), found \(0, 1, 52\)"),
        (TEMPERATURE, 3, "stop asked .*02:00:00.*03:00:00"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(variable: str, lead: int, message: str, site: Site) -> None:
    shutil.copyfile(in_copy(site, lead, variable), in_copy(site, 2))
    results = results_of(site)
    assert [result.succeeded for result in results] == [True, True, False, True, True]
    assert re.search(message, results[2].reason or ""), results[2].reason


def test_what_the_copy_lacks_or_has_spoilt_comes_from_the_server(site: Site, sample: Path) -> None:
    in_copy(site, 1).unlink()
    in_copy(site, 3).write_bytes(b"BZh9 and no more")
    serve(site, sample, 1, 3)
    assert [result.archive for result in results_of(site)] == [COPY, SERVER, COPY, SERVER, COPY]
    site.update()
    assert_icon_eu_true(site.read())


def test_what_came_over_the_network_is_counted(site: Site) -> None:
    job = site.job()
    results = job.process()
    sizes = [[in_copy(site, lead, variable).stat().st_size for lead in LEADS] for variable in VARIABLES]
    assert [[result.bytes for result in results[variable]] for variable in VARIABLES] == sizes
    assert job.stats.bytes_in == sum(map(sum, sizes))


def test_an_update_needs_no_copy_while_the_server_has_the_run(site: Site, sample: Path) -> None:
    shutil.rmtree(site.upstream / COPY)
    serve(site, sample, *LEADS)
    deadline = INIT + site.dataset.soft_deadline
    early = survey_unpublished(site.dataset, site.workspace, deadline - Timedelta("1min"), Budget(20))
    assert early.launches == []
    (launch,) = survey_unpublished(site.dataset, site.workspace, deadline, Budget(20)).launches
    assert launch.reason == f"all files have arrived in {SERVER!r}"
    site.update(deadline)
    assert_icon_eu_true(site.read())


def test_an_archive_that_is_out_is_not_asked_for_every_folder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one for each variable, and a sensor has to ask another archive within the same tick."""
    closed = tuple(archive.model_copy(update={"answers": {404: "refused"}}) for archive in site.dataset.archives)
    with FaultServer({}) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        out = replace(site.having(archives=closed), settings={"upstream": "s3://mirror"})
        with pytest.raises(SourceFileUnavailable, match="was refused"):
            find_arrivals(out.dataset, out.workspace, INIT, INIT + SOON, listings_at_once=1)
        assert len(server.requests) == 1


def test_a_file_that_is_copied_after_it_was_used_is_not_read_again(site: Site, sample: Path) -> None:
    """The copy and the server each give a file an ETag of their own."""
    paths = [in_copy(site, 1), in_copy(site, 3, RAIN)]
    for path in paths:
        path.unlink()
    serve(site, sample, 1, 3)
    site.update()
    ledger = site.ledger()
    assert ledger is not None
    unknown = {key for key, etag in ledger.etags.items() if not etag}
    assert unknown == {str(path.relative_to(site.upstream / COPY)) for path in paths}
    for path in paths:
        shutil.copyfile(sample / path.relative_to(site.upstream), path)
    later = INIT + Timedelta("1D")
    assert survey_incomplete(site.dataset, site.workspace, later, Budget(20)).launches == []
    copied = in_copy(site, 2).read_bytes()
    in_copy(site, 2).unlink()
    in_copy(site, 2).write_bytes(copied)
    (launch,) = survey_incomplete(site.dataset, site.workspace, later, Budget(20)).launches
    assert launch.reason == "files published again: 1"


def test_the_server_is_not_asked_for_what_it_has_replaced(site: Site, sample: Path) -> None:
    in_copy(site, 1).unlink()
    serve(site, sample, 1)
    assert [result.succeeded for result in results_of(site, Timedelta("24h"))] == [True] * 5
    late = results_of(site, Timedelta("24h1min"))
    assert [result.succeeded for result in late] == [True, False, True, True, True]
    assert (late[1].reason or "").startswith("SourceFileMissing: ")
    assert SERVER not in (late[1].reason or "")


def test_a_run_of_the_day_before_on_the_server_is_not_taken_for_this_one(site: Site, sample: Path) -> None:
    """Folders there are by hour of day; only file names tell the date."""
    in_copy(site, 1).unlink()
    (site.upstream / SERVER).mkdir(parents=True)
    write_icon_eu_sample(
        site.upstream, [INIT - Timedelta("1D")], [1], grid=GRID, variables=[TEMPERATURE], archive=SERVER
    )
    assert [result.succeeded for result in results_of(site)] == [True, False, True, True, True]


def test_a_variable_is_fetched_by_itself(site: Site) -> None:
    job = site.job()
    assert [[data_var.name for data_var in group] for group in job.source_groups(job.data_vars)] == [
        [name] for name in sorted(VARIABLES)
    ]
    assert len(job.upstream_objects()) == len(LEADS) * len(VARIABLES)
