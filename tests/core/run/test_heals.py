"""Published partitions that lack files are run again when the files are there, until they are given up."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reformatters_dagster.core.ledger.entries import write_ledger
from reformatters_dagster.core.run.arrivals import find_arrivals
from reformatters_dagster.core.run.launches import (
    Budget,
    is_whole,
    survey_incomplete,
)
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.errors import SourceFileUnavailable, StoreUnavailable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.core.store.metadata import put_template
from tests.datasets import (
    IN_ORDER,
    INIT,
    LEADS,
    SECOND,
    SOON,
    TEMPERATURE,
    VARIABLES,
    Site,
    assert_forecast_true,
    gfs_forecast,
)
from tests.launched import LATE, giving_up, heals, launches, run
from tests.stores import Stopped

pytest_plugins = ["tests.datasets"]


def test_a_late_file_fills_its_hole_after_the_cool_down(site: Site) -> None:
    site.arrive(INIT, leads=[lead for lead in LEADS if lead != 4])
    now = INIT + LATE
    (launch,) = launches(site, now)
    run(site, launch, now)
    later = now + site.dataset.heal_cool_down
    assert heals(site, later) == [], "nothing has changed upstream"
    site.arrive(INIT, leads=[4])
    cooling = survey_incomplete(site.dataset, site.workspace, now + Timedelta("94.5s"), Budget(20))
    assert cooling.waiting == [f"{partition_key(INIT)} ran 1 min 34 s ago and cools down"]
    assert heals(site, later - Timedelta("1min")) == [], "it cools down"
    (launch,) = heals(site, later)
    assert launch.reason == "missing files that have arrived: 1"
    run(site, launch, later)
    entry = site.ledger()
    assert entry is not None
    assert is_whole(site.dataset, entry)
    assert not site.read()["temperature_2m"].isnull().any()
    assert heals(site, later + Timedelta("1D")) == []


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("SourceFileUnavailable: throttled in 6 attempts", ["files that archives refused, asked for again: 1"]),
        ("CorruptMessage: it does not end with 7777", []),
    ],
)
def test_a_file_that_archives_refused_is_asked_for_again(site: Site, reason: str, expected: list[str]) -> None:
    """Nothing changes upstream; a file that is bad stays bad, one that could not be had then may be had now."""
    site.arrive(INIT, leads=[lead for lead in LEADS if lead != 4])
    now = INIT + LATE
    (launch,) = launches(site, now)
    run(site, launch, now)
    site.arrive(INIT, leads=[4])
    entry, listed = site.ledger(), find_arrivals(site.dataset, site.workspace, INIT, now)
    assert entry is not None
    told = {
        name: known.model_copy(
            update={"missing": tuple(lost.model_copy(update={"reason": reason}) for lost in known.missing)}
        )
        for name, known in entry.variables.items()
    }
    left = entry.model_copy(update={"upstream": listed.fingerprint, "variables": told})
    write_ledger(site.stores.internal, left)
    later = now + site.dataset.heal_cool_down
    assert [launch.reason for launch in heals(site, later)] == expected
    assert heals(site, later - Timedelta("1min")) == []


def test_a_file_published_again_is_read_again(site: Site) -> None:
    site.arrive(INIT)
    site.update()
    later = INIT + LATE + Timedelta("1h")
    assert heals(site, later) == []
    data = site.file(4).read_bytes()
    site.file(4).unlink()
    site.file(4).write_bytes(data)
    (launch,) = heals(site, later)
    assert launch.reason == "files published again: 1"


def test_a_file_that_cannot_be_used_is_not_tried_for_ever(site: Site) -> None:
    site.arrive(INIT)
    site.file(4).write_bytes(bytes(1000))
    now = INIT + LATE
    run(site, launches(site, now)[0], now)
    entry = site.ledger()
    assert entry is not None
    assert not is_whole(site.dataset, entry)
    assert heals(site, now + Timedelta("1h")) == []


def test_variables_that_nobody_wrote_are_healed_by_themselves(site: Site) -> None:
    site.arrive(INIT)
    site.backfill(variables=(TEMPERATURE,))
    now = INIT + LATE
    (launch,) = heals(site, now)
    others = tuple(name for name in IN_ORDER if name != TEMPERATURE)
    assert launch.reason == f"variables never written: {len(others)}; {len(LEADS)} of {len(LEADS)} files are there"
    assert launch.request.variables == others
    run(site, launch, now)
    assert_forecast_true(site.read(), INIT)
    assert heals(site, now + site.dataset.heal_cool_down) == []


def test_a_variable_without_an_array_is_not_healed(site: Site) -> None:
    """One that was added to the code has none before it is published: nobody could read what a heal writes."""
    site.arrive(INIT)
    replace(site, dataset=gfs_forecast(site.folder / "fewer", variables=VARIABLES[1:])).update()
    assert heals(site, INIT + LATE) == []


def test_past_its_age_a_hole_is_known_missing(site: Site) -> None:
    site.arrive(INIT, leads=range(6))
    now = INIT + LATE
    run(site, launches(site, now)[0], now)
    old = INIT + site.dataset.give_up_age
    survey = survey_incomplete(site.dataset, site.workspace, old, Budget(20))
    assert (survey.launches, survey.given_up) == ([], [INIT])
    entry = site.ledger()
    assert entry is not None
    assert entry.known_missing
    assert survey_incomplete(site.dataset, site.workspace, old, Budget(20)).given_up == []


@pytest.mark.parametrize("after", [Timedelta("1h"), Timedelta("5D"), Timedelta("60D")])
def test_what_a_killed_run_left_is_healed_once_its_lease_is_gone(site: Site, after: Timedelta) -> None:
    """The ledger is complete, and may not be true of the shards any more."""
    site.arrive(INIT)
    site.update()

    def kill(url: str, key: str) -> None:
        if f"{TEMPERATURE}/c/" in key:
            raise Stopped

    with pytest.raises(Stopped):
        replace(site, before_put=kill).backfill(contains=(INIT,), overwrite_chunks=True)
    (note, *_) = [key for key, _ in site.stores.internal.list("progress")]
    site.stores.internal.put("lease/2026-07-29T18:00.json", b'{"holder": "backfill", "attempt": "", "beats": 1}')
    now = INIT + SOON + after
    assert heals(site, now) == [], "it may be alive"
    assert status(site.dataset, site.stores).abandoned == ()
    site.stores.internal.delete("lease/2026-07-29T18:00.json")
    assert status(site.dataset, site.stores).abandoned == (partition_key(INIT),)
    spent = survey_incomplete(site.dataset, site.workspace, now, Budget(0))
    assert spent.launches == []
    assert spent.waiting[-1].startswith("the listing budget ended before ")
    (launch,) = heals(site, now)
    assert launch.few_attempts == (after > Timedelta("30D"))
    assert launch.reason == "a run ended after it had begun to upload, and before its commit"
    run(site, launch, now)
    assert not site.stores.internal.exists(note)
    assert status(site.dataset, site.stores).abandoned == ()
    assert heals(site, now + Timedelta("1h")) == []
    assert_forecast_true(site.read(), INIT)


@pytest.mark.parametrize("late", ["0h", "90h"])
def test_past_its_age_what_has_arrived_and_could_not_be_written_waits(site: Site, late: str) -> None:
    """Its heals fail for as long as a required replica is down."""
    site.arrive(INIT, leads=range(6))
    now = INIT + LATE
    run(site, launches(site, now)[0], now)
    site.arrive(INIT, leads=range(6, 10))

    def is_down(url: str, key: str) -> None:
        if "/copy/" in url:
            raise StoreUnavailable("it is down")

    old = INIT + site.dataset.give_up_age + Timedelta(late)
    copied = replace(site, settings={"replicas": (str(site.folder / "copy"),)})
    shutil.copytree(site.stores.primary.url, copied.stores.replicas[0].url)
    for reason in ("missing files that have arrived: 4", "a run ended after it had begun to upload"):
        survey = survey_incomplete(site.dataset, site.workspace, old, Budget(20))
        (launch,) = survey.launches
        assert launch.reason.startswith(reason)
        assert (launch.past_give_up, survey.given_up) == (True, [])
        with pytest.raises(StoreUnavailable, match="it is down"):
            run(replace(copied, before_put=is_down), launch, old)
    assert survey_incomplete(copied.dataset, copied.workspace, old, Budget(20)).launches == [launch]
    run(copied, giving_up(launch), old)
    entry = site.ledger()
    assert entry is not None
    assert not entry.known_missing
    assert is_whole(site.dataset, entry)
    assert heals(site, old + Timedelta("1h")) == []


def test_past_twice_its_age_nothing_is_waited_for(site: Site) -> None:
    site.arrive(INIT, leads=range(6))
    now = INIT + LATE
    run(site, launches(site, now)[0], now)
    site.arrive(INIT, leads=range(6, 10))
    survey = survey_incomplete(site.dataset, site.workspace, INIT + 2 * site.dataset.give_up_age, Budget(20))
    assert (survey.launches, survey.given_up) == ([], [INIT])


def test_giving_up_leaves_an_entry_that_a_run_writes_meanwhile(site: Site) -> None:
    site.arrive(INIT, leads=range(6))
    now = INIT + LATE
    run(site, launches(site, now)[0], now)
    old = INIT + site.dataset.give_up_age

    def backfill_first(url: str, key: str) -> None:
        if key.startswith("ledger/"):
            site.arrive(INIT)
            site.backfill(old, contains=(INIT,), overwrite_chunks=True)

    beside = replace(site, before_put=backfill_first)
    survey = survey_incomplete(site.dataset, beside.workspace, old, Budget(20))
    assert (survey.given_up, survey.waiting) == ([], ["2026-07-29T18:00 was written by a run a moment ago"])
    entry = site.ledger()
    assert entry is not None
    assert (entry.run_id, entry.known_missing) == ("backfill", False)
    assert is_whole(site.dataset, entry)


def test_an_entry_that_cannot_be_read_does_not_keep_others_from_being_healed(site: Site) -> None:
    site.arrive(INIT, leads=[lead for lead in LEADS if lead != 4])
    site.arrive(SECOND)
    now = SECOND + LATE
    site.update(now)
    site.arrive(INIT, leads=[4])
    site.stores.internal.put("ledger/2026-07-30T00:00.json", b"")
    survey = survey_incomplete(site.dataset, site.workspace, now + site.dataset.heal_cool_down, Budget(20))
    assert [launch.label for launch in survey.launches] == [INIT]
    (told,) = survey.waiting
    assert told.startswith("2026-07-30T00:00 has no readable entry: the ledger entry of partition '2026-07-30T00:00'")
    assert told.endswith("run the partition again to replace it")


def test_metadata_that_reaches_into_the_future_does_not_hide_what_is_to_be_healed(site: Site) -> None:
    """A year of it, by a slip."""
    site.arrive(INIT)
    site.update()
    put_template(site.dataset.template_config.get_template(INIT + Timedelta("365D")), site.workspace)
    site.arrive(SECOND)
    survey = survey_incomplete(site.dataset, site.workspace, SECOND + LATE, Budget(20))
    assert [(launch.label, launch.reason) for launch in survey.launches] == [
        (SECOND, "never written, and 10 of 10 files are there")
    ]
    assert survey.waiting == []


def refusing(site: Site, refuses: Callable[[Any, Any], bool]) -> Site:
    """The site, whose archives refuse files for some variables."""

    class Refusing(site.dataset.region_job):  # type: ignore[name-defined, misc]
        def download_file(self, coord: Any, data_vars: Any, folder: Path) -> Any:
            if refuses(coord, data_vars):
                raise SourceFileUnavailable("throttled in 6 attempts")
            return super().download_file(coord, data_vars, folder)

    return site.having(region_job=Refusing)


def test_a_file_that_archives_refuse_is_not_given_up(site: Site) -> None:
    """Not by a run that is to give up what is missing either: it reads other files, and is committed."""
    site.arrive(INIT, leads=[lead for lead in LEADS if lead != 4])
    site.update(INIT + SOON)
    site.arrive(INIT, leads=[4])
    now = INIT + site.dataset.give_up_age + Timedelta("2h")
    (launch,) = heals(site, now)
    assert launch.past_give_up
    run(refusing(site, lambda coord, _: coord.lead_time == Timedelta("4h")), giving_up(launch), now)
    entry = site.ledger()
    assert entry is not None
    assert not entry.is_complete
    assert not entry.known_missing
    later = now + site.dataset.heal_cool_down
    (again,) = heals(site, later)
    run(site, again, later)
    assert_forecast_true(site.read(), INIT)


def test_a_label_that_waits_for_refused_files_is_not_published(site: Site) -> None:
    site.arrive(INIT)
    site.update(INIT + SOON)
    site.arrive(SECOND)
    site = site.having(publish_policy="all")
    now = SECOND + site.dataset.give_up_age + Timedelta("2h")
    (launch,) = launches(site, now)
    without_hour_0 = refusing(site, lambda _, data_vars: not data_vars[0].has_hour_0)
    run(without_hour_0, giving_up(launch), now)
    assert [*site.read().indexes["init_time"]] == [INIT]
    (again,) = launches(site, now + site.dataset.heal_cool_down)
    run(site, again, now + site.dataset.heal_cool_down)
    assert_forecast_true(site.read(), SECOND)
