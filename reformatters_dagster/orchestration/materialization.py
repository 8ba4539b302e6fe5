"""What Dagster shows of a materialization: completeness by variable, cost by stage, and a small map of what was written.

In: the report of a commit. Out: metadata values.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np

from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.outcomes import CommitReport
from reformatters_dagster.core.run.replicas import degraded
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.source.files import FileResult
from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.wording import spell_label, spell_variables
from reformatters_dagster.core.store.reading import load_published, open_published
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.pictures import (
    NOT_DRAWN,
    MapPanel,
    as_markdown_image,
    can_draw,
    draw_completeness,
    draw_panel,
    labels_in_words,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster import MetadataValue

log = logging.getLogger(__name__)

LONGEST_REASON = 400
WHY_KEPT = (
    "what is published stays, since files that it is made from have failed now, or its shards cannot be continued; a run "
    "with `force: true` replaces it"
)
NEWEST_PICTURED = 24
"""How many partitions the picture of completeness shows. Each costs one read of the ledger."""
PICTURED_FIRST = ("temperature_2m", "precipitation_surface")
"""Variables that people recognise at a glance. Another one is drawn only where neither was written."""


def materialization_metadata(
    dataset: DynamicalDataset, workspace: Workspace, report: CommitReport
) -> "Mapping[str, MetadataValue]":
    """Metadata of one partition's materialization."""
    coverage = report.entry.variables
    ran = {name: coverage[name] for name in report.results}
    expected, succeeded = (sum(getattr(one, what) for one in ran.values()) for what in ("expected", "succeeded"))
    metadata: dict[str, MetadataValue] = {
        "fields_expected": dg.MetadataValue.int(expected),
        "fields_succeeded": dg.MetadataValue.int(succeeded),
        "fields_missing": dg.MetadataValue.int(expected - succeeded),
        "values_outdated": dg.MetadataValue.int(sum(len(one.outdated) for one in ran.values())),
    }
    if (picture := _if_possible(lambda: _picture(dataset, workspace, report), report)) is not None:
        metadata["map"] = dg.MetadataValue.md(picture)
    heat_map = _if_possible(lambda: _heat_map(dataset, workspace), report)
    shown = filter(None, (heat_map, _completeness_table(report), _first_reasons(report)))
    metadata["completeness"] = dg.MetadataValue.md("\n\n".join(shown))
    if (rates := _rates_table(report.stats)) is not None:
        metadata["negative_rates"] = dg.MetadataValue.md(rates)
    if report.stats.kept:
        names = spell_variables(sorted(set(report.stats.kept)), len(report.results))
        metadata["variables_kept"] = dg.MetadataValue.text(f"{names}: {WHY_KEPT}")
    metadata |= {
        "store": dg.MetadataValue.text(workspace.stores.primary.url),
        "published": dg.MetadataValue.bool(bool(report.plan.label <= report.entry.extent[1])),
        "new_labels": dg.MetadataValue.int(report.new_labels),
        "labels_in_store": dg.MetadataValue.int(report.labels),
        "extent": dg.MetadataValue.text(" to ".join(map(spell_label, report.entry.extent))),
        "archives": dg.MetadataValue.text(_archives(report)),
        "template_hash": dg.MetadataValue.text(report.entry.template_hash),
        "code_version": dg.MetadataValue.text(report.entry.code_version),
        "bytes_in": dg.MetadataValue.int(report.stats.bytes_in),
        "bytes_out": dg.MetadataValue.int(report.stats.bytes_out),
        "objects_out": dg.MetadataValue.int(report.stats.objects_out),
    }
    if (
        workspace.stores.replicas
        and (lacking := _if_possible(lambda: len(degraded(workspace.stores)), report)) is not None
    ):
        metadata["replicas_lacking_partitions"] = dg.MetadataValue.int(lacking)
    for stage, seconds in sorted(report.stats.seconds.items()):
        metadata[f"seconds_{stage}"] = dg.MetadataValue.float(round(seconds, 3))
    return metadata


def _completeness_table(report: CommitReport) -> str:
    rows = [
        "| variable | fields expected | succeeded | missing | outdated |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in sorted(report.results):
        known = report.entry.variables[name]
        missing = known.expected - known.succeeded
        counts = (known.expected, known.succeeded, missing, len(known.outdated))
        rows.append(f"| {name} | {' | '.join(map(str, counts))} |")
    return "\n".join(rows)


def _first_reasons(report: CommitReport) -> str:
    """Why fields are missing or outdated, a line for each reason: a table's cell would cut off the file's name."""
    variables: dict[str, list[str]] = {}
    for name in sorted(report.results):
        if reason := report.entry.variables[name].first_reason:
            variables.setdefault(_shortened(reason), []).append(name)
    return "\n".join(
        f"- {spell_variables(names, len(report.results))}: {reason}" for reason, names in variables.items()
    )


def _rates_table(stats: JobStats) -> str | None:
    """Shares of negative rates by variable, and rates that cannot be right; None where nothing was deaccumulated."""
    names = sorted({*stats.clamped, *stats.implausible})
    rows = ["| variable | set to 0 | set to NaN | implausible |", "|---|---:|---:|---|"]
    for name in names:
        shares = (f"{known[name]:.3g}" if name in known else "" for known in (stats.clamped, stats.invalid))
        rows.append(f"| {name} | {' | '.join(shares)} | {_shortened(stats.implausible.get(name, ''))} |")
    return "\n".join(rows) if names else None


def _archives(report: CommitReport) -> str:
    """How many fields each archive gave. Fields that a published shard already held are not counted."""
    counts = Counter(file.archive for files in report.results.values() for file in files if file.was_read)
    return ", ".join(f"{archive}: {count} fields" for archive, count in counts.most_common())


def _shortened(reason: str) -> str:
    one_line = " ".join(reason.split())
    return one_line if len(one_line) <= LONGEST_REASON else f"{one_line[:LONGEST_REASON]}…"


def _if_possible[Shown](show: Callable[[], Shown], report: CommitReport) -> Shown | None:
    """What is to be shown, or None where that fails. The partition is committed by now, so it must not fail the run."""
    try:
        return show()
    except Exception:
        log.warning("partition=%s could not be shown as a whole", report.plan.label, exc_info=True)
        return None


def _picture(dataset: DynamicalDataset, workspace: Workspace, report: CommitReport) -> str | None:
    """A map of one variable at the last label that succeeded, read from the primary store as its readers do.

    In words why there is none, where nothing can be drawn.
    """
    if not can_draw():
        return NOT_DRAWN
    variable = next((name for name in (*PICTURED_FIRST, *report.results) if _last_success(report, name)), None)
    if variable is None:
        return None
    file = _last_success(report, variable)
    assert file is not None
    labels = file.coord.out_loc()
    field = open_published(workspace.stores.primary)[variable].sel(dict(labels))
    grid = dataset.template_config.grid
    if field.ndim != len(grid.shape):
        return None
    vertical, horizontal = (dim.name for dim in grid.dims)
    title = f"{variable}, {labels_in_words(labels)}"
    panel = MapPanel(
        np.asarray(load_published(field).to_numpy(), dtype=np.float32),
        field[vertical].to_numpy(),
        field[horizontal].to_numpy(),
        title,
        str(field.attrs["units"]),
        variable=variable,
        grid=grid if isinstance(grid, LambertGrid) else None,
    )
    return as_markdown_image(draw_panel(panel), title)


def _heat_map(dataset: DynamicalDataset, workspace: Workspace) -> str | None:
    """A picture of how complete each variable of the newest partitions is, by the ledger; None where nothing can be drawn."""
    if not can_draw():
        return None
    report = status(dataset, workspace.stores, NEWEST_PICTURED)
    names = sorted(report.variables)
    fractions = np.full((len(report.partitions), len(names)), np.nan)
    for row, partition in enumerate(report.partitions):
        known = partition.entry.variables if partition.entry else {}
        for column, name in enumerate(names):
            if name in known:
                right = known[name].succeeded - len(known[name].outdated)
                fractions[row, column] = right / max(known[name].expected, 1)
    keys = [partition.partition for partition in report.partitions]
    return as_markdown_image(draw_completeness(fractions, keys, names), "completeness of the newest partitions")


def _last_success(report: CommitReport, variable: str) -> FileResult | None:
    return next((file for file in reversed(report.results.get(variable, ())) if file.succeeded), None)
