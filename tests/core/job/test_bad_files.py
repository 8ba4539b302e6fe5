"""One bad file fails no other, and its result says why it failed."""

import os
import re
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob, GfsSourceFileCoord
from reformatters_dagster.core.grib.index import IndexEntry
from reformatters_dagster.core.source.archives import Archive, Range
from reformatters_dagster.core.source.files import Downloaded, SourceFileStatus
from reformatters_dagster.core.spec.values import Array2D, Timedelta
from reformatters_dagster.core.spec.variables import DataVar
from tests.datasets import INIT, INSTANT, NOMADS, PRIMARY, RAIN, SUN, TEMPERATURE, VARIABLES, Site, assert_true, gfs_key
from tests.processed import BAD, HOUR, of_lead, processed
from tests.spoilt_files import (
    cut_in_half,
    cut_the_end,
    damage,
    garbled_index,
    index_of_yesterday,
    remove_index,
    shift_index,
    swap_lines,
    swap_messages,
)
from tests.upstreams import FaultServer, Status

pytest_plugins = ["tests.datasets"]

MISSING, CORRUPT = SourceFileStatus.DOWNLOAD_FAILED, SourceFileStatus.READ_FAILED

type Fault = tuple[int, Callable[[Path], None], SourceFileStatus, Sequence[str], str]
FAULTS: tuple[Fault, ...] = (
    (0, Path.unlink, MISSING, INSTANT, r"SourceFileMissing: '.*\.f000' at '.*' is missing \(no such file\)"),
    (1, remove_index, MISSING, VARIABLES, r"SourceFileMissing: '.*\.f001\.idx' at '.*' is missing"),
    (2, garbled_index, MISSING, VARIABLES, r"CorruptMessage: .*f002\.idx line 1 does not parse: '<html>Busy</html>'"),
    (3, shift_index, MISSING, VARIABLES, r"CorruptMessage: \w+:.* in \S+\.f003"),
    (4, swap_lines, MISSING, INSTANT, r"CorruptMessage: .*\.f004 is another message: parameter asked \(0, 0, 0\)"),
    (5, index_of_yesterday, MISSING, VARIABLES, r"does not have .*:[-0-5]+ hour .*2026-07-29T18.* of .*2026-07-28T18"),
    (6, cut_in_half, MISSING, VARIABLES, r"CorruptMessage: .*f006\.idx line \d starts .* outside \d+ bytes"),
    (7, swap_messages, MISSING, INSTANT, r"CorruptMessage: TMP:2 m above ground in \S+\.f007"),
    (8, damage, CORRUPT, [TEMPERATURE], r"CorruptMessage: TMP:2 m above ground in \S+\.f008: "),
)


def test_bad_files_are_told_and_stop_no_other(site: Site) -> None:
    site.arrive(INIT)
    for lead, spoil, *_ in FAULTS:
        spoil(site.file(lead))
    results, ds = processed(site, site.job())
    for lead, _, status, variables, reason in FAULTS:
        for variable in set(VARIABLES) - ({RAIN, SUN} if lead == 0 else set()):
            result = of_lead(results[variable], lead)
            assert result.status is (status if variable in variables else SourceFileStatus.SUCCEEDED), result.reason
            assert result.succeeded or re.search(f"f00{lead}", str(result.reason)), result.reason
        assert any(re.search(reason, str(of_lead(results[variable], lead).reason)) for variable in variables), lead
    for variable in INSTANT:
        held = ds[variable].isel(init_time=0).notnull().all(["latitude", "longitude"]).to_numpy()
        assert [bool(there) for there in held] == [result.succeeded for result in results[variable]]
        assert_true(ds[variable].sel(init_time=INIT, lead_time=9 * HOUR), variable, INIT, 9)
    assert_true(ds[SUN].sel(init_time=INIT, lead_time=4 * HOUR), SUN, INIT, 4)


def test_a_file_of_another_grid_is_not_read(site: Site) -> None:
    site.arrive(INIT)
    for suffix in ("", ".idx"):
        Path(f"{site.file(BAD)}{suffix}").write_bytes(Path(f"{site.sample.odd}{suffix}").read_bytes())
    files = site.job().process()[TEMPERATURE]
    bad = of_lead(files, BAD)
    assert bad.status is SourceFileStatus.READ_FAILED
    assert "has shape (10, 18), template expects (19, 36)" in str(bad.reason)
    assert sum(file.succeeded for file in files) == 9


def test_a_damaged_message_costs_its_own_variable_only(site: Site) -> None:
    """The last message is cut short; the ones before it are whole, each verified by itself."""
    site.arrive(INIT)
    cut_the_end(site.file(BAD))
    results = site.job().process()
    assert {name for name, files in results.items() if not of_lead(files, BAD).succeeded} == {SUN}
    assert "CorruptMessage: DSWRF:surface in" in str(of_lead(results[SUN], BAD).reason)


def swell(path: Path) -> None:
    """To four gigabytes of nothing, which the index gives to the last message."""
    os.truncate(path, 4 << 30)


def swell_index(path: Path) -> None:
    os.truncate(f"{path}.idx", 500_000_000)


def test_a_message_of_gigabytes_is_not_asked_for(site: Site) -> None:
    site.arrive(INIT)
    swell(site.file(BAD))
    asked: list[Range] = []

    class Noting:
        """An archive whose ranges are noted."""

        def __init__(self, archive: Archive) -> None:
            self._archive = archive

        def __getattr__(self, name: str) -> Any:
            return getattr(self._archive, name)

        def get_ranges(self, key: str, ranges: Sequence[Range]) -> list[bytes]:
            asked.extend(ranges)
            return self._archive.get_ranges(key, ranges)

    class NotingJob(GfsForecastRegionJob):
        def fetch(self, archive: Any, *wanted: Any) -> Downloaded:
            return super().fetch(cast("Archive", Noting(archive)), *wanted)

    results = site.having(region_job=NotingJob).job().process()
    assert {name for name, files in results.items() if not of_lead(files, BAD).succeeded} == {SUN}
    assert re.search(
        r"f003\.idx says that DSWRF:surface in \S+ has bytes \d+ to 4294967296, a message on its grid has 71008 at most",
        str(of_lead(results[SUN], BAD).reason),
    )
    assert asked
    assert all(stop is not None and stop - start < 1_000_000 for start, stop in asked)


@pytest.mark.parametrize("spoil", [swell, swell_index])
def test_what_is_too_large_in_one_archive_is_had_from_the_next(site: Site, spoil: Callable[[Path], None]) -> None:
    site.arrive(INIT)
    site.arrive(INIT, leads=[BAD], archive=NOMADS)
    spoil(site.file(BAD))
    results = site.job().process()
    assert all(of_lead(files, BAD).succeeded for files in results.values())
    assert of_lead(results[SUN], BAD).archive == NOMADS


def test_an_index_of_500_megabytes_is_not_fetched(site: Site) -> None:
    site.arrive(INIT)
    swell_index(site.file(BAD))
    tracemalloc.start()
    try:
        results = site.job(variables=[TEMPERATURE]).process()
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    reason = str(of_lead(results[TEMPERATURE], BAD).reason)
    assert "f003.idx' at" in reason
    assert "has 500000000 bytes, it can need 16777216 at most" in reason


class Careless(GfsForecastRegionJob):
    """Parses an index as if every line were right."""

    error: Exception

    def parse_index(self, text: str, size: int, where: str) -> list[IndexEntry]:
        if "f003" in where and PRIMARY in where:
            raise self.error
        return super().parse_index(text, size, where)


@pytest.mark.parametrize(
    "error", [OverflowError("inf"), RecursionError("deep"), KeyError("type"), AttributeError("none"), TypeError("odd")]
)
def test_whatever_a_parser_raises_the_next_archive_is_asked(site: Site, error: Exception) -> None:
    site.arrive(INIT)
    careless = site.having(region_job=type("CarelessJob", (Careless,), {"error": error}))
    reason = str(of_lead(careless.job(variables=[TEMPERATURE]).process()[TEMPERATURE], BAD).reason)
    assert re.search(rf"f003\.idx cannot be read \({type(error).__name__}: .*\); fetch it again", reason)
    site.arrive(INIT, leads=[BAD], archive=NOMADS)
    assert of_lead(careless.job(variables=[TEMPERATURE]).process()[TEMPERATURE], BAD).archive == NOMADS


@pytest.mark.parametrize(("age", "asked"), [("5h", True), ("12h", True), ("13h", False)])
def test_the_second_archive_is_asked_while_it_keeps_files(site: Site, age: str, asked: bool) -> None:
    site.arrive(INIT)
    site.arrive(INIT, leads=[BAD, 4], archive=NOMADS)
    site.remove(BAD)
    cut_in_half(site.file(4))
    files = site.job(now=INIT + Timedelta(age), variables=[TEMPERATURE]).process()[TEMPERATURE]
    gone, cut = of_lead(files, BAD), of_lead(files, 4)
    assert (gone.succeeded, cut.succeeded) == (asked, asked)
    assert {file.archive for file in files if file not in (gone, cut)} == {PRIMARY}
    if asked:
        assert gone.archive == cut.archive == NOMADS
    else:
        assert "nomads" not in f"{gone.reason} {cut.reason}"


def test_every_archive_that_failed_is_named(site: Site) -> None:
    site.arrive(INIT, leads=[0])
    site.arrive(INIT, leads=[BAD], archive=NOMADS)
    cut_in_half(site.file(BAD, archive=NOMADS))
    reason = str(of_lead(site.job(variables=[TEMPERATURE]).process()[TEMPERATURE], BAD).reason)
    assert f"{PRIMARY}' is missing" in reason
    assert f"{NOMADS}/gfs.20260729" in reason
    assert "outside" in reason


def test_an_archive_that_refuses_does_not_lack_the_file(site: Site) -> None:
    site.arrive(INIT)
    with FaultServer({}) as server:
        server.script(f"{PRIMARY}/{gfs_key(INIT, BAD)}", Status(403))
        files = replace(site, settings={"upstream": server.url}).job(variables=[TEMPERATURE]).process()[TEMPERATURE]
    refused = of_lead(files, BAD)
    assert str(refused.reason).startswith("SourceFileUnavailable: ")
    assert "was refused (status 403)" in str(refused.reason)
    assert all(str(file.reason).startswith("SourceFileMissing: ") for file in files if file is not refused)


class Odd(GfsForecastRegionJob):
    """Meets with errors that nobody foresaw, in one file."""

    at, error = "", Exception()

    def download_file(self, coord: GfsSourceFileCoord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        if self.at == "download" and coord.lead_time == BAD * HOUR:
            raise self.error
        return super().download_file(coord, data_vars, folder)

    def read_data(self, coord: GfsSourceFileCoord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        if self.at == "read" and coord.lead_time == BAD * HOUR:
            raise self.error
        return super().read_data(coord, data_var, downloaded)


@pytest.mark.parametrize("at", ["download", "read"])
def test_an_error_nobody_expected_in_one_file_stops_no_other(
    site: Site, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.arrive(INIT)
    odd = type("OddJob", (Odd,), {"at": at, "error": ValueError("an odd file")})
    results = site.having(region_job=odd).job().process()
    for files in results.values():
        (failed,) = [file for file in files if not file.succeeded]
        assert failed.coord.out_loc()["lead_time"] == BAD * HOUR
        assert failed.reason == "ValueError: an odd file"
    (told,) = [record for record in caplog.records if "an error nobody expected" in record.message]  # once, not by file
    assert told.exc_info is not None


@pytest.mark.parametrize("at", ["download", "read"])
@pytest.mark.parametrize("error", [MemoryError("none left"), OSError(5, "Input/output error")])
def test_what_is_no_fault_of_a_file_ends_the_job(site: Site, at: str, error: Exception) -> None:
    site.arrive(INIT)
    odd = type("OddJob", (Odd,), {"at": at, "error": error})
    with pytest.raises(type(error), match=r"none left|Input/output"):
        site.having(region_job=odd).job().process()
    assert list(site.tmp.iterdir()) == []


@pytest.mark.parametrize(("age", "level"), [("95h", "INFO"), ("96h", "WARNING")])
def test_a_line_per_stage_warns_of_what_the_archive_lacks(
    site: Site, caplog: pytest.LogCaptureFixture, age: str, level: str
) -> None:
    site.arrive(INIT)
    site.remove(BAD)
    with caplog.at_level("INFO", "reformatters_dagster.core.job"):
        site.job(variables=[TEMPERATURE], now=INIT + Timedelta(age)).process()
    told = [(record.levelname, record.message) for record in caplog.records]
    downloaded, read, uploaded = (message for _, message in told)
    assert re.fullmatch(rf"region=.* variables={TEMPERATURE} files=10 missing=1 bytes=\d+ seconds=\d+\.\d", downloaded)
    assert re.fullmatch(rf"region=.* variable={TEMPERATURE} files=10 missing=1 seconds=\d+\.\d", read)
    assert re.fullmatch(rf"region=.* variable={TEMPERATURE} objects=2 bytes=\d+ seconds=\d+\.\d", uploaded)
    assert [level for level, _ in told] == [level, level, "INFO"]


def test_a_file_older_than_what_any_archive_keeps_is_said_to_be(site: Site) -> None:
    kept = tuple(archive.model_copy(update={"newest": 2 * HOUR}) for archive in site.dataset.archives)
    site.arrive(INIT)
    (failed, *_) = site.having(archives=kept).job(now=INIT + 3 * HOUR).process()[TEMPERATURE]
    assert failed.reason is not None
    assert failed.reason.endswith(f"no archive keeps files of {INIT} any more")
