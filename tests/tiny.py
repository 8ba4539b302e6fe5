"""A template small enough to be written, filled and read in a test, committed to a folder of the test's own."""

from pathlib import Path
from typing import Any

from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.region import shard_regions
from reformatters_dagster.core.spec.template import DatasetAttributes, TemplateConfig
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar, GribField

FIELD = GribField(element="TMP", level="2 m above ground", parameter=(0, 0, 0), surface=(103, 2.0))


class TinyTemplate(TemplateConfig):
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.dataset_id / "latest.zarr"


def tiny_var(name: str, **row: Any) -> DataVar:
    words: dict[str, Any] = {"long_name": name, "short_name": name, "units": "1", "step_type": "instant"}
    return DataVar(name=name, field=FIELD, **(words | row))


def tiny_template(folder: Path, **changes: Any) -> TinyTemplate:
    """Two variables of 3 lead times on 4 x 8 points; a shard is two init times in two objects."""
    fields: dict[str, Any] = {
        "dataset_id": "tiny-forecast",
        "dataset_version": "1.2.3",
        "attributes": DatasetAttributes(
            name="Tiny forecast",
            description="Made in a test.",
            attribution="Nobody",
            license="None",
            spatial_domain="Global",
            spatial_resolution="1° x 45°",
            time_resolution="Forecasts initialized every 6 hours",
            forecast_domain="0-2 hours",
        ),
        "append_dim": AppendAxis(name="init_time", start="2024-02-28T00", frequency="6h"),
        "dims": (lead_time(hourly_to="2h"),),
        "grid": LatLonGrid(
            latitude=RegularAxis(first=1.5, step=-1.0, size=4), longitude=RegularAxis(first=-180.0, step=45.0, size=8)
        ),
        "chunks": {"init_time": 1, "lead_time": 2, "latitude": 2, "longitude": 2},
        "shards": {"init_time": 2, "lead_time": 4, "latitude": 4, "longitude": 4},
        "data_vars": (tiny_var("wind_u_10m"), tiny_var("temperature_2m", comment="At a height of 2 m.")),
    }
    return TinyTemplate(folder=folder, **(fields | changes))


def tiny_analysis(folder: Path, **changes: Any) -> TinyTemplate:
    """The same without lead times: hourly, 60 days in a shard."""
    fields: dict[str, Any] = {
        "dataset_id": "tiny-analysis",
        "append_dim": AppendAxis(name="time", start="2024-02-28T00", frequency="1h"),
        "dims": (),
        "chunks": {"time": 720, "latitude": 2, "longitude": 2},
        "shards": {"time": 1440, "latitude": 4, "longitude": 4},
    }
    return tiny_template(folder, **(fields | changes))


def shrunk(template: TemplateConfig, folder: Path, **changes: Any) -> TinyTemplate:
    """A dataset's own template with some fields changed, committed to a folder."""
    fields = {name: getattr(template, name) for name in TemplateConfig.model_fields}
    made = TinyTemplate(folder=folder, **(fields | changes))
    made.update_template()
    return made


def shard_labels(template: TemplateConfig, end: Timestamp) -> list[Timestamp]:
    """First label of every shard that holds a label before `end`."""
    labels = template.append_dim.labels(end)
    return [labels[region.start] for region in shard_regions(len(labels), template.shard_length)]
