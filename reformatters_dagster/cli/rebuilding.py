"""The command that needs a Dagster instance: `rebuild-status`.

In: options, and the instance of `DAGSTER_HOME`. Out: materializations in that instance, and what was reported, on stdout.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from reformatters_dagster.cli.exits import exit_if
from reformatters_dagster.cli.options import AsJson, StoreUrl, dataset_of, settings_of
from reformatters_dagster.cli.terminal import tell
from reformatters_dagster.core.spec.errors import Refused

if TYPE_CHECKING:
    from reformatters_dagster.core.spec.values import JSON


def rebuild_status(
    dataset_id: Annotated[str | None, typer.Argument(metavar="ID", help="A dataset; or give --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dataset.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report nothing; say what would be reported.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Tell Dagster which partitions the ledger knows: after its database was lost.

    Example: reformat rebuild-status --all --dry-run
    """
    from dataset_defs import DATASETS
    from reformatters_dagster.orchestration import rebuild

    if every == (dataset_id is not None):
        raise Refused("the status of partitions was to be rebuilt; give either the ID of a dataset or --all")
    settings = settings_of(store)
    datasets = DATASETS if dataset_id is None else [dataset_of(dataset_id)]
    with rebuild.open_instance() as instance:
        found = [
            rebuild.rebuild_status(
                instance, dataset, settings.stores(dataset.template_config).internal, dry_run=dry_run
            )
            for dataset in datasets
        ]
    tell([one.model_dump(mode="json") for one in found], lambda document: _print(document, dry_run), as_json)
    exit_if(any(one.unreadable for one in found))


def _print(found: "list[JSON]", dry_run: bool) -> None:
    for one in found:
        would = "would be reported" if dry_run else "reported"
        typer.echo(f"{one['dataset_id']}: {len(one['reported'])} partitions {would}, {one['known']} known before")
        for partition in one["unreadable"]:
            typer.echo(f"  {partition}: its ledger entry cannot be read; run the partition again")
