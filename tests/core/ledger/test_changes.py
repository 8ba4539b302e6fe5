"""A shard of many labels grows by what is new, and is then what a single run would have made."""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.field.transforms import round_in_place
from reformatters_dagster.core.job.stretches import cut_stretches
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.launches import Budget, Launch, Survey, survey_incomplete, survey_unpublished
from reformatters_dagster.core.run.plan import RunReport
from reformatters_dagster.core.shard.patch import ShardLayout, patch_shard
from reformatters_dagster.core.shard.writer import continue_shards, write_shards
from reformatters_dagster.core.spec.errors import CorruptShard, NothingSucceeded
from reformatters_dagster.core.spec.values import Float32Array, Timestamp
from reformatters_dagster.core.spec.variables import Deaccumulation
from tests.datasets import (
    EARLIER,
    INIT,
    RAIN,
    SECOND,
    SUN,
    TEMPERATURE,
    THIRD,
    VARIABLES,
    Sample,
    Site,
    assert_true,
    gfs_analysis,
    gfs_key,
)

pytest_plugins = ["tests.datasets"]

HOUR = pd.Timedelta("1h")
MANY = {"chunks": {"time": 12, "latitude": 10, "longitude": 9}, "shards": {"time": 24, "latitude": 20, "longitude": 18}}
LAST = INIT + 17 * HOUR


def make(folder: Path, sample: Sample, *, interpolate: bool = False) -> Site:
    dataset = gfs_analysis(folder / "templates", variables=VARIABLES, **MANY)
    if interpolate:
        dataset = interpolating(dataset)
    site = Site(folder, dataset, sample)
    site.arrive(EARLIER, leads=[6])
    site.arrive(INIT, SECOND, THIRD, leads=range(7))
    return site


def interpolating(dataset: DynamicalDataset) -> DynamicalDataset:
    return changed(dataset, VARIABLES, interpolate=True)


def changed(dataset: DynamicalDataset, variables: Sequence[str], **fields: Any) -> DynamicalDataset:
    """The same dataset with other fields in some of its variables."""
    config = dataset.template_config
    rows = tuple(row.model_copy(update=fields) if row.name in variables else row for row in config.data_vars)
    return replace(dataset, template_config=config.model_copy(update={"data_vars": rows}))


@pytest.fixture
def site(tmp_path: Path, gfs_sample: Sample) -> Site:
    return make(tmp_path / "site", gfs_sample)


@pytest.fixture
def at_once(tmp_path: Path, gfs_sample: Sample) -> Site:
    """Another deployment, which makes every shard in one go."""
    return make(tmp_path / "at-once", gfs_sample)


def chunks(site: Site) -> dict[str, bytes]:
    return {key: data for key, data in site.objects().items() if "/c/" in key}


def downloaded(report: RunReport) -> int:
    (commit,) = report.commits
    return commit.stats.bytes_in


def read_labels(report: RunReport, variable: str) -> list[Timestamp]:
    (commit,) = report.commits
    return [file.coord.out_loc()["time"] for file in commit.results[variable] if file.was_read]  # type: ignore[misc]


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
    site = site.having(give_up_age=6 * HOUR)
    site.file(4).unlink()
    site.update(INIT + 9 * HOUR)
    site.arrive(INIT, leads=[4])
    report = site.update(INIT + 11 * HOUR)
    assert INIT + 4 * HOUR not in read_labels(report, TEMPERATURE)
    (lost,) = report.commits[0].entry.variables[TEMPERATURE].missing
    assert (lost.file, lost.reason.partition(":")[0]) == (gfs_key(INIT, 4), "SourceFileMissing")
    dataset, workspace = site.dataset, site.workspace
    plan = dataset.plan_partition(workspace, INIT, now=INIT + 11 * HOUR, publish=False, keep_published=True)
    assert dataset.run_partition(workspace, plan, run_id="by hand").entry.is_complete
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


def drop(site: Site, element: str, lead: int) -> None:
    """One message less in a file's index."""
    index = Path(f"{site.file(lead)}.idx")
    index.write_text("".join(line for line in index.read_text().splitlines(keepends=True) if element not in line))


def test_a_backfill_makes_a_shard_anew(site: Site) -> None:
    site.update(LAST)
    report = site.backfill(LAST, contains=(INIT,), overwrite_chunks=True)
    assert len(read_labels(report, TEMPERATURE)) == 18


def test_a_shard_that_cannot_be_read_back_is_told(site: Site) -> None:
    site.update(INIT + 15 * HOUR)
    (shard,) = (site.folder / "primary").rglob(f"{SUN}/c/0/0/0")
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(CorruptShard, match=r"was to be continued.*backfill this partition anew"):
        site.update(LAST)


@pytest.mark.parametrize("budget", [1, 100_000])
def test_pieces_on_disk_make_the_same_bytes(site: Site, at_once: Site, budget: int) -> None:
    """With a budget of one byte a piece is one shard of the grid; nothing stays on the tmp disk."""
    small = Site(site.folder, replace(site.dataset, buffer_bytes=budget), site.sample)
    small.update(INIT + 10 * HOUR)
    small.update(LAST)
    at_once.update(LAST)
    assert chunks(small) == chunks(at_once)
    assert small.tmp_files() == []


@given(
    changed=st.sets(st.integers(10, 49)),
    before=st.integers(0, 3),
    steps=st.integers(0, 2),
)
def test_stretches_hold_all_that_depends_and_read_all_it_depends_on(changed: set[int], before: int, steps: int) -> None:
    region, processing = slice(10, 50), slice(10 - before, 50)
    stretches = cut_stretches(changed, region, processing, steps)
    written = [at for one in stretches for at in range(one.write.start, one.write.stop)]
    assert len(written) == len(set(written))
    wanted = {at for c in changed for at in range(c - steps, c + steps + 1) if 10 <= at < 50}
    assert set(written) >= wanted
    for one in stretches:
        needed = range(max(one.write.start - steps, processing.start), min(one.write.stop + steps, 50))
        assert range(one.read.start, one.read.stop) == needed
    for one, following in pairwise(stretches):
        assert one.read.stop < following.read.start


COMPRESSORS = [
    zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=4),
    zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4),
]


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    seed=st.integers(0, 2**32 - 1),
    first=st.integers(0, 63),
    count=st.integers(1, 64),
    kind=st.sampled_from(["smooth", "noise", "nothing"]),
    compressor=st.sampled_from(COMPRESSORS),
)
def test_a_patched_shard_is_the_one_written_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    first: int,
    count: int,
    kind: str,
    compressor: zarr.codecs.BloscCodec,
) -> None:
    """Two chunks along the first axis, several blocks in each; the grid ends inside the last shard."""
    rng = np.random.default_rng(seed)
    shape, count = (64, 70, 75), min(count, 64 - first)
    before, after = tmp_path_factory.mktemp("before"), tmp_path_factory.mktemp("after")
    old = field(rng, kind, shape)
    new = old.copy()
    new[first : first + count] = field(rng, "smooth", (count, 70, 75))
    for folder, values in ((before, old), (after, new)):
        array(folder, shape, compressor)
        write_shards(values, folder, "v", slice(0, 64))
    cut = first + count // 2
    patch = [(start, np.ascontiguousarray(new[start:stop])) for start, stop in ((first, cut), (cut, first + count))]
    patched = tmp_path_factory.mktemp("patched")
    array(patched, shape, compressor)
    assert continue_shards(patch, lambda key: (before / key).read_bytes(), patched, "v", slice(0, 64)) == 4
    for y, x in product((0, 1), (0, 1)):
        key = f"v/c/0/{y}/{x}"
        assert (patched / key).read_bytes() == (after / key).read_bytes(), key


def field(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Float32Array:
    if kind == "noise":
        return rng.integers(0, 2**31 - 2**24, shape).astype(np.int32).view(np.float32)
    values = np.cumsum(rng.normal(size=shape), axis=0).astype(np.float32)
    round_in_place(values, 7)
    if kind == "nothing":
        values[...] = np.nan
    return values


def array(folder: Path, shape: tuple[int, ...], compressor: zarr.codecs.BloscCodec) -> None:
    zarr.open_group(folder, mode="w").create_array(
        "v",
        shape=shape,
        dtype="float32",
        chunks=(32, 20, 20),
        shards=(64, 40, 40),
        compressors=[compressor],
        fill_value=np.float32("nan"),
    )


def test_other_codecs_are_continued_by_zarr(tmp_path: Path) -> None:
    values = np.arange(6 * 4 * 4, dtype=np.float32).reshape(6, 4, 4)
    for name in ("before", "after", "patched"):
        zarr.open_group(tmp_path / name, mode="w").create_array(
            "v", shape=(6, 4, 4), dtype="float32", chunks=(3, 2, 2), shards=(6, 4, 4), compressors=None, fill_value=0
        )
    assert ShardLayout.of(zarr.open_array(tmp_path / "after" / "v")) is None
    write_shards(np.where(np.arange(6)[:, None, None] < 4, values, 0), tmp_path / "before", "v", slice(0, 6))
    write_shards(values, tmp_path / "after", "v", slice(0, 6))
    before = tmp_path / "before"
    continue_shards([(4, values[4:])], lambda key: (before / key).read_bytes(), tmp_path / "patched", "v", slice(0, 6))
    assert (tmp_path / "patched/v/c/0/0/0").read_bytes() == (tmp_path / "after/v/c/0/0/0").read_bytes()


def test_a_shard_of_another_layout_is_refused(tmp_path: Path) -> None:
    array(tmp_path, (64, 40, 40), COMPRESSORS[0])
    write_shards(np.zeros((64, 40, 40), np.float32), tmp_path, "v", slice(0, 64))
    data = (tmp_path / "v/c/0/0/0").read_bytes()
    layout = ShardLayout.of(zarr.open_array(tmp_path / "v"))
    assert layout is not None
    patch = [(0, np.zeros((1, 40, 40), np.float32))]
    pieces = patch_shard(data, layout, patch, "v/c/0/0/0")
    assert pieces is not None
    assert b"".join(pieces) == data
    for damaged in (b"", data[:-1], data[:100] + data[-100:], bytes(len(data))):
        with pytest.raises(CorruptShard, match="v/c/0/0/0 was to be continued"):
            patch_shard(damaged, layout, patch, "v/c/0/0/0")
    flipped = bytearray(data)
    flipped[:40] = b"\xff" * 40
    with pytest.raises(CorruptShard, match="cannot be decompressed"):
        patch_shard(bytes(flipped), layout, patch, "v/c/0/0/0")


def test_the_keys_that_are_wanted_are_those_of_new_hours(site: Site) -> None:
    assert gfs_key(THIRD, 5) in {key for job in [site.job(LAST)] for key in job.upstream_objects()}


def aged(site: Site, time: Timestamp) -> None:
    """Every upstream file was written at a time."""
    for path in site.upstream.rglob("*.f0*"):
        os.utime(path, (time.timestamp(), time.timestamp()))


def run(site: Site, launch: Launch, now: Timestamp, *, publish: bool) -> RunReport:
    """What the ops of a launched run do."""
    dataset, workspace = site.dataset, site.workspace
    plan = dataset.plan_partition(
        workspace,
        launch.label,
        now=now,
        publish=publish,
        keep_published=not publish,
        upstream=launch.arrivals.fingerprint,
    )
    context = dataset.context(workspace, now)
    outcomes = [dataset.process_group(context, plan, group) for group in plan.groups]
    return RunReport(
        [launch.label], [dataset.commit_partition(workspace, plan, outcomes, run_id=context.run_id, now=now)]
    )


def unpublished(site: Site, now: Timestamp) -> Survey:
    return survey_unpublished(site.dataset, site.workspace, now, Budget(20))


def test_a_bunch_of_files_is_one_launch(site: Site) -> None:
    site.update(INIT + 12 * HOUR)
    now = LAST + 5 * HOUR
    aged(site, now - pd.Timedelta("5min"))
    survey = unpublished(site, now)
    assert survey.launches == []
    assert survey.waiting == ["2026-07-29T18:00 got its newest file at 15:55; more of the bunch are waited for"]
    (launch,) = unpublished(site, now + pd.Timedelta("5min")).launches
    run(site, launch, now, publish=True)
    survey = unpublished(site, now + HOUR)
    assert survey.launches == []
    assert survey.waiting == ["2026-07-29T18:00 has nothing new since its last run"]
    assert site.read().indexes["time"][-1] == LAST + HOUR


def test_a_hole_of_a_long_shard_is_healed_without_reading_it_all(site: Site, at_once: Site) -> None:
    site.file(4).unlink()
    site.update(LAST)
    site.arrive(INIT, leads=[4])
    now = LAST + 2 * HOUR
    (launch,) = survey_incomplete(site.dataset, site.workspace, now, Budget(20)).launches
    assert launch.reason == "1 files that were missing have arrived"
    report = run(site, launch, now, publish=False)
    assert read_labels(report, TEMPERATURE) == [INIT + 4 * HOUR]
    at_once.update(LAST)
    assert chunks(site) == chunks(at_once)


def test_old_files_of_a_shard_are_not_listed_again(site: Site) -> None:
    """Past the give-up age the ledger is asked, so that a look costs the same at the end of 60 days as at their beginning."""
    site.update(INIT + 12 * HOUR)
    entry, soon, now = site.ledger(), INIT + pd.Timedelta("1D"), INIT + pd.Timedelta("6D")
    assert entry is not None
    listed = site.dataset.arrivals(site.workspace, INIT, soon)
    site.file(3).unlink()
    trusted = site.dataset.arrivals(site.workspace, INIT, now, entry)
    assert (trusted.present, trusted.expected) == (listed.present, listed.expected)
    assert trusted.etags == listed.etags
    assert site.dataset.arrivals(site.workspace, INIT, soon).present == listed.present - 1


def test_a_shard_in_progress_is_not_given_up(site: Site) -> None:
    site.file(4).unlink()
    site.update(LAST)
    late = INIT + site.dataset.give_up_age + HOUR
    assert survey_incomplete(site.dataset, site.workspace, late, Budget(20)).given_up == []
    end = INIT + 23 * HOUR + site.dataset.give_up_age
    assert survey_incomplete(site.dataset, site.workspace, end, Budget(20)).given_up == [INIT]
