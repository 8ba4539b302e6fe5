"""Which datasets the contract holds, at what time, and what their committed templates say."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dataset_defs import DATASETS
from dataset_defs.example.idx.forecast import DATASET as IDX
from dataset_defs.example.mars.forecast import DATASET as MARS
from dataset_defs.example.weather.forecast import DATASET as WEATHER
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.store.settings import Settings

CONTRACTED = (*DATASETS, IDX, MARS, WEATHER)
every_dataset = pytest.mark.parametrize("dataset", CONTRACTED, ids=[dataset.dataset_id for dataset in CONTRACTED])

OWN_ATTRIBUTES = {"dataset_version", "description", "attribution", "license", "coordinates"}
"""Global attributes that are a dataset's own: the catalogue of public datasets does not have them."""

NOW = pd.Timestamp("2026-08-02T09:30")
"""When the contract is held, on whatever day it runs."""


def job_at(dataset: DynamicalDataset, label: pd.Timestamp, folder: Path) -> RegionJob[Any]:
    """The region job of a label; it is not run."""
    context = dataset.context(dataset.workspace(Settings(store=str(folder))), NOW)
    template_ds = dataset.template_config.get_template(label + dataset.template_config.append_dim.frequency)
    (job,) = dataset.region_job.get_jobs(context, template_ds, contains=[label])
    return job


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
