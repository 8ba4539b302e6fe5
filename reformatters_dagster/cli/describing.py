"""The command that tells what a dataset is: `describe`.

In: a dataset's id. Out: its page, as Dagster's asset page has it, with the source field of every variable. No store is opened.
"""

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markdown import Markdown

from reformatters_dagster.cli.options import AsJson, Id, StoreUrl, dataset_of, settings_of
from reformatters_dagster.cli.terminal import tell

if TYPE_CHECKING:
    from reformatters_dagster.core.run.dataset import DynamicalDataset
    from reformatters_dagster.core.spec.values import JSON


def describe(dataset_id: Id, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Tell what a dataset is: dimensions, chunks and shards, variables with units and source field, archives, licence.

    Into a file or a pipe it is written as Markdown.

    Example: reformat describe noaa-gfs-forecast > noaa-gfs-forecast.md
    """
    from reformatters_dagster.core.run import describing

    settings = settings_of(store)
    dataset = dataset_of(dataset_id).started_by(settings)
    template = dataset.template_config
    url = settings.store_url(template)

    def print_page(_: "JSON") -> None:
        page = f"# {dataset_id}\n\n{describing.describe(dataset, url)}\n\n## Columns\n\n{describing.describe_variables(template)}"
        console = Console()
        if console.is_terminal:
            console.print(Markdown(page))
        else:
            typer.echo(page)

    tell(_document(dataset, url), print_page, as_json)


def _document(dataset: "DynamicalDataset", url: str) -> "JSON":
    """What `describe --json` prints."""
    template = dataset.template_config
    labels = {dim.name: len(dim.labels) for dim in template.all_dims}
    return {
        **template.dataset_attributes(),
        "provider": dataset.provider,
        "documentation": dataset.documentation,
        "store": url,
        "append_dim": template.append_dim.model_dump(mode="json"),
        "dims": {
            name: {"labels": labels.get(name), "chunk": template.chunks[name], "shard": template.shards[name]}
            for name in template.dim_names
        },
        "variables": {
            one.name: {
                "units": one.units,
                "long_name": one.long_name,
                "step_type": one.step_type,
                "comment": one.comment,
                "field": one.field.model_dump(mode="json"),
            }
            for one in template.data_vars
        },
        "archives": [archive.model_dump(mode="json") for archive in dataset.archives],
        "resources": dataset.resources.model_dump(),
    }
