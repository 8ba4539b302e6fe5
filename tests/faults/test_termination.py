"""A run that is told to end does so well within the 30 s that Kubernetes gives it, whatever it waits for."""

import signal
import time

from tests.datasets import INIT, LEADS, PRIMARY, SOON, gfs_key
from tests.faults.deployment import Deployment
from tests.upstreams import FaultServer, Slow

pytest_plugins = ["tests.datasets", "tests.stores"]

SECONDS = 15


def test_a_run_that_waits_for_an_archive_ends_soon(in_folder: Deployment) -> None:
    paths = [f"{PRIMARY}/{gfs_key(INIT, lead)}" for lead in LEADS]
    with FaultServer(dict.fromkeys(paths, b"")) as server:
        for path in paths:
            server.script(path, Slow(60))
        there = in_folder.having(REFORMATTERS_UPSTREAM=server.url, NO_PROXY="127.0.0.1")
        update = there.start_update(INIT + SOON)
        update.wait_for(lambda: server.requests)
        asked = time.monotonic()
        update.send(signal.SIGTERM)
        assert update.status == 143, update.err
        assert time.monotonic() - asked < SECONDS
    assert there.leftovers() == []
    assert "--resume cli-" in update.err
