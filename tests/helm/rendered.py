"""The chart in `helm/`, rendered and checked by Helm itself, and by the schemas of Kubernetes.

In: values. Out: manifests as they would reach the API, each one valid.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate  # type: ignore[import-untyped]
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
RELEASE, NAMESPACE = "reformatters", "dagster"
SHAPES = tuple(sorted(path.stem for path in (CHART / "ci").glob("*.yaml")))
VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")
"""Of Kubernetes."""
OPERATORS = "monitoring.coreos.com/v1"
"""Kinds of the Prometheus operator, which Kubernetes has no schema of."""
PLAIN: dict[str, Any] = {
    "settings": {"store": "s3://example-forecasts", "secrets": ["reformatters"]},
    "postgresql": {"host": "postgres.example.internal"},
}
"""What nobody can leave out, and a secret."""

type Manifest = dict[str, Any]


@cache
def chart() -> helm.Chart:
    return helm.Chart.load(str(CHART))


def shape(name: str) -> dict[str, Any]:
    """Values of one of the shapes in `helm/ci`."""
    values: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{name}.yaml").read_text())
    return values


def merged(values: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others over them, as Helm merges files of values."""
    both = dict(values)
    for key, value in other.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return both


def switched(path: str, value: Any) -> dict[str, Any]:
    """Values that set one key, such as `metrics.enabled`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    values: dict[str, Any] = value
    return values


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """What the templates make of values that the schema accepts, by file."""
    chart().validate_schema(dict(values))
    rendered = chart().render(dict(values), name=RELEASE, namespace=NAMESPACE, is_install=True)
    return {Path(name).name: text for name, text in rendered.items()}


def render(values: Mapping[str, Any]) -> list[Manifest]:
    """Every manifest, hooks and tests included."""
    files = [text for name, text in texts(values).items() if name.endswith(".yaml")]
    return [manifest for text in files for manifest in yaml.safe_load_all(text) if manifest]


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The manifest of a kind that has a name, without the release's."""
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == f"{RELEASE}-{name}")
    return found


def validate(manifest: Manifest, version: str) -> None:
    """Hold a manifest strictly against the schema of one version of Kubernetes."""
    if manifest["apiVersion"] != OPERATORS:
        kubernetes_validate.validate(manifest, version, strict=True)


def pod_spec(manifest: Manifest) -> dict[str, Any] | None:
    """The pods of a manifest; None where it has none."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Pod":
        return dict(spec)
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template = spec.get("template") if manifest["kind"] in {"Deployment", "Job", "CronJob"} else None
    return None if template is None else dict(template["spec"])


def not_restricted(pod: Mapping[str, Any]) -> Iterator[str]:
    """What of a pod the Pod Security Standard "restricted" refuses, and a root file system that can be written to."""
    security = pod.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key} is set"
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        allowed = {
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        }
        if not kinds <= allowed:
            yield f"volume {volume['name']} is a {', '.join(kinds)}"
    if security.get("sysctls"):
        yield "sysctls are set"
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        yield from (f"container {container['name']}: {what}" for what in _not_restricted(container, security))


def _not_restricted(container: Mapping[str, Any], of_pod: Mapping[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    both = {**of_pod, **own}
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allows privilege escalation"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "has no seccomp profile"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "keeps capabilities"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "has a host port"
    if own.get("procMount", "Default") != "Default":
        yield "mounts /proc unmasked"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "can write to its root file system"
