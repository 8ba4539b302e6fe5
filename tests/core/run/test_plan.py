"""Every request that is refused before anything is written."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import zarr

from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.errors import (
    EmptyHistory,
    PublishGap,
    Refused,
    StoreAccessDenied,
    StoreExists,
    StoreMissing,
    StoreTooShort,
    TemplateDrift,
    TimeNotOnGrid,
    UnknownVariable,
    UpstreamMissing,
)
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.core.store.metadata import put_template
from reformatters_dagster.core.store.settings import Settings
from tests.datasets import (
    EARLIER,
    INIT,
    PRIMARY,
    RAIN,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    Site,
    assert_forecast_true,
    gfs_forecast,
)

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")


UNREACHABLE = "http://127.0.0.1:9"


def test_an_update_of_some_variables_that_would_publish_new_labels_is_refused(published: Site) -> None:
    published.arrive(SECOND)
    before = published.objects()
    wanted = f"partition 2026-07-30T00:00 was asked for without {RAIN}; readers would see its labels"
    with pytest.raises(Refused, match=wanted):
        plan_partition(
            published.dataset,
            published.workspace,
            PartitionRequest(label=SECOND, publish=True, variables=(TEMPERATURE,)),
            SECOND + SOON,
        )
    assert published.objects() == before
    again = plan_partition(
        published.dataset,
        published.workspace,
        PartitionRequest(label=INIT, publish=True, variables=(TEMPERATURE,)),
        INIT + SOON,
    )
    assert again.variables == (TEMPERATURE,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunks": {"init_time": 1, "lead_time": 5, "latitude": 5, "longitude": 9}}, r"temperature_2m: codecs .* in the store"),
        ({"variables": [RAIN]}, "temperature_2m is in the store and not in the template"),
        (
            {"append_dim": AppendAxis(name="init_time", start=EARLIER, frequency="6h")},
            "the archive was to start at 2026-07-29T12:00; the store starts at 2026-07-29T18:00: set REFORMATTERS_START",
        ),
    ],
    ids=["chunks", "variable", "start"],
)  # fmt: skip
@pytest.mark.parametrize("publish", [False, True])
def test_a_store_that_drifted_is_refused(
    published: Site, tmp_path: Path, change: dict[str, Any], message: str, publish: bool
) -> None:
    before = published.objects()
    drifted = replace(published, dataset=gfs_forecast(tmp_path / "drifted", **change))
    with pytest.raises(TemplateDrift, match=message):
        drifted.update() if publish else drifted.backfill(overwrite_chunks=True)
    with pytest.raises(TemplateDrift, match=message):
        drifted.backfill(overwrite_metadata=True)
    assert published.objects() == before


def test_a_store_of_another_version_is_refused(published: Site) -> None:
    root = Path(published.stores.primary.url) / "zarr.json"
    root.write_text(root.read_text().replace('"dataset_version": "0.1.0"', '"dataset_version": "0.0.9"'))
    with pytest.raises(
        TemplateDrift, match=r"'test-gfs-forecast' version '0.1.0' was asked for; found .* version '0.0.9'"
    ):
        published.update()


def test_labels_of_other_dimensions_are_compared(published: Site) -> None:
    zarr.open_array(published.stores.primary.url, path="latitude", mode="r+")[3] = 61.0
    with pytest.raises(
        TemplateDrift, match=r"latitude has label 60.0 at position 3 in the template; the store has 61.0 there"
    ):
        published.update()


def plan(site: Site, label: str, *, publish: bool, **options: Any) -> None:
    plan_partition(
        site.dataset,
        site.workspace,
        PartitionRequest(label=pd.Timestamp(label).as_unit("us"), publish=publish, **options),
        THIRD + SOON,
    )


@pytest.mark.parametrize("publish", [False, True])
@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("2026-07-29T12", "partition 2026-07-29T12:00 of .* was asked for; its archive starts at 2026-07-29T18:00"),
        (
            "2026-07-30T01",
            "partitions start every 6 h from .*: this time lies in partition 2026-07-30T00:00",
        ),
        ("2026-07-30T18", "it is 2026-07-30T11:00 now and nothing of it can exist yet"),
    ],
)
def test_labels_that_are_none_are_refused(pair: Site, label: str, message: str, publish: bool) -> None:
    with pytest.raises(TimeNotOnGrid, match=message):
        plan(pair, label, publish=publish)
    assert pair.objects() == {}


EMPTY_HISTORY = (
    r"test-gfs-forecast was to be created for partition 2026-07-30T00:00 on; its archive starts at 2026-07-29T18:00, and every "
    r"label before that partition, 1 in all, would read as missing data: add `--archive-start 2026-07-30T00:00` to `reformat "
    r"backfill test-gfs-forecast`, or set `REFORMATTERS_START=test-gfs-forecast=2026-07-30T00:00`, for Dagster too, to begin "
    r"there; 2026-07-29T18:00 in its place keeps those labels, to be filled later$"
)


def test_a_new_store_begins_with_no_label_that_nobody_asked_for(pair: Site) -> None:
    nobody_chose = pair.having(start_is_chosen=False)
    with pytest.raises(EmptyHistory, match=EMPTY_HISTORY):
        plan(nobody_chose, "2026-07-30T00", publish=False)
    with pytest.raises(EmptyHistory, match=EMPTY_HISTORY):
        nobody_chose.backfill(SECOND + SOON, start=SECOND)
    assert pair.objects() == {}
    plan(nobody_chose, "2026-07-29T18", publish=False)
    plan(nobody_chose, "2026-07-30T00", publish=False)


def test_a_store_remembers_where_it_starts(pair: Site) -> None:
    template = pair.dataset.template_config
    chosen, primary = pair.having(template_config=template.started_at(SECOND)), pair.stores.primary
    plan(chosen, "2026-07-30T00", publish=False)
    begun = pair.having(start_is_chosen=False).dataset.as_begun(primary)
    assert begun.template_config.append_dim.start == SECOND
    plan(replace(pair, dataset=begun), "2026-07-30T00", publish=False)
    assert pair.dataset.as_begun(primary) == pair.dataset
    later = pair.having(start_is_chosen=False, template_config=template.started_at(THIRD)).dataset
    assert later.as_begun(primary) == later


def test_a_gap_is_refused(published: Site) -> None:
    with pytest.raises(
        PublishGap, match=r"partition 2026-07-30T06:00 .* the store ends before 2026-07-30T00:00, .*leave a hole"
    ):
        plan(published, "2026-07-30T06", publish=True)


def test_a_store_too_short_for_a_backfill_names_the_job_that_extends_it(published: Site) -> None:
    with pytest.raises(
        StoreTooShort, match=r"ends before 2026-07-30T00:00: extend it with job 'test_gfs_forecast__initialise'"
    ):
        plan(published, "2026-07-30T00", publish=False)


def test_metadata_is_extended_by_one_shard_into_the_future_at_most(published: Site) -> None:
    dataset, before = published.dataset, published.objects()
    now = SECOND + HOUR
    told = (
        r"labels before 2027-07-29T18:00 was asked for; it is 2026-07-30T01:00 now, and metadata that readers see is never cut "
        r"short: give an end of at most 2026-07-30T07:00, one shard ahead"
    )
    with pytest.raises(TimeNotOnGrid, match=told):
        dataset.initialise(published.workspace, INIT + Timedelta("365D"), now)
    assert published.objects() == before
    assert dataset.initialise(published.workspace, now + 6 * HOUR, now) == 3


def test_metadata_that_reaches_too_far_is_refreshed_as_far_as_it_reaches(published: Site) -> None:
    put_template(published.dataset.template_config.get_template(INIT + Timedelta("9D")), published.workspace)
    assert published.backfill(SECOND, overwrite_metadata=True).partitions == []
    assert published.read().sizes["init_time"] == 36


def test_a_written_partition_is_kept_where_that_is_asked(published: Site) -> None:
    published.dataset.initialise(published.workspace, THIRD, THIRD)
    with pytest.raises(StoreExists, match="without overwrite_chunks; the ledger says it was written before"):
        plan(published, "2026-07-29T18", publish=False, overwrite_chunks=False)
    plan(published, "2026-07-30T00", publish=False, overwrite_chunks=False)


@pytest.mark.parametrize(
    ("request_", "kind", "message"),
    [
        ({"variables": ("snow",)}, UnknownVariable, r"\['snow'\] were asked for; test-gfs-forecast has precipitation_surface,"),
        ({"contains": (INIT + HOUR,)}, TimeNotOnGrid, r"--contains 2026-07-29T19:00 .* nearest are 2026-07-29T18:00 and"),
        ({"contains": (EARLIER,)}, TimeNotOnGrid, r"--contains 2026-07-29T12:00 .*the archive starts at 2026-07-29T18:00"),
        ({"end": THIRD + 7 * HOUR}, TimeNotOnGrid, r"partition 2026-07-30T12:00 .*it is 2026-07-30T11:00 now and nothing of it"),
        ({"end": INIT}, TimeNotOnGrid, r"labels before 2026-07-29T18:00 was asked for; its archive starts at 2026-07-29T18:00"),
    ],
    ids=["variable", "off the grid", "too early", "future", "no labels"],
)  # fmt: skip
def test_a_bad_request_is_refused_before_anything_is_written(
    pair: Site, request_: dict[str, Any], kind: type[Refused], message: str
) -> None:
    pair.arrive(INIT)
    with pytest.raises(kind, match=message):
        pair.backfill(THIRD + SOON, **request_)
    assert pair.objects() == {}


def test_an_upstream_folder_that_is_not_there_is_refused(pair: Site, tmp_path: Path) -> None:
    nowhere = Settings(store=str(tmp_path / "primary"), upstream=str(tmp_path / "nowhere"), tmp=str(tmp_path / "tmp"))
    with pytest.raises(UpstreamMissing, match=rf"upstream '.*nowhere' is no folder, and was to hold '{PRIMARY}'"):
        pair.dataset.workspace(nowhere)
    (tmp_path / "nowhere" / "gfs").mkdir(parents=True)
    with pytest.raises(UpstreamMissing, match=r"upstream '.*nowhere' holds none of .*; check REFORMATTERS_UPSTREAM"):
        pair.dataset.workspace(nowhere)


@pytest.mark.parametrize("act", [Site.backfill, Site.update])
def test_missing_credentials_are_not_an_absent_store(
    pair: Site, monkeypatch: pytest.MonkeyPatch, act: Callable[[Site], object]
) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", UNREACHABLE)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    pair.arrive(INIT)
    with pytest.raises(
        StoreAccessDenied, match=r"s3://nobodys/stores/.* was denied: .*AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    ):
        act(replace(pair, settings={"store": "s3://nobodys/stores"}))
    assert pair.tmp_files() == []


@pytest.mark.parametrize("how", ["update", "backfill", "initialise"])
def test_a_store_that_was_lost_beside_its_ledger_is_not_begun_anew(published: Site, how: str) -> None:
    """Its partitions would be complete by the ledger, and hold nothing but NaN."""
    attempts: dict[str, Callable[[], object]] = {
        "update": published.update,
        "backfill": published.backfill,
        "initialise": lambda: published.dataset.initialise(published.workspace, None, INIT + SOON),
    }
    shutil.rmtree(published.stores.primary.url)
    before = published.objects()
    lost = r"no store stands there, while the ledger says that 1 partitions of it are written, 2026-07-29T18:00 to .*: copy the"
    with pytest.raises(StoreMissing, match=lost):
        attempts[how]()
    assert published.objects() == before
    shutil.rmtree(published.stores.internal.url)
    published.backfill()
    assert_forecast_true(published.read(), INIT)
