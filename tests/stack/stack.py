"""A deployment as processes of this machine: what the chart installs, and a cluster that runs its Jobs.

In: a folder, and the chart with its values. Out: webserver, daemons and a code server that can be ended and started again one
by one, each with the command and the environment that its Deployment gives it.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.postgres import free_port
from tests.helm.rendered import RELEASE, merged
from tests.orchestration.chart import write_kubeconfig
from tests.stack.cluster import Cluster
from tests.stack.installed import Installed
from tests.stack.kubelet import environment_of
from tests.stack.webserver import Run, Webserver

ROOT = Path(__file__).parents[2]
PROVIDER, LOCATION = "stack", "tests.stack.code_location"
CODE = f"code-{PROVIDER}"
"""The code server's Deployment."""
REPOSITORY, TAG, NEXT_TAG = "registry.example/reformatters", "1.2.3", "1.2.4"
DAEMON = ["python", "-m", "reformatters_dagster.orchestration.daemon", "run"]
POLL = 0.5
"""Seconds between two questions of a test; a question costs the webserver some time."""
PATIENCE = 300.0
"""Seconds that a test waits for anything at most: many times what it takes, since others may use the machine too."""


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def image_named(tag: str) -> str:
    return f"{REPOSITORY}:{tag}"


def image_environment(**own: str) -> dict[str, str]:
    """What an image sets: where its programs and modules are."""
    programs = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return {"PATH": programs, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **own}


@dataclass
class Stack:
    """The services of one deployment."""

    folder: Path
    """Holds `DAGSTER_HOME` and logs."""
    cluster: Cluster
    installed: Installed
    web: Webserver = field(default_factory=lambda: Webserver(free_port(), LOCATION))
    code_port: int = field(default_factory=free_port)
    services: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def install(self) -> None:
        """Lay out what the chart's config map mounts, and what the API has to hold."""
        self.installed.home.mkdir()
        write_kubeconfig(self.installed.kubeconfig, self.cluster.url)
        self.cluster.holdings.config_maps |= self.installed.config_maps
        (self.installed.home / "dagster.yaml").write_text(self.installed.dagster_yaml)
        rendered = self.installed.config_maps[f"{RELEASE}-instance"]["workspace.yaml"]
        assert f"host: {RELEASE}-{CODE}" in rendered
        server = {"host": "127.0.0.1", "port": self.code_port, "location_name": LOCATION}
        self._workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))

    @property
    def _workspace(self) -> Path:
        return self.installed.home / "workspace.yaml"

    @property
    def image(self) -> str:
        """The image that services are started from."""
        return image_named(self.installed.values["image"]["tag"])

    def upgrade(self, tag: str) -> None:
        """Install another image; services that run stay as they are."""
        values = merged(self.installed.values, {"image": {"tag": tag}})
        self.installed = Installed(values, self.installed.home, self.installed.kubeconfig)

    # Services

    def start_code_server(self) -> None:
        command = self.installed.command(CODE, host="127.0.0.1", port=str(self.code_port))
        self._start("code", CODE, command)
        self.wait_for(lambda: answers(self.code_port))

    def start_webserver(self) -> None:
        command = self.installed.command("webserver", host="127.0.0.1", port=str(self.web.port))
        self._start("webserver", "webserver", command)

    def start_daemon(self, name: str = "daemon") -> None:
        *command, workspace = self.installed.command("daemon")
        assert command == DAEMON
        self._start(name, "daemon", ["python", "-m", "tests.stack.fast_daemon", "run", workspace])

    def _start(self, name: str, deployment: str, command: Sequence[str]) -> None:
        """Start a service in the background; its log is added to the one of a service of the same name."""
        assert name not in self.services, f"{name} runs already"
        own = {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
        environment = environment_of(self.installed.pod(deployment), self.cluster.holdings, self.cluster.given)
        program, *arguments = command
        with (self.folder / f"{name}.log").open("ab") as log:
            self.services[name] = subprocess.Popen(
                [str(Path(sys.executable).with_name(program)), *arguments],
                cwd=self.folder,
                env=environment | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, *names: str) -> None:
        """End services as Kubernetes does, and wait until they are gone."""
        ending = [self.services.pop(name) for name in names]
        for process in ending:
            process.terminate()
        for process in ending:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self, *names: str) -> None:
        """SIGKILL to services."""
        for name in names:
            process = self.services.pop(name)
            process.kill()
            process.wait()

    # What tests wait for

    def wait_for[T](self, condition: Callable[[], T], seconds: float = PATIENCE) -> T:
        """Ask until the answer is true; returns it."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            for name, process in self.services.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}\n{self.logs()}"
            assert time.monotonic() < end, f"not within {seconds:.0f} s\n{self.logs()}"
            time.sleep(POLL)
        return found

    def wait_for_run(self, run_id: str) -> Run:
        """The run once it is over."""
        self.wait_for(lambda: self.web.run(run_id).is_over)
        return self.web.run(run_id)

    def said(self, run_id: str) -> str:
        """What a run's page lists and what its pods wrote, for the message of a failed test."""
        written = [self.cluster.log_of(pod)[-3000:] for pod in self.cluster.pods_of(run_id)]
        return "\n".join([*self.web.said(run_id)[-20:], *written])

    def log(self, name: str) -> str:
        """What a service has written."""
        return (self.folder / f"{name}.log").read_text()

    def logs(self) -> str:
        return "\n".join(f"{path.stem}: {self.log(path.stem)[-3000:]}" for path in sorted(self.folder.glob("*.log")))
