"""`describe`: what it tells of a dataset, for people, for a file and for programs."""

import json

import pytest
from typer.testing import CliRunner

from dataset_defs import DATASETS
from reformatters_dagster.cli import app
from reformatters_dagster.core.run.dataset import DynamicalDataset


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.dataset_id)
def test_every_dataset_is_described(dataset: DynamicalDataset) -> None:
    template = dataset.template_config
    result = CliRunner().invoke(app, ["describe", dataset.dataset_id, "--store", "s3://bucket/base"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"# {dataset.dataset_id}"
    assert lines[2] == template.attributes.description
    for data_var in template.data_vars:
        (row,) = [line for line in lines if line.startswith(f"| `{data_var.name}` |")]
        assert f"| {data_var.units} |" in row
        assert f"`{data_var.field.element}:{data_var.field.level}`" in row
    for name in template.dim_names:
        (row,) = [line for line in lines if line.startswith(f"| `{name}` |")]
        assert row.endswith(f"| {template.chunks[name]:,} | {template.shards[name]:,} |")
    for told in (
        template.attributes.license,
        dataset.resources.memory,
        f"`{dataset.archives[0].url}`",
        "s3://bucket/base/",
    ):
        assert told in result.stdout


def test_programs_get_the_same_as_a_document() -> None:
    dataset = next(one for one in DATASETS if one.dataset_id == "noaa-gfs-forecast")
    template = dataset.template_config
    found = json.loads(CliRunner().invoke(app, ["describe", dataset.dataset_id, "--json"]).stdout)
    assert found["dims"]["init_time"] == {"labels": None, "chunk": 1, "shard": 1}
    assert found["dims"]["lead_time"] == {"labels": 209, "chunk": 105, "shard": 210}
    assert list(found["variables"]) == list(template.variables)
    temperature = found["variables"]["temperature_2m"]
    assert (temperature["units"], temperature["field"]["element"]) == ("degree_Celsius", "TMP")
    assert found["resources"] == dataset.resources.model_dump()
    assert found["license"] == template.attributes.license
    assert found["archives"][0]["url"] == dataset.archives[0].url
