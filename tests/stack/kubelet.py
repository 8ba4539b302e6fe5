"""What a kubelet does with a pod, without containers: the command of its one container becomes a process of this machine.

In: a pod, and what the cluster holds. Out: a process with the environment that a container would have, and how it ended.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

type Manifest = dict[str, Any]

KILLED = 128 + signal.SIGKILL


@dataclass
class Holdings:
    """What pods may refer to."""

    images: dict[str, dict[str, str]] = field(default_factory=dict)
    """By name, the environment that the image sets, PATH among it."""
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)


class Unstartable(Exception):
    """Why a container waits instead of running, as Kubernetes words it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def container_of(pod: Manifest) -> Manifest:
    (container,) = pod["spec"]["containers"]
    found: Manifest = container
    return found


def environment_of(pod: Manifest, holdings: Holdings, given: Mapping[str, str]) -> dict[str, str]:
    """All that the container's process finds in its environment.

    Parameters
    ----------
    given : mapping
        What every pod of the cluster gets.

    Raises
    ------
    Unstartable
        When the pod refers to an image, a config map or a secret that is not there.
    """
    container = container_of(pod)
    if container["image"] not in holdings.images:
        raise Unstartable("ErrImagePull", f"failed to pull image {container['image']!r}: not found")
    for volume in pod["spec"].get("volumes") or []:
        if "configMap" in volume:
            _held(holdings.config_maps, "configmap", volume["configMap"])
    environment = {**holdings.images[container["image"]], **given, "HOSTNAME": pod["metadata"]["name"]}
    for source in container.get("envFrom") or []:
        if "configMapRef" in source:
            environment |= _held(holdings.config_maps, "configmap", source["configMapRef"])
        if "secretRef" in source:
            environment |= _held(holdings.secrets, "secret", source["secretRef"])
    for entry in container.get("env") or []:
        value = _value(entry, pod, holdings)
        if value is not None:
            environment[entry["name"]] = value
    return environment


def _held(held: Mapping[str, dict[str, str]], kind: str, reference: Manifest) -> dict[str, str]:
    if reference["name"] in held:
        return held[reference["name"]]
    if reference.get("optional"):
        return {}
    raise Unstartable("CreateContainerConfigError", f'{kind} "{reference["name"]}" not found')


def _value(entry: Manifest, pod: Manifest, holdings: Holdings) -> str | None:
    """The value of one entry of `env`; None where it is optional and its source is not there."""
    source = entry.get("valueFrom")
    if not source:
        return entry.get("value") or ""
    if "fieldRef" in source:
        at: Any = pod
        for name in source["fieldRef"]["fieldPath"].split("."):
            at = at[name]
        return str(at)
    kind, held = ("secret", holdings.secrets) if "secretKeyRef" in source else ("configmap", holdings.config_maps)
    reference = source.get("secretKeyRef") or source["configMapKeyRef"]
    value = _held(held, kind, reference).get(reference["key"])
    if value is None and not reference.get("optional"):
        message = f"couldn't find key {reference['key']} in {kind} {reference['name']}"
        raise Unstartable("CreateContainerConfigError", message)
    return value


class Container:
    """A running container: a process and its children, in a session of their own."""

    def __init__(self, pod: Manifest, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        """Start it.

        Parameters
        ----------
        folder : Path
            Home, tmp and working directory: what a container's own file system is.
        """
        container = container_of(pod)
        folder.mkdir()
        own = {"HOME": str(folder), "TMPDIR": str(folder)}
        with log.open("wb") as written:
            self._process = subprocess.Popen(
                [*(container.get("command") or []), *(container.get("args") or [])],
                cwd=container.get("workingDir") or folder,
                env={**environment, **own},
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                start_new_session=True,
            )
        self._grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        self.killed_for = ""
        """Why it was killed from outside, as its status tells."""

    def wait(self) -> int:
        """Exit code once the first process has ended; the others end with it."""
        code = self._process.wait()
        self._signal_all()
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Ask the first process to end, and kill them all after the pod's grace period."""
        self._process.terminate()
        threading.Thread(target=self._kill_late, daemon=True).start()

    def kill(self, reason: str) -> None:
        """Kill them all at once."""
        self.killed_for = reason
        self._signal_all()

    def _kill_late(self) -> None:
        try:
            self._process.wait(self._grace)
        except subprocess.TimeoutExpired:
            self._signal_all()

    def _signal_all(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
