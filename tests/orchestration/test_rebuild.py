"""`rebuild_status`: what Dagster knows after its database was lost and the ledger stands."""

from collections.abc import Iterator

import dagster as dg
import pytest

from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.orchestration.rebuild import rebuild_status
from tests.datasets import INIT, SECOND, SOON
from tests.orchestration.deployments import Deployment, metadata_of

pytest_plugins = ["tests.datasets"]

KEYS = [partition_key(label) for label in (INIT, SECOND)]


@pytest.fixture
def begun_anew() -> Iterator[dg.DagsterInstance]:
    """An instance that knows nothing."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def made(deployment: Deployment) -> Deployment:
    """Two partitions made on the command line, of which a run of Dagster then makes the first again."""
    deployment.site.arrive(INIT, SECOND)
    deployment.site.backfill(SECOND + SOON)
    deployment.run("backfill", INIT)
    return deployment


def known(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[str]:
    return sorted(instance.get_materialized_partitions(key))


def test_a_new_instance_learns_every_partition_of_the_ledger_once(
    made: Deployment, begun_anew: dg.DagsterInstance
) -> None:
    site = made.site
    internal = site.workspace.stores.internal
    assert known(begun_anew, made.key) == []
    tried = rebuild_status(begun_anew, site.dataset, internal, dry_run=True)
    assert (list(tried.reported), known(begun_anew, made.key)) == (KEYS, [])
    first = rebuild_status(begun_anew, site.dataset, internal)
    assert (list(first.reported), first.known, first.unreadable) == (KEYS, 0, ())
    assert known(begun_anew, made.key) == KEYS
    again = rebuild_status(begun_anew, site.dataset, internal)
    assert (again.reported, again.known) == ((), 2)
    assert begun_anew.get_runs() == []

    told = metadata_of(Deployment(site, begun_anew).materializations()[0])
    (of_the_run,) = made.materializations()
    real = metadata_of(of_the_run)
    assert {name: told[name] for name in ("fields_expected", "fields_succeeded", "template_hash")} == {
        name: real[name] for name in ("fields_expected", "fields_succeeded", "template_hash")
    }
    assert told["written_by_run"] == made.instance.get_runs()[0].run_id


def test_only_what_dagster_lacks_is_reported(made: Deployment) -> None:
    done = rebuild_status(made.instance, made.site.dataset, made.site.workspace.stores.internal)
    assert (list(done.reported), done.known) == (KEYS[1:], 1)
    assert metadata_of(made.materializations()[0])["published"] is True  # of the run, which stands


def test_an_entry_that_cannot_be_read_is_named_and_left_out(made: Deployment, begun_anew: dg.DagsterInstance) -> None:
    internal = made.site.workspace.stores.internal
    internal.put(f"ledger/{KEYS[0]}.json", b"{")
    done = rebuild_status(begun_anew, made.site.dataset, internal)
    assert (list(done.reported), list(done.unreadable)) == (KEYS[1:], KEYS[:1])
    assert known(begun_anew, made.key) == KEYS[1:]
