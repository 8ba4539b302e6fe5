"""The same files at an HTTP host, in a bucket and in a folder."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from reformatters_dagster.core.source.archives import Archive
from tests.core.source.hosts import DAY, FILES, FakeTime, source
from tests.upstreams import FaultServer


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture(scope="module")
def host() -> Iterator[FaultServer]:
    with FaultServer(FILES) as server:
        yield server


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A host of each test's own: requests that were given up arrive late, and would take what the next test has scripted."""
    with FaultServer(FILES) as server:
        yield server


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upstream")
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def bucket(server: FaultServer, time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """The same files as objects of an S3 bucket, where `KEY` is `FILE` of the archive `DAY`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    return Archive(source(folder=DAY), mirror="s3://noaa", patience=time.patience())


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="upstream")
    for name in [*(f"noaa/gfs.20260729/{i}" for i in range(7)), "noaa/gfs.20260728/9", "noaa-other/1"]:
        client.put_object(Bucket="upstream", Key=f"up/{name}", Body=name.encode())
    client.close()
    yield url
    server.stop()


@pytest.fixture
def s3_environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
