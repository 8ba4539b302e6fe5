"""A check that meets the update of a shard judges what stands there, and does not break."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from reformatters_dagster.core.check.drift import CheckStatsDrift
from reformatters_dagster.core.check.nans import CheckRecentNans
from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.validators import Validator, run_validators
from reformatters_dagster.core.check.value_range import CheckValueRange
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.reading import READ_PATIENCE
from tests.core.check.published import data_var, no_coordinates, nothing
from tests.torn_shards import SHARD, updates_within_reads, values_before_and_after, write_one_shard

AXIS = AppendAxis(name="time", start=Timestamp("2030-01-01"), frequency="1h")
BOUNDED = data_var("temperature_2m").model_copy(update={"valid_range": (-50.0, 50.0)})


@pytest.mark.parametrize("validator", [CheckRecentNans(window=20), CheckValueRange(), CheckStatsDrift()])
def test_a_check_reads_again_what_was_rewritten_while_it_read(tmp_path: Path, validator: Validator) -> None:
    before, after = values_before_and_after()
    before[50:] = np.where(np.arange(16) < 8, after[50:], 0)  # no label is all NaN, and shards differ in length
    for name, values in {"old": before, "new": after}.items():
        write_one_shard(tmp_path / name, values)
    ds: xr.Dataset = xr.open_zarr(tmp_path / "old", chunks=None, consolidated=False)
    patience = replace(READ_PATIENCE, sleep=lambda _: None)
    opened = OpenedStore(ds, AXIS, (BOUNDED,), lambda _: set(), nothing, no_coordinates, patience=patience)
    with updates_within_reads(tmp_path / "old", (tmp_path / "new" / SHARD).read_bytes()) as requests:
        (result,) = run_validators([validator], opened, Timestamp("2030-01-03"))
    assert result.passed, result.message
    assert len(requests) >= 2
