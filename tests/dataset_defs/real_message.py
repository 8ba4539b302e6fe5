"""A real message of a dataset's source, beside what another decoder found in it.

In: a file of real messages, and which of them a row is to be made of. Out: an assertion about identity and values.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reformatters_dagster.core.job.grib_job import GribRegionJob
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.core.spec.variables import DataVar
from tests.core.grib.real_messages import messages_of
from tests.dataset_defs.contract import job_at


def assert_real_message(dataset: DynamicalDataset, row: DataVar, path: Path, folder: Path, **known: Any) -> None:
    """The message is the one that the row asks for, and the dataset reads from it what the other decoder found.

    Parameters
    ----------
    path : Path
        The file. What the other decoder found lies beside it, in `<name>.expected.json`.
    folder : Path
        For what is written on the way.
    **known
        Which message of the file, in the other decoder's words: `shortName="t", level=500`.
    """
    ((message, found),) = [(message, told) for message, told in messages_of(path) if known.items() <= told.items()]
    init_time = pd.Timestamp(str(found["dataDate"])) + Timedelta(hours=found["dataTime"] // 100)
    lead_time = Timedelta(hours=int(str(found["stepRange"]).rpartition("-")[2]))
    job = job_at(dataset, init_time, folder)
    assert isinstance(job, GribRegionJob)
    coord = job.source_file_coord.model_validate({"init_time": init_time, "lead_time": lead_time})
    job.verify(message, coord, row, path.name)
    (folder / "message").write_bytes(message)
    spans = {row.name: (0, len(message))}
    values = job.read_data(coord, row, Downloaded(path=folder / "message", archive="", etag=None, spans=spans))

    def stored(value: float) -> Any:
        return pytest.approx(value * row.scale_factor_at(init_time) + row.add_offset, rel=1e-6, abs=1e-4)

    latitudes, longitudes = (dim.index() for dim in dataset.template_config.grid.dims)
    for point in found["points"]:
        at = latitudes.get_loc(point["lat"]), longitudes.get_loc(point["lon"])
        assert values[at] == stored(point["value"]), point
    assert (np.nanmin(values), np.nanmax(values)) == (stored(found["min"]), stored(found["max"]))
    assert np.isnan(values).sum() == found["n_missing"]
