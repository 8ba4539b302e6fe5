"""Commands that write stores: `backfill`, `update`, `begin-anew`, `demo`.

In: options. Out: what the run wrote, on stdout. A run that ends early tells on stderr how to resume it.
"""

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reformatters_dagster.cli import reports
from reformatters_dagster.cli.exits import exit_if
from reformatters_dagster.cli.options import (
    AsJson,
    Id,
    Now,
    ReplicaUrls,
    Resume,
    StoreUrl,
    UpstreamUrl,
    dataset_of,
    names_of,
    open_dataset,
    settings_of,
    time_of,
)
from reformatters_dagster.cli.progress import showing_progress
from reformatters_dagster.cli.terminal import errors_alone, tell
from reformatters_dagster.core.spec.errors import NothingSucceeded, Refused, StoreUnavailable

if TYPE_CHECKING:
    from reformatters_dagster.core.job.context import OnProgress
    from reformatters_dagster.core.run.backfill import BackfillRequest
    from reformatters_dagster.core.run.dataset import DynamicalDataset
    from reformatters_dagster.core.spec.values import JSON, Timestamp
    from reformatters_dagster.core.store.settings import Workspace

log = logging.getLogger(__name__)

TOKEN_LENGTH = 12
"""Hexadecimal digits that tell runs apart."""


def backfill(
    dataset_id: Id,
    start: Annotated[str | None, typer.Option(metavar="T", help="Shards with a label from here on.")] = None,
    end: Annotated[str | None, typer.Option(metavar="T", help="Shards with a label before this.")] = None,
    contains: Annotated[list[str] | None, typer.Option(metavar="T", help="Shards with this label; repeatable.")] = None,
    variables: Annotated[str | None, typer.Option(metavar="A,B", help="Only these variables.")] = None,
    overwrite_chunks: Annotated[bool, typer.Option("--overwrite-chunks", help="Rewrite data that is there.")] = False,
    overwrite_metadata: Annotated[
        bool, typer.Option("--overwrite-metadata", help="Refresh attributes and coordinates, add new arrays.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace shards even by ones made from fewer files.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    archive_start: Annotated[
        str | None,
        typer.Option(metavar="T", help="Where a new store's archive starts; the store remembers it."),
    ] = None,
    resume: Resume = None,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write whole shards. Without --overwrite-… it creates the store; with both and --end it extends it.

    Example: reformat backfill noaa-gfs-forecast --contains 2026-07-29T18 --variables temperature_2m,wind_u_10m
    """
    from reformatters_dagster.core.run.backfill import BackfillRequest
    from reformatters_dagster.core.run.backfill import backfill as backfill_partitions
    from reformatters_dagster.core.store.settings import parse_time

    settings = settings_of(store, replica, upstream)
    if archive_start is not None:
        settings = settings.starting(dataset_id, parse_time(archive_start))
    dataset, workspace = open_dataset(dataset_id, settings)
    request = BackfillRequest(
        start=parse_time(start) if start is not None else None,
        end=parse_time(end) if end is not None else None,
        contains=tuple(parse_time(time) for time in contains) if contains else None,
        variables=names_of(variables),
        overwrite_chunks=overwrite_chunks,
        overwrite_metadata=overwrite_metadata,
        force=force,
    )
    if dry_run:
        _tell_plan(dataset, workspace, request, resume, as_json)
        return
    with _run(resume) as attempt:
        report = backfill_partitions(
            dataset,
            workspace,
            request,
            run_id=attempt.run_id,
            root_run=attempt.root_run,
            now=time_of(),
            on_progress=attempt.on_progress,
        )
    document = reports.run_document(dataset.dataset_id, workspace.stores.primary.url, attempt.run_id, report)
    tell(document, reports.print_run, as_json)
    exit_if(bool(report.failures))


def update(
    dataset_id: Id,
    now: Now = None,
    resume: Resume = None,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run one operational update: the last published shard again, then every one since.

    Example: reformat update noaa-gfs-forecast --store s3://bucket/base
    """
    from reformatters_dagster.core.store.reading import is_published

    dataset, workspace = open_dataset(dataset_id, settings_of(store, replica, upstream))
    time = time_of(now)
    if resume is not None:
        _refuse_unknown_run(dataset, workspace, _root_run(resume))
    with _run(resume, takes_any=True) as attempt:
        report = dataset.reformat_operational_update(
            workspace, run_id=attempt.run_id, root_run=attempt.root_run, now=time, on_progress=attempt.on_progress
        )
    document = reports.run_document(dataset.dataset_id, workspace.stores.primary.url, attempt.run_id, report)

    def print_update(document: "JSON") -> None:
        reports.print_run(document, _why_nothing(dataset, time), stands=is_published(workspace.stores.primary))

    tell(document, print_update, as_json)
    exit_if(bool(report.failures.keys() - {*report.awaited, *report.unread}))


def begin_anew(
    dataset_id: Id,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Delete a store that holds no data, replicas included, so that a backfill creates it anew.

    Example: reformat begin-anew noaa-gfs-forecast --dry-run
    """
    from reformatters_dagster.core.run.anew import begin_anew as delete_empty
    from reformatters_dagster.core.run.anew import empty_stores

    settings = settings_of(store, replica, upstream)
    dataset = dataset_of(dataset_id).started_by(settings)
    stores = settings.stores(dataset.template_config)
    if dry_run:
        emptied = empty_stores(dataset.template_config, stores)
    else:
        emptied = delete_empty(dataset, stores, f"begin-anew-{uuid.uuid4().hex[:TOKEN_LENGTH]}")
    tell(reports.anew_document(dataset_id, emptied, dry_run=dry_run), reports.print_anew, as_json)


def demo(
    folder: Annotated[Path, typer.Option(help="Where it keeps everything; new, or of an earlier demo.")] = Path(
        "data/demo"
    ),
) -> None:
    """Run the main job offline on a sample upstream, through Dagster, and draw what it made.

    Example: reformat demo --folder data/demo
    """
    from reformatters_dagster.demo.running import run_demo

    with errors_alone():
        status = run_demo(folder, time_of(), typer.echo)
    raise typer.Exit(status)


def _why_nothing(dataset: "DynamicalDataset", time: "Timestamp") -> str:
    """Why an update had no partition to look at."""
    start = dataset.template_config.append_dim.start
    return f"Nothing to do yet: it is {time:%Y-%m-%dT%H:%M}, and the archive starts at {start:%Y-%m-%dT%H:%M}"


def _tell_plan(
    dataset: "DynamicalDataset", workspace: "Workspace", request: "BackfillRequest", resume: str | None, as_json: bool
) -> None:
    from reformatters_dagster.core.run.backfill import plan_backfill

    template = dataset.template_config
    resumes = "" if resume is None else _root_run(resume)
    plan = plan_backfill(dataset, workspace, request, time_of(), resumes=resumes)
    names = [data_var.name for data_var in template.select(request.variables)]
    labels = list(template.append_dim.labels(plan.end))
    document = reports.plan_document(dataset.dataset_id, workspace.stores.primary.url, labels, plan.partitions, names)
    tell(document, reports.print_plan, as_json)


class _Attempt:
    """One attempt at a run: names, progress, and whether a note tells of the run by now, so that it can be resumed."""

    def __init__(self, root_run: str, run_id: str) -> None:
        self.root_run = root_run
        self.run_id = run_id
        self.is_noted = False
        self.show: OnProgress | None = None

    def on_progress(self, stage: str, done: int, total: int) -> None:
        from reformatters_dagster.core.job.upload import UPLOAD

        self.is_noted |= stage.startswith(f"{UPLOAD} ")
        if self.show is not None:
            self.show(stage, done, total)


@contextmanager
def _run(resumed: str | None, *, takes_any: bool = False) -> Iterator[_Attempt]:
    """Give an attempt at a run, showing how far it is. Where it ends early, tell how to go on.

    Parameters
    ----------
    takes_any : bool
        Whether the command resumes a run that has left no trace too.
    """
    from reformatters_dagster.core.run.backfill import CLI_RUN

    token = uuid.uuid4().hex[:TOKEN_LENGTH]
    root_run = f"{CLI_RUN}{token}" if resumed is None else _root_run(resumed)
    run_id = root_run if resumed is None else f"{root_run}.{token}"
    log.info("run=%s", run_id)
    attempt = _Attempt(root_run, run_id)
    try:
        with showing_progress() as attempt.show:
            yield attempt
    except (Refused, NothingSucceeded):
        raise
    except BaseException as error:
        is_outage = isinstance(error, StoreUnavailable)
        if attempt.is_noted or (takes_any and not is_outage):
            typer.echo(
                f"The run ended early; the same command with --resume {root_run} goes on where it ended", err=True
            )
        elif not is_outage:
            typer.echo("The run ended before its first upload; the same command begins it again", err=True)
        raise


def _root_run(resumed: str) -> str:
    """The first attempt of a run, by the name of any of its attempts."""
    root_run = resumed.strip().partition(".")[0]
    if not root_run:
        raise Refused(
            f"--resume {resumed!r} names no run; give the name the run has said on stderr, as cli-0123456789ab"
        )
    return root_run


def _refuse_unknown_run(dataset: "DynamicalDataset", workspace: "Workspace", root_run: str) -> None:
    """Refuse to resume a run that never existed.

    A run of this command line that ended before its first upload left no trace, yet told the user to resume it. So a name of its
    form is accepted.
    """
    from reformatters_dagster.core.run.backfill import CLI_RUN
    from reformatters_dagster.core.run.guards import refuse_unknown_run

    if not re.fullmatch(f"{CLI_RUN}[0-9a-f]{{{TOKEN_LENGTH}}}", root_run):
        refuse_unknown_run(dataset.template_config, workspace.stores.internal, root_run)
