"""The stack, once for the session, and a view of it for a test and its dataset.

A module of this folder says `pytest_plugins = ["tests.datasets", "tests.stores"]`.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.postgres import DATABASE, USER, free_port, throw_away_postgres
from reformatters_dagster.orchestration.resources import utc_now
from reformatters_dagster.sample_upstream import write_sample_upstream
from tests.datasets import LEADS, PRIMARY, STEP, VARIABLES, Sample
from tests.helm.rendered import NAMESPACE
from tests.stack.cluster import Cluster
from tests.stack.datasets import CYCLE, DECLARED, dataset_named
from tests.stack.deployment import Deployment
from tests.stack.installed import Installed
from tests.stack.kubelet import Holdings
from tests.stack.stack import (
    LOCATION,
    NEXT_TAG,
    PROVIDER,
    REPOSITORY,
    TAG,
    Stack,
    image_environment,
    image_named,
)
from tests.stores import S3Bucket, S3Server

# Sensors ask the clock of the machine: the labels lie within the last day.
LABELS = [utc_now().floor("6h").as_unit("us") - CYCLE * back for back in (4, 3, 2, 1)]
SECRETS = {
    "reformatters": {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
    "dagster-postgresql": {"postgresql-password": "password"},
}


@pytest.fixture(scope="session")
def recent_sample(tmp_path_factory: pytest.TempPathFactory, gfs_sample: Sample) -> Sample:
    """Files of the labels of the stack."""
    folder = tmp_path_factory.mktemp("recent")
    write_sample_upstream(folder, LABELS, LEADS, variables=VARIABLES, step=STEP)
    return Sample(folder, gfs_sample.odd)


@pytest.fixture(scope="session")
def running(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server, recent_sample: Sample
) -> Iterator[Deployment]:
    """The stack with a code server, a webserver and one daemon; the files of all labels but the last are upstream."""
    folder = tmp_path_factory.mktemp("stack")
    for name in ("pods", f"upstream/{PRIMARY}"):
        (folder / name).mkdir(parents=True)
    for name in DECLARED:
        dataset_named(name, folder / "templates", LABELS[0])
    store, port = f"s3://{s3_server.new_bucket()}", free_port()
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(folder / "pods", holdings(folder), NAMESPACE).serving())
        stack.enter_context(throw_away_postgres(port, max_connections="200"))
        values = chart_values(folder, store, s3_server.endpoint, port)
        up = Stack(folder, cluster, Installed(values, folder / "home", folder / "kubeconfig"))
        stack.callback(lambda: up.kill(*up.services))
        up.install()
        up.start_code_server()
        up.start_webserver()
        up.start_daemon()
        up.wait_for(up.web.loaded_image)
        deployed = Deployment(folder, up, recent_sample, s3_server, store, LABELS)
        deployed.arrive(*LABELS[:-1])
        yield deployed


def holdings(folder: Path) -> Holdings:
    """Two images with the same content, and the secrets that the chart refers to."""
    baked = image_environment(TEST_TEMPLATES=str(folder / "templates"), TEST_START=LABELS[0].isoformat())
    return Holdings(images={image_named(TAG): baked, image_named(NEXT_TAG): baked}, secrets=SECRETS)


def chart_values(folder: Path, store: str, endpoint: str, postgres: int) -> dict[str, Any]:
    """What an operator would write for this machine."""
    return {
        "image": {"repository": REPOSITORY, "tag": TAG},
        "providers": [{"name": PROVIDER, "module": LOCATION}],
        "settings": {
            "store": store,
            "upstream": str(folder / "upstream"),
            "env": {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": endpoint},
            "secrets": ["reformatters"],
        },
        "postgresql": {"host": "127.0.0.1", "port": postgres, "database": DATABASE, "username": USER},
        "computeLogs": {"url": f"{store}/_logs"},
        "scratch": {"path": str(folder / "scratch")},
        "runs": {"pollIntervalSeconds": 1},
        "schedules": {"validate": False},  # a test may run while one is due
    }


@pytest.fixture
def deployment(running: Deployment, s3: S3Bucket) -> Deployment:
    """The stack; the environment lets the test itself read the bucket."""
    assert os.environ["AWS_ENDPOINT_URL"] == running.s3.endpoint
    return running
