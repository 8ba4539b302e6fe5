"""The page about a dataset: what it says, and that its four lines open the store it names."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from dataset_defs import DATASETS
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.describing import describe, describe_variable
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.core.store.settings import Settings
from tests.datasets import INIT, Site, gfs_forecast
from tests.stores import S3Bucket
from tests.tiny import tiny_template, tiny_var

pytest_plugins = ["tests.datasets", "tests.stores"]

every_dataset = pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.dataset_id)


def tables_of(page: str) -> list[list[list[str]]]:
    """Cells of each table of a page, by rows, as a renderer of Markdown takes them."""
    tables: list[list[list[str]]] = []
    inside = False
    for token in MarkdownIt().enable("table").parse(page):
        if token.type in {"table_open", "table_close"}:
            inside = token.type == "table_open"
            tables += [[]] if inside else []
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and inside:
            tables[-1][-1].append(token.content)
    return tables


def facts_of(page: str) -> dict[str, str]:
    return {name.strip("*"): told for name, told in tables_of(page)[0][1:]}


def code_of(page: str) -> str:
    (code,) = [token.content for token in MarkdownIt().parse(page) if token.type == "fence"]
    return code


def test_the_page_says_what_the_template_holds(tmp_path: Path) -> None:
    dataset = replace(DATASETS[0], template_config=tiny_template(tmp_path), soft_deadline=Timedelta("5h"))
    page = describe(dataset, "/stores/tiny.zarr")
    assert page.splitlines()[0] == "Made in a test."
    dimensions = tables_of(page)[1]
    assert dimensions == [
        ["dimension", "labels", "chunk", "shard"],
        ["`init_time`", "every 6 h from 2024-02-28T00:00 on", "1", "2"],
        ["`lead_time`", "3: 0 h to 2 h", "2", "4"],
        ["`latitude`", "4: 1.5 to -1.5 degree north", "2", "4"],
        ["`longitude`", "8: -180 to 135 degree east", "2", "4"],
        ["**bytes, uncompressed**", "", "32 B", "512 B"],
    ]
    facts = facts_of(page)
    assert facts["a partition is"] == "2 labels of init_time, 12 h, 1.54 kB uncompressed"
    assert facts["grid"] == "4 x 8 points, regular in latitude and longitude"
    assert facts["lead times"] == "0-2 hours"
    assert facts["updates"].startswith("when source files arrive, at the latest 5 h after a label")
    assert facts["id, version"] == "`tiny-forecast`, 1.2.3"
    assert code_of(page).splitlines()[1] == "ds = xr.open_zarr('/stores/tiny.zarr')"


def test_a_fact_with_a_bar_stays_one_cell(tmp_path: Path) -> None:
    template = tiny_template(tmp_path)
    attributes = template.attributes.model_copy(update={"license": "A | B"})
    dataset = replace(DATASETS[0], template_config=template.model_copy(update={"attributes": attributes}))
    assert facts_of(describe(dataset, "/s"))["licence"] == "A | B"


@every_dataset
def test_every_dataset_has_the_same_page_of_its_own_facts(dataset: DynamicalDataset) -> None:
    template, attributes = dataset.template_config, dataset.template_config.attributes
    page = describe(dataset, "s3://bucket/store.zarr")
    facts = facts_of(page)
    assert page.startswith(f"{attributes.description}\n")
    assert (facts["licence"], facts["attribution"]) == (attributes.license, attributes.attribution)
    assert attributes.spatial_resolution in facts["domain"]
    assert all(archive.url in facts["source"] for archive in dataset.archives)
    assert dataset.documentation is not None
    assert dataset.documentation.startswith("https://")
    assert facts["documentation"] == f"<{dataset.documentation}>"
    assert all(facts.values())
    rows = {row[0].strip("`"): row[2:] for row in tables_of(page)[1][1:-1]}
    assert {name: [int(size.replace(",", "")) for size in row] for name, row in rows.items()} == {
        name: [template.chunks[name], template.shards[name]] for name in template.dim_names
    }
    compile(code_of(page), dataset.dataset_id, "exec")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({}, "Wind. Rounded by at most 0.39 % of the value."),
        ({"comment": "At 10 m.", "keep_mantissa_bits": 10}, "Wind. At 10 m. Rounded by at most 0.049 % of the value."),
        ({"step_type": "max", "keep_mantissa_bits": None}, "Wind, highest of a window."),
        ({"step_type": "avg", "comment": "Rain.", "keep_mantissa_bits": None}, "Wind, mean of a window. Rain."),
    ],
)
def test_a_variable_is_told_in_a_line(row: dict[str, Any], told: str) -> None:
    assert describe_variable(tiny_var("wind", long_name="Wind", **row)) == told


def run_as_pasted(page: str) -> str:
    """What the example prints in an interpreter that knows nothing else, where a warning is an error."""
    lines = code_of(page)
    assert len(lines.splitlines()) == 4
    ran = subprocess.run([sys.executable, "-W", "error", "-c", lines], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_four_lines_open_a_folder_as_pasted(pair: Site) -> None:
    pair.arrive(INIT, leads=[0, 1])
    pair.update()
    url = Settings(store=str(pair.folder / "primary")).store_url(pair.dataset.template_config)
    assert url == pair.stores.primary.url
    printed = run_as_pasted(describe(pair.dataset, url))
    assert "'temperature_2m'" in printed
    assert "init_time" in printed
    assert "2026-07-29T18:00" in printed


def test_the_four_lines_open_a_bucket_as_pasted(tmp_path: Path, s3: S3Bucket) -> None:
    dataset, settings = gfs_forecast(tmp_path), Settings(store=f"{s3.url}/made up/stores")
    workspace = dataset.workspace(settings)
    dataset.initialise(workspace, None, INIT + Timedelta("1h"))
    url = settings.store_url(dataset.template_config)
    assert url == workspace.stores.primary.url
    assert "2026-07-29T18:00" in run_as_pasted(describe(dataset, url))
