"""Faults that users of other systems have reported in public, made here, and what is told of them: docs/reliability.md."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reformatters_dagster.core.check.completeness import CheckCompleteness
from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.nans import CheckRecentNans
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.field.transforms import deaccumulate_in_place
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import Deaccumulation
from tests.datasets import INIT, LEADS, RAIN, SECOND, SOON, TEMPERATURE, THIRD, Sample, Site, gfs_forecast
from tests.stores import Stopped

pytest_plugins = ["tests.datasets"]

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs/reliability.md"


@pytest.fixture(scope="module")
def pair_dataset(tmp_path_factory: pytest.TempPathFactory) -> DynamicalDataset:
    return gfs_forecast(tmp_path_factory.mktemp("templates"), variables=(TEMPERATURE, RAIN))


@pytest.fixture
def pair(tmp_path: Path, pair_dataset: DynamicalDataset, gfs_sample: Sample) -> Site:
    """A forecast of two variables, the first init time published."""
    made = Site(tmp_path, pair_dataset, gfs_sample)
    made.arrive(INIT)
    made.update()
    return made


def drop_rain(site: Site, init_time: Timestamp) -> None:
    for lead in LEADS[1:]:
        index = Path(f"{site.file(lead, init_time)}.idx")
        index.write_text("".join(line for line in index.read_text().splitlines(keepends=True) if "APCP" not in line))


def checked(site: Site, now: Timestamp, validator: Validator) -> CheckResult:
    (result,) = site.dataset.validate(site.stores.primary, now, [validator], internal=site.stores.internal)
    return result


def test_a_day_that_upstream_lost_is_refilled_when_it_comes(pair: Site) -> None:
    """reformatters 1052."""
    pair.arrive(THIRD)
    late = SECOND + pair.dataset.give_up_age + SOON
    pair.update(late)
    assert pair.ledger(SECOND) is None or not pair.ledger(SECOND).is_complete  # type: ignore[union-attr]
    pair.arrive(SECOND)
    pair.backfill(late, contains=(SECOND,), overwrite_chunks=True)
    assert list(pair.read().indexes["init_time"]) == [INIT, SECOND, THIRD]
    assert not pair.read()[TEMPERATURE].isnull().any()
    assert all(pair.ledger(init).is_complete for init in (INIT, SECOND, THIRD))  # type: ignore[union-attr]


def test_no_run_is_green_over_fill_values(pair: Site) -> None:
    """reformatters 1055."""
    before = {key: data for key, data in pair.objects().items() if "_internal" not in key}
    pair.arrive(SECOND)
    for lead in LEADS:
        pair.file(lead, SECOND).write_bytes(b"GRIB, but no message")
    report = pair.update(SECOND + SOON)
    assert "none succeeded, nothing was published" in report.failures[SECOND]
    assert pair.ledger(SECOND) is None
    assert {key: data for key, data in pair.objects().items() if "_internal" not in key} == before


def test_a_status_says_updated_only_where_readers_see_it(tmp_path: Path, pair: Site) -> None:
    """open-meteo 2060: the run ended before its commit, so neither status nor check calls it current."""

    def die(url: str, key: str) -> None:
        if key == "zarr.json":
            raise Stopped(f"{url}/{key}")

    pair.arrive(SECOND)
    with pytest.raises(Stopped):
        Site(pair.folder, pair.dataset, pair.sample, before_put=die).update(SECOND + SOON)
    assert list(pair.read().indexes["init_time"]) == [INIT]
    assert [one.partition for one in status(pair.dataset, pair.stores).partitions] == [f"{INIT:%Y-%m-%dT%H:%M}"]
    check = CheckCurrentData(max_delay="1h")
    result = checked(pair, SECOND + SOON, check)
    assert (result.passed, result.metadata["newest"]) == (False, f"{INIT:%Y-%m-%dT%H:%M}")
    pair.update(SECOND + SOON)
    assert checked(pair, SECOND + SOON, check).passed


def test_a_variable_that_stays_at_an_old_run_is_told_of(pair: Site) -> None:
    """open-meteo 2057: the newest label is there, and one variable has had nothing since an older one."""
    pair.arrive(SECOND, THIRD)
    for init in (SECOND, THIRD):
        drop_rain(pair, init)
    pair.update(THIRD + SOON)
    now = THIRD + pair.dataset.soft_deadline + SOON
    assert checked(pair, THIRD + SOON, CheckCurrentData(max_delay="1h")).passed
    incomplete = checked(pair, now, CheckCompleteness())
    assert (incomplete.passed, incomplete.metadata["partitions_incomplete"]) == (False, 2)
    nans = checked(pair, now, CheckRecentNans())
    assert (nans.passed, nans.metadata["worst_variable"]) == (False, RAIN)


def test_packing_noise_leaves_no_pixel_nan() -> None:
    """reformatters 722: totals that fall by a packing step where it does not rain give 0, not NaN."""
    seconds = np.arange(0, 5 * 3600, 3600, dtype=np.float64)
    totals = np.cumsum(np.random.default_rng(722).choice([0, 0, 1.5], (5, 40, 40)), axis=0).astype(np.float32)
    noise = np.random.default_rng(1).choice(np.array([0, 0.0625], np.float32), totals.shape)
    rates = totals + noise
    deaccumulate_in_place(rates, seconds, Deaccumulation(reset=pd.Timedelta("6h"), expected_clamp_fraction=1.0), axis=0)
    assert np.isnan(rates[0]).all()
    assert not np.isnan(rates[1:]).any()
    assert (rates[1:] >= 0).all()


def test_every_test_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) > 15
    gone = [f"{path}::{test}" for path, test in named if f"def {test}(" not in (CHECKOUT / path).read_text()]
    assert gone == []
