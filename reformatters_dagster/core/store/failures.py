"""What an object store's failure means, and what to tell the person who has to act on it.

In: an exception of obstore or of the file system. Out: its kind, and the error of ours to raise instead.
"""

import re
from typing import Literal

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from reformatters_dagster.core.spec.errors import StoreAccessDenied, StoreUnavailable

type Failure = Literal["absent", "denied", "refused", "unsupported", "transient", "fatal"]

STORE_ERRORS = (BaseError, OSError, NotImplementedError)
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist")
_DENIED = re.compile(
    r"ExpiredToken|InvalidToken|TokenRefreshRequired|InvalidAccessKeyId|AuthenticationFailed|invalid_grant"
    r"|Permission denied|Account must be specified"
    # Where clients that were given no credentials ask for some.
    r"|latest/api/token|latest/meta-data|169\.254\.|computeMetadata|metadata/identity"
)


def failure_of(error: Exception, *, remote: bool) -> Failure:
    """What kind of failure an error is; the backends tell most of them apart by text alone.

    Parameters
    ----------
    error : Exception
        One of `STORE_ERRORS`.
    remote : bool
        Whether there is a network in between: what it did not explain may pass by itself.

    Returns
    -------
    Failure
        `absent` only where the backend says so of the object, not of its bucket; `refused` for a condition that did not
        hold; `transient` where another attempt may do.
    """
    status, text = status_of(error), str(error)
    if isinstance(error, AlreadyExistsError | PreconditionError):
        return "refused"
    if isinstance(error, FileNotFoundError):
        return "fatal" if _NO_BUCKET.search(text) else "absent"
    if status == 501 or isinstance(error, NotImplementedError | NotSupportedError):
        return "unsupported"
    if status is not None and (status == 429 or status >= 500):
        return "transient"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError) or _DENIED.search(text):
        return "denied"
    if status in {401, 403}:
        return "denied"
    return "transient" if remote and (status is None or "RequestTimeout" in text) else "fatal"


def status_of(error: Exception) -> int | None:
    """The HTTP status an error tells of."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def translated(action: str, where: str, error: Exception, failure: Failure) -> Exception:
    """The error to raise in place of a backend's.

    Parameters
    ----------
    action : str
        What was tried, one word.
    where : str
        URL, or path, of the object or of the store.
    error, failure
        What happened, and what `failure_of` calls it.
    """
    scheme, found = where.partition("://")[0], gist(error)
    if failure == "absent" and action != "put":
        return FileNotFoundError(f"{where} does not exist")
    if failure == "denied":
        advice = "give the user that runs this access to the folder"
        if scheme in CREDENTIALS:
            advice = f"credentials are read from {CREDENTIALS[scheme]}: set or renew them, with the right to do this"
        return StoreAccessDenied(f"{where}: {action} was denied: {found}; {advice}")
    if _NO_BUCKET.search(str(error)):
        return StoreUnavailable(f"{where}: {action} failed: {found}; create the bucket, or correct the URL")
    advice = "URL, endpoint and network" if scheme in CREDENTIALS else "the path and its disk"
    return StoreUnavailable(
        f"{where}: {action} failed: {found}; whether the object is there is not known: check {advice}, then run again"
    )


def gist(error: Exception) -> str:
    """The part of a backend's message that is meant for people."""
    return str(error).partition("\n\nDebug source")[0].replace("\n", " ")[:300]
