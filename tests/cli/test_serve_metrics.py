"""`serve-metrics`: the process that Prometheus asks."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.cli.deployment import ID, Deployment, assert_fails


def test_it_serves_until_it_is_ended_and_shows_no_secret(published: Deployment, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("{}")
    planted = {"AWS_SECRET_ACCESS_KEY": "planted-aws", "REFORMATTERS_ALERT_WEBHOOK": "https://hook.example/planted"}
    environment = os.environ | published.environment | planted | {"DAGSTER_HOME": str(tmp_path)}
    command = [sys.executable, "-c", "from reformatters_dagster.cli import app; app()", "serve-metrics", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        url = next(line for line in lines if line.startswith("metrics are at ")).split()[-1]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        shown = ""
        while f'reformatters_newest_label_age_seconds{{dataset="{ID}"}}' not in shown:
            with opener.open(url, timeout=30) as answer:
                shown = answer.read().decode()
        process.terminate()
        said = process.stderr.read()
        assert process.wait(30) == 143
    assert "planted" not in shown + said


def test_without_an_instance_it_is_refused(empty: Deployment) -> None:
    assert_fails(empty.reformat("serve-metrics", DAGSTER_HOME=""), 2, "Refused", "DAGSTER_HOME is not set")
