"""Documents of a small store, as `json.loads` gives them."""

from typing import Any

from reformatters_dagster.core.spec.values import JSON


def array(dims: tuple[str, ...], shape: tuple[int, ...], stored: tuple[int, ...], dtype: str = "float32") -> JSON:
    bytes_codec = {"name": "bytes", "configuration": {"endian": "little"}}
    sharding: dict[str, Any] = {"chunk_shape": [1 for _ in stored], "codecs": [bytes_codec], "index_location": "end"}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(stored)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN",
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {"units": "K"},
        "dimension_names": list(dims),
        "storage_transformers": [],
    }


def root(inits: int) -> JSON:
    arrays = {
        "init_time": array(("init_time",), (inits,), (100,), "int64"),
        "latitude": array(("latitude",), (6,), (6,), "float64"),
        "spatial_ref": array((), (), (), "int64"),
        "temperature_2m": array(("init_time", "latitude"), (inits, 6), (1, 4)),
        "valid_time": array(("init_time",), (inits,), (100,), "int64"),
        "levels": {"zarr_format": 3, "node_type": "group", "attributes": {}},
    }
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"dataset_id": "noaa-gfs-forecast", "coordinates": "spatial_ref valid_time"},
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
    }


def arrays_in(document: JSON) -> dict[str, JSON]:
    found: dict[str, JSON] = document["consolidated_metadata"]["metadata"]
    return found
