"""A dataset that has the id of a public one has its structure, and is made from the same messages.

The catalogue, `reference/datasets.json` beside the real files, holds facts about public datasets. Readers of those are to
open ours unchanged.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation
from tests.dataset_defs.contract import OWN_ATTRIBUTES, arrays_of, described, every_dataset, root_of
from tests.dataset_defs.facts import facts_of

CATALOGUE = "../shared/reference/datasets.json"
DESCRIPTION = re.compile(r'(?P<value>\d+)\[(?P<unit>m|Pa|-)\] \w+="(?P<surface>[^"]+)"')
SURFACES = {
    "Ground or water surface": 1,
    "Entire Atmosphere": 10,
    "Isobaric surface": 100,
    "Mean sea level": 101,
    "Specified height level above ground": 103,
    "Entire atmosphere (considered as a single layer)": 200,
    "Cloud ceiling": 215,
}


@pytest.fixture
def catalogue(dataset: DynamicalDataset, shared_data: Path) -> dict[str, Any]:
    """The public datasets, the one of the dataset's id among them."""
    found: dict[str, Any] = json.loads((shared_data.parent / CATALOGUE.removeprefix("../shared/")).read_text())
    if dataset.dataset_id not in found:
        pytest.skip(f"{dataset.dataset_id} is not in {CATALOGUE}")
    if facts_of(dataset).made_up:
        pytest.skip(
            f"{dataset.dataset_id} is in {CATALOGUE}, but made up: take made_up out of its facts when it is not"
        )
    return found


@every_dataset
def test_the_structure_is_that_of_the_catalogue(dataset: DynamicalDataset, catalogue: dict[str, Any]) -> None:
    public = catalogue[dataset.dataset_id]
    arrays = arrays_of(dataset.template_config)
    expected = public["coords"] | public["data_vars"]
    assert arrays.keys() == expected.keys()
    structure = {"dims", "template_shape", "dtype", "fill_value", "chunks", "shards"}
    for name, array in arrays.items():
        assert described(array) == {k: v for k, v in expected[name].items() if k in structure}, name
        attrs = array["attributes"]
        assert {k: v for k, v in attrs.items() if k != "comment"} == expected[name]["attrs"], name
        assert attrs.get("comment", "").strip() or not expected[name].get("needs_comment"), f"{name} needs a comment"
    attributes = root_of(dataset.template_config)["attributes"]
    assert {k: v for k, v in attributes.items() if k not in OWN_ATTRIBUTES} == public["attributes"]


@every_dataset
def test_a_dataset_is_made_up_as_long_as_its_archives_are(dataset: DynamicalDataset) -> None:
    made_up = any("example.org" in archive.url for archive in dataset.archives)
    told = f"the archives of {dataset.dataset_id} are {'' if made_up else 'not '}made up; its facts must say made_up={made_up}"
    assert facts_of(dataset).made_up == made_up, told


SPECIAL = {None: None, "run total": None, "no-rounding": None}


def ratio(stated: str | float) -> float:
    """A factor that is stated as a number, or as a fraction: `1/9.80665`."""
    above, _, below = str(stated).partition("/")
    return float(above) / float(below or 1)


CONVERTED: Mapping[str, Callable[[str], object]] = {
    "scale_factor": ratio,
    "init_time_scale_factors": lambda stated: [
        float(factor) for factor in re.findall(r"scale_factor=([0-9.]+)", stated)
    ],
    "date_available": pd.Timestamp,
    "window_reset_frequency": pd.Timedelta,
}
STATED: Mapping[str, Callable[[DataVar], object]] = {
    "grib_element": lambda data_var: data_var.field.element,
    "grib_index_level": lambda data_var: data_var.field.level,
    "grib_element_alternatives": lambda data_var: list(data_var.field.alternatives),
    "grib_index_param": lambda data_var: data_var.field.element,
    "grib_index_level_type": lambda data_var: data_var.field.level.partition(" ")[0],
    "grib_index_level_value": lambda data_var: int(data_var.field.level.partition(" ")[2]),
    "date_available": lambda data_var: data_var.available_from,
    "window_reset_frequency": lambda data_var: data_var.window_reset,
    "keep_mantissa_bits": lambda data_var: data_var.keep_mantissa_bits,
    "source_fill_value": lambda data_var: data_var.source_fill_value,
    "hour_0_values_override": lambda data_var: data_var.hour_0,
    "scale_factor": lambda data_var: data_var.scale_factor,
    "init_time_scale_factors": lambda data_var: [factor for _, factor in data_var.earlier_scale_factors],
    "deaccumulate_to_rate": lambda data_var: data_var.deaccumulation is not None,
    "deaccumulation_type": lambda data_var: rule_of(data_var).kind.replace("average", "running_mean"),
    "deaccumulation_invalid_below_threshold_rate": lambda data_var: rule_of(data_var).invalid_below,
    "deaccumulation_expected_clamp_fraction": lambda data_var: rule_of(data_var).expected_clamp_fraction,
}
"""What the catalogue says of a source, and where a variable's row says it."""
UNSTATED: Mapping[str, object] = {
    "grib_element_alternatives": [],
    "window_reset_frequency": None,
    "source_fill_value": None,
    "hour_0_values_override": None,
    "scale_factor": 1.0,
    "init_time_scale_factors": "",
    "deaccumulate_to_rate": False,
}
"""What the catalogue means where it says nothing."""


def rule_of(data_var: DataVar) -> Deaccumulation:
    assert data_var.deaccumulation is not None, data_var.name
    return data_var.deaccumulation


@every_dataset
def test_variables_are_made_from_the_messages_of_the_catalogue(
    dataset: DynamicalDataset, catalogue: dict[str, Any]
) -> None:
    public = catalogue[dataset.dataset_id]
    elsewhere = facts_of(dataset).stated_elsewhere
    for name, data_var in dataset.template_config.variables.items():
        source = UNSTATED | public["data_vars"][name]["source"]
        if "grib_index_param" in source:
            # Then the index is in the words of MARS, and this is what GDAL calls the message.
            source.pop("grib_element")
        unknown = source.keys() - STATED.keys() - {"grib_description"} - elsewhere
        assert not unknown, f"{name}: say here, or in another test, what {unknown} are to equal"
        if "grib_description" in source.keys() - elsewhere:
            match = DESCRIPTION.fullmatch(source["grib_description"])
            assert match is not None
            # Without a unit the surface has no value, whatever number stands there.
            value = None if match["unit"] == "-" else float(match["value"]) or None
            assert data_var.field.surface == (SURFACES[match["surface"]], value), name
        for key in source.keys() & STATED.keys() - elsewhere:
            wanted = source[key]
            if isinstance(wanted, str | None) and wanted in SPECIAL:
                wanted = SPECIAL[wanted]
            elif key in CONVERTED:
                wanted = CONVERTED[key](wanted)
            found = STATED[key](data_var)
            assert found == wanted, f"{name}: its row says {found!r}, {CATALOGUE} says {key} {wanted!r}"
        assert data_var.deaccumulation is None or data_var.deaccumulation.reset == data_var.window_reset, name
