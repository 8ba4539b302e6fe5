"""A store without data is deleted, and no other."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from reformatters_dagster.core.ledger.lease import LeaseTerms, hold_lease
from reformatters_dagster.core.run.anew import begin_anew, empty_stores
from reformatters_dagster.core.spec.errors import LeaseHeld, StoreExists, StoreMissing
from reformatters_dagster.core.spec.partition import partition_key
from tests.datasets import INIT, SECOND, SOON, TEMPERATURE, THIRD, Site

pytest_plugins = ["tests.datasets"]

IMPATIENT = LeaseTerms(time_to_live=0.4, heartbeat=0.05, look_again=0.05)


@pytest.fixture
def blank(site: Site) -> Site:
    """A primary and a replica that reach to the third label, and hold nothing."""
    blank = replace(site, settings={"replicas": (str(site.folder / "replica"),)})
    blank.dataset.initialise(blank.workspace, THIRD + SOON, THIRD + SOON)
    blank.stores.internal.put("progress/a/b.json", b"{}")
    return blank


def begin(site: Site) -> list[int]:
    return [len(one.keys) for one in begin_anew(site.dataset, site.stores, "begin-anew")]


def places(site: Site) -> list[list[tuple[str, int]]]:
    stores = site.stores
    return [store.list() for store in (*stores.replicas, stores.primary, stores.internal)]


def test_a_store_without_data_is_deleted_everywhere_and_begun_elsewhere(blank: Site) -> None:
    told = empty_stores(blank.dataset.template_config, blank.stores)
    assert [sorted(one.keys) for one in told] == [sorted(key for key, _ in place) for place in places(blank)]
    assert [one.keys[0] for one in told] == ["zarr.json", "zarr.json", "progress/a/b.json"]
    assert begin(blank) == [len(one.keys) for one in told]
    assert places(blank) == [[], [], []]
    with pytest.raises(StoreMissing, match=r"was to be begun anew at .*; nothing stands there: `reformat backfill"):
        begin(blank)
    later = blank.having(template_config=blank.dataset.template_config.started_at(SECOND))
    later.arrive(SECOND)
    later.backfill(SECOND + SOON)
    assert list(later.read().indexes["init_time"]) == [SECOND]


def test_a_call_that_ended_early_is_repeated(blank: Site) -> None:
    (replica,) = blank.stores.replicas
    for key, _ in replica.list():
        replica.delete(key)
    blank.stores.primary.delete("zarr.json")
    begin(blank)
    assert places(blank) == [[], [], []]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda site: site.stores.primary.put(f"{TEMPERATURE}/c/0/0/0/0", b"-"), "primary.*holds 1 objects of data"),
        (
            lambda site: site.stores.replicas[0].put(f"{TEMPERATURE}/c/0/0/0/0", b"-"),
            "replica.*such as temperature_2m/c/",
        ),
        (lambda site: site.stores.primary.put("notes.txt", b"-"), "such as notes.txt, and only a store without data"),
        (lambda site: site.stores.internal.put(f"ledger/{partition_key(INIT)}.json", b""), "says that 1 partitions"),
    ],
    ids=["primary", "replica", "unknown", "ledger"],
)
def test_a_store_with_anything_in_it_is_kept(blank: Site, spoil: Callable[[Site], object], told: str) -> None:
    spoil(blank)
    before = places(blank)
    with pytest.raises(StoreExists, match=told):
        begin(blank)
    assert places(blank) == before


def test_a_run_that_lives_is_not_disturbed_and_one_that_has_died_does_not_disturb(blank: Site) -> None:
    blank, key = blank.having(lease_terms=IMPATIENT), partition_key(SECOND)
    internal = blank.stores.internal
    with hold_lease(internal, key, "cli-alive", terms=IMPATIENT):
        with pytest.raises(LeaseHeld, match="'cli-alive' is writing it"):
            begin(blank)
        assert len(blank.stores.primary.list()) > 1
    internal.put(f"lease/{key}.json", b'{"holder": "cli-dead", "beats": 1}')
    begin(blank)
    assert places(blank) == [[], [], []]
