"""Source files that are not what their index says, and an archive that misbehaves: told, or waited out, never believed."""

import random
from pathlib import Path

import pytest

from reformatters_dagster.core.spec.values import Timestamp
from tests.datasets import INIT, LEADS, PRIMARY, SECOND, SOON, TEMPERATURE, gfs_key
from tests.faults.children import digests
from tests.faults.deployment import NOW, Deployment, Undisturbed
from tests.spoilt_files import cut_in_half, index_of_yesterday, shift_index, swap_lines
from tests.upstreams import Answer, Cut, FaultServer, Request, Slow, Status, Whole

pytest_plugins = ["tests.datasets", "tests.stores"]

SPOILT = {3: shift_index, 4: swap_lines, 5: index_of_yesterday, 6: cut_in_half}


def files_of(upstream: Path) -> dict[str, bytes]:
    files = (path for path in upstream.rglob("*") if path.is_file())
    return {path.relative_to(upstream).as_posix(): path.read_bytes() for path in files}


def path_of(label: Timestamp, lead: int) -> str:
    return f"{PRIMARY}/{gfs_key(label, lead)}"


def test_files_that_are_not_what_their_index_says_are_holes_until_they_are_mended(
    in_folder: Deployment, undisturbed: Undisturbed
) -> None:
    there = in_folder
    there.arrive(INIT)
    for lead, spoil in SPOILT.items():
        spoil(there.file(lead, INIT))
    assert there.update(INIT + SOON).status == 0
    told = {file.file[-1]: file.reason for file in there.entry(INIT).variables[TEMPERATURE].missing}
    assert list(told) == ["3", "4", "5", "6"]
    assert all("CorruptMessage" in reason for reason in told.values()), told
    assert digests(there.base) != undisturbed.views[0]
    there.arrive(INIT)
    assert there.update(INIT + SOON).status == 0
    assert digests(there.base) == undisturbed.views[0]
    assert there.leftovers() == []


def grown(there: Deployment, undisturbed: Undisturbed, server: FaultServer) -> None:
    """The update, over HTTP, comes to the undisturbed end."""
    there.put(undisturbed.before)
    update = there.having(REFORMATTERS_UPSTREAM=server.url, NO_PROXY="127.0.0.1").update(NOW)
    assert update.status == 0, update.err
    assert there.objects() == undisturbed.store
    for key, entry in there.ledger().items():
        assert entry["variables"] == undisturbed.ledger[key]["variables"]
    assert there.leftovers() == []


@pytest.mark.slow
def test_an_archive_that_cuts_and_ignores_ranges_now_and_then(in_folder: Deployment, undisturbed: Undisturbed) -> None:
    files, dice = files_of(undisturbed.upstream), random.Random(5)
    with FaultServer(files) as server:
        for lead in LEADS[::3]:
            path = path_of(SECOND, lead)
            server.script(path, Slow(0), Cut(dice.randrange(1, 300)))
            server.script(f"{path}.idx", Cut(dice.randrange(len(files[f"{path}.idx"]))))
        server.script(path_of(SECOND, 4), Slow(0), Whole())
        grown(in_folder, undisturbed, server)


class Unreliable(FaultServer):
    """Fails a share of all requests."""

    share = 0.05
    dice = random.Random(0)

    def take(self, request: Request) -> Answer | None:
        answer = super().take(request)
        return Status(self.dice.choice([503, 429, 302]), "/busy.html") if self.dice.random() < self.share else answer


@pytest.mark.slow
def test_an_archive_of_which_one_request_in_twenty_fails(in_folder: Deployment, undisturbed: Undisturbed) -> None:
    with Unreliable({**files_of(undisturbed.upstream), "busy.html": b"<html>come back later</html>"}) as server:
        grown(in_folder, undisturbed, server)
