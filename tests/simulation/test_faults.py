"""Every family of faults happens; and what a torn read, or another version's note, is taken for."""

import json

import numpy as np
import pytest
from numcodecs.blosc import Blosc

from reformatters_dagster.core.ledger.entries import LedgerEntry
from tests.simulation.arrays import Values, shard_object
from tests.simulation.faults import NAMES, only
from tests.simulation.torn import never_published, torn_reads
from tests.simulation.versions import UNKNOWN, by_newer_version, by_older_version
from tests.simulation.world import simulate

TOLD = {
    "store_errors": "refused: get",
    "lost_answers": "lost answer: put",
    "late_puts": "late: put",
    "kills": "kill: ",
    "stalls": "stall: ",
    "source_errors": "refused: source",
    "unreadable_files": "cannot read",
    "late_files": "v1 whole at",
    "corrected_files": "v2 whole at",
    "corrupt_files": "v1 corrupt at",
    "missing_files": "never comes",
    "vanished_files": "v1 gone at",
    "lost_objects": "object lost at",
    "outages": "archive out at",
    "store_outages": "store out at",
    "replica_outages": "replica out at",
    "clock_errors": "clock of",
    "second_writers": "backfill by hand",
    "odd_sensors": "ticks at",
    "expired_credentials": "denied: ",
    "conflicts": "conflict that landed: put if",
    "no_conditions": "knows no conditional puts",
    "throttling": "throttled: listing",
    "lying_listings": "is told a lie",
    "index_faults": "wrong index at",
    "other_versions": "older version at",
}
"""What a fault of each family is called when it happens."""
MOST_SEEDS = 6


@pytest.mark.slow
@pytest.mark.parametrize("family", TOLD)
def test_the_faults_of_a_family_happen(family: str) -> None:
    seeds = (simulate(seed, families=only(family)) for seed in range(1, MOST_SEEDS))
    assert any(TOLD[family] in fault for outcome in seeds for fault in outcome.faults)


@pytest.mark.slow
def test_the_other_archive_is_read_when_the_first_one_is_out() -> None:
    families = only("second_archive", "outages")
    seeds = (simulate(seed, families=families) for seed in range(1, MOST_SEEDS))
    assert any(outcome.counted["files of the other archive"] for outcome in seeds)


def test_readers_are_torn_while_shards_are_replaced() -> None:
    outcome = simulate(1, families=only("corrected_files"))
    assert outcome.counted["torn reads"] > 50
    assert not outcome.broken


def test_every_family_is_told_of() -> None:
    assert {*TOLD, "second_archive"} == set(NAMES)


SHAPES = (4, 8, 8), (2, 8, 8)


def _shard(*chunks: Values) -> bytes:
    compressed: dict[tuple[int, ...], bytes] = {
        (number, 0, 0): bytes(Blosc(typesize=4).encode(one)) for number, one in enumerate(chunks)
    }
    return shard_object(compressed, *SHAPES)


def test_a_torn_read_fails_or_gives_values_of_its_label() -> None:
    plain, noisy = np.zeros(SHAPES[1], np.float32), np.random.default_rng(1).random(SHAPES[1], np.float32)
    before, after = _shard(plain, noisy), _shard(noisy, noisy)
    assert dict(torn_reads(before, after, *SHAPES))[1, 0, 0] is None, "the second chunk begins elsewhere by now"
    found = dict(torn_reads(before, before, *SHAPES))[1, 0, 0]
    assert found is not None
    assert not never_published(found, (1, 0, 0), [before], *SHAPES)
    assert never_published(found + 1, (1, 0, 0), [before, after], *SHAPES)


ENTRY = {
    "partition": "2026-03-01T00:00",
    "root_run": "a",
    "retry": False,
    "known_missing": True,
    "variables": {"temperature_2m": {"missing": [0], "implausible": "", "through": None}},
    "missing_files": [{"file": "x"}],
}


def test_a_newer_version_adds_fields_wherever_it_can() -> None:
    made = json.loads(by_newer_version(json.dumps(ENTRY).encode()))
    parts = [made, made["variables"]["temperature_2m"], made["missing_files"][0]]
    assert all(UNKNOWN in part for part in parts)
    assert UNKNOWN not in LedgerEntry.model_fields


def test_an_older_version_lacks_late_fields_that_say_nothing() -> None:
    made = json.loads(by_older_version(json.dumps(ENTRY).encode()))
    assert {"root_run", "retry"}.isdisjoint(made)
    assert made["known_missing"]
    assert "implausible" not in made["variables"]["temperature_2m"]
