"""Fixtures of the fault tests: the process that forks the others, and deployments in buckets and folders.

A module of this folder says `pytest_plugins = ["tests.datasets", "tests.stores"]`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets import INIT, SECOND, SOON, Sample, objects_of
from tests.faults.children import digests
from tests.faults.deployment import NOW, Deployment, Forks, Undisturbed
from tests.stores import S3Bucket


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory, gfs_sample: Sample) -> Iterator[Forks]:
    """One for the whole session: it takes seconds to start."""
    with Forks.started(tmp_path_factory.mktemp("templates"), gfs_sample.folder) as started:
        yield started


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, forks: Forks, gfs_sample: Sample) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    there = Deployment(folder, forks, gfs_sample, str(folder / "stores"))
    there.arrive(INIT)
    assert there.update(INIT + SOON).status == 0
    before, views = objects_of(folder / "stores"), [digests(there.base)]
    there.arrive(SECOND)
    assert there.update(NOW).status == 0
    assert there.leftovers() == []
    views.append(digests(there.base))
    return Undisturbed(before, there.objects(), there.ledger(), views, there.upstream)


@pytest.fixture
def in_bucket(tmp_path: Path, forks: Forks, gfs_sample: Sample, s3: S3Bucket) -> Deployment:
    """Nothing upstream yet, and no store in a bucket of its own."""
    return Deployment(tmp_path, forks, gfs_sample, s3.url, s3.server)


@pytest.fixture
def in_folder(tmp_path: Path, forks: Forks, gfs_sample: Sample) -> Deployment:
    """Nothing upstream yet, and no store."""
    return Deployment(tmp_path, forks, gfs_sample, str(tmp_path / "stores"))


@pytest.fixture
def there(in_bucket: Deployment, undisturbed: Undisturbed) -> Deployment:
    """A bucket as the update finds it."""
    in_bucket.put(undisturbed.before)
    return in_bucket.having(REFORMATTERS_UPSTREAM=str(undisturbed.upstream))
