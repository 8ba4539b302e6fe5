"""How one location is asked: its clients, its credentials, and the time it may take.

In: requests to an object store. Out: what they return, or an error that says what to do. `core/spec/retries` repeats them.
"""

import logging
from collections.abc import Callable
from threading import Lock

from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore

from reformatters_dagster.core.spec.errors import StoreAccessDenied, StoreUnavailable
from reformatters_dagster.core.spec.failures import Failure, gist, store_failure
from reformatters_dagster.core.spec.retries import STORE_PATIENCE, Patience, ask_patiently

log = logging.getLogger(__name__)

type Clients = tuple[ObjectStore, ObjectStore]
"""One that does not retry, and one that does."""

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}
"""Where credentials are read from, for each scheme of a bucket's URL."""


class Connection:
    """A location with the clients that ask it. Many threads may ask at once.

    Parameters
    ----------
    url : str
        What people are told; every message names it.
    connect : callable
        Makes both clients, with credentials as they are at that time. It is called now, and once for each call that is
        denied.
    patience : Patience
        How often and how long it is asked.

    Attributes
    ----------
    client : obstore.store.ObjectStore
        It does not retry: a retry that nobody sees turns a conditional put that succeeded into a refused one.
    retrying_client : obstore.store.ObjectStore
        It retries single requests, for uploads in parts and for readers.
    patience : Patience
    has_conditions : bool
        Whether the location honours conditional puts; True until one shows that it does not.
    """

    def __init__(self, url: str, connect: Callable[[], Clients], patience: Patience = STORE_PATIENCE) -> None:
        self.url = url
        self.client, self.retrying_client = connect()
        self.has_conditions = True
        self._connect = connect
        self._connecting = Lock()
        self.patience = patience
        self._ends = patience.clock() + patience.asked_for

    @property
    def is_remote(self) -> bool:
        """Whether there is a network in between."""
        return not isinstance(self.client, LocalStore | MemoryStore)

    def ask[T](self, action: str, key: str, request: Callable[[], T]) -> T:
        """What a request returns, asked for again after failures that may pass by themselves.

        Parameters
        ----------
        action : str
            What is tried, one word.
        key : str
            Of the object; empty for all of the location.
        request : callable
            One attempt, with `client` as it is then.

        Raises
        ------
        FileNotFoundError
            When the location says that the object is not there.
        StoreAccessDenied, StoreUnavailable
            When attempts are used up, or another attempt would not help.
        """
        self.refuse_late(action, key)
        used = self.client
        attempts = self.patience.attempts

        def attempt_once() -> T:
            nonlocal used
            used = self.client
            return request()

        def tell(failure: Failure, attempt: int, _seconds: float) -> None:
            log.info("%s %s/%s attempt=%d of %d: %s", action, self.url, key, attempt, attempts, failure.found)

        return ask_patiently(
            attempt_once,
            self.patience,
            judge=self.judge,
            give_up=lambda failure, _: self.error_for(action, key, failure),
            before_pause=tell,
            renew=lambda: self._renew(used),
            ends=self._ends,
        )

    def judge(self, error: Exception) -> Failure:
        """What a failed request means."""
        return store_failure(error, remote=self.is_remote)

    def error_for(self, action: str, key: str, failure: Failure) -> Exception:
        """The error to raise for a failed request."""
        return error_of(action, f"{self.url}/{key}".rstrip("/"), failure)

    def refuse_late(self, action: str, key: str) -> None:
        """Raise `StoreUnavailable` once the time for asking is over."""
        if self.patience.clock() >= self._ends:
            raise StoreUnavailable(
                f"{self.url}/{key}: {action} was not begun: for {self.patience.asked_for:g} s the store was asked, and is "
                "asked for nothing more; the next look asks: if that ends so too, see why it is slow"
            )

    def _renew(self, used: ObjectStore) -> bool:
        """Make the clients anew unless another thread has since they were used; whether to try again."""
        if not self.is_remote:
            return False
        with self._connecting:
            if self.client is used:
                try:
                    self.client, self.retrying_client = self._connect()
                except (BaseError, ValueError) as error:
                    log.warning("%s was denied, and credentials could not be read again: %s", self.url, gist(error))
                    return False
                log.info("%s was denied; credentials are read again", self.url)
        return True


def error_of(action: str, where: str, failure: Failure) -> Exception:
    """The error to raise for a failed request to a store.

    Parameters
    ----------
    action : str
        What was tried, one word.
    where : str
        URL, or path, of the object or of the store.
    """
    scheme, found = where.partition("://")[0], failure.found
    if failure.verdict == "missing" and action != "put":
        return FileNotFoundError(f"{where} does not exist")
    if failure.verdict == "denied":
        advice = "give the user that runs this access to the folder"
        if scheme in CREDENTIALS:
            advice = f"credentials are read from {CREDENTIALS[scheme]}: set or renew them, with the right to do this"
        return StoreAccessDenied(f"{where}: {action} was denied: {found}; {advice}")
    if failure.lacks_bucket:
        return StoreUnavailable(f"{where}: {action} failed: {found}; create the bucket, or correct the URL")
    advice = "URL, endpoint and network" if scheme in CREDENTIALS else "the path and its disk"
    return StoreUnavailable(
        f"{where}: {action} failed: {found}; whether the object is there is not known: check {advice}, then run again"
    )
