"""Each guard lets what is right pass, and says of what is wrong what was asked, what was found, and what to do."""

import copy
from collections.abc import Callable

import pandas as pd
import pytest

from reformatters_dagster.core.spec.errors import (
    Retraction,
    TemplateDrift,
    VariableNotPublished,
)
from reformatters_dagster.core.spec.values import JSON
from reformatters_dagster.core.store.guards import (
    refuse_other_labels,
    refuse_other_start,
    refuse_retraction,
    refuse_structure_drift,
    refuse_unpublished_variables,
    refuse_version_mismatch,
)
from tests.core.spec.documents import arrays_in, root


def test_growth_and_new_attributes_are_no_drift() -> None:
    template = root(9)
    arrays_in(template)["temperature_2m"]["attributes"] = {"units": "degree_Celsius"}
    template["attributes"]["title"] = "new"
    refuse_structure_drift(template, root(2), "init_time")


def test_new_arrays_are_no_drift() -> None:
    template = root(2)
    for name in ("wind_v_10m", "wind_u_10m"):
        arrays_in(template)[name] = copy.deepcopy(arrays_in(template)["temperature_2m"])
    refuse_structure_drift(template, root(2), "init_time")


def rename_dim(found: JSON) -> None:
    found["dimension_names"] = ["init_time", "y"]


def change_chunks(found: JSON) -> None:
    found["codecs"][0]["configuration"]["chunk_shape"] = [1, 2]


def change_codec(found: JSON) -> None:
    found["codecs"][0]["configuration"]["codecs"].append({"name": "zstd", "configuration": {"level": 3}})


DRIFTS: list[tuple[Callable[[JSON], object], str]] = [
    (lambda found: found.update(data_type="float64"), r"dtype 'float32' in the store, 'float64' in the template"),
    (lambda found: found.update(fill_value=0.0), r"fill value 'NaN' in the store, 0\.0 in the template"),
    (lambda found: found["attributes"].update(_FillValue=-9999.0), r"_FillValue None in the store, -9999\.0 in"),
    (lambda found: found.update(shape=[2, 7]), r"sizes \{'latitude': 6\} in the store, \{'latitude': 7\} in"),
    (
        lambda found: found["chunk_grid"]["configuration"].update(chunk_shape=[1, 6]),
        r"stored shape \[1, 4\] in .*\[1, 6\]",
    ),
    (rename_dim, r"dimensions \['init_time', 'latitude'\] in the store, \['init_time', 'y'\]"),
    (change_chunks, r"codecs .* of chunks \[1, 1\] in the store, .* of chunks \[1, 2\]"),
    (change_codec, r"codecs \[bytes .*\] .*in the store, \[bytes .*, zstd \{'level': 3\}\]"),
]


@pytest.mark.parametrize(("change", "found"), DRIFTS, ids=[found.split(" ")[0] for _, found in DRIFTS])
def test_structure_drift(change: Callable[[JSON], object], found: str) -> None:
    template = root(2)
    change(arrays_in(template)["temperature_2m"])
    with pytest.raises(
        TemplateDrift, match=rf"temperature_2m: {found}.*raise the dataset version to start a new store"
    ):
        refuse_structure_drift(template, root(2), "init_time")


def test_every_drift_is_told_at_once() -> None:
    template = root(2)
    del arrays_in(template)["temperature_2m"]
    arrays_in(template)["latitude"]["data_type"] = "float32"
    with pytest.raises(
        TemplateDrift, match=r"latitude: dtype .*; temperature_2m is in the store and not in the template"
    ):
        refuse_structure_drift(template, root(2), "init_time")


def test_a_root_that_is_not_consolidated() -> None:
    document = root(2)
    del document["consolidated_metadata"]
    with pytest.raises(
        TemplateDrift, match=r"consolidated metadata was expected.*\['attributes', 'node_type', .*restore"
    ):
        refuse_structure_drift(root(2), document, "init_time")


@pytest.mark.parametrize("inits", [2, 3])
def test_growth_is_no_retraction(inits: int) -> None:
    refuse_retraction(root(inits), root(2), "init_time")


def test_retraction() -> None:
    with pytest.raises(
        Retraction, match=r"init_time was to be published with 1 labels of init_time; .*publishes 2: .*never"
    ):
        refuse_retraction(root(1), root(2), "init_time")


def test_one_shorter_array_is_a_retraction() -> None:
    template = root(2)
    arrays_in(template)["temperature_2m"]["shape"] = [1, 6]
    with pytest.raises(Retraction, match="temperature_2m was to be published with 1 labels"):
        refuse_retraction(template, root(2), "init_time")


def test_version() -> None:
    attrs = {"dataset_id": "noaa-gfs-forecast", "dataset_version": "1.0.0"}
    refuse_version_mismatch(attrs, "noaa-gfs-forecast", "1.0.0")
    for wanted in (("noaa-gfs-forecast", "2.0.0"), ("noaa-gefs-forecast", "1.0.0")):
        with pytest.raises(
            TemplateDrift,
            match=rf"'{wanted[0]}' version '{wanted[1]}' was asked for; found 'noaa-gfs-forecast' version '1.0.0': run "
            f"'reformat update-template {wanted[0]}'",
        ):
            refuse_version_mismatch(attrs, *wanted)


def test_start() -> None:
    start = pd.Timestamp("2026-07-29T18:00")
    refuse_other_start(start, start)
    with pytest.raises(
        TemplateDrift, match=r"start at 2026-07-30T00:00; the store starts at 2026-07-29T18:00: set REFORM"
    ):
        refuse_other_start(start + pd.Timedelta("6h"), start)


def test_labels() -> None:
    refuse_other_labels("latitude", [1.0, 2.0], [1.0, 2.0])
    with pytest.raises(
        TemplateDrift, match=r"latitude has label 2\.0 at position 1 in the template; the store has 3\.0"
    ):
        refuse_other_labels("latitude", [1.0, 2.0], [1.0, 3.0])
    with pytest.raises(TemplateDrift, match="latitude has 1 labels in the template and 2 in the store: restore"):
        refuse_other_labels("latitude", [1.0], [1.0, 3.0])


def test_variables_without_an_array_are_not_written() -> None:
    refuse_unpublished_variables("a-b", ["temperature_2m"], root(3))
    with pytest.raises(VariableNotPublished) as caught:
        refuse_unpublished_variables("a-b", ["wind", "temperature_2m", "rain"], root(3))
    assert str(caught.value) == (
        "data of a-b was to be written within what is published; the store has no rain, wind yet: `reformat backfill a-b "
        "--overwrite-chunks --overwrite-metadata --variables rain,wind` adds them with their history; or choose other variables"
    )
