"""The command that makes a page for a browser: `report`.

In: a dataset's id, times, variables, perhaps a reference. Out: one HTML file. Stores are read, and nothing of them is written.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reformatters_dagster.cli import reports
from reformatters_dagster.cli.options import (
    Id,
    Now,
    ReplicaUrls,
    StoreUrl,
    UpstreamUrl,
    dataset_of,
    names_of,
    settings_of,
    time_of,
)
from reformatters_dagster.cli.reading import ask_validators, upstream_of
from reformatters_dagster.core.spec.errors import Refused

if TYPE_CHECKING:
    import pandas as pd

    from reformatters_dagster.core.check.opened import OpenedStore
    from reformatters_dagster.core.run.status import StatusReport
    from reformatters_dagster.core.spec.values import Timestamp
    from reformatters_dagster.report.page import Comparison


def report(
    dataset_id: Id,
    start: Annotated[str | None, typer.Option(metavar="T", help="Only labels from here on.")] = None,
    end: Annotated[str | None, typer.Option(metavar="T", help="Only labels before this.")] = None,
    variables: Annotated[str | None, typer.Option(metavar="A,B", help="Only these variables.")] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="URL", help="A Zarr store to compare with, as xr.open_zarr takes it.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the page goes. Default: ID.html in this folder.")
    ] = None,
    now: Now = None,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
) -> None:
    """Make one HTML page: completeness, what is missing and why, checks, maps and series, also beside a reference store.

    Example: reformat report noaa-gfs-forecast --start 2026-07-29 --reference s3://bucket/other.zarr --output gfs.html
    """
    from reformatters_dagster.core.check.opened import OpenedStore
    from reformatters_dagster.core.run.status import status as read_status
    from reformatters_dagster.core.store.settings import parse_time
    from reformatters_dagster.report.newest import maps_of, meteograms_of
    from reformatters_dagster.report.page import Report, render

    since, until = (None if text is None else parse_time(text) for text in (start, end))
    file = output or Path(f"{dataset_id}.html")
    _refuse_unusable(file, since, until)
    settings, time = settings_of(store, replica, upstream), time_of(now)
    dataset = dataset_of(dataset_id).started_by(settings)
    names = [one.name for one in dataset.template_config.select(names_of(variables))]
    stores = settings.stores(dataset.template_config)
    found = read_status(dataset, stores, start=since, end=until)
    dataset = dataset.as_begun(stores.primary)
    opened = OpenedStore.of(stores.primary, dataset.template_config, None)
    labels = _labels(opened, since, until)
    comparison = None if reference is None else _compare(opened, reference, names, labels)
    document = reports.status_document(found, names)
    checks = reports.checks_document(dataset_id, ask_validators(dataset, stores, upstream_of(dataset, settings), time))
    newest = _newest(found, names, labels)
    page = render(
        Report(
            dataset=dataset,
            status=document,
            checks=checks,
            remarks=list(reports.remarks(document)),
            newest=f"{newest:%Y-%m-%dT%H:%M}",
            galleries=[maps_of(opened, names, newest), meteograms_of(opened, names, newest)],
            comparison=comparison,
            made_at=time,
        )
    )
    file.write_text(page, encoding="utf-8")
    results = [one["passed"] for store in checks["stores"] for one in store["checks"]]
    told = f"{len(document['partitions'])} partitions, {len(results)} checks of which {results.count(False)} failed"
    typer.echo(f"{file}: {told}, {len(page) / 1e6:.1f} MB")


def _refuse_unusable(file: Path, start: "Timestamp | None", end: "Timestamp | None") -> None:
    """Refuse before the work what would fail after it."""
    if start is not None and end is not None and start >= end:
        raise Refused(
            f"a report from --start {start:%Y-%m-%dT%H:%M} to before --end {end:%Y-%m-%dT%H:%M} was asked for; --start is not "
            "before --end: correct one of them"
        )
    if find_spec("matplotlib") is None:
        raise Refused(
            "a report was asked for; its pictures need matplotlib, which is not installed: run `uv sync`, or install it"
        )
    if not file.parent.is_dir():
        raise Refused(f"--output {str(file)!r} was asked for; there is no folder {str(file.parent)!r}: make it first")
    if file.is_dir():
        raise Refused(f"--output {str(file)!r} was asked for; that is a folder: name a file in it")


def _labels(opened: "OpenedStore", start: "Timestamp | None", end: "Timestamp | None") -> "pd.DatetimeIndex":
    labels = opened.labels
    first = 0 if start is None else int(labels.searchsorted(start))
    return labels[first : len(labels) if end is None else int(labels.searchsorted(end))]


def _newest(found: "StatusReport", names: list[str], labels: "pd.DatetimeIndex") -> "Timestamp":
    """The newest label that a run has written data of; the newest of all where no run has."""
    from reformatters_dagster.core.spec.values import Timestamp

    after: Timestamp | None = None
    for partition in reversed(found.partitions):
        start = Timestamp(partition.partition)
        known = partition.entry.variables if partition.entry is not None else {}
        if any(known[name].succeeded for name in names if name in known):
            ends = [one.first for one in partition.unwritten if set(names) <= set(one.variables)]
            end = min([*ends, *([after] if after is not None else [])], default=None)
            written = labels[int(labels.searchsorted(start)) : None if end is None else int(labels.searchsorted(end))]
            if len(written):
                return written[-1]
        after = start
    return labels[-1]


def _compare(opened: "OpenedStore", reference: str, names: list[str], labels: "pd.DatetimeIndex") -> "Comparison":
    from reformatters_dagster.report.beside import beside_maps, beside_series
    from reformatters_dagster.report.page import Comparison
    from reformatters_dagster.report.reference import compare, open_reference

    beside = open_reference(reference, opened, names, labels)
    differences = compare(opened, beside)
    worst = [one.name for one in differences]
    return Comparison(
        beside=beside,
        differences=differences,
        maps=beside_maps(opened, beside, worst),
        series=beside_series(opened, beside, worst),
    )
