"""Every shape and switch of the chart: valid for Kubernetes, restricted, linted, and loaded by Dagster."""

import importlib
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.instance.ref import InstanceRef
from dagster._core.workspace.config_schema import process_workspace_config
from dagster._core.workspace.load import location_origins_from_yaml_paths

from reformatters_dagster.orchestration.compute_logs import ObjectStoreComputeLogManager
from tests.helm.rendered import (
    CHART,
    NAMESPACE,
    PLAIN,
    RELEASE,
    ROOT,
    SHAPES,
    VERSIONS,
    merged,
    not_restricted,
    one,
    pod_spec,
    render,
    shape,
    switched,
    validate,
)

SWITCHES: tuple[tuple[str, Any], ...] = (
    ("image.digest", f"sha256:{'a' * 64}"),
    ("image.tag", "1.2.3"),
    ("imagePullSecrets", ["registry"]),
    ("settings.secrets", []),
    ("schedules.validate", False),
    ("alerts.webhook.secret", "alerts"),
    ("alerts.sentry.secret", "alerts"),
    ("postgresql.tls.ca.secret", "ca"),
    ("computeLogs.url", "s3://logs"),
    ("serviceAccounts.create", False),
    ("serviceAccounts.runs.name", "mine"),
    ("rbac.create", False),
    ("webserver.readOnly", True),
    ("webserver.pathPrefix", "/weather"),
    ("webserver.service.type", "NodePort"),
    ("webserver.podAnnotations", {"a": "b"}),
    ("webserver.tolerations", [{"key": "k", "operator": "Exists"}]),
    ("daemon.nodeSelector", {"kind": "on-demand"}),
    ("codeServers.probe", "tcp"),
    ("runs.podReplacementPolicy", ""),
    ("runs.annotations", {"a": "b"}),
    ("runs.nodeSelector", {"kind": "large"}),
    ("runs.tolerations", [{"key": "k", "operator": "Exists"}]),
    ("runs.byMode.heal.nodeSelector", {"kind": "spot"}),
    ("scratch.storageClass", "fast"),
    ("priorityClasses.create", False),
    ("priorityClasses.heal.name", "mine"),
    ("networkPolicies.enabled", False),
    ("networkPolicies.metricsFrom", [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]),
    ("podDisruptionBudgets.enabled", False),
    ("ingress", {"enabled": True, "hosts": ["a.example"], "tlsSecret": "tls", "className": "nginx"}),
    ("migration.enabled", False),
    ("prune.enabled", False),
    ("metrics.enabled", False),
    ("metrics.serviceMonitor.enabled", True),
    ("metrics.prometheusRule.enabled", True),
    ("deployCheck.enabled", False),
    ("deployCheck.datasets", ["noaa-gfs-forecast"]),
)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_valid_on_every_kubernetes_and_restricted(name: str) -> None:
    manifests = render(shape(name))
    assert len(manifests) > 20
    for manifest in manifests:
        for kubernetes in VERSIONS:
            validate(manifest, kubernetes)
        assert_guarded(manifest)
    assert_names_are_single(manifests)


def test_validation_is_on_unless_values_say_otherwise() -> None:
    def told(values: dict[str, Any]) -> str:
        found: str = one(render(values), "ConfigMap", "settings")["data"]["REFORMATTERS_VALIDATE"]
        return found

    assert told(PLAIN) == "true"
    assert told(merged(PLAIN, switched("schedules.validate", False))) == "false"


@pytest.mark.parametrize(("path", "value"), SWITCHES, ids=[path for path, _ in SWITCHES])
def test_every_switch_is_valid_and_restricted(path: str, value: Any) -> None:
    plain, manifests = render(PLAIN), render(merged(PLAIN, switched(path, value)))
    assert manifests != plain
    for manifest in (manifest for manifest in manifests if manifest not in plain):
        validate(manifest, VERSIONS[-1])
        assert_guarded(manifest)
    assert_names_are_single(manifests)


def assert_guarded(manifest: dict[str, Any]) -> None:
    """Every pod is restricted, has requests and limits, no init container, and no literal where a secret belongs."""
    pod = pod_spec(manifest)
    if pod is None:
        return
    what = f"{manifest['kind']} {manifest['metadata']['name']}"
    assert list(not_restricted(pod)) == [], what
    assert "initContainers" not in pod, what
    for container in pod["containers"]:
        resources = container["resources"]
        assert {"cpu", "memory", "ephemeral-storage"} <= set(resources["requests"]), what
        assert {"memory", "ephemeral-storage"} <= set(resources["limits"]), what
        for variable in container.get("env", []):
            assert "valueFrom" in variable or variable["name"] in {"DAGSTER_HOME", "DAGSTER_CURRENT_IMAGE"}, what


def assert_names_are_single(manifests: list[dict[str, Any]]) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name) for _, name in names)
    assert "Secret" not in {kind for kind, _ in names}


def test_the_switches_are_all_of_the_chart() -> None:
    """A key that is on or off is in the table above."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def booleans(part: Any, path: str = "") -> set[str]:
        if isinstance(part, dict):
            return {found for key, value in part.items() for found in booleans(value, f"{path}.{key}".lstrip("."))}
        return {path} if isinstance(part, bool) else set()

    switched_here = {path for path, _ in SWITCHES} | {"ingress.enabled"}
    assert booleans(values) <= switched_here


@pytest.mark.parametrize("name", SHAPES)
def test_helm_s_lint_finds_nothing(name: str) -> None:
    report = helm.lint(str(CHART), shape(name), strict=True, namespace=NAMESPACE, kube_version="v1.34.0")
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_the_checker_finds_what_is_not_restricted() -> None:
    good = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "a",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    assert list(not_restricted(good)) == []
    assert list(not_restricted({**good, "hostNetwork": True})) == ["hostNetwork is set"]
    assert list(not_restricted({**good, "volumes": [{"name": "v", "hostPath": {}}]})) == ["volume v is a hostPath"]
    assert set(not_restricted({"containers": [{"name": "a"}]})) == {
        f"container a: {what}"
        for what in (
            "allows privilege escalation",
            "may run as root",
            "has no seccomp profile",
            "keeps capabilities",
            "can write to its root file system",
        )
    }


# Who may what


def test_rights_are_those_that_are_used() -> None:
    manifests = render(PLAIN)
    rights = {
        account: {
            f"{verb} {resource}"
            for rule in one(manifests, "Role", account)["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for account in ("daemon", "runs")
    }
    # `deploy-check` asks for the first of these; beside them the daemon reads why a pod did not start.
    assert rights["runs"] == {"create jobs", "delete jobs", "get jobs", "get jobs/status", "delete pods", "list pods"}
    assert rights["daemon"] == rights["runs"] | {"list jobs", "list events", "get pods/log"}
    assert {m["metadata"]["name"] for m in manifests if m["kind"] == "Role"} == {f"{RELEASE}-daemon", f"{RELEASE}-runs"}
    assert not [m for m in manifests if m["kind"] in {"ClusterRole", "ClusterRoleBinding"}]


def test_only_those_who_ask_kubernetes_have_a_token() -> None:
    manifests = render(PLAIN)
    for manifest in manifests:
        if manifest["kind"] == "ServiceAccount":
            assert manifest["automountServiceAccountToken"] is False
    with_token = {
        (
            manifest["metadata"]["name"].removeprefix(f"{RELEASE}-"),
            pod["serviceAccountName"].removeprefix(f"{RELEASE}-"),
        )
        for manifest in manifests
        if (pod := pod_spec(manifest)) and pod["automountServiceAccountToken"]
    }
    assert with_token == {("webserver", "daemon"), ("daemon", "daemon"), ("deploy-check", "runs")}


def test_the_webserver_is_reached_by_nobody_until_somebody_is_named() -> None:
    assert one(render(PLAIN), "NetworkPolicy", "webserver")["spec"]["ingress"] == []
    peers = [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]
    (rule,) = one(
        render(merged(PLAIN, switched("networkPolicies.webserverFrom", peers))), "NetworkPolicy", "webserver"
    )["spec"]["ingress"]
    assert rule == {"ports": [{"protocol": "TCP", "port": 3000}], "from": peers}
    code = one(render(PLAIN), "NetworkPolicy", "code")["spec"]
    (asked,) = code["ingress"]
    (peer,) = asked["from"]
    assert peer["podSelector"]["matchExpressions"][0]["values"] == ["webserver", "daemon", "metrics"]


def test_every_pod_is_under_one_policy() -> None:
    """Pods of runs have their labels from Dagster."""
    manifests = render(PLAIN)
    selected = [
        component
        for manifest in manifests
        if manifest["kind"] == "NetworkPolicy"
        for component in manifest["spec"]["podSelector"]["matchExpressions"][0]["values"]
    ]
    labelled = {
        (m if m["kind"] == "Pod" else template_of(m))["metadata"]["labels"]["app.kubernetes.io/component"]
        for m in manifests
        if pod_spec(m)
    }
    assert sorted(selected) == sorted(labelled | {"run_worker", "step_worker"})


def template_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else manifest["spec"]
    template: dict[str, Any] = spec["template"]
    return template


# Alerts


def test_the_rules_are_those_of_the_file_asked_of_this_release() -> None:
    manifests = render(merged(PLAIN, switched("metrics.prometheusRule.enabled", True)))
    (group,) = one(manifests, "PrometheusRule", "alerts")["spec"]["groups"]
    (written,) = yaml.safe_load((CHART / "alerts.yaml").read_text())["groups"]
    here = f'job="{RELEASE}-metrics", namespace="{NAMESPACE}"'
    figure = re.compile(r"reformatters_[a-z_]+(\{[^}]*\})?")
    for rule, source in zip(group["rules"], written["rules"], strict=True):
        asked = [found[1] or "" for found in figure.finditer(rule["expr"])]
        assert asked
        assert all(labels.startswith("{" + here) for labels in asked), rule["expr"]
        assert re.sub(f"{here}(, )?", "", rule["expr"]) == source["expr"]
        assert rule | {"expr": ""} == source | {"expr": ""}
    # Prometheus names a job after the Service.
    one(manifests, "Service", "metrics")


# What Dagster reads


@pytest.mark.parametrize("name", SHAPES)
def test_dagster_loads_the_instance(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "p@ss")
    values = shape(name)
    config = one(render(values), "ConfigMap", "instance")["data"]["dagster.yaml"]
    assert "p@ss" not in config
    (tmp_path / "dagster.yaml").write_text(config)
    ref = InstanceRef.from_dir(str(tmp_path))
    assert ref.storage_data is not None
    assert yaml.safe_load(ref.storage_data.config_yaml)["postgres_db"]["hostname"] == values["postgresql"]["host"]
    logs = ref.compute_log_manager
    assert isinstance(logs, ObjectStoreComputeLogManager)
    logs.dispose()
    assert ref.run_launcher_data is not None
    assert ref.run_launcher_data.class_name == "DatasetK8sRunLauncher"


def test_dagster_loads_the_instance_of_the_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks run before the chart's own instance is there."""
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "p@ss")
    manifests = render(shape("aws"))
    own, whole = (one(manifests, "ConfigMap", name)["data"]["dagster.yaml"] for name in ("migration", "instance"))
    (tmp_path / "dagster.yaml").write_text(own)
    assert InstanceRef.from_dir(str(tmp_path)).storage_data is not None
    assert yaml.safe_load(own)["storage"] == yaml.safe_load(whole)["storage"]
    job = one(manifests, "Job", "migration")
    for manifest in (one(manifests, "ConfigMap", "migration"), job):
        assert manifest["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert "serviceAccountName" not in job["spec"]["template"]["spec"]


def test_a_code_server_s_pod_has_what_commands_of_people_need() -> None:
    """`docs/operations.md` sends them there."""
    pod = one(render(PLAIN), "Deployment", "code-noaa")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "/opt/dagster/dagster_home/dagster.yaml" in mounted
    assert {"DAGSTER_HOME", "DAGSTER_PG_PASSWORD"} <= {variable["name"] for variable in container["env"]}
    assert container["envFrom"] == [
        {"configMapRef": {"name": "reformatters-settings"}},
        {"secretRef": {"name": "reformatters"}},
    ]


def test_tls_of_postgres_reaches_every_pod_and_every_run() -> None:
    manifests = render(shape("aws"))
    config = yaml.safe_load(one(manifests, "ConfigMap", "instance")["data"]["dagster.yaml"])
    params = config["storage"]["postgres"]["postgres_db"]["params"]
    assert params["sslmode"] == "verify-full"
    assert params["sslrootcert"] == "/etc/reformatters/postgres/global-bundle.pem"
    of_runs = config["run_launcher"]["config"]["run_k8s_config"]
    pods = [(pod["volumes"], pod["containers"][0]["volumeMounts"]) for m in manifests if (pod := pod_spec(m))]
    for volumes, mounts in [
        *pods,
        (of_runs["pod_spec_config"]["volumes"], of_runs["container_config"]["volume_mounts"]),
    ]:
        assert {"name": "postgres-ca", "secret": {"secretName": "rds-ca"}} in volumes
        assert "/etc/reformatters/postgres" in {mount["mountPath"] for mount in mounts}


# One list of providers


def test_the_chart_serves_the_code_locations_of_the_workspace(tmp_path: Path) -> None:
    loaded = [entry["python_module"] for entry in yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]]
    text = one(render(PLAIN), "ConfigMap", "instance")["data"]["workspace.yaml"]
    process_workspace_config(yaml.safe_load(text))
    served = [entry["grpc_server"] for entry in yaml.safe_load(text)["load_from"]]
    assert [server["location_name"] for server in served] == [location["location_name"] for location in loaded]
    (tmp_path / "workspace.yaml").write_text(text)
    assert [
        origin.location_name for origin in location_origins_from_yaml_paths([str(tmp_path / "workspace.yaml")])
    ] == [location["location_name"] for location in loaded]
    for location, server in zip(loaded, served, strict=True):
        name = server["host"].removeprefix(f"{RELEASE}-")
        container = one(render(PLAIN), "Deployment", name)["spec"]["template"]["spec"]["containers"][0]
        assert f"--module-name={location['module_name']}" in container["args"]
        assert importlib.util.find_spec(location["module_name"]) is not None
        ports = {port["port"] for port in one(render(PLAIN), "Service", name)["spec"]["ports"]}
        assert ports == {server["port"]} == {container["ports"][0]["containerPort"]}


def test_a_provider_more_is_one_entry() -> None:
    before = render(PLAIN)
    providers = [*yaml.safe_load((CHART / "values.yaml").read_text())["providers"], {"name": "extra"}]
    after = render(merged(PLAIN, {"providers": providers}))
    names = [{(m["kind"], m["metadata"]["name"]) for m in manifests} for manifests in (before, after)]
    assert names[1] - names[0] == {
        (kind, f"{RELEASE}-code-extra") for kind in ("Deployment", "Service", "PodDisruptionBudget")
    }
    assert "dataset_defs.extra.definitions" in one(after, "ConfigMap", "instance")["data"]["workspace.yaml"]
    # It restarts what looks at the workspace, and no other code server.
    assert restarted(before, after) == {"webserver", "daemon", "metrics"}


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("runs.maxConcurrent", 30, {"webserver", "daemon", "metrics"}),
        ("settings.start", "2026-01-01T00", {"code-noaa", "code-dwd", "code-ecmwf", "code-contrib", "metrics"}),
        ("webserver.replicas", 2, set()),
        ("webserver.resources.limits.memory", "3Gi", {"webserver"}),
        ("prune.batch", 7, set()),
        ("priorityClasses.update.value", -1, set()),
    ],
)
def test_a_rollout_restarts_what_changed(path: str, value: Any, what: set[str]) -> None:
    assert restarted(render(PLAIN), render(merged(PLAIN, switched(path, value)))) == what


def restarted(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> set[str]:
    """Deployments of the first whose pods differ in the second."""
    templates = [
        {m["metadata"]["name"]: m["spec"]["template"] for m in manifests if m["kind"] == "Deployment"}
        for manifests in (before, after)
    ]
    changed = {name for name, template in templates[0].items() if templates[1][name] != template}
    return {name.removeprefix(f"{RELEASE}-") for name in changed}


def test_the_versions_of_chart_and_project_are_one() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version("reformatters-dagster")
    assert "dependencies" not in chart
