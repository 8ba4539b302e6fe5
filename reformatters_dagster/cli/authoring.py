"""Commands for authors of datasets: `update-template`, `new-dataset`.

In: a dataset's id, or a name for a new one. Out: files of this checkout.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from reformatters_dagster.cli.exits import exit_if
from reformatters_dagster.cli.options import complete_id, dataset_of
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.scaffold import DatasetName, Index, scaffold_dataset


def update_template(
    dataset_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="A dataset; or give --all.", autocompletion=complete_id)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dataset.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a template differs.")] = False,
) -> None:
    """Write templates/ID/latest.zarr from the code.

    Example: reformat update-template --all --check
    """
    from dataset_defs import DATASETS, of_demo
    from reformatters_dagster.core.spec.template_files import differing_files
    from reformatters_dagster.scaffold import placeholders_in

    if every == (dataset_id is not None):
        raise Refused("a template was to be written; give either the ID of a dataset or --all")
    differs = False
    for dataset in (*DATASETS, *of_demo()) if dataset_id is None else [dataset_of(dataset_id)]:
        template = dataset.template_config
        if not check:
            template.update_template()
            typer.echo(f"{dataset.dataset_id}: wrote {template.path}")
            if left := placeholders_in(*template.attributes.model_dump().values()):
                said = ", ".join(map(repr, left))
                typer.echo(f"{dataset.dataset_id}: readers would still see {said}: write what is true", err=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            template.write_template(Path(folder) / "latest.zarr")
            differing = differing_files(Path(folder) / "latest.zarr", template.path)
        differs |= bool(differing)
        advice = (
            f"differs in {', '.join(differing)}: run `reformat update-template {dataset.dataset_id}`, review the diff"
        )
        typer.echo(f"{dataset.dataset_id}: {advice if differing else 'in sync'}")
    exit_if(differs)


def new_dataset(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Who publishes it: noaa, ecmwf, dwd, contrib, …")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model or product: gfs, icon-eu.")],
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="What of it: forecast, analysis, forecast-5-day.")],
    index: Annotated[
        Index,
        typer.Option(help="What lies beside each file: an .idx as NOAA has it, an .index as ECMWF has it, or none."),
    ] = "none",
) -> None:
    """Make dataset PROVIDER-MODEL-VARIANT from an example: definition, template, tests. Nothing is overwritten.

    Example: reformat new-dataset noaa rap forecast --index noaa
    """
    name = DatasetName(provider, model, variant)
    for path in scaffold_dataset(Path(__file__).parents[2], name, index):
        if "templates" not in path.parts:
            typer.echo(path)
    typer.echo(f"templates/{name.dataset_id}/latest.zarr")
    typer.echo(
        f"Next: docs/dataset_integration_guide.md, and `uv run pytest tests/dataset_defs -k '{name.dataset_id} or {name.test}'`"
    )
