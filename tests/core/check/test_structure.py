"""Labels, coordinates and documents that would mislead readers fail a check; healthy stores of every shape pass."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from dataset_defs import DATASETS
from reformatters_dagster.core.check.standard import STANDARD_CHECKS
from reformatters_dagster.core.check.structure import CheckAppendCoordinate, CheckConsolidatedMetadata, CheckCoordinates
from reformatters_dagster.core.check.validators import CheckResult
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.template_files import write_metadata
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.stores import open_store
from tests.datasets import INIT, SECOND, SOON, TEMPERATURE, THIRD, Sample, Site

pytest_plugins = ["tests.datasets"]

CHECKS = (CheckAppendCoordinate(), CheckCoordinates(), CheckConsolidatedMetadata())
NAMES = {check.name for check in CHECKS}
NOW = THIRD + SOON
REFRESH = "`reformat backfill test-gfs-forecast --overwrite-metadata` writes metadata and coordinates anew"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, forecast_dataset: DynamicalDataset, gfs_sample: Sample) -> Path:
    """Three init times, of which the last lacks a file."""
    made = Site(tmp_path_factory.mktemp("filled"), forecast_dataset, gfs_sample)
    made.arrive(INIT, SECOND, THIRD)
    made.remove(4, init_time=THIRD)
    made.backfill(NOW)
    return made.folder


@pytest.fixture
def site(site: Site, filled: Path) -> Site:
    shutil.copytree(filled, site.folder, dirs_exist_ok=True)
    return site


@pytest.fixture
def root(site: Site) -> Path:
    return Path(site.stores.primary.url)


def ask(site: Site, url: str | None = None) -> dict[str, CheckResult]:
    store = site.stores.primary if url is None else open_store(url, "")
    return {result.name: result for result in site.dataset.validate(store, NOW, CHECKS)}


def failed(site: Site) -> dict[str, str]:
    found = ask(site)
    assert all(result.severity == "ERROR" for result in found.values())
    return {name: result.message for name, result in found.items() if not result.passed}


def change(root: Path, name: str, new: Callable[[Any], Any]) -> None:
    array: Any = zarr.open_array(root / name, mode="r+")
    array[...] = new(array[...])


def edit(path: Path, new: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    new(document)
    path.write_text(json.dumps(document))


def test_they_are_standard() -> None:
    assert {check.name for check in STANDARD_CHECKS} > NAMES


def test_a_healthy_store_passes(site: Site) -> None:
    assert failed(site) == {}
    found = ask(site)
    assert found["append_coordinate"].message == "3 labels of init_time are those of the grid"
    assert found["coordinates"].message == "7 coordinates are those of the template"
    arrays = len(zarr.open_group(site.stores.primary.url, mode="r").metadata.consolidated_metadata.metadata)  # type: ignore[union-attr]
    assert found["consolidated_metadata"].message == f"the documents of {arrays} arrays say what the root says of them"
    assert {name: one.metadata for name, one in found.items()} == {
        "append_coordinate": {"labels": 3, "labels_wrong": 0},
        "coordinates": {"coordinates": 7, "coordinates_wrong": 0},
        "consolidated_metadata": {"arrays": arrays, "arrays_wrong": 0},
    }


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (
            lambda x: x[::-1],
            "2 of 3 labels of init_time are not those of its grid: at position 0 stands 2026-07-30T06:00, ",
        ),
        (lambda x: x[[0, 0, 2]], "at position 1 stands 2026-07-29T18:00, 2026-07-30T00:00 belongs there"),
        (
            lambda x: x + 21600 * (x > x[1]),
            "1 of 3 labels of init_time are not those of its grid: at position 2 stands",
        ),
        (lambda x: x - 3600, "at position 0 stands 2026-07-29T17:00"),
    ],
)
def test_labels_that_are_not_the_grid(site: Site, root: Path, new: Callable[[Any], Any], told: str) -> None:
    change(root, "init_time", new)
    found = failed(site)
    assert found.keys() == {"append_coordinate"}
    assert told in found["append_coordinate"]
    if "at position 0" in told:
        assert found["append_coordinate"].endswith("belongs there; put back init_time/c from a replica or a backup")
        return
    assert found["append_coordinate"].endswith(REFRESH)
    site.backfill(NOW, overwrite_metadata=True)
    assert failed(site) == {}


@pytest.mark.parametrize(
    ("name", "new", "told"),
    [
        ("longitude", lambda x: x + 180, "longitude is 0.0 at [0], -180.0 belongs there, as in 36 of 36 places"),
        ("latitude", lambda x: x[::-1], "latitude is -90.0 at [0], 90.0 belongs there, as in 18 of 19 places"),
        ("lead_time", lambda x: x * 3, "lead_time is 0 days 03:00:00 at [1], 0 days 01:00:00 belongs there"),
        ("valid_time", lambda x: x + 3600, "valid_time is 2026-07-29T19:00:00"),
        (
            "expected_forecast_length",
            lambda x: x * 0,
            "expected_forecast_length is 0 days 00:00:00 at [0], 0 days 09:00:00 ",
        ),
    ],
)
def test_coordinates_that_are_not_the_templates(
    site: Site, root: Path, name: str, new: Callable[[Any], Any], told: str
) -> None:
    change(root, name, new)
    found = failed(site)
    assert found.keys() == {"coordinates"}
    assert f"not as the template has it: {told}" in found["coordinates"]
    if name in ("longitude", "latitude", "lead_time"):
        advice = f"; put back {name}/c from templates/test-gfs-forecast/latest.zarr or a replica"
        assert found["coordinates"].endswith(advice)
        shutil.copytree(site.dataset.template_config.path / name / "c", root / name / "c", dirs_exist_ok=True)
    else:
        assert found["coordinates"].endswith(REFRESH)
        site.backfill(NOW, overwrite_metadata=True)
    assert failed(site) == {}


def test_what_runs_write_and_what_means_nothing_may_be_anything(site: Site, root: Path) -> None:
    change(root, "spatial_ref", lambda x: x + 1)
    change(root, "ingested_forecast_length", lambda x: np.full_like(x, 7.0))
    assert failed(site) == {}


def test_the_last_bit_of_a_float_is_no_difference(site: Site, root: Path) -> None:
    change(root, "longitude", lambda x: np.nextafter(x.astype(np.float32), np.float32(999)).astype(x.dtype))
    assert failed(site) == {}


def test_a_coordinate_too_many_or_too_few(site: Site, root: Path) -> None:
    def rename(document: Any) -> None:
        arrays = document["consolidated_metadata"]["metadata"]
        arrays["altitude"] = arrays.pop("spatial_ref")
        for array in (*arrays.values(), document):
            words = array["attributes"].get("coordinates", "")
            array["attributes"]["coordinates"] = words.replace("spatial_ref", "altitude")

    (root / "spatial_ref").rename(root / "altitude")
    edit(root / "zarr.json", rename)
    told = failed(site)["coordinates"]
    assert "spatial_ref is not in the store; altitude is not in the template; " in told


def set_units(document: Any) -> None:
    document["consolidated_metadata"]["metadata"][TEMPERATURE]["attributes"]["units"] = "K"


def shorten(document: Any) -> None:
    document["shape"][0] = 1


def test_a_root_that_says_otherwise_than_an_array(site: Site, root: Path) -> None:
    edit(root / "zarr.json", set_units)
    found = failed(site)
    assert found.keys() == {"consolidated_metadata"}
    assert found["consolidated_metadata"].startswith(
        f"root and arrays disagree: {TEMPERATURE} differs in attribute units ('degree_Celsius', root: 'K'); the root is what"
    )
    assert REFRESH in found["consolidated_metadata"]
    site.backfill(NOW, overwrite_metadata=True)
    assert failed(site) == {}


def test_an_array_shorter_than_the_root_says(site: Site, root: Path) -> None:
    edit(root / TEMPERATURE / "zarr.json", shorten)
    assert (
        f"{TEMPERATURE} differs in shape ([1, 10, 19, 36], root: [3, 10, 19, 36])"
        in failed(site)["consolidated_metadata"]
    )


def test_a_longer_array_waits_for_its_root(site: Site, root: Path) -> None:
    """As a commit leaves it that has not come to the root yet, or never will."""

    def lengthen(document: Any) -> None:
        document["shape"][0] += 1

    edit(root / TEMPERATURE / "zarr.json", lengthen)
    assert failed(site) == {}
    edit(root / TEMPERATURE / "zarr.json", lambda document: document["shape"].__setitem__(1, 11))
    assert "differs in shape ([3, 11, 19, 36], root: [3, 10, 19, 36])" in failed(site)["consolidated_metadata"]


@pytest.mark.parametrize(("content", "told"), [(None, "has no document of its own"), ("{", "that is no JSON")])
def test_an_array_without_a_document(site: Site, root: Path, content: str | None, told: str) -> None:
    path = root / TEMPERATURE / "zarr.json"
    path.unlink() if content is None else path.write_text(content)
    assert told in failed(site)["consolidated_metadata"]


def test_the_first_label_alone_passes(site: Site, tmp_path: Path) -> None:
    alone = tmp_path / "alone-tmp.zarr"
    write_metadata(site.dataset.template_config.get_template(INIT + SOON), alone)
    assert [result.passed for result in ask(site, str(alone)).values()] == [True, True, True]


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.dataset_id)
@pytest.mark.parametrize("labels", [1, 7])
def test_a_store_of_every_dataset_passes(dataset: DynamicalDataset, labels: int, tmp_path: Path) -> None:
    """Coordinates on a plane, by member, and of forecasts of two lengths among them."""
    axis = dataset.template_config.append_dim
    path = tmp_path / "store-tmp.zarr"
    write_metadata(dataset.template_config.get_template(axis.start + axis.frequency * labels), path)
    results = dataset.validate(open_store(str(path), ""), Timestamp("2030-01-01"), CHECKS)
    assert [result.message for result in results if not result.passed] == []
    assert results[0].metadata["labels"] == labels


def test_an_archive_that_starts_later_passes(site: Site, tmp_path: Path) -> None:
    later = site.dataset.template_config.started_at(THIRD)
    path = tmp_path / "later-tmp.zarr"
    write_metadata(later.get_template(THIRD + pd.Timedelta("1D")), path)
    moved = site.having(template_config=later)
    assert [result.passed for result in ask(moved, str(path)).values()] == [True, True, True]
    assert not ask(site, str(path))["append_coordinate"].passed
