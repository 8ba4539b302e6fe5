"""What full backfills take: partitions, pods, hours, requests, bytes and dollars, worked out from the datasets' own templates.

In: datasets, a time up to which archives reach, and `Assumptions`. Out: a `Backfill` for each. Nothing is downloaded. Speeds come
from `benchmarks/README.md`; what nobody measured here is a named assumption, and the tables print it.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, prod
from pathlib import Path

import pandas as pd
from kubernetes.utils import parse_quantity  # type: ignore[import-untyped]

from benchmarks.figures import measured
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.settings import Settings

UNTIL = pd.Timestamp("2026-12-01").as_unit("us")
"""Archives are counted up to here, so that the tables change with code and figures alone."""
OLD_ENOUGH = pd.Timedelta("2D")
"""Of a partition that is counted, every file has arrived."""
PART_BYTES = 8 * 2**20
"""Objects above it go up in parts of it: `core/store/location.py`."""
STEP_PODS_AT_ONCE = 4
"""As `orchestration/build.py` has it."""


@dataclass(frozen=True)
class Assumptions:
    """What was not measured here, or is a price. Each is a field of its own, to be replaced by what a deployment sees."""

    runs_at_once: int = 12
    """Runs of backfills at a time: the chart's limit of `dagster/backfill`."""
    pod_start: float = 30.0
    """Seconds from the launch of a run to the start of its process: schedule, image on the node, volumes."""
    pod_bytes_per_s: float = 60e6
    """What a pod downloads from an archive in its own region."""
    request_latency: float = 0.08
    """Seconds that an archive takes to begin an answer."""
    requests_at_once: int = 16
    """`download_threads` of a job."""
    compression: float = 8.0
    """Values, uncompressed, to stored bytes: see the sizes in `operations.md`."""
    message_bytes: Mapping[str, float] = field(
        default_factory=lambda: {
            "noaa-gfs": 0.72e6,
            "noaa-gefs": 0.40e6,
            "noaa-hrrr": 0.97e6,
            "ecmwf-aifs": 0.84e6,
            "ecmwf-ifs": 0.50e6,
            "dwd-icon": 1.00e6,
            "contrib-mrms": 0.024e6,
        }
    )
    """Mean size of a message that is read, by the model. GFS, HRRR, GEFS and AIFS: means over the variables of one or two public
    index files; ICON-EU and MRMS: one public file; IFS ENS: a guess."""
    ranges_per_message: float = 0.65
    """Requests for ranges, after neighbours are joined: 15 for 25 messages of a GFS file, 17 for 27 of a HRRR file."""
    cpu_hour: float = 0.0405
    """Dollars for a vCPU and hour: AWS Fargate, us-east-1, as known to the authors. Spot costs about a third."""
    memory_hour: float = 0.00445
    """Dollars for a GB of memory and hour, the same."""
    disk_hour: float = 0.000111
    """Dollars for a GB of scratch and hour, the same."""
    puts: float = 5e-6
    """Dollars for a put or list: S3 Standard, us-east-1."""
    gets: float = 0.4e-6
    """Dollars for a get: the same."""
    stored: float = 0.023
    """Dollars for a GB and month: the same, first 50 TB."""

    def message(self, dataset_id: str) -> float:
        return next(size for model, size in self.message_bytes.items() if dataset_id.startswith(model))


ASSUMED = Assumptions()


@dataclass(frozen=True)
class Speeds:
    """What `benchmarks/README.md` says of the machine that it was measured on."""

    cpu_per_value: float
    """CPU seconds from message to shard."""
    parallel: float
    """CPU seconds over wall seconds and workers."""
    run_start: float
    """Wall seconds that a run pays besides its work: interpreter, imports, Dagster, plan and commit."""
    partition_start: float
    """Of these, what a partition pays that comes second in the same process."""

    @classmethod
    def of_readme(cls) -> "Speeds":
        messages, workers = 60 + 59, 2
        cpu, wall = (measured("compare", "this project", f"work, {what} s") for what in ("CPU", "wall"))
        return cls(
            cpu_per_value=cpu / (messages * 721 * 1440),
            parallel=cpu / wall / workers,
            run_start=measured("startup", "a partition of next to no data, in-process", "wall s"),
            partition_start=SECOND_PARTITION,
        )


SECOND_PARTITION = 0.41
"""Wall seconds of a warm partition under Dagster in the same process: 4 steps, measured with a toy dataset."""


@dataclass(frozen=True)
class Partition:
    """One whole partition of a dataset, counted by the hooks of its own region job."""

    dataset: DynamicalDataset
    partitions: int
    """From the start of the template to `UNTIL`."""
    files: int
    """Reads of files: one that two groups of variables need counts twice."""
    messages: int
    values: float
    objects: int
    groups: int
    indexes: int
    """Reads of an index, each after a question for the file's size."""

    @classmethod
    def of(cls, dataset: DynamicalDataset, until: Timestamp = UNTIL) -> "Partition":
        template = dataset.template_config
        axis = template.append_dim
        count = ceil((until - axis.start) / template.shard_duration)
        label = (
            axis.start + ((until - OLD_ENOUGH - axis.start) // template.shard_duration - 1) * template.shard_duration
        )
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / dataset.archives[0].folder).mkdir(parents=True)
            places = Settings(store=f"{folder}/stores", upstream=folder, tmp=f"{folder}/tmp")
            context = dataset.context(dataset.workspace(places), until)
            (job,) = dataset.region_job.get_jobs(
                context, template.get_template(label + template.shard_duration), contains=[label]
            )
        region_ds = job.template_ds.isel({axis.name: job.region})
        groups = job.source_groups(job.data_vars)
        wanted = [job.source_files(region_ds, group) for group in groups]
        files = [len(coords) for coords in wanted]
        has_index = len(job.object_keys(wanted[0][0])) > 1
        shared = getattr(job, "shares_indexes", False)
        indexes = [len({coord.key() for coord in coords} if shared else coords) for coords in wanted]
        shape = [template.shard_length, *(len(dim.index()) for dim in template.all_dims)]
        tiles = prod(ceil(size / shard) for size, shard in zip(shape, template.shards.values(), strict=True))
        return cls(
            dataset=dataset,
            partitions=count,
            files=sum(files),
            messages=sum(count * len(group) for count, group in zip(files, groups, strict=True)),
            values=prod(shape) * len(template.data_vars),
            objects=tiles * len(template.data_vars),
            groups=len(groups),
            indexes=sum(indexes) if has_index else 0,
        )


@dataclass(frozen=True)
class Backfill:
    """All partitions of a dataset, made once."""

    one: Partition
    speeds: Speeds
    assumed: Assumptions = ASSUMED
    partitions_per_run: int = 1

    @property
    def variables(self) -> int:
        return len(self.one.dataset.template_config.data_vars)

    @property
    def by_group(self) -> bool:
        return self.one.dataset.pods == "group"

    @property
    def bytes_in(self) -> float:
        """Of a partition."""
        return self.one.messages * self.assumed.message(self.one.dataset.dataset_id)

    @property
    def bytes_out(self) -> float:
        """Of a partition."""
        return 4 * self.one.values / self.assumed.compression

    @property
    def requests_upstream(self) -> float:
        """Of a partition: size and index of each file, and ranges of it; or whole files, where there is no index."""
        if not self.one.indexes:
            return self.one.files
        joined = self.assumed.ranges_per_message * self.one.messages
        return 2 * self.one.indexes + max(joined, self.one.files)

    @property
    def puts(self) -> float:
        """Of a partition: each object, in parts where it is large; a note before and after each variable; nine others."""
        size = self.bytes_out / self.one.objects
        parts = 1 if size <= PART_BYTES else ceil(size / PART_BYTES) + 2
        return self.one.objects * parts + 2 * self.variables + 9 + self.work / 15

    @property
    def gets(self) -> float:
        """Of a partition, as counted with 2 and with 25 variables."""
        return 41 + 6.6 * self.variables

    @property
    def cpu(self) -> float:
        """CPU seconds of a partition's work."""
        return self.one.values * self.speeds.cpu_per_value

    @property
    def work(self) -> float:
        """Seconds of a partition's work, where one pod did all of it: what takes longest, since the stages overlap."""
        cores = float(parse_quantity(self.one.dataset.resources.cpu))
        return max(
            self.cpu / (cores * self.speeds.parallel),
            self.bytes_in / self.assumed.pod_bytes_per_s,
            self.requests_upstream * self.assumed.request_latency / self.assumed.requests_at_once,
        )

    @property
    def start(self) -> float:
        """Seconds before the work of a run begins."""
        return self.assumed.pod_start + self.speeds.run_start

    @property
    def run(self) -> float:
        """Seconds of a run."""
        if self.by_group:
            return 2 * self.start + ceil(self.one.groups / STEP_PODS_AT_ONCE) * (
                self.start + self.work / self.one.groups
            )
        return (
            self.start
            + self.partitions_per_run * self.work
            + (self.partitions_per_run - 1) * self.speeds.partition_start
        )

    @property
    def start_share(self) -> float:
        """Share of a run's pod seconds that is no work."""
        return 1 - self.partitions_per_run * self.work / self.pod_seconds_of_run

    @property
    def pod_seconds_of_run(self) -> float:
        """Of pods as large as the dataset asks for. The small pod that waits for step pods is left out."""
        return self.one.groups * self.start + self.work if self.by_group else self.run

    @property
    def runs(self) -> int:
        return ceil(self.one.partitions / self.partitions_per_run)

    @property
    def pods_at_once(self) -> int:
        return self.assumed.runs_at_once * (min(STEP_PODS_AT_ONCE, self.one.groups) if self.by_group else 1)

    @property
    def wall_hours(self) -> float:
        return ceil(self.runs / self.assumed.runs_at_once) * self.run / 3600

    @property
    def pod_hours(self) -> float:
        if self.by_group:
            return self.runs * self.pod_seconds_of_run / 3600
        later = (self.one.partitions - self.runs) * self.speeds.partition_start
        return (self.runs * self.start + later + self.one.partitions * self.work) / 3600

    @property
    def compute_dollars(self) -> float:
        needs = self.one.dataset.resources
        hour = (
            float(parse_quantity(needs.cpu)) * self.assumed.cpu_hour
            + gigabytes(needs.memory) * self.assumed.memory_hour
            + gigabytes(needs.ephemeral_storage) * self.assumed.disk_hour
        )
        return self.pod_hours * hour

    @property
    def request_dollars(self) -> float:
        return self.one.partitions * (self.puts * self.assumed.puts + self.gets * self.assumed.gets)

    @property
    def month_dollars(self) -> float:
        """Of keeping all of it for a month."""
        return self.one.partitions * self.bytes_out / 1e9 * self.assumed.stored


def gigabytes(quantity: str) -> float:
    """A quantity of Kubernetes, in 10⁹ bytes."""
    return float(parse_quantity(quantity)) / 1e9


def backfills(datasets: Mapping[str, Partition], speeds: Speeds, assumed: Assumptions = ASSUMED) -> dict[str, Backfill]:
    """Every dataset, a partition a run."""
    return {name: Backfill(one, speeds, assumed) for name, one in datasets.items()}


def count_all(until: Timestamp = UNTIL) -> dict[str, Partition]:
    """One partition of every dataset."""
    from dataset_defs import DATASETS

    return {dataset.dataset_id: Partition.of(dataset, until) for dataset in DATASETS}
