"""One table says what statuses and errors mean; an archive may have its own of statuses."""

import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    NotSupportedError,
    PreconditionError,
    UnauthenticatedError,
)

from reformatters_dagster.core.spec.failures import UnusableAnswer, archive_failure, store_failure
from reformatters_dagster.core.spec.sources import STATUS_ANSWERS


def answered(status: int, body: str = "") -> str:
    return f"Generic S3 error: Server returned non-2xx status code: {status}: {body}"


@pytest.mark.parametrize(
    ("status", "of_archive", "of_store"),
    [
        (400, "refused", "refused"),
        (401, "refused", "denied"),
        (403, "refused", "denied"),
        (404, "missing", "refused"),
        (429, "throttled", "throttled"),
        (500, "retry", "retry"),
        (501, "retry", "unsupported"),
        (502, "retry", "retry"),
        (503, "throttled", "throttled"),
        (504, "retry", "retry"),
        (507, "retry", "retry"),
    ],
)
def test_statuses(status: int, of_archive: str, of_store: str) -> None:
    error = GenericError(answered(status))
    assert archive_failure(error, STATUS_ANSWERS).verdict == of_archive
    assert store_failure(error, remote=True).verdict == of_store
    assert store_failure(error, remote=True).status == status


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            "<Error><Code>InvalidAccessKeyId</Code><Message>The key you provided\ndoes not exist.</Message></Error>",
            "status 403, InvalidAccessKeyId (The key you provided does not exist.)",
        ),
        ("<Error><Code>NoSuchBucket</Code></Error>", "status 403, NoSuchBucket"),
        ("Forbidden", answered(403, "Forbidden")),
    ],
)
def test_a_store_failure_has_the_code_that_the_store_gave(body: str, found: str) -> None:
    error = GenericError(f"{answered(403, body)}\n\nDebug source:\n<Code>Other</Code>")
    assert store_failure(error, remote=True).found == found


def test_an_archive_has_its_own_table_of_statuses() -> None:
    answers = {**STATUS_ANSWERS, 403: "missing", 302: "throttled"}
    assert archive_failure(GenericError(answered(403)), answers).verdict == "missing"
    page = UnusableAnswer("a page of HTML came back", is_redirect=True)
    assert archive_failure(page, answers).verdict == "throttled"
    assert archive_failure(page, STATUS_ANSWERS).verdict == "retry"
    assert archive_failure(UnusableAnswer("short"), STATUS_ANSWERS).verdict == "retry"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (FileNotFoundError(answered(404)), "missing"),
        (FileNotFoundError(answered(404, "NoSuchBucket")), "refused"),
        (AlreadyExistsError(answered(409)), "conflict"),
        (PreconditionError(answered(412)), "conflict"),
        (NotSupportedError(""), "unsupported"),
        (NotImplementedError(), "unsupported"),
        (UnauthenticatedError(""), "denied"),
        (PermissionError(""), "denied"),
        (GenericError(answered(400, "ExpiredToken")), "denied"),
        (GenericError(answered(400, "RequestTimeout")), "retry"),
        (GenericError(f"http://169.254.169.254 {answered(404)}"), "denied"),
        (GenericError("error sending request"), "retry"),
    ],
)
def test_errors_of_a_store(error: Exception, verdict: str) -> None:
    assert store_failure(error, remote=True).verdict == verdict


def test_a_local_failure_does_not_pass_by_itself() -> None:
    assert store_failure(OSError("disk"), remote=False).verdict == "refused"


def test_a_bucket_that_is_absent_is_no_missing_object() -> None:
    for code in ("NoSuchBucket", "ContainerNotFound"):
        error = FileNotFoundError(answered(404, code))
        assert archive_failure(error, STATUS_ANSWERS).verdict == "refused"
        assert store_failure(error, remote=True).lacks_bucket
