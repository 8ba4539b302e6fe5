"""A test's view of the stack: its datasets, their upstream, and what readers find in the bucket."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reformatters_dagster.core.ledger.lease import leased_partitions
from reformatters_dagster.core.ledger.progress import UpdateProgressTracker
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.reading import open_published
from tests.datasets import Sample, Site, assert_forecast_true
from tests.stack.datasets import dataset_named
from tests.stack.stack import Stack
from tests.stack.webserver import Webserver
from tests.stores import S3Server


@dataclass(frozen=True)
class Deployment:
    """A running stack and the places it works on."""

    folder: Path
    stack: Stack
    sample: Sample
    s3: S3Server
    store: str
    labels: Sequence[Timestamp]

    @property
    def web(self) -> Webserver:
        return self.stack.web

    def site(self, name: str) -> Site:
        """The dataset of a test, `DECLARED` by name, as it is deployed."""
        dataset = dataset_named(name, self.folder / "templates", self.labels[0])
        return Site(self.folder, dataset, self.sample, settings={"store": self.store})

    def arrive(self, *labels: Timestamp) -> None:
        """Let the files of labels appear upstream."""
        self.site("filled").arrive(*labels)

    def assert_true(self, name: str, *labels: Timestamp) -> None:
        """Readers of the bucket find every value of these labels right."""
        ds = open_published(self.site(name).stores.primary)
        for label in labels:
            assert_forecast_true(ds, label)

    def extent(self, name: str) -> list[Timestamp]:
        """Labels that readers of the bucket see."""
        return list(open_published(self.site(name).stores.primary).indexes["init_time"])

    def leases(self, name: str) -> set[str]:
        """Partitions of the dataset that somebody holds."""
        return leased_partitions(self.site(name).stores.internal)

    def uploaded(self, name: str, label: Timestamp) -> set[str]:
        """Variables of a partition whose upload is noted as finished, and that no commit accounts for yet."""
        site = self.site(name)
        coord = site.dataset.region_job.source_file_coord
        tracker = UpdateProgressTracker(site.stores.internal, partition_key(label), "", coord)
        return {variable for variable, upload in tracker.uploads().items() if upload.finished}


def shards_of(site: Site) -> str:
    """Paths of the shards of a dataset's variables in a bucket, as a regular expression: four dimensions."""
    return f"/{site.dataset.dataset_id}/.*/c(/[0-9]+){{4}}$"
