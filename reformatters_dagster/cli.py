"""`reformat`: the work of the Dagster jobs in this process, without an instance.

In: arguments, the `REFORMATTERS_*` variables, the wall clock. Out: tables or one JSON document on stdout; logs, progress and
errors on stderr; exit status 0 done, 1 failed, 2 refused, 130 interrupted, 143 terminated.

Whatever is heavy is imported where a command needs it, so that `--help` answers at once.
"""

import importlib.metadata
import logging
import os
import re
import signal
import sys
import tempfile
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from reformatters_dagster import cli_output as output
from reformatters_dagster.core.spec.errors import NothingSucceeded, ReformatError, Refused, UnknownDataset

if TYPE_CHECKING:
    from reformatters_dagster.core.run.backfill import BackfillRequest
    from reformatters_dagster.core.run.dataset import DynamicalDataset
    from reformatters_dagster.core.spec.values import JSON, Timestamp
    from reformatters_dagster.core.store.settings import Settings, Workspace

log = logging.getLogger(__name__)

FAILED, REFUSED, TERMINATED = 1, 2, 128 + signal.SIGTERM
TOKEN_LENGTH = 12
"""Of what tells runs apart, in hexadecimal digits."""


class _Commands(TyperGroup):
    """Tells on stderr what went wrong, and exits as the module says."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except SystemExit as end:
            if end.code == TERMINATED:
                _leave_at_once()
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ReformatError, OSError) as error:
            if ctx.params["debug"]:
                typer.echo(traceback.format_exc(), err=True)
            typer.echo(f"{type(error).__name__}: {error}", err=True)
            raise typer.Exit(REFUSED if isinstance(error, Refused) else FAILED) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

Id = Annotated[str, typer.Argument(metavar="ID", help="A dataset, as `reformat list` names it.")]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Base URL or folder of the stores. Default: REFORMATTERS_STORE."),
]
ReplicaUrls = Annotated[
    list[str] | None,
    typer.Option("--replica", metavar="URL", help="Base URL of a replica; repeatable. Default: REFORMATTERS_REPLICAS."),
]
UpstreamUrl = Annotated[
    str | None,
    typer.Option("--upstream", metavar="URL", help="URL or folder of a mirror. Default: REFORMATTERS_UPSTREAM."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Resume = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN", help="Go on with a run that ended early; it has said its name on stderr."),
]
Now = Annotated[str | None, typer.Option("--now", metavar="T", help="Work as if it were this time, UTC.")]


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reformat {importlib.metadata.version('reformatters-dagster')}")
        raise typer.Exit


@app.callback()
def reformat(
    ctx: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show INFO log lines also where stderr is a terminal.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print a traceback with an error.")] = False,  # noqa: ARG001
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn the GRIB2 files of weather models into Zarr stores. Times are UTC: 2026-07-29T18 or 2026-07-29T18:00."""
    ctx.with_resource(_termination_cleans_up())
    ctx.with_resource(output.logging_to_stderr(verbose))


@app.command("list")
def list_datasets(
    store: StoreUrl = None, replica: ReplicaUrls = None, upstream: UpstreamUrl = None, as_json: AsJson = False
) -> None:
    """List datasets: extent of the store, partitions, last complete one."""
    from dataset_defs import DATASETS
    from reformatters_dagster.core.run.status import survey

    settings = _settings(store, replica, upstream)
    datasets = [dataset.started_by(settings) for dataset in DATASETS]
    overviews = [survey(dataset, settings.stores(dataset.template_config)) for dataset in datasets]
    output.tell(output.overviews_document(overviews), output.print_overviews, as_json)
    _exit_if(any(overview.error for overview in overviews))


@app.command()
def update_template(
    dataset_id: Annotated[str | None, typer.Argument(metavar="ID", help="A dataset; or give --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dataset.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a template differs.")] = False,
) -> None:
    """Write templates/ID/latest.zarr from the code."""
    from dataset_defs import DATASETS
    from reformatters_dagster.core.spec.template import differing_files

    if every == (dataset_id is not None):
        raise Refused("a template was to be written; give either the ID of a dataset or --all")
    differs = False
    for dataset in DATASETS if dataset_id is None else [_dataset(dataset_id)]:
        template = dataset.template_config
        if not check:
            template.update_template()
            typer.echo(f"{dataset.dataset_id}: wrote {template.path}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            template.write_template(Path(folder) / "latest.zarr")
            differing = differing_files(Path(folder) / "latest.zarr", template.path)
        differs |= bool(differing)
        advice = (
            f"differs in {', '.join(differing)}: run `reformat update-template {dataset.dataset_id}`, review the diff"
        )
        typer.echo(f"{dataset.dataset_id}: {advice if differing else 'in sync'}")
    _exit_if(differs)


@app.command()
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
    resume: Resume = None,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write whole shards. Without --overwrite-… it creates the store; with both and --end it extends it."""
    from reformatters_dagster.core.run.backfill import BackfillRequest
    from reformatters_dagster.core.run.backfill import backfill as backfill_partitions
    from reformatters_dagster.core.store.settings import parse_time

    dataset, workspace = _open(dataset_id, _settings(store, replica, upstream))
    request = BackfillRequest(
        start=parse_time(start) if start is not None else None,
        end=parse_time(end) if end is not None else None,
        contains=tuple(parse_time(time) for time in contains) if contains else None,
        variables=_names(variables),
        overwrite_chunks=overwrite_chunks,
        overwrite_metadata=overwrite_metadata,
        force=force,
    )
    if dry_run:
        _tell_plan(dataset, workspace, request, resume, as_json)
        return
    with _run(resume) as (root_run, run_id), output.progress_bars() as on_progress:
        report = backfill_partitions(
            dataset, workspace, request, run_id=run_id, root_run=root_run, now=_now(), on_progress=on_progress
        )
    document = output.run_document(dataset.dataset_id, workspace.stores.primary.url, run_id, report)
    output.tell(document, output.print_run, as_json)
    _exit_if(bool(report.failures))


@app.command()
def update(
    dataset_id: Id,
    now: Now = None,
    resume: Resume = None,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run one operational update: the last published shard again, then every one since."""
    dataset, workspace = _open(dataset_id, _settings(store, replica, upstream))
    time = _now(now)
    if resume is not None:
        _refuse_unknown_run(dataset, workspace, _root_run(resume))
    with _run(resume) as (root_run, run_id), output.progress_bars() as on_progress:
        report = dataset.reformat_operational_update(
            workspace, run_id=run_id, root_run=root_run, now=time, on_progress=on_progress
        )
    document = output.run_document(dataset.dataset_id, workspace.stores.primary.url, run_id, report, "not there yet")

    def print_update(document: "JSON") -> None:
        output.print_run(document, _why_nothing(dataset, time), stands=workspace.stores.primary.exists("zarr.json"))

    output.tell(document, print_update, as_json)


@app.command()
def validate(
    dataset_id: Id,
    now: Now = None,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Ask every validator of the primary and of each replica; exit 1 when one fails."""
    from reformatters_dagster.core.check.validators import CheckResult
    from reformatters_dagster.core.run.replicas import check_replicas

    settings = _settings(store, replica, upstream)
    dataset, time = _dataset(dataset_id).started_by(settings), _now(now)
    stores = settings.stores(dataset.template_config)
    checks: dict[str, list[CheckResult]] = {
        stores.primary.url: dataset.validate(stores.primary, time, internal=stores.internal)
    }
    # The ledger tells what both are made of; what it says of recent partitions is said once.
    of_copies = [validator for validator in dataset.validators if not validator.needs_ledger]
    for copy in stores.replicas:
        try:
            checks[copy.url] = dataset.validate(copy, time, of_copies, internal=stores.internal)
        except Exception as error:
            log.debug("replica %s could not be validated", copy.url, exc_info=True)
            unread = CheckResult(name="readable", passed=False, message=f"{type(error).__name__}: {error}")
            checks[copy.url] = [unread]
    if stores.replicas:
        checks[stores.primary.url].append(check_replicas(stores, time))
    output.tell(output.checks_document(dataset.dataset_id, checks), output.print_checks, as_json)
    _exit_if(not all(result.passed for results in checks.values() for result in results))


@app.command()
def status(
    dataset_id: Id,
    every: Annotated[bool, typer.Option("--all", help="Every partition, not the newest 40 alone.")] = False,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the extent and, for each partition and variable, files expected, succeeded and missing."""
    from reformatters_dagster.core.run.status import NEWEST
    from reformatters_dagster.core.run.status import status as read_status

    settings = _settings(store, replica, upstream)
    dataset = _dataset(dataset_id).started_by(settings)
    report = read_status(dataset, settings.stores(dataset.template_config), None if every else NEWEST)
    output.tell(output.status_document(report), output.print_status, as_json)


@app.command()
def store_urls(
    dataset_id: Id,
    store: StoreUrl = None,
    replica: ReplicaUrls = None,
    upstream: UpstreamUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print what xr.open_zarr takes: the primary, then each replica."""
    stores = _settings(store, replica, upstream).stores(_dataset(dataset_id).template_config)
    document = {"primary": stores.primary.url, "replicas": [copy.url for copy in stores.replicas]}
    output.tell(document, output.print_urls, as_json)


@app.command()
def new_dataset(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Who publishes it: noaa, ecmwf, dwd, contrib, …")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model or product: gfs, icon-eu.")],
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="What of it: forecast, analysis, forecast-5-day.")],
) -> None:
    """Make dataset PROVIDER-MODEL-VARIANT from the example: definition, template, tests. Nothing is overwritten."""
    from reformatters_dagster.scaffold import DatasetName, scaffold_dataset

    name = DatasetName(provider, model, variant)
    for path in scaffold_dataset(Path(__file__).parents[1], name):
        if "templates" not in path.parts:
            typer.echo(path)
    typer.echo(f"templates/{name.dataset_id}/latest.zarr")
    typer.echo(
        f"Next: docs/dataset_integration_guide.md, and `uv run pytest tests/dataset_defs -k '{name.dataset_id} or {name.test}'`"
    )


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where it keeps everything; new, or of an earlier demo.")] = Path(
        "data/demo"
    ),
) -> None:
    """Run the main job offline on a sample upstream, through Dagster, and draw what it made."""
    from reformatters_dagster.demo import run_demo

    with output.errors_alone():
        status = run_demo(folder, _now(), typer.echo)
    raise typer.Exit(status)


def _settings(store: str | None = None, replicas: list[str] | None = None, upstream: str | None = None) -> "Settings":
    """The environment's, but for what options say. Every command that opens something takes the same ones."""
    from dataset_defs import DATASETS
    from reformatters_dagster.core.store.settings import Settings

    settings = Settings.from_environment(os.environ)
    settings.refuse_unknown_starts([dataset.dataset_id for dataset in DATASETS])
    given = {"store": store, "replicas": tuple(replicas or ()), "upstream": upstream}
    return settings.model_copy(update={name: one for name, one in given.items() if one})


def _dataset(dataset_id: str) -> "DynamicalDataset":
    from dataset_defs import DATASETS
    from reformatters_dagster.core.spec.wording import did_you_mean

    known = {dataset.dataset_id: dataset for dataset in DATASETS}
    if dataset_id not in known:
        raise UnknownDataset(
            f"dataset {dataset_id!r} was asked for; there are {', '.join(sorted(known))}{did_you_mean([dataset_id], known)}"
        )
    return known[dataset_id]


def _open(dataset_id: str, settings: "Settings") -> "tuple[DynamicalDataset, Workspace]":
    dataset = _dataset(dataset_id).started_by(settings)
    return dataset, dataset.workspace(settings)


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(filter(None, (name.strip() for name in text.split(","))))
    if not names:
        raise Refused(f"--variables {text!r} names none; write them as a,b or leave the option out for all")
    return names


def _now(text: str | None = None) -> "Timestamp":
    """A time that was given, or the wall clock."""
    import pandas as pd

    from reformatters_dagster.core.store.settings import parse_time

    if text is not None:
        return parse_time(text)
    return pd.Timestamp(datetime.now(UTC).replace(tzinfo=None)).as_unit("us")


@contextmanager
def _run(resumed: str | None) -> Iterator[tuple[str, str]]:
    """Name of a run and of this attempt at it; when it ends early, how to go on is told."""
    from reformatters_dagster.core.run.backfill import CLI_RUN

    token = uuid.uuid4().hex[:TOKEN_LENGTH]
    root_run = f"{CLI_RUN}{token}" if resumed is None else _root_run(resumed)
    run_id = root_run if resumed is None else f"{root_run}.{token}"
    log.info("run=%s", run_id)
    try:
        yield root_run, run_id
    except (Refused, NothingSucceeded):
        raise
    except BaseException:
        typer.echo(f"The run ended early; the same command with --resume {root_run} goes on where it ended", err=True)
        raise


def _root_run(resumed: str) -> str:
    """The first of a chain of attempts, of which any may be named."""
    root_run = resumed.strip().partition(".")[0]
    if not root_run:
        raise Refused(
            f"--resume {resumed!r} names no run; give the name the run has said on stderr, as cli-0123456789ab"
        )
    return root_run


def _refuse_unknown_run(dataset: "DynamicalDataset", workspace: "Workspace", root_run: str) -> None:
    """Refuse an update that is to go on with a run that never was.

    One that was ended before its first upload has left nothing, and has said that it can be gone on with: what is due is done.
    """
    from reformatters_dagster.core.run.backfill import CLI_RUN
    from reformatters_dagster.core.run.guards import refuse_unknown_run

    if not re.fullmatch(f"{CLI_RUN}[0-9a-f]{{{TOKEN_LENGTH}}}", root_run):
        refuse_unknown_run(dataset.template_config, workspace.stores.internal, root_run)


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
    end, partitions = plan_backfill(dataset, workspace, request, _now(), resumes=resumes)
    names = [data_var.name for data_var in template.select(request.variables)]
    labels = list(template.append_dim.labels(end))
    document = output.plan_document(dataset.dataset_id, workspace.stores.primary.url, labels, partitions, names)
    output.tell(document, output.print_plan, as_json)


def _exit_if(failed: bool) -> None:
    if failed:
        raise typer.Exit(FAILED)


@contextmanager
def _termination_cleans_up() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that tmp stores and downloads go, and exit with 143."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    # Who ends a process group may tell each process twice; the second must not cut the cleaning short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _leave_at_once() -> None:
    """End without the threads that wait for an answer, as Python would wait for them: everything is cleaned up by now."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(TERMINATED)
