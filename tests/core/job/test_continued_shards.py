"""A shard of many labels grows by what is new, and is then what a single run would have made."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reformatters_dagster.core.run.partition import run_partition
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.spec.errors import NothingSucceeded
from reformatters_dagster.core.spec.variables import Deaccumulation
from tests.datasets import INIT, RAIN, SECOND, SUN, TEMPERATURE, THIRD, VARIABLES, Sample, Site, assert_true, gfs_key
from tests.long_shards import HOUR, LAST, changed, chunks, downloaded, drop, make, read_labels

pytest_plugins = ["tests.datasets"]


@pytest.fixture
def site(tmp_path: Path, gfs_sample: Sample) -> Site:
    return make(tmp_path / "site", gfs_sample)


@pytest.fixture
def at_once(tmp_path: Path, gfs_sample: Sample) -> Site:
    """Another deployment, which makes every shard in one go."""
    return make(tmp_path / "at-once", gfs_sample)


@pytest.mark.parametrize("interpolate", [False, True])
def test_hour_by_hour_ends_in_the_bytes_of_a_single_run(
    tmp_path: Path, gfs_sample: Sample, *, interpolate: bool
) -> None:
    site = make(tmp_path / "site", gfs_sample, interpolate=interpolate)
    at_once = make(tmp_path / "at-once", gfs_sample, interpolate=interpolate)
    for hours in (1, 9, 10, 13, 14, 17):
        site.update(INIT + hours * HOUR)
    at_once.update(LAST)
    assert chunks(site) == chunks(at_once)
    ours, theirs = site.ledger(), at_once.ledger()
    assert ours is not None
    assert theirs is not None
    assert (ours.variables, set(ours.etags)) == (theirs.variables, set(theirs.etags))


def test_only_what_is_new_and_its_neighbours_is_downloaded(site: Site) -> None:
    whole = downloaded(site.update(INIT + 16 * HOUR))
    report = site.update(LAST)
    assert read_labels(report, TEMPERATURE) == [LAST]
    assert 0 < downloaded(report) < whole / 3


def test_an_update_with_nothing_new_downloads_nothing(site: Site) -> None:
    site.update(LAST)
    before = site.objects()
    report = site.update(LAST)
    assert downloaded(report) == 0
    assert chunks(site) == {key: data for key, data in before.items() if "/c/" in key}


def test_a_late_file_fills_its_hole_and_what_hung_on_it(site: Site, at_once: Site) -> None:
    site.file(4).unlink()
    site.update(INIT + 12 * HOUR)
    assert site.read()[TEMPERATURE].sel(time=INIT + 4 * HOUR).isnull().all()
    assert site.read()[RAIN].sel(time=INIT + 5 * HOUR).isnull().all()
    site.arrive(INIT, leads=[4])
    report = site.update(LAST)
    assert INIT + 4 * HOUR in read_labels(report, RAIN)
    at_once.update(LAST)
    assert chunks(site) == chunks(at_once)
    assert site.ledger().is_complete  # type: ignore[union-attr]


def test_a_file_published_again_is_read_again(site: Site, at_once: Site) -> None:
    site.update(INIT + 16 * HOUR)
    for one in (site, at_once):
        newer, older = one.file(3), one.file(3, SECOND)
        index, size = newer.with_name(f"{newer.name}.idx"), newer.stat().st_size
        newer.write_bytes(newer.read_bytes() + older.read_bytes())
        index.write_text(f"{index.read_text()}99:{size}:d=2026072918:ABSV:500 mb:3 hour fcst:\n")
    report = site.update(LAST)
    assert read_labels(report, TEMPERATURE) == [INIT + 3 * HOUR, LAST]
    at_once.update(LAST)
    assert chunks(site) == chunks(at_once)


def test_what_is_published_stays_when_its_files_are_gone(site: Site) -> None:
    """The rate of the new hour needs the total of one that was read before: it is not counted until that can be had."""
    site.update(INIT + 15 * HOUR)
    before = site.read()
    for lead in (2, 3):
        site.file(lead, THIRD).rename(site.file(lead, THIRD).with_suffix(".away"))
    report = site.update(LAST)
    ds = site.read()
    for variable in VARIABLES:
        np.testing.assert_array_equal(ds[variable].isel(time=slice(0, 16)), before[variable].isel(time=slice(0, 16)))
    entry = site.ledger()
    assert entry is not None
    (lost,) = entry.variables[RAIN].missing
    assert lost.labels == f"time={LAST - HOUR}"
    assert "its neighbour" in lost.reason
    assert read_labels(report, RAIN) == [LAST]
    assert read_labels(report, TEMPERATURE) == [LAST - HOUR, LAST]


def test_an_outage_after_a_good_run_fails_and_keeps_everything(site: Site) -> None:
    site.update(INIT + 15 * HOUR)
    before = site.objects()
    for path in site.upstream.rglob("*.f0*"):
        if not path.name.endswith(".idx"):
            path.write_bytes(b"down for maintenance")
    with pytest.raises(NothingSucceeded, match="nothing was published"):
        site.update(LAST)
    assert site.objects() == before


def test_a_shard_that_was_never_ledgered_is_made_anew(site: Site, at_once: Site) -> None:
    site.update(INIT + 15 * HOUR)
    for entry in (site.folder / "primary").rglob("ledger/*.json"):
        entry.unlink()
    report = site.update(LAST)
    assert len(read_labels(report, TEMPERATURE)) == 18
    at_once.update(LAST)
    assert chunks(site) == chunks(at_once)


def test_a_variable_that_is_made_otherwise_is_continued(site: Site) -> None:
    """What is there stays as it was made until somebody backfills it; the archive may not keep its files any more."""
    site.update(INIT + 12 * HOUR)
    before = site.read()[RAIN]
    other = replace(site, dataset=changed(site.dataset, [RAIN], keep_mantissa_bits=3))
    report = other.update(LAST)
    assert len(read_labels(report, RAIN)) == 5
    after = other.read()[RAIN]
    assert after.isel(time=slice(0, 12)).equals(before.isel(time=slice(0, 12)))
    assert not (after.isel(time=slice(14, None)).to_numpy().view(np.uint32) & 0x000FFFFF).any()


def test_other_words_for_a_variable_remake_nothing(site: Site) -> None:
    site.update(LAST)
    renamed = replace(
        site, dataset=changed(site.dataset, VARIABLES, comment="Said otherwise.", valid_range=(-1.0, 1.0))
    )
    renamed.dataset.template_config.update_template()
    before = chunks(site)
    assert downloaded(renamed.update(LAST)) == 0
    assert chunks(renamed) == before


def test_a_hole_of_one_variable_puts_no_value_of_another_at_risk(site: Site) -> None:
    drop(site, "APCP", 4)
    site.update(INIT + 12 * HOUR)
    before = site.read()[TEMPERATURE]
    site.file(4).unlink()  # it aged out; the hole of rain is tried again all the same
    report = site.update(LAST)
    assert site.read()[TEMPERATURE].isel(time=slice(0, 13)).equals(before)
    (commit,) = report.commits
    assert commit.entry.variables[TEMPERATURE].missing == ()
    assert [lost.file for lost in commit.entry.variables[RAIN].missing] == [gfs_key(INIT, 4)]


def test_what_is_published_stays_even_where_everything_is_read_again(site: Site) -> None:
    """A shard has just begun: the new hours, and what they hang on, are all of it."""
    site.update(INIT + HOUR)
    before = site.read()
    site.file(1).unlink()
    report = site.update(INIT + 5 * HOUR)
    assert INIT + HOUR not in read_labels(report, TEMPERATURE)
    assert site.read().isel(time=slice(0, 2)).equals(before)


def test_a_file_published_again_and_spoilt_keeps_what_it_gave_before(site: Site) -> None:
    site.update(INIT + 12 * HOUR)
    before, entry = site.read(), site.ledger()
    site.file(4).write_bytes(b"down for maintenance")
    report = site.update(LAST)
    assert site.read().isel(time=slice(0, 13)).equals(before)
    (commit,) = report.commits
    assert commit.entry.is_complete
    assert entry is not None
    assert commit.entry.etags[gfs_key(INIT, 4)] == entry.etags[gfs_key(INIT, 4)]


def test_a_run_of_one_variable_leaves_the_others_to_be_continued(site: Site) -> None:
    site.update(INIT + 12 * HOUR)
    site.backfill(INIT + 12 * HOUR, contains=(INIT,), variables=(RAIN,), overwrite_chunks=True)
    assert read_labels(site.update(LAST), TEMPERATURE) == [*pd.date_range(INIT + 13 * HOUR, LAST, freq="h")]


def test_an_update_does_not_try_for_ever_what_is_missing_and_a_backfill_does(site: Site) -> None:
    """It does so until the shard's last label, not only the missing one, is past the give-up age."""
    site = site.having(give_up_age=6 * HOUR)
    end = INIT + 23 * HOUR
    for lead in (4, 5):
        site.file(lead).unlink()
    site.update(INIT + 9 * HOUR)
    site.arrive(INIT, leads=[5])
    assert INIT + 5 * HOUR in read_labels(site.update(end + 5 * HOUR), TEMPERATURE)
    site.arrive(INIT, leads=[4])
    report = site.update(end + 6 * HOUR)
    assert INIT + 4 * HOUR not in read_labels(report, TEMPERATURE)
    lost, *_ = report.commits[0].entry.variables[TEMPERATURE].missing
    assert (lost.file, lost.reason.partition(":")[0]) == (gfs_key(INIT, 4), "SourceFileMissing")
    dataset, workspace = site.dataset, site.workspace
    request = PartitionRequest(label=INIT, publish=False, keep_published=True)
    plan = plan_partition(dataset, workspace, request, end + 6 * HOUR)
    assert gfs_key(INIT, 4) not in run_partition(dataset, workspace, plan, run_id="by hand").entry.lacking
    assert_true(site.read()[TEMPERATURE].sel(time=INIT + 4 * HOUR), TEMPERATURE, INIT, 4)


def test_rates_that_cannot_be_right_stay_so_while_their_shard_is_continued(site: Site) -> None:
    rule = Deaccumulation(reset=pd.Timedelta("6h"), expected_clamp_fraction=0.0)
    wrong = replace(site, dataset=changed(site.dataset, [RAIN], deaccumulation=rule, scale_factor=-1.0))
    wrong.update(INIT + 12 * HOUR)
    site.update(LAST)
    entry = site.ledger()
    assert entry is not None
    assert "were slightly negative" in entry.variables[RAIN].implausible
    site.backfill(LAST, contains=(INIT,), overwrite_chunks=True)
    entry = site.ledger()
    assert entry is not None
    assert entry.variables[RAIN].implausible == ""


def test_rates_that_no_ledger_tells_of_stay_wrong_while_their_shard_is_continued(site: Site) -> None:
    """A run that made them was killed before its commit."""
    site.update(INIT + 12 * HOUR)
    rule = Deaccumulation(reset=pd.Timedelta("6h"), expected_clamp_fraction=0.0)
    wrong = replace(site, dataset=changed(site.dataset, [RAIN], deaccumulation=rule, scale_factor=-1.0))
    request = PartitionRequest(label=INIT, publish=True, root_run="killed")
    plan = plan_partition(wrong.dataset, wrong.workspace, request, INIT + 13 * HOUR)
    context = wrong.dataset.context(wrong.workspace, plan.now, run_id="killed")
    for group in plan.groups:
        process_group(wrong.dataset, context, plan, group)
    for stored, _ in site.stores.internal.list("lease"):
        site.stores.internal.delete(stored)
    site.update(LAST)
    entry = site.ledger()
    assert entry is not None
    assert "were slightly negative" in entry.variables[RAIN].implausible


def test_a_backfill_makes_a_shard_anew(site: Site) -> None:
    site.update(LAST)
    report = site.backfill(LAST, contains=(INIT,), overwrite_chunks=True)
    assert len(read_labels(report, TEMPERATURE)) == 18


def test_a_shard_that_cannot_be_read_back_is_told(site: Site) -> None:
    site.update(INIT + 15 * HOUR)
    (shard,) = (site.folder / "primary").rglob(f"{SUN}/c/0/0/0")
    shard.write_bytes(shard.read_bytes()[:-7])
    site.update(LAST)
    entry = site.ledger()
    assert entry is not None
    assert {name for name, coverage in entry.variables.items() if not coverage.is_complete} == {SUN}
    reasons = {one.reason for one in entry.variables[SUN].missing}
    assert all(re.match(r"CorruptShard: .*was to be continued.*backfill this partition anew", one) for one in reasons)


def test_a_run_whose_shards_can_none_be_read_back_fails(site: Site) -> None:
    site.update(INIT + 15 * HOUR)
    for shard in (site.folder / "primary").rglob("*/c/0/*/0"):
        shard.write_bytes(shard.read_bytes()[:-7])
    before = site.objects()
    with pytest.raises(NothingSucceeded, match=r"CorruptShard: .* was to be continued.*backfill this partition anew"):
        site.update(LAST)
    assert site.objects() == before


@pytest.mark.parametrize("budget", [1, 100_000])
def test_pieces_on_disk_make_the_same_bytes(site: Site, at_once: Site, budget: int) -> None:
    """With a budget of one byte a piece is one shard of the grid; nothing stays on the tmp disk."""
    small = Site(site.folder, replace(site.dataset, buffer_bytes=budget), site.sample)
    small.update(INIT + 10 * HOUR)
    small.update(LAST)
    at_once.update(LAST)
    assert chunks(small) == chunks(at_once)
    assert small.tmp_files() == []


def test_the_keys_that_are_wanted_are_those_of_new_hours(site: Site) -> None:
    assert gfs_key(THIRD, 5) in {key for job in [site.job(LAST)] for key in job.upstream_objects()}
