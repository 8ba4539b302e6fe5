"""Values that the chart refuses, each by a message that names the key; and those it wants."""

import json
import re
from typing import Any

import helm_python as helm
import pytest
import yaml  # type: ignore[import-untyped]

from tests.helm.rendered import CHART, PLAIN, chart, merged, switched, texts

MISSPELT = (
    "images.tag",
    "image.repo",
    "imagePullSecret",
    "settings.storeUrl",
    "alerts.slack",
    "alerts.webhook.name",
    "postgres.host",
    "postgresql.hostname",
    "postgresql.password.name",
    "postgresql.tls.sslmode",
    "computeLogs.bucket",
    "serviceAccounts.codeServer",
    "serviceAccounts.runs.annotation",
    "webserver.replicaCount",
    "webserver.service.port",
    "webserver.resources.request",
    "webserver.resources.limits.mem",
    "daemon.replicas",
    "codeServers.readinessProbe",
    "runs.maxConcurrentRuns",
    "runs.byMode.updates",
    "runs.byMode.backfill.nodeSelectors",
    "scratch.class",
    "priorityClasses.validate",
    "networkPolicies.enable",
    "ingress.host",
    "retention.ticks",
    "prune.keep",
    "metrics.prometheusRules",
    "deployCheck.enable",
)
MISTYPED: tuple[tuple[str, Any, str], ...] = (
    ("image.tag", 1.0, "/image/tag"),
    ("image.digest", "sha256:abc", "/image/digest"),
    ("image.pullPolicy", "always", "/image/pullPolicy"),
    ("imagePullSecrets", [{"name": "registry"}], "/imagePullSecrets/0"),
    ("providers", [], "/providers"),
    ("providers", [{"name": "Noaa"}], "/providers/0/name"),
    ("providers", [{"module": "a.b"}], "/providers/0"),
    ("settings.store", "bucket", "/settings/store"),
    ("settings.replicas", "s3://copy", "/settings/replicas"),
    ("settings.env", {"AWS_REGION": 1}, "/settings/env/AWS_REGION"),
    ("settings.env", {"AWS REGION": "x"}, "AWS REGION"),
    ("settings.secrets", "reformatters", "/settings/secrets"),
    ("schedules.validate", "yes", "/schedules/validate"),
    ("postgresql.port", "5432", "/postgresql/port"),
    ("postgresql.password.secret", "", "/postgresql/password/secret"),
    ("postgresql.tls.mode", "on", "/postgresql/tls/mode"),
    ("computeLogs.uploadSeconds", 0, "/computeLogs/uploadSeconds"),
    ("webserver.replicas", 0, "/webserver/replicas"),
    ("webserver.pathPrefix", "weather/", "/webserver/pathPrefix"),
    ("webserver.resources.requests.memory", "1GB", "/webserver/resources/requests/memory"),
    ("codeServers.probe", "exec", "/codeServers/probe"),
    ("runs.maxConcurrent", "many", "/runs/maxConcurrent"),
    ("runs.moreMemoryAfterOom", 1, "/runs/moreMemoryAfterOom"),
    ("runs.podReplacementPolicy", "Always", "/runs/podReplacementPolicy"),
    ("runs.tolerations", [{"key": "k", "operator": "In"}], "/runs/tolerations/0/operator"),
    ("scratch.path", "tmp", "/scratch/path"),
    ("networkPolicies.webPorts", [70000], "/networkPolicies/webPorts/0"),
    ("networkPolicies.metricsFrom", [{}], "/networkPolicies/metricsFrom/0"),
    ("ingress.enabled", "yes", "/ingress/enabled"),
    ("prune.olderThan", "90 days", "/prune/olderThan"),
    ("prune.olderThan", "13D", "/prune/olderThan"),
    ("prune.schedule", "daily", "/prune/schedule"),
)


@pytest.mark.parametrize("path", MISSPELT)
def test_a_key_that_is_not_there_is_refused_by_name(path: str) -> None:
    *above, key = path.split(".")
    if above and above[0] not in yaml.safe_load((CHART / "values.yaml").read_text()):
        above, key = [], above[0]
    with pytest.raises(helm.HelmValuesError) as refused:
        texts(merged(PLAIN, switched(path, "x")))
    assert f"'{'/'.join(['', *above])}': additional properties '{key}' not allowed" in str(refused.value)


@pytest.mark.parametrize(("path", "value", "where"), MISTYPED, ids=[f"{path}={value}" for path, value, _ in MISTYPED])
def test_a_value_of_the_wrong_kind_is_refused_by_its_place(path: str, value: Any, where: str) -> None:
    with pytest.raises(helm.HelmValuesError) as refused:
        texts(merged(PLAIN, switched(path, value)))
    assert f"'{where}'" in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"settings": {"store": ""}}, "settings.store is empty: name the bucket of the stores, such as s3://bucket"),
        ({"postgresql": {"host": ""}}, "postgresql.host is empty: name the host of a Postgres that stands"),
        ({"ingress": {"enabled": True}}, "ingress.enabled is true and ingress.hosts is empty: name at least one host"),
        (
            {"runs": {"maxConcurrent": 10}},
            "runs.maxConcurrent is 10, and backfills (12) and heals (6) may take as many: leave a place for updates",
        ),
        (
            {"postgresql": {"tls": {"mode": "verify-full"}}},
            "postgresql.tls.mode is verify-full, and postgresql.tls.ca.secret is empty: name the secret with the certificate",
        ),
        (
            {"providers": [{"name": "noaa"}, {"name": "noaa", "module": "a.b"}]},
            "providers names noaa twice: give each a name of its own",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_what_to_do(values: dict[str, Any], message: str) -> None:
    with pytest.raises(helm.HelmRenderError) as refused:
        texts(merged(PLAIN, values))
    assert message in str(refused.value)


def test_the_schema_knows_every_default_and_refuses_unknown_keys_everywhere() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    chart().validate_schema(PLAIN)
    assert set(values) == set(schema["properties"]) - {"global"}

    def loose(part: Any, path: str = "") -> list[str]:
        if not isinstance(part, dict):
            return [found for item in part for found in loose(item, path)] if isinstance(part, list) else []
        found = [name for key, value in part.items() for name in loose(value, f"{path}/{key}")]
        return [path, *found] if "properties" in part and part.get("additionalProperties") is not False else found

    assert loose(schema) == []
    # Maps whose keys are a person's own hold text.
    maps = [schema["definitions"]["strings"], schema["properties"]["settings"]["properties"]["env"]]
    assert all(part["additionalProperties"] == {"type": "string"} for part in maps)


def test_every_value_is_used_by_a_template() -> None:
    """A value that nothing reads would be believed."""
    templates = "\n".join(path.read_text() for path in (CHART / "templates").iterdir())
    for section, value in yaml.safe_load((CHART / "values.yaml").read_text()).items():
        assert f".Values.{section}" in templates, section
        for key in value if isinstance(value, dict) else ():
            assert key in templates, f"{section}.{key}"


def test_the_readme_s_table_has_every_section() -> None:
    (section,) = re.findall(r"^## Values\n(.*?)^## ", (CHART / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = {name.split(".")[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named == set(yaml.safe_load((CHART / "values.yaml").read_text()))


def test_the_values_that_the_readme_begins_with_are_all_that_is_needed() -> None:
    (block,) = re.findall(r"^```yaml\n(image: .*?)^```$", (CHART / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    rendered = "\n".join(texts(yaml.safe_load(block)).values())
    assert "registry.example/reformatters-dagster" in rendered
    assert "s3://example-forecasts" in rendered
