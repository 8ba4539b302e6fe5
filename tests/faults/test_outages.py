"""An upstream that is gone, late, incomplete or changed: nothing published is lost, and what comes later is taken in."""

from pathlib import Path

import pytest

from reformatters_dagster.core.spec.values import Timestamp
from tests.datasets import INIT, LEADS, RAIN, SECOND, SOON, TEMPERATURE
from tests.faults.children import digests
from tests.faults.deployment import NOW, Deployment, Undisturbed
from tests.spoilt_files import rewrite_index

pytest_plugins = ["tests.datasets", "tests.stores"]

LATE = 4


def first(undisturbed: Undisturbed, there: Deployment) -> Deployment:
    """The store with its first init time, whose files are upstream."""
    there.put(undisturbed.before)
    there.arrive(INIT)
    return there


def missing(there: Deployment, variable: str, label: Timestamp) -> list[str]:
    return [file.file[-4:] for file in there.entry(label).variables[variable].missing]


def heal(there: Deployment, label: Timestamp) -> None:
    """What the heal sensor launches."""
    healed = there.reformat("backfill", "--contains", f"{label:%Y-%m-%dT%H:%M}", "--overwrite-chunks")
    assert healed.status == 0, healed.err


def test_a_total_outage_fails_loudly_and_leaves_every_byte(in_folder: Deployment, undisturbed: Undisturbed) -> None:
    there = first(undisturbed, in_folder)
    for lead in LEADS:
        there.file(lead, INIT).unlink()
    update = there.update(NOW)
    assert update.status == 1
    last = update.err.splitlines()[-1]
    assert last.startswith(
        "NothingSucceeded: test-gfs-forecast partition 2026-07-29T18:00 wanted 19 fields of 2 variables"
    )
    assert there.all_objects() == undisturbed.before
    assert there.leftovers() == []


def test_a_variable_that_lags_and_a_file_that_is_late_are_told_and_healed(
    in_folder: Deployment, undisturbed: Undisturbed
) -> None:
    there = first(undisturbed, in_folder)
    there.arrive(SECOND)
    for lead in LEADS:
        rewrite_index(there.file(lead, SECOND), lambda lines: [line for line in lines if "APCP" not in line[2]])
    there.file(LATE, SECOND).unlink()
    assert there.update(NOW).status == 0
    assert missing(there, RAIN, SECOND) == [f"f{lead:03d}" for lead in LEADS[1:]]
    assert missing(there, TEMPERATURE, SECOND) == [f"f{LATE:03d}"]
    view = digests(there.base)
    assert view.items() > undisturbed.views[0].items()
    assert not [key for key in there.objects() if key.startswith(f"{RAIN}/c/1/")]
    there.arrive(SECOND)
    heal(there, SECOND)
    assert there.objects() == undisturbed.store
    assert [missing(there, variable, SECOND) for variable in (RAIN, TEMPERATURE)] == [[], []]
    assert there.leftovers() == []


def raise_reference(path: Path) -> None:
    """Make the first field of a file another one, as a corrected forecast is: raise its reference value."""
    data, at = bytearray(path.read_bytes()), 16
    while data[at + 4] != 5:
        at += int.from_bytes(data[at : at + 4])
    data[at + 12] ^= 1  # of the exponent of an IEEE float, hence twice or half the value
    path.write_bytes(data)


@pytest.mark.slow
def test_a_file_that_is_published_again_is_read_again(in_folder: Deployment, undisturbed: Undisturbed) -> None:
    there = first(undisturbed, in_folder)
    before = there.entry(INIT).etags
    raise_reference(there.file(LATE, INIT))
    assert there.update(INIT + SOON).status == 0
    after = there.entry(INIT).etags
    assert {key[-4:] for key in after if after[key] != before[key]} >= {f"f{LATE:03d}"}
    changed = {
        key
        for key, data in there.objects().items()
        if undisturbed.before.get(f"test-gfs-forecast/v0.1.0.zarr/{key}") != data
    }
    assert changed
    assert {key.split("/c/")[0] for key in changed} == {TEMPERATURE}
