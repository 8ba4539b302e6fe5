"""Creating Jobs where the Kubernetes API may refuse, or not answer.

In: the manifest of a Job. Out: the Job exists; or `JobRefused`, which says what was asked, what the API answered and what to do.
The webserver imports this module, so it must not import the core.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import kubernetes.client  # type: ignore[import-untyped]
import urllib3.exceptions
from dagster_k8s.client import DagsterKubernetesClient
from kubernetes.client.rest import ApiException  # type: ignore[import-untyped]

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 10.0
"""Seconds for one request that creates a Job."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 20.0
"""Seconds between two attempts. The pause doubles."""
RUN_LABEL = "dagster/run-id"
CONFLICT, FORBIDDEN, ABSENT, INVALID = 409, 403, 404, 422
MAY_PASS = {0, 401, 408, 429}
"""Statuses below 500 after which another attempt may help: no answer, a token that is being renewed, too many requests."""
ADVICE = {
    FORBIDDEN: "give the service account that launches runs the right to create Jobs there: "
    "`kubectl auth can-i create jobs --namespace {namespace}`, asked as that account, must say yes",
    ABSENT: "create the namespace, or correct `job_namespace` of the run launcher",
    INVALID: "correct `resources=` of the dataset, the tag `dagster-k8s/config`, or the launcher's `run_k8s_config`",
    CONFLICT: "find out what made that Job, and delete it",
}
_ASKED_FOR: ContextVar[float] = ContextVar("asked_for")
ADVICE_ELSE = "look at the API server and the network between it and this process"


class JobRefused(Exception):
    """Kubernetes did not create a Job.

    Attributes
    ----------
    may_pass : bool
        Whether the same request may succeed later.
    """

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class JobClient(DagsterKubernetesClient):
    """Dagster's client, which asks again with growing pauses, and takes a Job of the same run for its own.

    Parameters
    ----------
    batch_api, core_api
        The API as the other requests ask it.
    sleeper, timer : callable
        `time.sleep` and `time.time`.
    asked_for : float
        Seconds after which a request that is refused is not repeated.
    """

    def __init__(
        self,
        batch_api: Any,
        core_api: Any,
        sleeper: Callable[[float], object],
        timer: Callable[[], float],
        asked_for: float,
    ) -> None:
        super().__init__(batch_api, core_api, logging.info, sleeper, timer)  # type: ignore[no-untyped-call]
        configuration = kubernetes.client.Configuration.get_default_copy()
        configuration.retries = 0  # else each attempt is four, without a pause
        self._creating = kubernetes.client.BatchV1Api(kubernetes.client.ApiClient(configuration))
        self._asked_for = asked_for

    @contextmanager
    def asked_only_for(self, seconds: float) -> Iterator[None]:
        """Within it, this thread's requests are repeated for so long."""
        token = _ASKED_FOR.set(seconds)
        try:
            yield
        finally:
            _ASKED_FOR.reset(token)

    def create_namespaced_job_with_retries(
        self,
        body: Any,
        namespace: str,
        wait_time_between_attempts: float = FIRST_PAUSE,
    ) -> None:
        """Create a Job.

        Raises
        ------
        JobRefused
            When the request will be refused again, or was refused for `asked_for` seconds.
        """
        ends, pause = self.timer() + _ASKED_FOR.get(self._asked_for), wait_time_between_attempts
        while True:
            try:
                self._create(body, namespace)
            except JobRefused as refusal:
                if not refusal.may_pass or self.timer() + pause > ends:
                    raise
                log.warning("%s; asked again in %g s", refusal, pause)
            else:
                return
            self.sleeper(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _create(self, body: Any, namespace: str) -> None:
        """One attempt."""
        try:
            self._creating.create_namespaced_job(body=body, namespace=namespace, _request_timeout=REQUEST_TIMEOUT)
        except ApiException as error:
            if error.status == CONFLICT and self._exists(body, namespace):
                return
            raise _refusal(body, namespace, error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _no_answer(body, namespace, error) from error

    def _exists(self, body: Any, namespace: str) -> bool:
        """Whether the Job in the way is this one: an earlier attempt created it, and its answer was lost.

        A Job whose pod has ended is deleted. Its pod began while the run was back in the queue, and so did nothing.
        """
        try:
            found = self._creating.read_namespaced_job(body.metadata.name, namespace, _request_timeout=REQUEST_TIMEOUT)
            if (found.metadata.labels or {}).get(RUN_LABEL) != body.metadata.labels[RUN_LABEL]:
                return False
            if found.status.active or not (found.status.succeeded or found.status.failed):
                return True
            self._creating.delete_namespaced_job(
                body.metadata.name, namespace, propagation_policy="Background", _request_timeout=REQUEST_TIMEOUT
            )
        except ApiException as error:
            if error.status != ABSENT:
                raise _refusal(body, namespace, error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _no_answer(body, namespace, error) from error
        raise JobRefused(f"{_asked(body, namespace)}; the Job of an earlier attempt is being deleted", may_pass=True)


def open_client(asked_for: float) -> JobClient:
    """A client of the cluster that the Kubernetes configuration of this process names."""
    dagster = DagsterKubernetesClient.production_client()
    return JobClient(dagster.batch_api, dagster.core_api, time.sleep, time.time, asked_for)


def _asked(body: Any, namespace: str) -> str:
    return f"Kubernetes was asked to create the Job {body.metadata.name} in namespace {namespace}"


def _no_answer(body: Any, namespace: str, error: Exception) -> JobRefused:
    return JobRefused(
        f"{_asked(body, namespace)}; it did not answer ({type(error).__name__}: {error}); {ADVICE_ELSE}", may_pass=True
    )


def _refusal(body: Any, namespace: str, error: ApiException) -> JobRefused:
    status, said = error.status or 0, _said(error)
    # A quota has room again once other Jobs have ended.
    over_quota = status == FORBIDDEN and "exceeded quota" in said
    advice = ADVICE.get(status, ADVICE_ELSE).format(namespace=namespace)
    if over_quota:
        advice = "wait for Jobs to end, or raise the quota of the namespace"
    return JobRefused(
        f"{_asked(body, namespace)}; it answered {status} {said}; {advice}",
        may_pass=over_quota or status in MAY_PASS or status >= 500,
    )


def _said(error: ApiException) -> str:
    """Reason of an answer, and the message in its body where the body is that of an API."""
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = ""
    return ": ".join(filter(None, (str(error.reason or ""), str(message or ""))))
