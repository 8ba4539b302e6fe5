"""What a report tells of partitions stays of a bounded size."""

from typing import Any

import pandas as pd

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.report.completeness import MOST_RANGES, MOST_REMARKS, texts_of
from reformatters_dagster.report.page import Report, render

pytest_plugins = ["tests.datasets"]

VARIABLES = [f"a_variable_of_a_long_name_{number}" for number in range(27)]
FILES = 209
LARGEST = 5_000_000
"""Bytes of a page that a phone opens."""


def riddled(key: str) -> dict[str, Any]:
    """A partition that lacks every other file, each for a reason of its own, and holds as many outdated values."""
    lost = [f"gfs.20260729/00/atmos/gfs.t00z.pgrb2.0p25.f{lead:03d}" for lead in range(1, FILES, 2)]
    found = {"written": True, "expected": FILES, "succeeded": FILES - len(lost), "missing": len(lost), "outdated": 1}
    return {
        "partition": key,
        "unreadable": None,
        "known_missing": False,
        "variables": {name: {**found, "first_reason": "SourceFileMissing"} for name in VARIABLES},
        "unwritten_labels": [],
        "missing_files": [{"file": file, "variables": VARIABLES} for file in lost],
        "missing_ranges": [
            {"first": file, "last": file, "files": 1, "reason": "x" * 300, "variables": VARIABLES[:26]} for file in lost
        ],
        "outdated_values": [{"labels": file, "reason": "x" * 300, "waits_for": file} for file in lost],
    }


def test_a_page_of_riddled_partitions_says_what_it_leaves_out(forecast_dataset: DynamicalDataset) -> None:
    keys = [f"{label:%Y-%m-%dT%H:%M}" for label in pd.date_range("2026-07-29", periods=40, freq="6h")]
    status = {
        "dataset_id": forecast_dataset.dataset_id,
        "store": "s3://bucket/base",
        "append_dim": "init_time",
        "extent": [keys[0], keys[-1]],
        "partition_count": len(keys),
        "partitions": [riddled(key) for key in keys],
    }
    text = texts_of(status)[0]
    lost = FILES // 2
    assert (len(text.ranges), len(text.remarks)) == (MOST_RANGES, MOST_REMARKS)
    told = f"{lost - MOST_RANGES} more ranges of missing files and {lost - MOST_REMARKS} more remarks"
    assert text.left_out == told
    assert text.headline == f"lacks {27 * lost:,} fields of {lost} files"
    page = render(
        Report(
            dataset=forecast_dataset,
            status=status,
            checks={"stores": []},
            remarks=[],
            newest=keys[-1],
            galleries=[],
            comparison=None,
            made_at=pd.Timestamp("2026-08-09"),
        )
    )
    assert len(page) < LARGEST
    advice = f"reformat status {forecast_dataset.dataset_id} --partition {keys[-1]} --json"
    assert f"Left out here: {told}. <code>{advice}</code> tells all." in page
