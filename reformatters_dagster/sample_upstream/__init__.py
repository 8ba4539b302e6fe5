"""A sample upstream: real-format GRIB2 in an archive's own layout, of weather whose true values are known."""

from reformatters_dagster.sample_upstream.encoder import Encoder, SampleMessage
from reformatters_dagster.sample_upstream.gfs import (
    DEMO_VARIABLES,
    GFS_FIELDS,
    SampleField,
    expected_values,
    gfs_message,
)
from reformatters_dagster.sample_upstream.mirror import write_sample_upstream

__all__ = [
    "DEMO_VARIABLES",
    "GFS_FIELDS",
    "Encoder",
    "SampleField",
    "SampleMessage",
    "expected_values",
    "gfs_message",
    "write_sample_upstream",
]
