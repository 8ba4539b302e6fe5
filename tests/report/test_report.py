"""`reformat report`: one page that loads nothing and says what is wrong with a store."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from reformatters_dagster import STANDARD_CHECKS, CheckRecentNans
from reformatters_dagster.cli.reporting import Wanted, make_report
from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.places import Place
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.spec.errors import NoPartition
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.report.page import Report, inline, render
from reformatters_dagster.report.reference import ReferenceUnusable
from tests.datasets import INIT, RAIN, SECOND, SOON, TEMPERATURE, THIRD, VARIABLES, WIND, Site
from tests.report.page import Page

pytest_plugins = ["tests.datasets"]
NOW = pd.Timestamp("2026-07-30T12")

type Change = Callable[[xr.Dataset], xr.Dataset]


class CheckOdd(Validator):
    """A check with a text that is no markup, a picture among its figures, and many places."""

    name: str = "odd"
    texts: ClassVar[dict[str, float | int | str]] = {
        "box": "<b>10 N</b>",
        "map": "![a small map](data:image/png;base64,AAAA)",
    }

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        places = tuple(Place(variable=WIND, label=f"<{number}>", lead_times="3 h", field={}) for number in range(6))
        message = "<script>alert(1)</script> & more"
        return CheckResult(name=self.name, passed=False, message=message, metadata=self.texts, places=places)


@dataclass(frozen=True)
class Reported:
    site: Site

    def report(self, **wanted: Any) -> Report:
        return make_report(self.site.dataset, self.site.deployment, NOW, Wanted(**wanted))

    def page(self, **wanted: Any) -> Page:
        return Page(render(self.report(**wanted)))

    @property
    def store(self) -> Path:
        return Path(self.site.stores.primary.url)

    def change(self, name: str, where: Any, value: Any) -> None:
        array = zarr.open_group(self.store, mode="r+")[name]
        assert isinstance(array, zarr.Array)
        array[where] = value

    def reference(self, change: Change) -> str:
        ds = xr.open_zarr(self.store, chunks=None, decode_timedelta=True).load()
        ds = change(
            ds.drop_vars(["ingested_forecast_length", "expected_forecast_length", "valid_time"], errors="ignore")
        )
        for name in ds.variables:
            ds[name].encoding = {}
        ds.to_zarr(self.site.folder / "reference.zarr", mode="w", zarr_format=2, consolidated=True)
        return str(self.site.folder / "reference.zarr")


@pytest.fixture
def reported(site: Site) -> Reported:
    """Three partitions, of the second of which two files never came."""
    site = site.having(validators=(CheckRecentNans(), *STANDARD_CHECKS, CheckOdd()))
    site.arrive(INIT, SECOND, THIRD)
    site.remove(8, 9, init_time=SECOND)
    site.backfill(now=THIRD + SOON)
    return Reported(site)


def test_a_report_is_one_page_that_loads_nothing(reported: Reported) -> None:
    page = reported.page()
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "form", "base"})
    assert page.loaded
    assert all(one.startswith("data:image/png;base64,") for one in page.loaded)
    assert "@import" not in page.source
    assert "url(" not in page.source
    anchors = [one.removeprefix("#") for one in page.linked if one.startswith("#")]
    assert set(anchors) <= set(page.ids)
    assert {f"p-{one:%Y-%m-%dT%H:%M}" for one in (INIT, SECOND, THIRD)} <= set(anchors)
    assert "prefers-color-scheme: dark" in page.source
    assert 'name="viewport"' in page.source


def test_each_section_has_its_content(reported: Reported) -> None:
    page = reported.page()
    assert list(page.sections) == ["dataset", "completeness", "partitions", "checks", "newest"]
    dataset = page.sections["dataset"]
    assert "xr.open_zarr" in dataset
    assert all(name in dataset for name in VARIABLES)
    assert "every 6 h from 2026-07-29T18:00 on" in dataset
    assert "3 partitions" in page.sections["completeness"]
    assert f"{TEMPERATURE}, 2026-07-30T00:00: 8 of 10 fields" in page.source
    lacking = page.sections["partitions"]
    assert "lacks 8 fields of 2 files" in lacking
    assert "f008 to f009" in lacking
    assert "SourceFileMissing" in lacking
    assert lacking.count("Every field that was expected is there.") == 2
    assert f"The newest label, {THIRD:%Y-%m-%dT%H:%M}" in page.sections["newest"]
    shown = [alt.partition(",")[0] for alt in page.alts]
    assert shown[1:4] == [TEMPERATURE, RAIN, WIND]
    assert "Meteogram of Berlin" in page.alts


def test_texts_are_escaped_and_whatever_a_check_tells_is_shown(reported: Reported) -> None:
    page = reported.page()
    checks = page.sections["checks"]
    assert "<script>alert(1)</script> & more" in checks
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page.source
    assert "<b>10 N</b>" in checks
    assert f"Where: {WIND}, <3>, lead times 3 h\n2 more places are left out here" in page.articles["check-odd"]
    assert page.alts[0] == "a small map"
    assert inline("`a<b` <https://x.org/a?b=c> <i>") == (
        '<code>a&lt;b</code> <a href="https://x.org/a?b=c">https://x.org/a?b=c</a> &lt;i&gt;'
    )


def test_the_page_names_every_planted_fault_that_a_check_finds(reported: Reported) -> None:
    reported.change(TEMPERATURE, (2, slice(2, 5), slice(4, 9), slice(0, 9)), np.nan)
    reported.change(WIND, (0, 1, 3, 3), 4000.0)
    (lost, *_) = sorted((reported.store / RAIN / "c" / "1").rglob("*"), reverse=True)
    lost.unlink()
    root = json.loads((reported.store / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"][WIND]["attributes"]["units"] = "knots"
    (reported.store / "zarr.json").write_text(json.dumps(root))
    report = reported.report(pictures=False)
    (store,) = report.checks["stores"]
    failures = {one["name"]: one["message"] for one in store["checks"] if not one["passed"]}
    assert {"recent_nans", "expected_shards", "consolidated_metadata", "complete_partitions"} <= set(failures)
    page = Page(render(report))
    summary, checks = page.text.partition("What it is")[0], page.sections["checks"]
    for name, message in failures.items():
        assert message.replace("`", "") in checks
        assert name in summary
    assert f"'{RAIN}'" in failures["expected_shards"]
    assert f"'{TEMPERATURE}'" in failures["recent_nans"]


def test_a_choice_of_times_and_variables(reported: Reported) -> None:
    start, end = pd.Timestamp("2026-07-29T23"), pd.Timestamp("2026-07-30T07")
    page = reported.page(start=start, end=end, variables=(TEMPERATURE,))
    assert "2 are shown" in page.sections["completeness"]
    assert "p-2026-07-29T18:00" not in page.ids
    assert "p-2026-07-30T00:00" in page.ids
    assert not any(RAIN in alt for alt in page.alts)
    assert "The newest label, 2026-07-30T06:00" in page.sections["newest"]
    with pytest.raises(NoPartition, match="from 2026-07-30T01:00 on and before 2026-07-30T06:00"):
        reported.report(start=start + pd.Timedelta("2h"), end=THIRD)
    before = reported.page(end=THIRD, pictures=False)
    assert "The newest label, 2026-07-30T00:00" in before.sections["newest"]


def test_pictures_can_be_left_out(reported: Reported) -> None:
    reference = reported.reference(lambda ds: ds)
    page = reported.page(reference=reference, pictures=False)
    assert page.alts == ["a small map"]
    assert "left out, as --no-pictures asks" in page.sections["newest"]
    assert page.sections["reference"].count("equal") == len(VARIABLES)


def test_a_report_of_an_analysis(analysis: Site) -> None:
    analysis = analysis.having(validators=STANDARD_CHECKS)
    analysis.arrive(INIT, SECOND)
    analysis.backfill(now=SECOND)
    page = Reported(analysis).page()
    assert any(alt.startswith(f"{TEMPERATURE}, valid ") for alt in page.alts)
    assert "Meteogram of Berlin" in page.alts


def test_a_report_beside_a_reference(reported: Reported) -> None:
    def other(ds: xr.Dataset) -> xr.Dataset:
        ds = ds.isel(init_time=[0, 2], latitude=slice(None, None, -1)).drop_vars(RAIN)
        ds[TEMPERATURE] -= 2
        ds[WIND][0, 0, 0, :3] = np.nan
        ds[WIND].attrs["units"] = "knots"
        return ds.assign_coords(longitude=ds.longitude % 360).sortby("longitude")

    page = reported.page(reference=reported.reference(other))
    found = page.sections["reference"]
    assert "2 init_time, 10 lead_time, 19 latitude, 36 longitude" in found
    assert f"{RAIN} is not compared: the reference has no such variable" in found
    assert "reference: knots" in found
    assert f"{TEMPERATURE}, store minus reference" in " ".join(page.alts)
    assert any("of store and reference at Berlin" in alt for alt in page.alts)
    assert found.index(TEMPERATURE) < found.index("downward_short_wave")


UNFIT: list[tuple[Change, list[str]]] = [
    (
        lambda ds: ds.assign_coords(latitude=ds.latitude + 5),
        ["no common grid along 'latitude'", "19 from", "bring the"],
    ),
    (
        lambda ds: ds.rename({name: f"{name}_" for name in VARIABLES}),
        ["no variable in common", f"{WIND}_", "--variables"],
    ),
    (lambda ds: ds.rename(init_time="time"), ["no variable in common", "along time"]),
    (
        lambda ds: ds.assign_coords(init_time=ds.init_time + np.timedelta64(365, "D")),
        ["no common label along 'init_time'", "2026-07-29 18:00:00", "2027-07-29"],
    ),
    (lambda ds: ds.drop_vars("longitude"), ["its dimension 'longitude' has no labels", "add the coordinate"]),
]


def test_a_reference_that_does_not_fit_is_refused(reported: Reported) -> None:
    for change, words in UNFIT:
        with pytest.raises(ReferenceUnusable) as refusal:
            reported.report(reference=reported.reference(change))
        assert [word for word in words if word not in str(refusal.value)] == []
