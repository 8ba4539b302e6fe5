"""Where alerts go: a webhook, and Sentry.

In: an alert, or the state of a run. Out: a message to a webhook; an event and check-ins to Sentry.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from reformatters_dagster.core.spec.values import JSON, Frozen

log = logging.getLogger(__name__)

TIMEOUT = 10.0

type Kind = Literal["run failed", "check failed", "sensor is silent", "schedule is off"]
type Health = Literal["in_progress", "ok", "error"]


class Alert(Frozen):
    """Something a person should look at. The same trouble has the same kind and subject, so that it groups."""

    kind: Kind
    subject: str
    """A job, check, sensor or schedule, with its partition where it has one."""
    message: str
    facts: Mapping[str, str] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """One line, as chat webhooks show it."""
        return f"{self.kind}: {self.subject}: {self.message}"


class Alerts:
    """Where alerts go. An alert that cannot be delivered is logged, and nothing fails.

    Parameters
    ----------
    webhook : str, optional
        URL that takes a JSON body with `text`, as Slack, Mattermost and others do. The body has the alert's fields too.
    sentry : bool
        Whether `sentry_sdk` has been initialised for this process.
    """

    def __init__(self, webhook: str | None, *, sentry: bool) -> None:
        self.webhook = webhook
        self.sentry = sentry

    def __bool__(self) -> bool:
        return self.webhook is not None or self.sentry

    def tell(self, alert: Alert) -> None:
        """Send an alert to every place that is configured."""
        log.warning("%s", alert.text)
        if self.sentry:
            import sentry_sdk

            with sentry_sdk.new_scope() as scope:
                scope.fingerprint = [alert.kind, alert.subject]
                scope.set_context("facts", dict(alert.facts))
                sentry_sdk.capture_message(alert.text, level="error")
        if self.webhook is not None:
            self._post(alert)

    def _post(self, alert: Alert) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        retries = Retry(total=2, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None)
        body: JSON = {"text": alert.text, **alert.model_dump()}
        with requests.Session() as session, _not_logging(urlsplit(str(self.webhook)).path):
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retries))
            try:
                session.post(str(self.webhook), json=body, timeout=TIMEOUT).raise_for_status()
            except requests.RequestException as error:
                # The error's text holds the URL, which is a secret.
                log.warning("an alert could not be delivered to the webhook: %s", type(error).__name__)

    def check_in(self, job: str, run_id: str, health: Health, *, crontab: str | None = None) -> None:
        """Tell Sentry's monitor of a job that a run has started, or how it ended."""
        if not self.sentry:
            return
        from sentry_sdk.crons import capture_checkin

        monitor: Any = {
            "schedule": {"type": "crontab", "value": crontab}
            if crontab
            else {"type": "interval", "value": 1, "unit": "day"},
            "timezone": "UTC",
            "checkin_margin": 10,
            "max_runtime": 360,
        }
        capture_checkin(
            monitor_slug=job.replace("_", "-"),
            check_in_id=run_id.replace("-", ""),
            status=health,
            monitor_config=monitor,
        )


@contextmanager
def _not_logging(secret: str) -> Iterator[None]:
    """Within it, urllib3 logs no line with a secret: it names the path of a request that it repeats."""

    def is_harmless(record: logging.LogRecord) -> bool:
        return len(secret) < 2 or secret not in record.getMessage()

    logger = logging.getLogger("urllib3.connectionpool")
    logger.addFilter(is_harmless)
    try:
        yield
    finally:
        logger.removeFilter(is_harmless)


def open_alerts(webhook: str | None, sentry_dsn: str | None) -> Alerts:
    """Alerts to the places that are given. With a DSN, Sentry is initialised for this process."""
    if sentry_dsn:
        import sentry_sdk

        sentry_sdk.init(dsn=sentry_dsn, send_default_pii=False)
    return Alerts(webhook or None, sentry=bool(sentry_dsn))
