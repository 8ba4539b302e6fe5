"""The command that makes a page for a browser: `report`.

In: a dataset's id, times, variables, perhaps a reference. Out: one HTML file. Stores are read, and nothing of them is written.
"""

from dataclasses import dataclass
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
    from reformatters_dagster.core.run.dataset import DynamicalDataset
    from reformatters_dagster.core.run.status import StatusReport
    from reformatters_dagster.core.spec.values import Timestamp
    from reformatters_dagster.core.store.settings import Settings
    from reformatters_dagster.report.page import Comparison, Report


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
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw maps and series, which needs matplotlib.")
    ] = True,
    now: Now = None,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
) -> None:
    """Make one HTML page: completeness, what is missing and why, checks, maps and series, also beside a reference store.

    Example: reformat report noaa-gfs-forecast --start 2026-07-29 --reference s3://bucket/other.zarr --output gfs.html
    """
    from reformatters_dagster.core.store.settings import parse_time
    from reformatters_dagster.report.page import render

    since, until = (None if text is None else parse_time(text) for text in (start, end))
    file = output or Path(f"{dataset_id}.html")
    _refuse_unusable(file, since, until, pictures)
    settings, time = settings_of(store, replica, upstream), time_of(now)
    wanted = Wanted(since, until, names_of(variables), reference, pictures)
    made = make_report(dataset_of(dataset_id), settings, time, wanted)
    page = render(made)
    file.write_text(page, encoding="utf-8")
    results = [one["passed"] for store in made.checks["stores"] for one in store["checks"]]
    told = f"{len(made.status['partitions'])} partitions, {len(results)} checks of which {results.count(False)} failed"
    typer.echo(f"{file}: {told}, {len(page) / 1e6:.1f} MB")


@dataclass(frozen=True)
class Wanted:
    """What a report is about: labels from `start` to before `end`, some variables (default: all), and whether it has pictures."""

    start: "Timestamp | None" = None
    end: "Timestamp | None" = None
    variables: tuple[str, ...] | None = None
    reference: str | None = None
    pictures: bool = True


def make_report(dataset: "DynamicalDataset", settings: "Settings", now: "Timestamp", wanted: Wanted) -> "Report":
    """Look at the stores of a dataset, and ask its checks: what `render` takes.

    Raises
    ------
    StoreMissing, NoPartition, UnknownVariable, ReferenceUnusable
        When there is nothing to report on.
    """
    from reformatters_dagster.core.check.opened import OpenedStore
    from reformatters_dagster.core.run.status import status as read_status
    from reformatters_dagster.report.newest import maps_of, meteograms_of
    from reformatters_dagster.report.page import Report

    dataset = dataset.started_by(settings)
    names = [one.name for one in dataset.template_config.select(wanted.variables)]
    stores = settings.stores(dataset.template_config)
    found = read_status(dataset, stores, start=wanted.start, end=wanted.end)
    dataset = dataset.as_begun(stores.primary)
    opened = OpenedStore.of(stores.primary, dataset.template_config, None)
    labels = _labels(opened, wanted.start, wanted.end)
    comparison = None
    if wanted.reference is not None:
        comparison = _compare(opened, wanted.reference, names, labels, wanted.pictures)
    document = reports.status_document(found, names)
    checks = ask_validators(dataset, stores, upstream_of(dataset, settings), now)
    newest = _newest(found, names, labels)
    drawn = [maps_of(opened, names, newest), meteograms_of(opened, names, newest)] if wanted.pictures else []
    return Report(
        dataset=dataset,
        status=document,
        checks=reports.checks_document(dataset.dataset_id, checks),
        remarks=list(reports.remarks(document)),
        newest=f"{newest:%Y-%m-%dT%H:%M}",
        galleries=drawn,
        comparison=comparison,
        made_at=now,
    )


def _refuse_unusable(file: Path, start: "Timestamp | None", end: "Timestamp | None", pictures: bool) -> None:
    """Refuse before the work what would fail after it."""
    from reformatters_dagster.pictures import can_draw

    if start is not None and end is not None and start >= end:
        raise Refused(
            f"a report from --start {start:%Y-%m-%dT%H:%M} to before --end {end:%Y-%m-%dT%H:%M} was asked for; --start is not "
            "before --end: correct one of them"
        )
    if pictures and not can_draw():
        raise Refused(
            "a report was asked for; its pictures need matplotlib, which is not installed: run `uv sync`, or install it, or "
            "leave the pictures out with --no-pictures"
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


def _compare(
    opened: "OpenedStore", reference: str, names: list[str], labels: "pd.DatetimeIndex", pictures: bool
) -> "Comparison":
    from reformatters_dagster.report.beside import beside_maps, beside_series
    from reformatters_dagster.report.page import Comparison
    from reformatters_dagster.report.reference import compare, open_reference

    beside = open_reference(reference, opened, names, labels)
    differences = compare(opened, beside)
    worst = [one.name for one in differences]
    drawn = [*beside_maps(opened, beside, worst), beside_series(opened, beside, worst)] if pictures else []
    return Comparison(beside=beside, differences=differences, galleries=drawn)
