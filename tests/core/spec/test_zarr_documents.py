"""Keys and documents say what zarr-python makes of them."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.spec.errors import (
    TemplateDrift,
)
from reformatters_dagster.core.spec.zarr_documents import append_dim_of, coordinate_names, shard_keys
from tests.core.spec.documents import array, arrays_in, root


def test_coordinates_are_told_from_data() -> None:
    assert coordinate_names(root(1)) == {"init_time", "latitude", "spatial_ref", "valid_time"}
    assert append_dim_of(root(1)) == "init_time"


def test_data_that_grows_along_two_dimensions() -> None:
    document = root(1)
    arrays_in(document)["wind"] = array(("latitude",), (6,), (6,))
    arrays_in(document)["wind"]["dimension_names"] = ["height"]
    with pytest.raises(TemplateDrift, match=r"first of every data variable; found \['height', 'init_time'\]: correct"):
        append_dim_of(document)


@pytest.mark.parametrize(
    ("shape", "shard", "objects"),
    [
        ((7000, 209, 721, 1440), (1, 210, 726, 726), 2),
        ((900, 31, 181, 721, 1440), (1, 31, 192, 374, 368), 8),
        ((900, 85, 51, 721, 1440), (1, 85, 51, 320, 320), 15),
        ((800, 93, 657, 1377), (1, 93, 657, 1377), 1),
        ((12_000, 49, 1059, 1799), (1, 49, 1060, 1800), 1),
        ((60_000, 721, 1440), (2880, 384, 384), 8),
        ((46_000, 721, 1440), (1440, 400, 400), 8),
        ((5,), (2,), 1),
    ],
)
def test_objects_of_one_shard(shape: tuple[int, ...], shard: tuple[int, ...], objects: int) -> None:
    keys = shard_keys(shape[1:], shard[1:])
    assert len(keys) == objects
    assert all(key.split("/")[0] == "c" and key.count("/") == len(shape) - 1 for key in keys)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4))
def test_objects_tile_an_array(sizes: list[tuple[int, int]]) -> None:
    shape, shard = zip(*sizes, strict=True)
    keys = shard_keys(shape, shard)
    corners = {tuple(int(i) * length for i, length in zip(key.split("/")[1:], shard, strict=True)) for key in keys}
    covered = sum(
        prod(min(at + length, size) - at for at, length, size in zip(corner, shard, shape, strict=True))
        for corner in corners
    )
    assert covered == prod(shape)
    assert len(corners) == len(keys)
