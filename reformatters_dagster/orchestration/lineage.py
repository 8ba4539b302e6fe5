"""What lies before a dataset's asset and after it: the archives that it reads, and the store that readers see.

In: datasets, arrivals, commits. Out: external assets, the observations of the first kind, the materializations of the second.
"""

import re
from collections.abc import Iterator, Sequence

import dagster as dg
import pandas as pd

from reformatters_dagster.core.run.arrivals import Arrivals
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.outcomes import CommitReport
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.wording import spell_duration
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.names import archive_key, asset_key, published_key

UPSTREAM_GROUP = "upstream"


def archive_inputs(dataset: DynamicalDataset) -> dict[str, dg.AssetKey]:
    """Inputs of a dataset's first op, which hold nothing: the archives that it reads."""
    return {re.sub(r"\W", "_", archive.folder): archive_key(archive.folder) for archive in dataset.archives}


def archive_specs(datasets: Sequence[DynamicalDataset]) -> list[dg.AssetSpec]:
    """One external asset for each archive that any of the datasets reads."""
    archives = {archive.folder: archive for dataset in datasets for archive in dataset.archives}
    return [_archive_spec(archive, datasets) for archive in archives.values()]


def _archive_spec(archive: SourceArchive, datasets: Sequence[DynamicalDataset]) -> dg.AssetSpec:
    readers = [dataset.dataset_id for dataset in datasets if archive.folder in {one.folder for one in dataset.archives}]
    kept = "" if archive.newest is None else f" It keeps the newest {spell_duration(archive.newest)}."
    ended = "" if archive.until is None else f" It ends with {archive.until:%Y-%m-%d}."
    return dg.AssetSpec(
        archive_key(archive.folder),
        group_name=UPSTREAM_GROUP,
        kinds={"grib", archive.url.partition(":")[0]},
        description=(
            f"Source files below `{archive.url}`, read by {', '.join(f'`{one}`' for one in readers)}.{kept}{ended} An "
            "observation is an arrival: what the sensor of a dataset saw of one partition."
        ),
        metadata={"dagster/uri": archive.url},
    )


def published_spec(dataset: DynamicalDataset, settings: Settings) -> dg.AssetSpec:
    """The store as its readers see it. It is fresh while labels are published as often as they are due.

    Any materialization makes an asset fresh in Dagster, and a backfill of history materializes partitions too. This asset is
    materialized by those runs alone that let readers see a label which they did not see before.
    """
    within = dataset.template_config.append_dim.frequency + dataset.soft_deadline
    policy = dg.FreshnessPolicy.time_window(fail_window=within.to_pytimedelta())
    return dg.AssetSpec(
        published_key(dataset),
        deps=[asset_key(dataset)],
        group_name=dataset.provider,
        kinds={"zarr"},
        description=(
            f"What readers of `{dataset.dataset_id}` see. A materialization says that they see a label more; one is due within "
            f"{spell_duration(within)} of the one before. Backfills and heals fill what readers see already, and do not count."
        ),
        metadata={"dagster/uri": settings.store_url(dataset.template_config)},
        freshness_policy=policy,
    )


def arrival(dataset: DynamicalDataset, arrivals: Arrivals) -> Iterator[dg.AssetObservation]:
    """What has arrived of a partition, and when: on the dataset's page, which plots its latency, and on the archive's."""
    latency = (arrivals.newest - arrivals.label) / pd.Timedelta("1h") if arrivals.newest is not None else float("nan")
    seen = {"files_present": arrivals.present, "files_expected": arrivals.expected, "latency_hours": latency}
    partition = partition_key(arrivals.label)
    yield dg.AssetObservation(asset_key=asset_key(dataset), partition=partition, metadata=seen)
    whose = {"dataset": dataset.dataset_id, "partition": partition}
    yield dg.AssetObservation(asset_key=archive_key(arrivals.archive), metadata={**whose, **seen})


def publication(dataset: DynamicalDataset, report: CommitReport) -> dg.AssetMaterialization | None:
    """That readers see new labels; None where a commit lets them see none."""
    if report.new_labels < 1:
        return None
    newest = report.entry.extent[1]
    return dg.AssetMaterialization(
        published_key(dataset),
        metadata={
            "newest": f"{newest:%Y-%m-%dT%H:%M}",
            "new_labels": report.new_labels,
            "labels_in_store": report.labels,
            "seconds_after_label": (report.entry.written_at - newest).total_seconds(),
        },
    )
