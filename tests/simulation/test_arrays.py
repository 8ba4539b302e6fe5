"""Arrays that stand for zarr's: zarr reads what they write, and the simulator's reader does."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from reformatters_dagster.core.shard.writer import continue_shards, write_shards
from reformatters_dagster.core.spec.template_files import write_arrays
from tests.simulation.arrays import quick_arrays
from tests.simulation.objects import Bucket
from tests.simulation.reader import ROOT, shard_values
from tests.tiny import TinyTemplate, tiny_template

NAME = "temperature_2m"


@pytest.fixture
def template(tmp_path: Path) -> TinyTemplate:
    made = tiny_template(tmp_path / "templates")
    made.update_template()
    return made


@pytest.mark.parametrize("labels", [1, 2], ids=["part of a shard", "a whole shard"])
def test_zarr_reads_what_is_written(template: TinyTemplate, tmp_path: Path, labels: int) -> None:
    ds = template.get_template(template.append_dim.start + labels * template.append_dim.frequency)
    wanted = np.random.default_rng(1).random(ds[NAME].shape, np.float32)
    store, again = tmp_path / "one-tmp.zarr", tmp_path / "two-tmp.zarr"
    for path in (store, again):
        write_arrays(ds, [NAME], path)
    with quick_arrays():
        assert write_shards(wanted, store, NAME, slice(0, 2)) == 2
    np.testing.assert_array_equal(zarr.open_array(store / NAME, mode="r")[...], wanted)

    before = {file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("*") if file.is_file()}
    with quick_arrays():
        assert continue_shards([(0, -wanted)], before.__getitem__, again, NAME, slice(0, 2)) == 2
    np.testing.assert_array_equal(zarr.open_array(again / NAME, mode="r")[...], -wanted)


def test_the_reader_sees_what_zarr_has_written(template: TinyTemplate, tmp_path: Path) -> None:
    ds = template.get_template(template.append_dim.start + 2 * template.append_dim.frequency)
    wanted = np.random.default_rng(1).random(ds[NAME].shape, np.float32)
    write_arrays(ds, [NAME], tmp_path / "one-tmp.zarr")
    write_shards(wanted, tmp_path / "one-tmp.zarr", NAME, slice(0, 2))
    bucket = Bucket("primary")
    for file in (tmp_path / "one-tmp.zarr").rglob("*"):
        if file.is_file():
            bucket.put(file.relative_to(tmp_path / "one-tmp.zarr").as_posix(), file.read_bytes())
    document = bucket.objects[f"{NAME}/{ROOT}"][0].decode()
    bucket.put(ROOT, f'{{"consolidated_metadata": {{"metadata": {{"{NAME}": {document}}}}}}}'.encode())
    found = shard_values(bucket, NAME, 0)
    assert found is not None
    np.testing.assert_array_equal(found, wanted)
