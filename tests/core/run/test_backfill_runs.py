"""Backfills, from upstream files to what readers see."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reformatters_dagster.core.ledger.progress import noted_partitions
from reformatters_dagster.core.run.backfill import BackfillRequest, backfill, plan_backfill
from reformatters_dagster.core.run.outcomes import RunReport
from reformatters_dagster.core.spec.errors import (
    Refused,
    StoreExists,
    StoreMissing,
)
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta
from tests.core.run.sites import VARIABLES, chunks, ingested, init_times, metadata
from tests.datasets import (
    INIT,
    RAIN,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    Site,
    assert_forecast_true,
    gfs_forecast,
)
from tests.stores import Stopped

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")


def test_a_backfill_creates_the_store_and_fills_it(pair: Site) -> None:
    pair.arrive(INIT, SECOND)
    report = pair.backfill(SECOND + SOON)
    assert report.partitions == [INIT, SECOND]
    assert report.failures == {}
    ds = pair.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    for init in (INIT, SECOND):
        assert_forecast_true(ds, init)
    assert ingested(pair) == [9 * HOUR] * 2
    assert pair.tmp_files() == []


def test_an_end_and_filters_choose_partitions_of_a_new_store(pair: Site) -> None:
    pair.arrive(INIT, SECOND, THIRD)
    report = pair.backfill(THIRD + SOON, start=SECOND, end=THIRD, variables=(TEMPERATURE,))
    assert report.partitions == [SECOND]
    ds = pair.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    assert_forecast_true(ds, SECOND, variables=[TEMPERATURE])
    assert {key.split("/c/")[0].rsplit("/", 1)[1] for key in chunks(pair)} == {TEMPERATURE}
    assert pd.isna(ingested(pair)).all()


def test_a_partition_without_files_is_reported_and_stops_no_other(pair: Site) -> None:
    pair.arrive(SECOND)
    report = pair.backfill(SECOND + SOON)
    assert list(report.failures) == [INIT]
    assert report.failures[INIT].startswith(
        "test-gfs-forecast partition 2026-07-29T18:00 wanted 19 fields of 2 variables; none succeeded"
    )
    assert "SourceFileMissing" in report.failures[INIT]
    assert_forecast_true(pair.read(), SECOND)
    assert pair.ledger(INIT) is None


def test_a_standing_store_is_not_created_again(published: Site) -> None:
    before = published.objects()
    advice = "one stands already: add --overwrite-chunks to fill or redo partitions of it, --overwrite-metadata .* extend it$"
    with pytest.raises(StoreExists, match=advice):
        published.backfill()
    assert published.objects() == before


@pytest.mark.parametrize("flags", [{"overwrite_chunks": True}, {"overwrite_metadata": True}])
def test_nothing_to_overwrite(pair: Site, flags: dict[str, Any]) -> None:
    with pytest.raises(StoreMissing, match="there is no store: leave out --overwrite-chunks and --overwrite-metadata"):
        pair.backfill(**flags)
    assert pair.objects() == {}


def test_overwriting_chunks_leaves_metadata_and_other_shards(published: Site) -> None:
    published.arrive(SECOND)
    published.dataset.initialise(published.workspace, THIRD, THIRD)
    documents, before = metadata(published), chunks(published)
    report = published.backfill(THIRD + SOON, overwrite_chunks=True, contains=(SECOND,))
    assert report.partitions == [SECOND]
    assert metadata(published) == documents
    assert {key: chunks(published)[key] for key in before} == before
    assert {key.split("/c/")[1].split("/")[0] for key in chunks(published).keys() - before.keys()} == {"1"}
    assert_forecast_true(published.read(), SECOND)
    assert ingested(published) == [9 * HOUR] * 2


def test_overwriting_chunks_ends_where_the_store_ends(published: Site) -> None:
    published.arrive(SECOND)
    for end in (None, THIRD):
        request = BackfillRequest(overwrite_chunks=True, end=end)
        assert plan_backfill(published.dataset, published.workspace, request, THIRD).partitions == [INIT]


def test_overwriting_metadata_refreshes_attributes_and_adds_arrays(pair: Site, tmp_path: Path) -> None:
    pair.arrive(INIT)
    described = pair.dataset.template_config.attributes.model_copy(update={"description": "Told anew."})
    fewer = replace(pair, dataset=gfs_forecast(tmp_path / "fewer", variables=[RAIN]))
    fewer.backfill()
    before = chunks(pair)
    more = replace(pair, dataset=gfs_forecast(tmp_path / "more", variables=VARIABLES, attributes=described))
    assert more.backfill(overwrite_metadata=True).partitions == []
    ds = pair.read()
    assert ds.attrs["description"] == "Told anew."
    assert set(ds.data_vars) == set(VARIABLES)
    assert ds[TEMPERATURE].isnull().all()
    assert_forecast_true(ds, INIT, variables=[RAIN])
    assert chunks(pair) == before
    assert ingested(pair) == [9 * HOUR]
    more.backfill(overwrite_chunks=True, variables=(TEMPERATURE,))
    assert_forecast_true(pair.read(), INIT)


@pytest.mark.parametrize("chosen", [{"start": INIT}, {"end": SECOND}, {"contains": (INIT,)}, {"variables": (RAIN,)}])
def test_overwriting_metadata_takes_no_filters(published: Site, chosen: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="--overwrite-metadata alone touches no data, yet an end or a choice"):
        published.backfill(overwrite_metadata=True, **chosen)


def test_both_flags_and_an_end_extend_the_store(published: Site) -> None:
    published.arrive(SECOND)
    both: dict[str, Any] = {"overwrite_chunks": True, "overwrite_metadata": True}
    assert published.backfill(SECOND + SOON, **both).partitions == [INIT]
    assert published.backfill(SECOND + SOON, **both, start=SECOND, end=SECOND + HOUR).partitions == [SECOND]
    ds = published.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    for init in (INIT, SECOND):
        assert_forecast_true(ds, init)
    published.backfill(SECOND + SOON, **both, contains=(), end=SECOND)
    assert init_times(published) == [INIT, SECOND]


def test_a_plan_writes_nothing(pair: Site) -> None:
    plan = plan_backfill(pair.dataset, pair.workspace, BackfillRequest(), SECOND + SOON)
    assert (plan.end, plan.partitions) == (SECOND + SOON + Timedelta("1us"), [INIT, SECOND])
    assert not (pair.folder / "primary").exists()
    assert not pair.tmp.exists()


def test_a_plan_of_an_extension_writes_nothing(published: Site) -> None:
    before = published.objects()
    request = BackfillRequest(overwrite_chunks=True, overwrite_metadata=True, end=THIRD)
    plan = plan_backfill(published.dataset, published.workspace, request, THIRD)
    assert (plan.end, plan.partitions) == (THIRD, [INIT, SECOND])
    assert published.objects() == before


def resume(site: Site, run_id: str, *variables: str, root_run: str = "cli-1", **request: Any) -> RunReport:
    """What `--resume` does at the terminal."""
    asked = BackfillRequest(variables=variables or None, overwrite_chunks=True, **request)
    return backfill(site.dataset, site.workspace, asked, run_id=run_id, root_run=root_run, now=INIT + SOON)


def test_a_run_that_is_resumed_with_other_variables_writes_them(published: Site) -> None:
    """Though an earlier run wrote them before."""
    resume(published, "cli-1", TEMPERATURE)
    chunk = next(path for path in sorted(published.folder.rglob(f"{RAIN}/c/0/*/*/*")) if path.is_file())
    whole = chunk.read_bytes()
    chunk.write_bytes(b"")
    assert resume(published, "cli-2", TEMPERATURE).done_before == [INIT]
    assert resume(published, "cli-3", RAIN).commits[0].results.keys() == {RAIN}
    assert chunk.read_bytes() == whole
    for variables in ((), (RAIN,), (TEMPERATURE,), (RAIN, TEMPERATURE)):
        again = resume(published, "cli-4", *variables)
        assert (again.done_before, again.commits) == ([INIT], [])
    assert resume(published, "cli-5", RAIN, root_run="cli-5").done_before == []


def test_a_run_that_is_resumed_forgets_no_shard_that_the_ledger_does_not_tell_of(published: Site) -> None:
    """It was killed amid an upload; then it kept what stands, since a file had gone."""

    def stop(url: str, stored: str) -> None:
        if f"{RAIN}/c/" in stored:
            raise Stopped

    killed = replace(published, before_put=stop)
    with pytest.raises(Stopped):
        resume(killed, "cli-1", RAIN)
    published.remove(3)
    assert resume(published, "cli-2", RAIN).commits[0].stats.kept == [RAIN]
    assert resume(published, "cli-3", RAIN).done_before == [INIT]
    assert noted_partitions(published.stores.internal) == {partition_key(INIT)}


def test_a_shard_made_from_more_files_is_kept_unless_forced(published: Site) -> None:
    before = published.objects()
    published.remove(3)
    report = published.backfill(overwrite_chunks=True)
    assert report.commits[0].stats.kept == sorted(VARIABLES)
    assert chunks(published) == {key: before[key] for key in chunks(published)}
    entry = published.ledger()
    assert entry is not None
    assert entry.is_complete
    assert ingested(published) == [9 * HOUR]
    published.backfill(overwrite_chunks=True, force=True)
    assert ingested(published) == [2 * HOUR]
    entry = published.ledger()
    assert entry is not None
    assert {name: known.succeeded for name, known in entry.variables.items()} == {
        TEMPERATURE: 9,
        RAIN: 8,
    }
