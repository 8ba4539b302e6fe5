"""What a name means is the same in every dataset, and what public datasets of these models say of it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reformatters_dagster.core.spec.errors import UnknownVariable
from reformatters_dagster.core.spec.standard_variables import STANDARD_VARIABLES, standard_variable
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation, GribField

GROUND = (1, None)
FIELD = GribField(element="TMP", level="2 m above ground", parameter=(0, 0, 0), surface=(103, 2.0))
TOTAL = GribField(element="APCP", level="surface", parameter=(0, 1, 8), surface=GROUND, statistic="acc")


def test_the_table_says_what_the_catalogue_says(shared_data: Path) -> None:
    found: dict[str, Any] = json.loads((shared_data / "../reference/datasets.json").read_text())
    public = {
        (dataset_id, name): data_var["attrs"]
        for dataset_id, dataset in found.items()
        if not dataset_id.startswith("_")
        for name, data_var in dataset["data_vars"].items()
    }
    assert len({name for _, name in public}) > 40
    for (dataset_id, name), attrs in public.items():
        ours = DataVar.standard(name, FIELD).attrs
        # Models differ in whether a field is a mean or an instant, and that is what the comment is about.
        for one in (ours, attrs):
            one.pop("step_type")
            one.pop("comment", None)
        assert ours == attrs, f"{name} of {dataset_id}"


def test_a_row_says_where_the_source_keeps_a_variable_and_what_differs() -> None:
    row = DataVar.standard("temperature_2m", FIELD, keep_mantissa_bits=9, comment="Of the lowest layer.")
    assert (row.long_name, row.units, row.add_offset) == ("2 metre temperature", "degree_Celsius", -273.15)
    assert (row.field, row.step_type, row.comment) == (FIELD, "instant", "Of the lowest layer.")
    assert (row.keep_mantissa_bits, STANDARD_VARIABLES["temperature_2m"].keep_mantissa_bits) == (9, 7)


@pytest.mark.parametrize(
    ("own", "step_type"),
    [({}, "accum"), ({"deaccumulation": Deaccumulation()}, "avg"), ({"step_type": "instant"}, "instant")],
)
def test_a_total_is_one_until_it_becomes_a_rate(own: dict[str, Any], step_type: str) -> None:
    assert DataVar.standard("precipitation_surface", TOTAL, **own).step_type == step_type


def test_kinds_are_not_rounded_into_other_kinds() -> None:
    kinds = [one for one in STANDARD_VARIABLES.values() if one.flag_values]
    assert kinds
    assert {one.keep_mantissa_bits for one in kinds} == {None}


def test_a_name_that_is_not_standard_is_refused() -> None:
    with pytest.raises(UnknownVariable, match=r"'temperature_2' was asked for; .* did you mean 'temperature_2m'"):
        standard_variable("temperature_2")


def test_a_factor_changes_with_the_init_time() -> None:
    row = DataVar.standard(
        "precipitation_surface",
        TOTAL,
        scale_factor=1.0,
        earlier_scale_factors=(("2024-01-01", 10.0), ("2025-02-24T06", 1000.0)),
    )
    days = ("2023-12-31", "2024-01-01", "2025-02-24T00", "2025-02-24T06")
    assert [row.scale_factor_at(pd.Timestamp(day)) for day in days] == [10.0, 1000.0, 1000.0, 1.0]
