"""What a made-up source shows of a row that is wrong: which message was asked for and which was found, and wrong units."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataset_defs.example.idx.forecast import DATASET as IDX
from dataset_defs.example.mars.forecast import DATASET as MARS
from dataset_defs.example.weather.forecast import DATASET as WEATHER
from reformatters_dagster.core.run.dataset import DynamicalDataset
from tests.dataset_defs.example.test_idx_forecast import MESSAGES as IDX_MESSAGES
from tests.dataset_defs.example.test_idx_forecast import in_file
from tests.dataset_defs.example.test_mars_forecast import MESSAGES as MARS_MESSAGES
from tests.dataset_defs.made_up import MadeUpSource

KINDS = ((IDX, IDX_MESSAGES), (MARS, MARS_MESSAGES), (WEATHER, IDX_MESSAGES))
every_kind = pytest.mark.parametrize(("dataset", "messages"), KINDS, ids=["idx", "mars", "weather"])


def with_row(dataset: DynamicalDataset, name: str, **changes: Any) -> DynamicalDataset:
    """The dataset with one row that is different."""
    template = dataset.template_config
    rows = tuple(row.model_copy(update=changes) if row.name == name else row for row in template.data_vars)
    return replace(dataset, template_config=template.model_copy(update={"data_vars": rows}))


@every_kind
def test_a_wrong_grib_number_is_told_with_the_number_that_was_found(
    dataset: DynamicalDataset, messages: Any, tmp_path: Path
) -> None:
    row = dataset.template_config.variables["temperature_2m"]
    wrong = with_row(dataset, row.name, field=row.field.model_copy(update={"parameter": (0, 0, 6)}))
    source = MadeUpSource.write(tmp_path / "source", wrong, ["2026-07-29T12"], in_file, messages)
    told = "temperature_2m lacks 20260729/12/.* is another message: parameter asked (0, 0, 6), found (0, 0, 0);"
    with pytest.raises(AssertionError, match=re.escape(told).replace(r"\.\*", ".*")):
        source.assert_read(tmp_path)


@every_kind
def test_a_wrong_factor_is_told(dataset: DynamicalDataset, messages: Any, tmp_path: Path) -> None:
    wrong = with_row(dataset, "precipitation_surface", scale_factor=0.5)
    source = MadeUpSource.write(tmp_path / "source", wrong, ["2026-07-29T12"], in_file, messages)
    with pytest.raises(AssertionError, match=r"precipitation_surface of .*, lead time 6 h is .* further from the file"):
        source.assert_read(tmp_path)


def test_a_name_that_the_index_does_not_have_is_told(tmp_path: Path) -> None:
    row = IDX.template_config.variables["temperature_2m"]
    wrong = with_row(IDX, row.name, field=row.field.model_copy(update={"element": "T"}))
    source = MadeUpSource.write(tmp_path / "source", wrong, ["2026-07-29T12"], in_file, IDX_MESSAGES)
    with pytest.raises(AssertionError, match=r"temperature_2m lacks .*f000.grib2: .* does not have T:2 m above ground"):
        source.assert_read(tmp_path)
