"""What one materialization shows in Dagster: completeness by variable, costs by stage, and a small map of what was written.

In: the report of a commit. Out: metadata values.
"""

import logging
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np

from reformatters_dagster.core.dataset import CommitReport, DynamicalDataset
from reformatters_dagster.core.pictures import as_markdown_image, draw_map
from reformatters_dagster.core.published import open_published
from reformatters_dagster.core.settings import Workspace
from reformatters_dagster.core.source_file import FileResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster import MetadataValue

log = logging.getLogger(__name__)

PICTURED_FIRST = ("temperature_2m", "precipitation_surface")
"""Variables a person recognises at a glance; any other is pictured when these are not there."""


def materialization_metadata(
    dataset: DynamicalDataset, workspace: Workspace, report: CommitReport
) -> "Mapping[str, MetadataValue]":
    """Metadata of one partition's materialization."""
    coverage = report.entry.variables
    ran = {name: coverage[name] for name in report.results}
    expected, succeeded = (sum(getattr(one, what) for one in ran.values()) for what in ("expected", "succeeded"))
    metadata: dict[str, MetadataValue] = {
        "files_expected": dg.MetadataValue.int(expected),
        "files_succeeded": dg.MetadataValue.int(succeeded),
        "files_missing": dg.MetadataValue.int(expected - succeeded),
        "bytes_in": dg.MetadataValue.int(report.stats.bytes_in),
        "bytes_out": dg.MetadataValue.int(report.stats.bytes_out),
        "objects_out": dg.MetadataValue.int(report.stats.objects_out),
        "published": dg.MetadataValue.bool(report.plan.publish),
        "labels_in_store": dg.MetadataValue.int(report.labels),
        "store": dg.MetadataValue.text(workspace.stores.primary.url),
        "completeness": dg.MetadataValue.md(_completeness_table(report)),
    }
    for stage, seconds in sorted(report.stats.seconds.items()):
        metadata[f"seconds_{stage}"] = dg.MetadataValue.float(round(seconds, 3))
    if (picture := _picture(dataset, workspace, report)) is not None:
        metadata["map"] = dg.MetadataValue.md(picture)
    return metadata


def _completeness_table(report: CommitReport) -> str:
    rows = ["| variable | expected | succeeded | missing | first reason |", "|---|---:|---:|---:|---|"]
    for name in sorted(report.results):
        known = report.entry.variables[name]
        reason = known.missing[0].reason.replace("|", "\\|")[:160] if known.missing else ""
        missing = known.expected - known.succeeded
        rows.append(f"| {name} | {known.expected} | {known.succeeded} | {missing} | {reason} |")
    return "\n".join(rows)


def _picture(dataset: DynamicalDataset, workspace: Workspace, report: CommitReport) -> str | None:
    """A map of one variable at the last label that succeeded, read back from the primary store as readers see it."""
    variable = next((name for name in (*PICTURED_FIRST, *report.results) if _last_success(report, name)), None)
    if variable is None:
        return None
    file = _last_success(report, variable)
    assert file is not None
    labels = file.coord.out_loc()
    field = open_published(workspace.stores.primary)[variable].sel(dict(labels))
    if field.ndim != len(dataset.template_config.grid.shape):
        return None
    title = f"{variable}, " + ", ".join(f"{dim} {label}" for dim, label in labels.items())
    latitude, longitude = (field[dim.name].to_numpy() for dim in dataset.template_config.grid.dims)
    values = np.asarray(field.to_numpy(), dtype=np.float32)
    picture = draw_map(values, latitude, longitude, title=title, units=str(field.attrs["units"]))
    return as_markdown_image(picture, title)


def _last_success(report: CommitReport, variable: str) -> FileResult | None:
    return next((file for file in reversed(report.results.get(variable, ())) if file.succeeded), None)
