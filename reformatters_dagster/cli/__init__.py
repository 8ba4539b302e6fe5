"""`reformat`: does the work of the Dagster jobs in this process, without a Dagster instance; only `rebuild-status` needs one.

In: arguments, the `REFORMATTERS_*` variables, the wall clock. Out: tables or one JSON document on stdout; logs, progress and
errors on stderr; exit status 0 done, 1 failed, 2 refused, 130 interrupted, 143 terminated.

A command imports heavy modules in its body, so that `--help` answers at once. The commands at the end of this module stand in the
order of `--help`.
"""

import importlib.metadata
from typing import Annotated

import typer

from reformatters_dagster.cli.authoring import new_dataset, update_template
from reformatters_dagster.cli.deploying import deploy_check, prune_runs, serve_metrics
from reformatters_dagster.cli.describing import describe
from reformatters_dagster.cli.exits import Commands, termination_cleans_up
from reformatters_dagster.cli.reading import list_datasets, status, store_urls, validate
from reformatters_dagster.cli.rebuilding import rebuild_status
from reformatters_dagster.cli.reporting import report
from reformatters_dagster.cli.terminal import logging_to_stderr
from reformatters_dagster.cli.writing import backfill, begin_anew, demo, update

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def tell_version(wanted: bool) -> None:
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
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn the GRIB2 files of weather models into Zarr stores. Times are UTC: 2026-07-29T18 or 2026-07-29T18:00."""
    ctx.with_resource(termination_cleans_up())
    ctx.with_resource(logging_to_stderr(verbose))


app.command("list")(list_datasets)
app.command()(describe)
app.command()(update_template)
app.command()(backfill)
app.command()(update)
app.command()(begin_anew)
app.command()(validate)
app.command()(status)
app.command()(report)
app.command()(store_urls)
app.command()(rebuild_status)
app.command()(deploy_check)
app.command()(prune_runs)
app.command()(serve_metrics)
app.command()(new_dataset)
app.command()(demo)
