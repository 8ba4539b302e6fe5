"""Commands for those who operate a deployment: `deploy-check`, `prune-runs`, `serve-metrics`.

In: options, the instance of `DAGSTER_HOME`. Out: lines for people, or one JSON document.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from reformatters_dagster.cli.exits import exit_if
from reformatters_dagster.cli.options import (
    AsJson,
    ReplicaUrls,
    StoreUrl,
    UpstreamUrl,
    dataset_of,
    settings_of,
    time_of,
)
from reformatters_dagster.cli.terminal import errors_alone, tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reformatters_dagster.core.run.dataset import DynamicalDataset
    from reformatters_dagster.core.run.readiness import Finding
    from reformatters_dagster.core.spec.retries import Patience
    from reformatters_dagster.core.spec.values import JSON, Timedelta
    from reformatters_dagster.core.store.settings import Settings

LOOKS_AT_ONCE = 8


def deploy_check(
    dataset_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]…", help="Datasets that are to run here. Default: all.")
    ] = None,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether store, upstream, database, clock, disk and rights are as runs need them; exit 1 where one is not.

    One object is put below _internal/ of the store and deleted again. Nothing else is written.

    Example: reformat deploy-check noaa-gfs-forecast --store s3://bucket/base
    """
    from dataset_defs import DATASETS

    settings = settings_of(store, replica, upstream)
    datasets = [dataset_of(one) for one in dataset_ids] if dataset_ids else list(DATASETS)
    with errors_alone():
        findings = list(_findings(settings, datasets))
    has_failed = any(one.status == "failed" for one in findings)
    tell({"ok": not has_failed, "checks": [one.model_dump() for one in findings]}, _print_findings, as_json)
    exit_if(has_failed)


def _findings(settings: "Settings", datasets: "Sequence[DynamicalDataset]") -> "Iterator[Finding]":
    from uuid import uuid4

    from reformatters_dagster.core.run.readiness import look_at_stores
    from reformatters_dagster.orchestration.deploy_check import LOOK_PATIENCE, look_at_instance, look_at_scratch
    from reformatters_dagster.orchestration.resources import dagster_home, environment_pods

    yield from look_at_stores(settings.stores(datasets[0].template_config, LOOK_PATIENCE), uuid4().hex, time_of)
    yield from _upstream_findings(settings, datasets, LOOK_PATIENCE)
    yield look_at_scratch(settings.tmp_folder(), datasets, environment_pods().scratch_class)
    yield from look_at_instance(dagster_home(), datasets)


def _upstream_findings(
    settings: "Settings", datasets: "Sequence[DynamicalDataset]", patience: "Patience"
) -> "Iterator[Finding]":
    from concurrent.futures import ThreadPoolExecutor

    from reformatters_dagster.core.run.readiness import failed, look_at_archive
    from reformatters_dagster.core.source.upstream import Upstream
    from reformatters_dagster.core.spec.errors import ReformatError

    sources = {source.url: source for dataset in datasets for source in dataset.archives}
    try:
        upstream = Upstream(list(sources.values()), mirror=settings.upstream, patience=patience)
    except ReformatError as error:
        yield failed("upstream", str(error))
        return
    now = time_of()
    with ThreadPoolExecutor(LOOKS_AT_ONCE, "upstream") as pool:
        yield from pool.map(look_at_archive, upstream.archives_for(now, now))


def prune_runs(
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="Such as 90D; 14D at least.")],
    batch: Annotated[int, typer.Option("--batch", min=1, help="Runs that are read and deleted at a time.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be deleted, and delete nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete runs of the instance that ended long ago, with their events.

    A run stays that is not ended, or that made what a page shows: the newest materialization, observation or attempt of a
    partition, the last result of a check, the last success of a job. So does one that a younger run or a backfill continues.

    Example: reformat prune-runs --older-than 90D --dry-run
    """
    import dagster as dg

    from reformatters_dagster.core.spec.errors import Refused
    from reformatters_dagster.orchestration.pruning import prune_runs as prune
    from reformatters_dagster.orchestration.pruning import refuse_young
    from reformatters_dagster.orchestration.resources import dagster_home

    age, home = _age_of(older_than), dagster_home()
    refuse_young(age)
    if home is None:
        raise Refused("old runs were to be deleted; DAGSTER_HOME is not set: set it to the folder of dagster.yaml")
    before = time_of() - age
    with errors_alone(), dg.DagsterInstance.from_config(home) as instance:
        pruned = prune(instance, before, batch=batch, dry_run=dry_run, on_batch=_tell_batch)
    document = {
        "before": before.isoformat(timespec="seconds"),
        "dry_run": dry_run,
        "deleted": len(pruned.deleted),
        "runs": pruned.deleted,
        "kept": dict(sorted(pruned.kept.items())),
    }
    tell(document, _print_pruned, as_json)


def serve_metrics(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 9090,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
) -> None:
    """Serve figures of the instance and of every store to Prometheus, at /metrics; /healthz answers while the process lives.

    Example: reformat serve-metrics --port 9090
    """
    from threading import Event

    import dagster as dg

    from dataset_defs import DATASETS
    from reformatters_dagster.core.spec.errors import Refused
    from reformatters_dagster.orchestration.looks import StoreLooks
    from reformatters_dagster.orchestration.metrics import Figures, look_always, open_server
    from reformatters_dagster.orchestration.resources import dagster_home

    settings, home = settings_of(store, replica), dagster_home()
    if home is None:
        raise Refused("metrics were to be served; DAGSTER_HOME is not set: set it to the folder of dagster.yaml")
    looks = StoreLooks([dataset.started_by(settings) for dataset in DATASETS], settings)
    stop = Event()
    with (
        dg.DagsterInstance.from_config(home) as instance,
        open_server(Figures(instance, looks, time_of), port) as server,
    ):
        look_always(looks, time_of, stop)
        typer.echo(f"metrics are at http://localhost:{server.server_port}/metrics", err=True)
        try:
            server.serve_forever()
        finally:
            stop.set()


def _age_of(text: str) -> "Timedelta":
    import pandas as pd

    from reformatters_dagster.core.spec.errors import Refused

    words = f"--older-than {text!r} is no age; write days as 90D"
    if text.strip().isdigit():  # pandas would take nanoseconds
        raise Refused(words)
    try:
        return pd.Timedelta(text)
    except ValueError as error:
        raise Refused(words) from error


def _tell_batch(seen: int, deleted: int) -> None:
    typer.echo(f"looked at {seen:,} runs, {deleted:,} of them go", err=True)


def _print_pruned(document: "JSON") -> None:
    verb = "would be deleted" if document["dry_run"] else "deleted"
    typer.echo(f"{verb}: {document['deleted']:,} runs that ended before {document['before']}")
    for reason, count in document["kept"].items():
        typer.echo(
            f"kept: {count:,} older runs, each of which {reason}" if count > 1 else f"kept: 1 older run: {reason}"
        )


def _print_findings(document: "JSON") -> None:
    """One line for each finding."""
    for one in document["checks"]:
        typer.echo(f"{'FAILED' if one['status'] == 'failed' else one['status']:<8}{one['subject']}: {one['message']}")
