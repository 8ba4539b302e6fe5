"""What the page of an asset shows beside its runs, by the same question that Dagster's UI asks."""

from pathlib import Path

import dagster as dg
import pytest

from dataset_defs import DATASETS
from dataset_defs.noaa.gfs.forecast import DATASET as GFS
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.describing import describe
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import K8S_METADATA, asset_key
from reformatters_dagster.orchestration.pages import Pages

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(store="s3://bucket/stores")
CODE = "https://github.com/owner/repository/blob/main"


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    """Of all datasets of the catalogue, as a deployment with owners and a link to its code has them."""
    pages = Pages.parse("forecaster@example.org, team:weather", f"{CODE}/")
    definitions = build_definitions(DATASETS, SETTINGS, pages=pages)
    return {
        dataset.dataset_id: definitions.resolve_assets_def(asset_key(dataset)).get_asset_spec() for dataset in DATASETS
    }


every_dataset = pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.dataset_id)


@every_dataset
def test_every_page_tells_what_the_dataset_is(specs: dict[str, dg.AssetSpec], dataset: DynamicalDataset) -> None:
    spec = specs[dataset.dataset_id]
    url = f"s3://bucket/stores/{dataset.dataset_id}/v{dataset.template_config.dataset_version}.zarr"
    assert spec.description == describe(dataset, url)
    assert spec.metadata["dagster/uri"] == url
    assert (spec.kinds, spec.owners) == ({"grib", "zarr", dataset.provider}, ["forecaster@example.org", "team:weather"])
    assert spec.tags["dataset"] == dataset.dataset_id
    columns = {column.name: column for column in spec.metadata["dagster/column_schema"].columns}
    assert columns.keys() == dataset.template_config.variables.keys()
    for name, data_var in dataset.template_config.variables.items():
        assert columns[name].type == data_var.units
        assert columns[name].description.startswith(data_var.long_name)
        assert (data_var.comment or "") in columns[name].description


@every_dataset
def test_every_page_links_to_the_file_that_defines_the_dataset(
    specs: dict[str, dg.AssetSpec], dataset: DynamicalDataset
) -> None:
    defining, *notes = specs[dataset.dataset_id].metadata["dagster/code_references"].code_references
    readme = f"dataset_defs/{dataset.provider}/README.md"
    assert [one.url for one in notes] == [f"{CODE}/{readme}"] * (ROOT / readme).exists()
    path = ROOT / defining.url.removeprefix(f"{CODE}/")
    assert f'dataset_id="{dataset.dataset_id}"' in path.read_text()
    assert defining.label == path.relative_to(ROOT).as_posix()


def test_without_a_link_the_code_is_on_this_machine() -> None:
    definitions = build_definitions([GFS], SETTINGS, pages=Pages())
    spec = definitions.resolve_assets_def(asset_key(GFS)).get_asset_spec()
    defining, _ = spec.metadata["dagster/code_references"].code_references
    assert Path(defining.file_path) == ROOT / "dataset_defs/noaa/gfs/forecast.py"
    assert spec.owners == []


def test_the_environment_says_whose_the_assets_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFORMATTERS_OWNERS", "team:weather,")
    monkeypatch.setenv("REFORMATTERS_CODE_URL", CODE)
    spec = build_definitions([GFS], SETTINGS).resolve_assets_def(asset_key(GFS)).get_asset_spec()
    assert spec.owners == ["team:weather"]
    assert spec.metadata["dagster/code_references"].code_references[0].url.startswith(f"{CODE}/dataset_defs/noaa/")


@pytest.mark.parametrize("owner", ["weather", "team:", "a@b, weather"])
def test_an_owner_that_dagster_would_not_take_is_refused_by_its_setting(owner: str) -> None:
    with pytest.raises(Refused, match=r"REFORMATTERS_OWNERS names .* write e-mail addresses and team:NAME"):
        Pages.parse(owner, None)


def test_people_read_first_what_is_for_people(specs: dict[str, dg.AssetSpec]) -> None:
    *others, last = specs["noaa-gfs-forecast"].metadata
    assert last == K8S_METADATA
    assert others[:3] == ["dagster/uri", "dagster/column_schema", "dagster/code_references"]
