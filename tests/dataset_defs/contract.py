"""Which datasets the contract holds, and what their committed templates say."""

import json
from typing import Any

import pytest

from dataset_defs import DATASETS
from dataset_defs.example.weather.forecast import DATASET as EXAMPLE
from reformatters_dagster.core.spec.template import TemplateConfig

CONTRACTED = (*DATASETS, EXAMPLE)
every_dataset = pytest.mark.parametrize("dataset", CONTRACTED, ids=[dataset.dataset_id for dataset in CONTRACTED])

OWN_ATTRIBUTES = {"dataset_version", "description", "attribution", "license", "coordinates"}
"""Global attributes that are a dataset's own: the catalogue of public datasets does not have them."""


def root_of(template: TemplateConfig) -> dict[str, Any]:
    root: dict[str, Any] = json.loads((template.path / "zarr.json").read_text())
    return root


def arrays_of(template: TemplateConfig) -> dict[str, dict[str, Any]]:
    arrays: dict[str, dict[str, Any]] = root_of(template)["consolidated_metadata"]["metadata"]
    return arrays


def described(array: dict[str, Any]) -> dict[str, Any]:
    """An array's document in the words of the catalogue."""
    stored = array["chunk_grid"]["configuration"]["chunk_shape"]
    inner = [codec["configuration"]["chunk_shape"] for codec in array["codecs"] if codec["name"] == "sharding_indexed"]
    return {
        "dims": array.get("dimension_names") or None,
        "template_shape": array["shape"],
        "dtype": array["data_type"],
        "fill_value": array["fill_value"],
        "chunks": inner[0] if inner else stored,
        **({"shards": stored} if inner else {}),
    }
