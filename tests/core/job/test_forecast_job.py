"""Which files of a forecast are asked for, and what their values are multiplied by."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.forecast import GfsSourceFileCoord
from reformatters_dagster.core.job.forecast_job import ForecastRegionJob
from reformatters_dagster.core.job.whole_file_grib_job import WholeFileGribRegionJob
from reformatters_dagster.core.source.files import EnsembleFileCoord, SourceFileCoord
from reformatters_dagster.core.spec.axes import ensemble_member, lead_time
from reformatters_dagster.core.spec.values import OutLoc, Time
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.sample_upstream.gfs import expected_values
from tests.datasets import INIT, SECOND, TEMPERATURE, Site
from tests.tiny import TinyTemplate, tiny_template, tiny_var

pytest_plugins = ["tests.datasets"]

FIRST = pd.Timestamp("2024-02-28T00").as_unit("us")
HOUR = pd.Timedelta("1h")


class Shortened(TinyTemplate):
    """Forecasts of 06 and 18 UTC end an hour after their start."""

    def expected_forecast_length(self, init_times: pd.DatetimeIndex) -> pd.TimedeltaIndex:
        return pd.TimedeltaIndex([HOUR if init.hour % 12 else 2 * HOUR for init in init_times])


class MemberCoord(EnsembleFileCoord):
    variable: str

    def key(self) -> str:
        return f"{self.init_time}/{self.variable}/{self.ensemble_member}/{self.lead_time}"

    def get_url(self) -> str:
        return f"https://example.org/{self.key()}"


class MemberJob(ForecastRegionJob[MemberCoord], WholeFileGribRegionJob[MemberCoord]):
    source_file_coord = MemberCoord

    def coord_fields(self, data_vars: Sequence[DataVar]) -> Mapping[str, object]:
        return {"variable": data_vars[0].name}


class MemberJobWithHour0(MemberJob):
    every_variable_has_hour_0 = True


def asked(site: Site, job: type[MemberJob], template: TinyTemplate, variable: DataVar) -> list[tuple[int, int, int]]:
    """Init hour, lead hour and member of each file of the first shard."""
    template.update_template()
    context = replace(site.job().context, template_config=template)
    (made,) = job.get_jobs(context, template.get_template(FIRST + 12 * HOUR))
    coords = made.generate_source_file_coords(made.template_ds, (variable,))
    assert {coord.variable for coord in coords} == {variable.name}
    return [(coord.init_time.hour, coord.lead_time // HOUR, coord.ensemble_member) for coord in coords]


@pytest.fixture
def template(tmp_path: Path) -> TinyTemplate:
    sizes = {"init_time": 2, "lead_time": 3, "ensemble_member": 2, "latitude": 4, "longitude": 8}
    return tiny_template(tmp_path, dims=(lead_time(hourly_to="2h"), ensemble_member(2)), chunks=sizes, shards=sizes)


def test_every_combination_of_labels_has_a_file(site: Site, template: TinyTemplate) -> None:
    wanted = [(init, lead, member) for init in (0, 6) for lead in (0, 1, 2) for member in (0, 1)]
    assert asked(site, MemberJob, template, tiny_var("temperature_2m")) == wanted


def test_no_file_is_asked_for_beyond_the_end_of_a_forecast(site: Site, template: TinyTemplate) -> None:
    shortened = Shortened(**dict(template))
    wanted = [(0, 0), (0, 1), (0, 2), (6, 0), (6, 1)]
    found = asked(site, MemberJob, shortened, tiny_var("temperature_2m"))
    assert [(init, lead) for init, lead, member in found if member == 0] == wanted


@pytest.mark.parametrize(("job", "first"), [(MemberJob, 1), (MemberJobWithHour0, 0)])
def test_a_variable_with_a_window_has_no_file_at_lead_time_0(
    site: Site, template: TinyTemplate, job: type[MemberJob], first: int
) -> None:
    found = asked(site, job, template, tiny_var("rain", hour_0=False))
    assert {lead for _, lead, _ in found} == {*range(first, 3)}


def test_values_are_multiplied_by_the_factor_of_their_init_time(site: Site, tmp_path: Path) -> None:
    template = site.dataset.template_config
    changes = {"add_offset": 0.0, "keep_mantissa_bits": None, "earlier_scale_factors": ((SECOND, 2.0),)}
    row = template.variables[TEMPERATURE].model_copy(update=changes)
    here = site.having(template_config=template.model_copy(update={"data_vars": (row,)}))
    here.arrive(INIT, SECOND, leads=[0])
    for init_time, factor in ((INIT, 2.0), (SECOND, 1.0)):
        job = here.job(init_time, variables=[TEMPERATURE])
        coord = GfsSourceFileCoord(init_time=init_time, lead_time=0 * HOUR)
        found = job.read_data(coord, row, job.download_file(coord, (row,), tmp_path))
        kelvin = np.roll(expected_values(TEMPERATURE, init_time, 0, step=10.0), 18, axis=1)
        np.testing.assert_allclose(found, kelvin * factor, atol=0.11 * factor)


class HourCoord(SourceFileCoord):
    time: Time

    def key(self) -> str:
        return f"{self.time}"

    def get_url(self) -> str:
        return f"https://example.org/{self.key()}"

    def out_loc(self) -> OutLoc:
        return {"time": self.time}


class TimelessJob(WholeFileGribRegionJob[HourCoord]):
    source_file_coord = HourCoord

    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> list[HourCoord]:
        return []


def test_a_job_without_lead_times_must_say_which_times_its_messages_carry(site: Site) -> None:
    job = site.job()
    timeless = TimelessJob(context=job.context, template_ds=job.template_ds, region=job.region, data_vars=job.data_vars)
    with pytest.raises(NotImplementedError, match=r"TimelessJob does not say .*: override times\(\)"):
        timeless.times(HourCoord(time=INIT), job.data_vars[0])
