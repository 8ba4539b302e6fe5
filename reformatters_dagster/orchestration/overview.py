"""The page that an operator opens first: one external asset a code location, `overview/PROVIDER`.

In: the datasets of a provider, their stores, what the instance knows of their sensors. Out: an observation with a table, which a
sensor makes that runs from the start.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.status import NEWEST as MOST
from reformatters_dagster.core.run.status import PartitionStatus, StatusReport
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.wording import spell_count, spell_label
from reformatters_dagster.orchestration.looks import StoreLooks, Ticking, completeness, next_label_due, ticking
from reformatters_dagster.orchestration.names import asset_key, overview_key
from reformatters_dagster.orchestration.resources import Reformatters, utc_now
from reformatters_dagster.orchestration.trouble import SILENT_AFTER

WEEK = Timedelta("7D")
EVERY = 600
"""Seconds between two looks."""
HOUR = Timedelta("1h")
COLUMNS = ("dataset", "how it is")
"""As many as Dagster shows beside each other in the metadata of an asset's page, on a screen of 1280 pixels."""


def overview_spec(provider: str) -> dg.AssetSpec:
    """The asset whose newest observation is the overview."""
    return dg.AssetSpec(
        overview_key(provider),
        group_name="overview",
        description=(
            f"Every dataset of `{provider}` at a glance, in the newest observation: how new and how complete its store is, what "
            "replicas lack, and which sensors do not tick."
        ),
    )


def build_overview_sensor(provider: str, datasets: Sequence[DynamicalDataset]) -> dg.SensorDefinition:
    """A sensor that looks at the stores of a code location and records what it found."""

    @dg.sensor(
        name=f"{provider}__overview", minimum_interval_seconds=EVERY, default_status=dg.DefaultSensorStatus.RUNNING
    )
    def overview(context: dg.SensorEvaluationContext, reformatters: Reformatters) -> dg.SensorResult:
        """Records how new and how complete each store is, on the page of the overview."""
        now = utc_now()
        looks = StoreLooks(datasets, reformatters.settings(), _partitions_of_a_week)
        looks.look(now)
        sensors = list(ticking(context.instance, now.tz_localize("UTC").timestamp()))
        found = overview_metadata(looks, sensors, now)
        return dg.SensorResult(
            skip_reason=dg.SkipReason("the overview was recorded"),
            asset_events=[dg.AssetObservation(overview_key(provider), metadata=found)],
        )

    return overview


def _partitions_of_a_week(dataset: DynamicalDataset) -> int:
    template = dataset.template_config
    return min(math.ceil(WEEK / (template.append_dim.frequency * template.shard_length)) + 1, MOST)


def overview_metadata(looks: StoreLooks, sensors: Sequence[Ticking], now: Timestamp) -> Mapping[str, dg.MetadataValue]:
    """The table, whose bold words need a look, and the figures that Dagster plots over time.

    Parameters
    ----------
    sensors : sequence of Ticking
        All that the instance knows.
    """
    rows = [(_link(dataset), "; ".join(_state(looks, dataset, sensors, now))) for dataset in looks.datasets]
    reports = [(dataset, looks.reports.get(dataset.dataset_id)) for dataset in looks.datasets]
    known = [(dataset, report) for dataset, report in reports if report is not None]
    stale = {name for dataset in looks.datasets for name, _ in _stale(dataset, sensors)}
    return {
        "overview": dg.MetadataValue.md("\n".join(_line(row) for row in (COLUMNS, ("---",) * len(COLUMNS), *rows))),
        "datasets_late": dg.MetadataValue.int(sum(_is_late(dataset, report, now) for dataset, report in known)),
        "datasets_incomplete": dg.MetadataValue.int(sum(bool(_incomplete(report, now)) for _, report in known)),
        "stores_unreadable": dg.MetadataValue.int(len(looks.unreadable)),
        "replicas_lacking": dg.MetadataValue.int(sum(len(report.degraded) for _, report in known)),
        "stale_sensors": dg.MetadataValue.int(len(stale)),
    }


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _link(dataset: DynamicalDataset) -> str:
    return f"[{dataset.dataset_id}](/assets/{'/'.join(asset_key(dataset).path)})"


def _state(looks: StoreLooks, dataset: DynamicalDataset, sensors: Sequence[Ticking], now: Timestamp) -> Iterator[str]:
    report = looks.reports.get(dataset.dataset_id)
    if dataset.dataset_id in looks.unreadable:
        yield "**cannot be read**"
    elif report is None:
        yield "no store yet"
    else:
        newest, due = report.extent[1], next_label_due(dataset)
        old = f"{spell_label(newest)} is {(now - newest) / HOUR:.1f} h old, the next is due at {due / HOUR:g} h"
        yield f"**late**: {old}" if _is_late(dataset, report, now) else old
        yield f"last week {_week(report, now)}"
        if report.degraded:
            yield f"replicas lack **{spell_count(len(report.degraded), 'partition')}**"
    yield _sensors(dataset, sensors)


def _is_late(dataset: DynamicalDataset, report: StatusReport, now: Timestamp) -> bool:
    return bool(now - report.extent[1] > next_label_due(dataset))


def _last_week(report: StatusReport, now: Timestamp) -> list[PartitionStatus]:
    """Partitions that begin in the last week; the newest of all where none does."""
    since = partition_key(now - WEEK)
    return [one for one in report.partitions if one.partition >= since] or list(report.partitions[-1:])


def _incomplete(report: StatusReport, now: Timestamp) -> list[str]:
    wanted = set(report.variables)
    return [one.partition for one in _last_week(report, now) if not one.complete >= wanted]


def _week(report: StatusReport, now: Timestamp) -> str:
    partitions, lacking = _last_week(report, now), _incomplete(report, now)
    share = completeness(report.variables, partitions)
    if not lacking:
        return f"100 % of {spell_count(len(partitions), 'partition')}"
    found = f"{len(lacking)} of {spell_count(len(partitions), 'partition')} incomplete"
    return f"**{min(math.floor(1000 * share) / 10, 99.9):g} %**, {found}"


def _stale(dataset: DynamicalDataset, sensors: Sequence[Ticking]) -> list[tuple[str, str]]:
    """Sensors of a dataset that are on and do not do their work, each with what is wrong."""
    found = []
    for one in sensors:
        if one.name not in _names(dataset) or not one.is_running:
            continue
        if one.failed:
            found.append((one.name, "fails"))
        elif one.age is not None and one.age > SILENT_AFTER.total_seconds():
            found.append((one.name, f"silent for {one.age / 3600:.1f} h"))
    return found


def _names(dataset: DynamicalDataset) -> dict[str, str]:
    return {dataset.job_name(kind): kind for kind in ("upstream", "heal")}


def _sensors(dataset: DynamicalDataset, sensors: Sequence[Ticking]) -> str:
    stale, running = dict(_stale(dataset, sensors)), {one.name for one in sensors if one.is_running}
    told = (
        f"{kind} **{stale[name]}**" if name in stale else f"{kind} {'on' if name in running else 'off'}"
        for name, kind in _names(dataset).items()
    )
    return f"sensors: {', '.join(told)}"
