"""What a failed request means: the one place where HTTP statuses and errors of obstore are classified.

In: an exception of obstore or of the file system. Out: a `Failure`: a verdict, on which `retries` acts, and words for people.

An archive says in its own table what its statuses mean (`SourceArchive.answers`, by default `sources.STATUS_ANSWERS`). Stores
have one meaning for all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from reformatters_dagster.core.spec.sources import STATUS_ANSWERS, Answer

type Verdict = Answer | Literal["denied", "conflict", "unsupported"]
"""`missing`: the host says that the object is not there. `throttled`: it is asked too often. `retry`: this may pass by
itself. `refused`: it does not pass by itself. `denied`: other credentials may help. `conflict`: the condition of a put did
not hold. `unsupported`: the host cannot do this at all."""

RANGE_PAST_END = 416

# obstore tells statuses and kinds of failure only in the text of its errors.
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_KIND = re.compile(r"HttpError \{\s*kind: (\w+)")
_KINDS = {"Connect": "no connection", "Timeout": "timed out", "Interrupted": "connection cut"}
# How S3 and Azure answer, and Google by its XML interface.
_CODE, _MESSAGE = re.compile(r"<Code>([\w.]+)</Code>"), re.compile(r"<Message>([^<]+)")
_PAST_END = re.compile(r"Requested range was invalid|Invalid range: Wanted range")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist")
_DENIED = re.compile(
    r"ExpiredToken|InvalidToken|TokenRefreshRequired|InvalidAccessKeyId|AuthenticationFailed|invalid_grant"
    r"|Permission denied|Account must be specified"
    # A client without credentials asks for some at these addresses.
    r"|latest/api/token|latest/meta-data|169\.254\.|computeMetadata|metadata/identity"
)


class UnusableAnswer(Exception):
    """A request that was answered without an error, but not with what was asked for.

    Parameters
    ----------
    found : str
        What came back.
    is_redirect : bool
        Whether it came from another address, to which the host redirected.
    """

    def __init__(self, found: str, *, is_redirect: bool = False) -> None:
        super().__init__(found)
        self.is_redirect = is_redirect


FAILURES = (BaseError, OSError, NotImplementedError, UnusableAnswer)
"""What a request may raise, and the functions below take."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What a failed request means."""

    verdict: Verdict
    found: str
    """What happened, in words."""
    status: int | None = None
    lacks_bucket: bool = False
    """Whether not the object but its bucket is absent."""


def archive_failure(error: Exception, answers: Mapping[int, Answer]) -> Failure:
    """What a failed request to a source archive means.

    Parameters
    ----------
    error : Exception
        One of `FAILURES`.
    answers : mapping
        The archive's table of statuses. A status that is not in it means `retry` from 500 on, else `refused`.

    Returns
    -------
    Failure
        `missing` for an object that is absent, not for its bucket. Status `RANGE_PAST_END` for a range past the end of a
        file.
    """
    text, status, redirected = str(error), _status_of(error), answers.get(302, "retry")
    if isinstance(error, UnusableAnswer):
        return Failure(verdict=redirected if error.is_redirect else "retry", found=text)
    if isinstance(error, NotSupportedError):
        return Failure(verdict=redirected, found="a whole body came back for a range")
    if _NO_BUCKET.search(text):
        return Failure(verdict="refused", found="no such bucket", status=status, lacks_bucket=True)
    if is_past_end(error):
        return Failure(verdict="retry", found="a range past the end of the file", status=RANGE_PAST_END)
    if status is not None:
        verdict = answers.get(status, "retry" if status >= 500 else "refused")
        return Failure(verdict=verdict, found=f"status {status}", status=status)
    if isinstance(error, FileNotFoundError):
        return Failure(verdict="missing", found="no such file")
    if "redirect" in text:
        return Failure(verdict=redirected, found=last_cause(error))
    kind = _KIND.search(text)
    return Failure(verdict="retry", found=_KINDS.get(kind[1], last_cause(error)) if kind else last_cause(error))


def is_past_end(error: Exception) -> bool:
    """Whether a range was asked for that begins past the end of its object."""
    return _status_of(error) == RANGE_PAST_END or _PAST_END.search(str(error)) is not None


def store_failure(error: Exception, *, remote: bool) -> Failure:
    """What a failed request to a final store means.

    Parameters
    ----------
    error : Exception
        One of `FAILURES`.
    remote : bool
        Whether there is a network in between. A failure that the network does not explain may then pass by itself.

    Returns
    -------
    Failure
        `missing` only where the store says so of the object, never of its bucket.
    """
    text, status = str(error), _status_of(error)
    return Failure(
        verdict=_store_verdict(error, status, remote=remote),
        found=gist(error),
        status=status,
        lacks_bucket=_NO_BUCKET.search(text) is not None,
    )


def _store_verdict(error: Exception, status: int | None, *, remote: bool) -> Verdict:
    text = str(error)
    if isinstance(error, AlreadyExistsError | PreconditionError):
        return "conflict"
    # Before statuses: a service that hands out credentials may answer 404 too.
    if isinstance(error, FileNotFoundError):
        return "refused" if _NO_BUCKET.search(text) else "missing"
    if status == 501 or isinstance(error, NotImplementedError | NotSupportedError):
        return "unsupported"
    if status is not None and (status == 429 or status >= 500):
        return STATUS_ANSWERS.get(status, "retry")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError) or _DENIED.search(text):
        return "denied"
    if status in {401, 403}:
        return "denied"
    return "retry" if remote and (status is None or "RequestTimeout" in text) else "refused"


def _status_of(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def gist(error: Exception) -> str:
    """The part of an obstore message that is meant for people; where the host gave a code, that with its status and reason."""
    text = str(error).partition("\n\nDebug source")[0]
    code, message, status = _CODE.search(text), _MESSAGE.search(text), _status_of(error)
    if code is None or status is None:
        return text.replace("\n", " ")[:300]
    reason = "" if message is None else f" ({' '.join(message[1].split())[:200]})"
    return f"status {status}, {code[1]}{reason}"


def last_cause(error: Exception) -> str:
    """The end of an obstore message's first line, without addresses and milliseconds."""
    return str(error).split("\n", 1)[0].rsplit(" - ", 1)[-1]
