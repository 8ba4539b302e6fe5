"""Commands that read stores: `list`, `validate`, `status`, `store-urls`.

In: options. Out: what stores and ledgers hold, on stdout. Nothing is written.
"""

import logging
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from reformatters_dagster.cli import reports
from reformatters_dagster.cli.exits import exit_if
from reformatters_dagster.cli.options import (
    AsJson,
    Id,
    Now,
    ReplicaUrls,
    StoreUrl,
    UpstreamUrl,
    dataset_of,
    settings_of,
    time_of,
)
from reformatters_dagster.cli.terminal import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reformatters_dagster.core.check.validators import CheckResult, Validator
    from reformatters_dagster.core.run.dataset import DynamicalDataset
    from reformatters_dagster.core.run.status import Overview
    from reformatters_dagster.core.spec.values import Timestamp
    from reformatters_dagster.core.store.location import Store
    from reformatters_dagster.core.store.settings import Settings, Workspace
    from reformatters_dagster.core.store.stores import StoreSet

log = logging.getLogger(__name__)


def list_datasets(
    store: StoreUrl = None, replica: ReplicaUrls = None, upstream: UpstreamUrl = None, as_json: AsJson = False
) -> None:
    """List datasets: extent of the store, partitions, last complete one.

    Example: reformat list --store s3://bucket/base
    """
    from dataset_defs import DATASETS, of_demo
    from reformatters_dagster.core.run.status import overview

    settings = settings_of(store, replica, upstream)

    def look_at(dataset: "DynamicalDataset") -> "Overview":
        return overview(dataset.started_by(settings), settings.stores(dataset.template_config))

    made_by_demo = [one for one in map(look_at, of_demo()) if one.report is not None]
    overviews = [*map(look_at, DATASETS), *made_by_demo]
    tell(reports.overviews_document(overviews), reports.print_overviews, as_json)
    exit_if(any(one.error for one in overviews))


def validate(
    dataset_id: Id,
    now: Now = None,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Ask every validator of the primary and of each replica; exit 1 when one fails.

    Example: reformat validate noaa-gfs-forecast --json
    """
    settings = settings_of(store, replica, upstream)
    validate_stores(dataset_of(dataset_id), settings, time_of(now), as_json=as_json)


def validate_stores(
    dataset: "DynamicalDataset", settings: "Settings", now: "Timestamp", *, as_json: bool = False
) -> None:
    """Tell on stdout what every validator finds; exit 1 when one fails."""
    dataset = dataset.started_by(settings)
    stores = settings.stores(dataset.template_config)
    dataset = dataset.as_begun(stores.primary)
    checks = ask_validators(dataset, stores, upstream_of(dataset, settings), now)
    tell(reports.checks_document(dataset.dataset_id, checks), reports.print_checks, as_json)
    exit_if(not all(result.passed for results in checks.values() for result in results))


def upstream_of(dataset: "DynamicalDataset", settings: "Settings") -> "Workspace | None":
    """Where published values are compared with the upstream; None where that is a folder that is not there."""
    from reformatters_dagster.core.spec.errors import UpstreamMissing

    try:
        return dataset.workspace(settings)
    except UpstreamMissing as error:
        log.warning("published values are not compared with the upstream: %s", error)
        return None


def ask_validators(
    dataset: "DynamicalDataset", stores: "StoreSet", workspace: "Workspace | None", time: "Timestamp"
) -> "dict[str, list[CheckResult]]":
    """What every validator finds, by URL of the store; one that cannot be read fails a check of its own."""
    from reformatters_dagster.core.check.validators import CheckResult
    from reformatters_dagster.core.run.comparison import check_replicas

    checks: dict[str, list[CheckResult]] = {}

    def check(store: "Store", validators: "Sequence[Validator] | None") -> None:
        try:
            checks[store.url] = dataset.validate(store, time, validators, internal=stores.internal, workspace=workspace)
        except Exception as error:
            if not stores.replicas:
                raise
            log.debug("store %s could not be validated", store.url, exc_info=True)
            unread = CheckResult(name="readable", passed=False, message=f"{type(error).__name__}: {error}")
            checks[store.url] = [unread]

    check(stores.primary, None)
    # The ledger tells what primary and replicas are made of, so checks that need it run once.
    of_copies = [one for one in dataset.validators if not (one.needs_ledger or one.needs_upstream)]
    for copy in stores.replicas:
        check(copy, of_copies)
    if stores.replicas:
        checks[stores.primary.url].append(check_replicas(stores, time))
    return checks


def status(
    dataset_id: Id,
    every: Annotated[bool, typer.Option("--all", help="Every partition, not the newest 40 alone.")] = False,
    partition: Annotated[str | None, typer.Option(metavar="T", help="Only the partition that holds this time.")] = None,
    variable: Annotated[list[str] | None, typer.Option(metavar="A", help="Only this variable; repeatable.")] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only the missing files, every range of them with its whole reason.")
    ] = False,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the extent, how complete each variable of the newest partitions is, and which files are missing, and why.

    Example: reformat status noaa-gfs-forecast --partition 2026-07-29T18 --variable temperature_2m --missing
    """
    from reformatters_dagster.core.run.status import NEWEST
    from reformatters_dagster.core.run.status import status as read_status
    from reformatters_dagster.core.store.settings import parse_time

    settings = settings_of(store, replica, upstream)
    dataset = dataset_of(dataset_id).started_by(settings)
    selected = dataset.template_config.select(variable or None)
    contains = None if partition is None else parse_time(partition)
    stores = settings.stores(dataset.template_config)
    report = read_status(dataset, stores, None if every else NEWEST, contains=contains)
    document = reports.status_document(report, [one.name for one in selected])
    if missing and not as_json:
        reports.print_missing(document)
        return
    tell(document, partial(reports.print_status, every=every), as_json)


def store_urls(
    dataset_id: Id,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print what xr.open_zarr takes: the primary, then each replica.

    Example: reformat store-urls noaa-gfs-forecast --json
    """
    stores = settings_of(store, replica, upstream).stores(dataset_of(dataset_id).template_config)
    document = {"primary": stores.primary.url, "replicas": [copy.url for copy in stores.replicas]}
    tell(document, reports.print_urls, as_json)
