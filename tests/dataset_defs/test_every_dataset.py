"""One contract, every dataset: its template, names and units, source files, partitions, budgets."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cf_units import Unit
from compliance_checker.cf.util import StandardNameTable

from dataset_defs import DATASETS
from reformatters_dagster.core.grib.index import IndexEntry
from reformatters_dagster.core.job.context import JobContext
from reformatters_dagster.core.job.indexed_grib_job import IndexedGribRegionJob
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.source.files import ForecastFileCoord, SourceFileCoord, whole_hours
from reformatters_dagster.core.spec.errors import IndexMismatch
from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.projection import differing_corners
from reformatters_dagster.core.spec.standard_variables import STANDARD_VARIABLES
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.template_files import differing_files, write_metadata
from reformatters_dagster.core.spec.values import MOMENT
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.spec.zarr_documents import shard_keys
from reformatters_dagster.orchestration.partitions import partition_label, shard_partitions
from reformatters_dagster.scaffold import PLACEHOLDERS, placeholders_in
from tests.dataset_defs.contract import (
    CONTRACTED,
    NOW,
    OWN_ATTRIBUTES,
    arrays_of,
    described,
    every_dataset,
    job_at,
    root_of,
)
from tests.dataset_defs.facts import facts_of
from tests.tiny import shard_labels


@pytest.fixture(scope="module")
def standard_names() -> Any:
    table = files("compliance_checker") / "data/cf-standard-name-table.xml"
    return StandardNameTable(cached_location=str(table))


def coords_of(job: RegionJob[Any]) -> list[list[SourceFileCoord]]:
    """Source files of each group of variables."""
    region_ds = job.template_ds.isel({job.append_dim: job.region})
    return [job.source_files(region_ds, group) for group in job.source_groups(job.data_vars)]


def test_ids_are_unique() -> None:
    assert len({dataset.dataset_id for dataset in DATASETS}) == len(DATASETS) > 0


# Template


@every_dataset
def test_the_committed_template_is_what_the_code_writes(dataset: DynamicalDataset, tmp_path: Path) -> None:
    dataset.template_config.write_template(tmp_path / "latest.zarr")
    stale = differing_files(dataset.template_config.path, tmp_path / "latest.zarr")
    assert stale == [], f"run: uv run reformat update-template {dataset.dataset_id}, and review the diff"


@every_dataset
def test_a_store_of_one_label_has_the_committed_metadata(dataset: DynamicalDataset, tmp_path: Path) -> None:
    template = dataset.template_config
    write_metadata(template.get_template(template.append_dim.start + MOMENT), tmp_path / "a-tmp.zarr")
    follow_from_the_grid = ["latitude/c/0/0", "longitude/c/0/0"] if isinstance(template.grid, LambertGrid) else []
    assert differing_files(template.path, tmp_path / "a-tmp.zarr") == follow_from_the_grid


@every_dataset
def test_the_dataset_says_what_it_is(dataset: DynamicalDataset) -> None:
    attributes = root_of(dataset.template_config)["attributes"]
    needed = {"dataset_id", "name", "spatial_domain", "spatial_resolution", "time_domain", "time_resolution"}
    assert needed | OWN_ATTRIBUTES <= attributes.keys()
    assert all(value.strip() for value in attributes.values())
    assert attributes["dataset_id"] == dataset.dataset_id


@every_dataset
def test_nothing_is_left_of_the_texts_that_the_scaffold_writes(dataset: DynamicalDataset) -> None:
    texts = [*dataset.template_config.attributes.model_dump().values(), dataset.documentation]
    left = placeholders_in(*texts, *(archive.url for archive in dataset.archives))
    if facts_of(dataset).made_up:
        assert left == list(PLACEHOLDERS), (
            "the facts say made_up=True; take that out once the dataset speaks for itself"
        )
    else:
        assert left == [], (
            f"{dataset.dataset_id} still says what the scaffold wrote: say what is true, and update its template"
        )


@every_dataset
def test_corners_of_a_projected_grid_lie_where_latitude_and_longitude_say(dataset: DynamicalDataset) -> None:
    template, facts = dataset.template_config, facts_of(dataset)
    if not isinstance(template.grid, LambertGrid):
        assert facts.corners is None
        pytest.skip(f"the grid of {dataset.dataset_id} is not projected")
    ds = template.get_template(template.append_dim.start + MOMENT)
    latitude, longitude = (ds[name].to_numpy().astype("f8") for name in ("latitude", "longitude"))
    mapping = arrays_of(template)["spatial_ref"]["attributes"]
    assert differing_corners(mapping, ds["y"].to_numpy(), ds["x"].to_numpy(), latitude, longitude) == []
    assert facts.corners is not None, "say in the facts where the source has the south-west and the north-east corner"
    order = latitude[:, 0].argsort()[[0, -1]]
    for row, column, corner in zip(order, (0, -1), facts.corners, strict=True):
        assert (latitude[row, column], longitude[row, column]) == pytest.approx(corner, abs=1e-3)


@every_dataset
def test_coordinates_stay_one_object_for_years(dataset: DynamicalDataset) -> None:
    axis = dataset.template_config.append_dim
    (chunk,) = described(arrays_of(dataset.template_config)[axis.name])["chunks"]
    assert len(axis.labels(facts_of(dataset).one_object_until)) <= chunk == axis.coordinate_chunk


# Names, units, messages


@every_dataset
def test_every_array_is_named_and_has_units_and_a_fill_value(dataset: DynamicalDataset) -> None:
    for name, array in arrays_of(dataset.template_config).items():
        assert array["fill_value"] is not None, name
        if name == "spatial_ref":
            continue
        assert array["attributes"]["long_name"].strip(), name
        Unit(array["attributes"]["units"], calendar=array["attributes"].get("calendar"))


@every_dataset
def test_standard_names_exist_and_units_convert_to_theirs(dataset: DynamicalDataset, standard_names: Any) -> None:
    named = {
        name: array["attributes"]
        for name, array in arrays_of(dataset.template_config).items()
        if "standard_name" in array["attributes"]
    }
    assert {"latitude", "longitude", dataset.template_config.append_dim.name} <= named.keys()
    assert named.keys() & dataset.template_config.variables.keys()
    for name, attrs in named.items():
        assert attrs["standard_name"] in standard_names._names, name
        canonical = standard_names[attrs["standard_name"]].canonical_units
        units = Unit(attrs["units"], calendar=attrs.get("calendar"))
        if units.is_time_reference():
            assert canonical == "s", name
        else:
            assert units.is_convertible(canonical), f"{name}: {attrs['units']} to {canonical}"


@every_dataset
def test_flags_are_explained(dataset: DynamicalDataset) -> None:
    for data_var in dataset.template_config.data_vars:
        assert len((data_var.flag_meanings or "").split()) == len(data_var.flag_values), data_var.name


@every_dataset
def test_variables_are_as_the_table_of_standard_variables_has_them(dataset: DynamicalDataset) -> None:
    for data_var in dataset.template_config.data_vars:
        if data_var.name not in STANDARD_VARIABLES:
            continue
        wanted = DataVar.standard(data_var.name, data_var.field, step_type=data_var.step_type, comment=data_var.comment)
        assert data_var.attrs == wanted.attrs, f"write {data_var.name} with DataVar.standard"


def test_a_name_that_several_datasets_have_is_standard() -> None:
    names = Counter(name for dataset in CONTRACTED for name in dataset.template_config.variables)
    lacking = [name for name, count in names.items() if count > 1 and name not in STANDARD_VARIABLES]
    assert lacking == [], "add them to reformatters_dagster/core/spec/standard_variables.py, so that they mean the same"


# Source files


@every_dataset
@pytest.mark.parametrize("which", ["first", "newest"])
def test_urls_of_the_first_and_the_newest_label(dataset: DynamicalDataset, which: str, tmp_path: Path) -> None:
    axis, facts = dataset.template_config.append_dim, facts_of(dataset)
    label = {"first": axis.start, "newest": axis.labels(NOW)[-1]}[which]
    job = job_at(dataset, label, tmp_path)
    groups = [coords for coords in coords_of(job) if coords]
    every: dict[SourceFileCoord, None] = {}
    for group in groups:
        unique = dict.fromkeys(group)
        assert len(unique) == len(group)
        every |= unique
    coords = list(every)
    # A prime, so that no lead time or member is left out each time.
    for coord in coords[:: 1 if len(coords) < 3000 else 7]:
        match = re.fullmatch(facts.url, coord.get_url())
        assert match is not None, f"{coord.get_url()} is not as the facts have it: {facts.url}"
        named = named_in(match)
        assert named == {k: v for k, v in told_by(coord).items() if k in named}, coord
        assert coord.get_url().endswith(f"/{coord.key()}")
    assert {(coords[0].get_url(), coords[-1].get_url()) for coords in groups} == getattr(facts, which)
    places = [coord.out_loc() for coord in coords]
    labels = job.template_ds.indexes[axis.name][job.region]
    assert {place[axis.name] for place in places} >= {label for label in labels if label >= facts.begins}
    for dim in dataset.template_config.dims:
        found = {place[dim.name] for place in places}
        assert found <= {*dim.index()}, dim.name
        assert which == "newest" or facts.first_is_shorter or found == {*dim.index()}, dim.name


@every_dataset
def test_a_variable_is_asked_for_from_the_time_on_at_which_the_source_has_it(
    dataset: DynamicalDataset, tmp_path: Path
) -> None:
    axis = dataset.template_config.append_dim
    begun_later = [one for one in dataset.template_config.data_vars if (one.available_from or axis.start) > axis.start]
    for data_var in begun_later:
        assert data_var.available_from is not None
        first = int(axis.labels(NOW).searchsorted(data_var.available_from))
        job = job_at(dataset, axis.labels(NOW)[first], tmp_path)
        (group,) = [group for group in job.source_groups(job.data_vars) if data_var in group]
        wanted = {
            at: job.source_files(job.template_ds.isel({axis.name: slice(at, at + 1)}), group)
            for at in (first - 1, first)
        }
        assert [len(wanted[first - 1]) > 0, len(wanted[first]) > 0] == [False, True], data_var.name


def named_in(match: re.Match[str]) -> dict[str, str]:
    """What a URL names, without leading zeros."""
    return {name: text.lstrip("0") or "0" for name, text in match.groupdict().items() if text is not None}


def told_by(coord: SourceFileCoord) -> dict[str, str]:
    """What a coord says of itself, as `named_in` gives it."""
    told = {name: str(value) for name, value in coord}
    if isinstance(coord, ForecastFileCoord):
        told |= {"date": f"{coord.init_time:%Y%m%d}", "hour": str(coord.init_time.hour)}
        told |= {"lead": str(whole_hours(coord.lead_time))}
    return told


@every_dataset
def test_every_variable_is_found_in_every_index(dataset: DynamicalDataset, shared_data: Path, tmp_path: Path) -> None:
    facts, job = facts_of(dataset), job_at(dataset, dataset.template_config.append_dim.start, tmp_path)
    if not isinstance(job, IndexedGribRegionJob):
        assert facts.indexes is None
        pytest.skip(f"the source of {dataset.dataset_id} has no index")
    assert facts.indexes is not None, "the source has an index: name some in the facts"
    everywhere: set[str] = set()
    for name, text in facts.indexes(shared_data).items():
        entries = job.parse_index(text, 1 << 40, name)
        match = re.fullmatch(facts.index_name, name)
        assert match is not None, f"the facts' index_name {facts.index_name!r} does not match the index {name!r}"
        coord = job.source_file_coord.model_validate(facts.coord_of(entries[0].reference_time, match))
        key, file_name = job.index_key(coord), name.rpartition("--")[2]
        assert key.endswith(file_name), (
            f"the index {name!r} is that of {coord!r}, whose index is {key!r}: call the file as the archive does, with any "
            "words and '--' before it"
        )
        found = {}
        for data_var in job.data_vars:
            if facts.not_in(coord, data_var):
                refusal = found_or_refused(job, entries, coord, data_var)
                assert isinstance(refusal, str), (
                    f"the facts say that the file beside {name!r} lacks {data_var.name}, and it has {refusal}: give the row "
                    "hour_0=True if that is lead time 0 and the field is to be used, or the facts another not_in"
                )
                assert re.search(f"does not have .*{data_var.field.element}", refusal), refusal
                continue
            found[data_var.name] = entry = job.find_message(entries, coord, data_var)
            words = (entry.element, entry.level, entry.window, entry.member)
            alike = [e for e in entries if (e.element, e.level, e.window, e.member) == words]
            assert len(alike) == 1 or data_var.field.first_of_duplicates, data_var.name
        assert len({entry.number for entry in found.values()}) == len(found)
        everywhere |= found.keys()
    lacking = dataset.template_config.variables.keys() - everywhere
    assert not lacking, "no index of the facts has these; real_indexes says where to put more"


def found_or_refused(
    job: IndexedGribRegionJob[Any], entries: list[IndexEntry], coord: SourceFileCoord, data_var: DataVar
) -> IndexEntry | str:
    """What an index has of a variable, or in which words it is said not to have it."""
    try:
        return job.find_message(entries, coord, data_var)
    except IndexMismatch as error:
        return str(error)


# Partitions


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York"])
def _zone_of_the_machine(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


def partitions(template: TemplateConfig, now: pd.Timestamp) -> list[str]:
    return list(shard_partitions(template).get_partition_keys(current_time=now.tz_localize("UTC").to_pydatetime()))


def begun_shards(template: TemplateConfig, now: pd.Timestamp) -> list[str]:
    return [partition_key(label) for label in shard_labels(template, now + MOMENT)]


@every_dataset
def test_partitions_are_the_shards_that_have_begun(dataset: DynamicalDataset) -> None:
    template = dataset.template_config
    keys = partitions(template, NOW)
    assert keys == begun_shards(template, NOW)
    assert [partition_label(key) for key in keys[:: len(keys) - 1]] == [
        template.append_dim.start,
        shard_labels(template, NOW)[-1],
    ]


@every_dataset
@pytest.mark.usefixtures("_zone_of_the_machine")
@pytest.mark.parametrize("clocks_change", ["2026-03-08", "2026-03-29", "2026-10-25", "2026-11-01"])
def test_partitions_follow_utc_when_clocks_change(dataset: DynamicalDataset, clocks_change: str) -> None:
    day = pd.Timestamp(clocks_change)
    template = dataset.template_config.started_at(day - pd.Timedelta("2D"))
    for now in pd.date_range(day, day + pd.Timedelta("1D"), freq="3h"):
        assert partitions(template, now) == begun_shards(template, now), now


@every_dataset
@pytest.mark.usefixtures("_zone_of_the_machine")
def test_a_partition_exists_from_the_first_moment_of_its_shard(dataset: DynamicalDataset) -> None:
    template = dataset.template_config.started_at(pd.Timestamp("2026-07-01"))
    first = template.append_dim.start
    for shards, offset in product((1, 5), (-MOMENT, 0 * MOMENT, MOMENT)):
        now = first + template.shard_duration * shards + offset
        keys = partitions(template, now)
        assert keys == begun_shards(template, now), now
        assert len(keys) == shards + (offset >= 0 * MOMENT)


# Budgets


def region_values(template: TemplateConfig) -> int:
    """Values of one variable in one shard along the append dimension."""
    return template.shard_length * prod(len(dim.labels) for dim in template.all_dims)


def quantity(text: str) -> float:
    """Bytes of a Kubernetes quantity."""
    return float(text[:-2]) * {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}[text[-2:]]


def too_small(name: str, stated: str, needed: float) -> str:
    return f"a pod has {name} {stated}, a region job needs {needed / 1024**3:.2f}Gi: give Resources more, or make shards smaller"


@every_dataset
def test_size_and_objects_of_one_variable_of_one_shard(dataset: DynamicalDataset) -> None:
    template = dataset.template_config
    gigabytes, objects = facts_of(dataset).region
    assert 4e-9 * region_values(template) == pytest.approx(gigabytes, rel=0.02)
    others = tuple(len(dim.labels) for dim in template.all_dims)
    assert len(shard_keys(others, tuple(template.shards.values())[1:])) == objects


@every_dataset
def test_a_pod_holds_what_a_region_job_holds(dataset: DynamicalDataset) -> None:
    template, cpus = dataset.template_config, ceil(float(dataset.resources.cpu))
    points = prod(template.grid.shape)
    in_one_shard = 4 * region_values(template) // points * prod(list(template.shards.values())[-2:])
    values = min(4 * region_values(template), max(JobContext.buffer_bytes, in_one_shard))
    encoding = cpus * 4 * prod(template.shards.values()) * 2
    needed = values + cpus * 4 * points * 3 + encoding
    assert quantity(dataset.resources.memory) > needed, too_small("memory", dataset.resources.memory, needed)


@every_dataset
def test_a_pod_stores_what_a_region_job_stores(dataset: DynamicalDataset) -> None:
    template = dataset.template_config
    groups = dataset.region_job.source_groups(template.data_vars)
    # One group is read while the next downloads; packed, a value takes two bytes at the most.
    downloads = 2 * region_values(template) * sum(sorted(map(len, groups))[-2:])
    uncompressed = 4 * region_values(template)
    spooled = uncompressed if uncompressed > JobContext.buffer_bytes else 0
    needed = downloads + 2 * uncompressed + spooled
    stated = dataset.resources.ephemeral_storage
    assert quantity(stated) > needed, too_small("ephemeral_storage", stated, needed)
