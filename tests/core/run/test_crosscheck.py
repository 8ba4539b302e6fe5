"""Published values beside what ecCodes reads in the upstream files."""

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
import zarr

from dataset_defs.noaa.gefs.forecast import DATASET as GEFS
from dataset_defs.noaa.gefs.forecast import TEMPLATE as GEFS_TEMPLATE
from reformatters_dagster.cli.reporting import Wanted, make_report
from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.upstream import CheckValuesMatchUpstream
from reformatters_dagster.core.check.validators import CheckResult
from reformatters_dagster.core.ledger.entries import LedgerView, previous_entry, why_unreadable
from reformatters_dagster.core.run.crosscheck import CROSSCHECK_PATIENCE, compare_with_upstream
from reformatters_dagster.core.spec.axes import AppendAxis, ensemble_member, lead_time
from reformatters_dagster.core.spec.values import Float32Array, Timestamp
from reformatters_dagster.sample_upstream.gefs import Kind, current_file, write_gefs_files
from tests.datasets import INIT, LEADS, NOMADS, PRIMARY, SECOND, SOON, Site, gfs_key
from tests.gefs import GRID, HEIGHT, RAIN, STEP, TEMPERATURE, deployed
from tests.report.page import failures_shown
from tests.tiny import shrunk
from tests.upstreams import FaultServer, Status

pytest_plugins = ["tests.datasets"]
CHECK = CheckValuesMatchUpstream(fields=8)


def asked(site: Site, now: Timestamp = SECOND + SOON, check: CheckValuesMatchUpstream = CHECK) -> CheckResult:
    stores = site.stores
    (found,) = site.dataset.validate(stores.primary, now, [check], internal=stores.internal, workspace=site.workspace)
    return found


def change(site: Site, variable: str, how: Callable[[Float32Array], Float32Array]) -> None:
    template = site.dataset.template_config
    path = site.folder / "primary" / template.dataset_id / f"v{template.dataset_version}.zarr" / variable
    array = zarr.open_array(path, mode="r+")
    array[...] = how(np.asarray(array[...]))


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two members of a GEFS forecast; the height is on a grid half as fine."""
    folder, start = tmp_path_factory.mktemp("ensemble"), pd.Timestamp("2026-07-29")
    shard = {"init_time": 1, "ensemble_member": 2, "lead_time": 3, "latitude": 13, "longitude": 12}
    rows = tuple(row for row in GEFS_TEMPLATE.data_vars if row.name in {TEMPERATURE, RAIN, HEIGHT})
    changes = {
        "append_dim": AppendAxis(name="init_time", start=start, frequency="24h", years=10),
        "dims": (ensemble_member(2), lead_time(three_hourly_to="6h")),
        "grid": GRID,
        "chunks": shard,
        "shards": shard,
        "data_vars": rows,
    }
    dataset = replace(GEFS, template_config=shrunk(GEFS_TEMPLATE, folder / "templates", **changes))
    kinds: tuple[Kind, ...] = ("s", "a")
    files = [current_file(start, lead, kind, member, STEP) for lead in (0, 3, 6) for member in (0, 1) for kind in kinds]
    write_gefs_files(folder / "upstream", files, [row.name for row in rows])
    site = deployed(folder, folder / "upstream", dataset)
    site.backfill(start + SOON)
    return site


def test_a_forecast_and_an_analysis_have_the_values_of_their_files(site: Site, analysis: Site) -> None:
    site.arrive(INIT, SECOND)
    for made in (site, analysis):
        made.update(SECOND + SOON)
        found = asked(made)
        assert found.passed, found.message
        assert found.metadata["fields_compared"] == 12
        assert found.metadata["fields_left_out"] == 0
        assert (
            f"{found.metadata['points_compared']} values of 12 fields are those of the upstream files" == found.message
        )
        assert asked(made) == found
        assert not list(made.tmp.glob("crosscheck-*"))


def test_members_and_fields_of_a_coarser_grid_have_the_values_of_their_files(ensemble: Site) -> None:
    found = asked(ensemble, check=CheckValuesMatchUpstream(fields=18))
    assert found.passed, found.message
    assert found.metadata["fields_compared"] == 18


def test_members_that_took_each_other_s_place_are_found(ensemble: Site) -> None:
    """Each is as likely as the other: no look at the store alone can tell."""

    def swapped(values: Float32Array) -> Float32Array:
        return values[:, ::-1]

    change(ensemble, TEMPERATURE, swapped)
    found = asked(ensemble)
    dataset = replace(ensemble.dataset, validators=(CHECK,))
    shown, page = failures_shown(make_report(dataset, ensemble.deployment, SECOND, Wanted(pictures=False)))
    change(ensemble, TEMPERATURE, swapped)
    assert shown[CHECK.name].message == found.message
    assert "Where: temperature_2m, 2026-07-29T00:00, " in page.articles[f"check-{CHECK.name}"]
    assert (found.passed, found.severity) == (False, "ERROR")
    assert "'temperature_2m' at init_time 2026-07-29T00:00, " in found.message
    assert "ensemble_member " in found.message
    assert "perturbationNumber=" in found.message
    assert "noaa-gefs-pds/gefs.20260729/00/atmos/pgrb2sp25/" in found.message
    assert (
        "`reformat backfill noaa-gefs-forecast-35-day --contains 2026-07-29T00:00 --overwrite-chunks`" in found.message
    )
    assert found.places[0].variable == TEMPERATURE
    assert set(found.places[0].field) == {"init_time", "ensemble_member", "lead_time"}


def test_files_that_are_no_longer_there_are_left_out_with_a_word(site: Site) -> None:
    site.arrive(INIT)
    site.update()
    for lead in LEADS:
        site.file(lead).unlink()
    found = asked(site)
    assert found.passed
    assert found.message.startswith("nothing was compared; left out: '")
    assert "(SourceFileMissing: " in found.message
    assert (found.metadata["fields_compared"], found.metadata["fields_left_out"]) == (0, 8)


def test_a_file_that_was_published_again_is_no_error_of_the_store(site: Site) -> None:
    """Sensors have it read again."""
    site.arrive(INIT)
    site.update()
    change(site, TEMPERATURE, lambda values: values + np.float32(3))
    assert asked(site).severity == "ERROR"
    for lead in LEADS:
        content = site.file(lead).read_bytes()
        site.file(lead).unlink()
        site.file(lead).write_bytes(content)
    found = asked(site)
    assert (found.passed, found.severity) == (False, "WARN")
    assert "was published again after it was used" in found.message


def test_an_archive_that_never_answers_is_soon_left_alone(site: Site) -> None:
    site.arrive(INIT)
    site.update()
    internal, dataset = site.stores.internal, site.dataset
    read, explain = partial(previous_entry, internal), partial(why_unreadable, internal)
    ledger = LedgerView(read, dataset.soft_deadline, dataset.give_up_age, explain)
    opened = OpenedStore.of(site.stores.primary, dataset.template_config, ledger)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirrored = replace(site, settings={"upstream": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        short = replace(CROSSCHECK_PATIENCE, timeout=0.3)
        started = time.monotonic()
        first, *others = compare_with_upstream(dataset, mirrored.workspace, opened, 4, SECOND, short)
        # A run would ask for more than 20 minutes.
        assert time.monotonic() - started < 60
    assert first.skipped.startswith("SourceFileUnavailable: ")
    assert "could not be read in 2 attempts" in first.skipped
    assert {one.skipped for one in others} == {"an archive had refused another file"}


def test_an_archive_that_fails_is_asked_less_often_than_by_a_run(site: Site) -> None:
    site.arrive(INIT)
    site.update()
    with FaultServer({}) as server:
        for archive, lead, suffix in product((PRIMARY, NOMADS), LEADS, ("", ".idx")):
            server.script(f"{archive}/{gfs_key(INIT, lead)}{suffix}", *[Status(503)] * 20)
        found = asked(replace(site, settings={"upstream": server.url}))
        paths = [one.path for one in server.requests]
    assert found.passed
    assert found.message.startswith("nothing was compared; left out: '")
    assert "SourceFileUnavailable" in found.message
    assert {paths.count(path) for path in paths} == {CROSSCHECK_PATIENCE.attempts}


def test_without_a_workspace_it_is_left_out(site: Site) -> None:
    site.arrive(INIT)
    site.update()
    assert site.dataset.validate(site.stores.primary, SECOND, [CHECK], internal=site.stores.internal) == []
