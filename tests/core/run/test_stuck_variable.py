"""A variable that cannot go on holds no other back: it is published as incomplete, and heals."""

from pathlib import Path

import pytest
import xarray as xr

from reformatters_dagster.core.check.completeness import CheckCompleteness
from reformatters_dagster.core.ledger.entries import LedgerEntry, write_ledger
from reformatters_dagster.core.run.launches import is_whole
from reformatters_dagster.core.run.status import status
from tests.datasets import INIT, RAIN, SUN, TEMPERATURE, Sample, Site
from tests.launched import heals, run
from tests.long_shards import HOUR, LAST, chunks, make

pytest_plugins = ["tests.datasets"]

KNOWN = INIT + 12 * HOUR
"""Newest label before the trouble; `LAST` is published in spite of it."""


@pytest.fixture
def site(tmp_path: Path, gfs_sample: Sample) -> Site:
    """An analysis that publishes a label once all variables have it, in shards of 18 labels and of two objects."""
    made = make(tmp_path / "site", gfs_sample).having(publish_policy="all")
    made.update(KNOWN)
    return made


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory, gfs_sample: Sample) -> dict[str, bytes]:
    """Chunks of a deployment that makes every shard in one go."""
    made = make(tmp_path_factory.mktemp("at-once"), gfs_sample)
    made.update(LAST)
    return chunks(made)


def shard_of(site: Site, variable: str) -> Path:
    return next(path for path in sorted((site.folder / "primary").rglob(f"{variable}/c/0/*/*")) if path.is_file())


def entry_of(site: Site) -> LedgerEntry:
    entry = site.ledger()
    assert entry is not None
    return entry


def assert_others_go_on(site: Site, reason: str) -> None:
    """Readers see the new labels of the others, and the ledger says what the one lacks, and why."""
    ds: xr.Dataset = xr.open_zarr(site.stores.primary.url, chunks=None)
    assert ds.indexes["time"][-1] == LAST
    for name in (TEMPERATURE, RAIN):
        assert not ds[name].sel(time=slice(KNOWN, None)).isnull().any()
    entry = entry_of(site)
    assert not entry.is_complete
    assert entry.variables[TEMPERATURE].is_complete
    lacking = {one.label: one.reason for one in entry.variables[SUN].missing}
    new = [label for label in ds.indexes["time"] if label > KNOWN]
    assert lacking.keys() == set(new)
    assert all(reason in why for why in lacking.values())
    (told,) = status(site.dataset, site.stores).partitions
    assert told.entry == entry


@pytest.mark.parametrize("policy", ["any", "all"])
def test_a_damaged_object_holds_no_other_variable_back(site: Site, at_once: dict[str, bytes], policy: str) -> None:
    site = site.having(publish_policy=policy)
    shard = shard_of(site, SUN)
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-7])
    site.update(LAST)
    assert_others_go_on(site, "CorruptShard: downward_short_wave_radiation_flux_surface/c/0/0/0 was to be continued")
    assert entry_of(site).retry
    site.update(LAST)
    assert entry_of(site).is_complete
    assert chunks(site) == at_once


@pytest.mark.parametrize("trouble", ["a late file", "a corrected file"])
def test_a_damaged_object_is_made_anew_where_no_label_is_new(
    tmp_path: Path, gfs_sample: Sample, at_once: dict[str, bytes], trouble: str
) -> None:
    site, now = make(tmp_path / "whole", gfs_sample), LAST + 2 * HOUR
    data = site.file(3).read_bytes()
    if trouble == "a late file":
        site.remove(3)
    site.update(LAST)
    shard = shard_of(site, SUN)
    shard.write_bytes(shard.read_bytes()[:-7])
    if trouble == "a late file":
        site.arrive(INIT, leads=[3])
    else:
        site.file(3).unlink()
        site.file(3).write_bytes(data)
    (launch,) = heals(site, now)
    run(site, launch, now)
    damaged = {name: known.damaged for name, known in entry_of(site).variables.items() if known.damaged}
    assert damaged.keys() == {SUN}
    assert damaged[SUN].startswith(f"CorruptShard: {SUN}/c/0/0/0 was to be continued")
    assert not entry_of(site).variables[SUN].is_complete
    told = site.dataset.validate(site.stores.primary, now, [CheckCompleteness()], internal=site.stores.internal)
    assert "has damaged shards of 1 variable" in told[0].message
    (again,) = heals(site, now + HOUR)
    run(site, again, now + HOUR)
    assert is_whole(site.dataset, entry_of(site))
    assert chunks(site) == at_once
    assert heals(site, now + 2 * HOUR) == []


def test_a_damaged_object_is_made_anew_though_nothing_else_calls_for_it(
    tmp_path: Path, gfs_sample: Sample, at_once: dict[str, bytes]
) -> None:
    """The correction that led to it is gone again."""
    site, now = make(tmp_path / "whole", gfs_sample), LAST + 2 * HOUR
    site.update(LAST)
    entry = entry_of(site)
    known = {**entry.variables, SUN: entry.variables[SUN].model_copy(update={"damaged": "CorruptShard: it is torn"})}
    write_ledger(site.stores.internal, entry.model_copy(update={"variables": known, "upstream": "of then"}))
    shard = shard_of(site, SUN)
    shard.write_bytes(shard.read_bytes()[:-7])
    (launch,) = heals(site, now)
    assert launch.reason == "variables with damaged shards, made anew: 1"
    run(site, launch, now)
    assert is_whole(site.dataset, entry_of(site))
    assert chunks(site) == at_once


@pytest.mark.parametrize("policy", ["any", "all"])
def test_a_lost_object_and_a_vanished_file_hold_no_other_back(
    site: Site, at_once: dict[str, bytes], policy: str
) -> None:
    site = site.having(publish_policy=policy)
    before = site.read()[SUN].sel(time=slice(None, KNOWN))
    shard = shard_of(site, SUN)
    whole = shard.read_bytes()
    shard.unlink()
    site.file(3).unlink()
    site.update(LAST)
    assert_others_go_on(site, "KeptShard: the published shard is made from a file that failed now, ")
    assert site.read()[SUN].sel(time=slice(KNOWN + HOUR, None)).isnull().all()
    shard.write_bytes(whole)
    assert site.read()[SUN].sel(time=slice(None, KNOWN)).identical(before)
    site.arrive(INIT, leads=[3])
    site.update(LAST)
    assert entry_of(site).is_complete
    assert chunks(site) == at_once
