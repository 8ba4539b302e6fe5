"""Clients of obstore for source archives: of the real ones, or of a mirror that stands for them.

In: a `SourceArchive`, the mirror if there is one, timeouts. Out: the client, and where the archive's keys begin in it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import GCSStore, HTTPStore, LocalStore, S3Store, from_url

from reformatters_dagster.core.spec.errors import UpstreamMissing
from reformatters_dagster.core.spec.failures import last_cause
from reformatters_dagster.core.spec.retries import NO_RETRIES, Patience
from reformatters_dagster.core.spec.sources import SourceArchive

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore


class Opened(NamedTuple):
    """An archive, opened."""

    client: "ObjectStore"
    url: str
    """URL, or path of a folder, that keys are appended to after a slash."""
    prefix: str
    """What the archive's keys begin with inside the client."""


def open_archive(source: SourceArchive, mirror: str | None, patience: Patience) -> Opened:
    """Open an archive, or the part of a mirror that stands for it; `UpstreamMissing` where the mirror cannot be opened."""
    options: ClientConfig = {**patience.client_options(), "user_agent": "reformatters-dagster"}
    if mirror is None:
        return Opened(_open_real(source, options), source.url, "")
    if (folder := _folder(mirror)) is not None:
        # Opened at the root of the mirror: the folder of the archive may not exist yet, and could not be opened.
        return Opened(LocalStore(folder), str(folder / source.folder), f"{source.folder}/")
    # client_options replace what obstore reads from the environment, such as AWS_ALLOW_HTTP.
    options["allow_http"] = True
    url = f"{mirror.rstrip('/')}/{source.folder}"
    try:
        if url.startswith(("http://", "https://")):
            return Opened(HTTPStore(url, client_options=options, retry_config=NO_RETRIES), url, "")
        return Opened(from_url(url, client_options=options, retry_config=NO_RETRIES), url, "")
    except BaseError as error:
        found = f"upstream {mirror!r} cannot be opened ({last_cause(error)})"
        advice = "give a folder, s3://, gs://, az:// or https:// as REFORMATTERS_UPSTREAM or --upstream"
        raise UpstreamMissing(f"{found}; {advice}") from error


def refuse_missing_mirror(mirror: str, archives: Sequence[SourceArchive]) -> None:
    """Raise `UpstreamMissing` for a folder that does not exist, or holds none of the archives."""
    folder = _folder(mirror)
    if folder is None or any((folder / source.folder).is_dir() for source in archives):
        return
    wanted = ", ".join(repr(source.folder) for source in archives)
    found = "holds none of" if folder.is_dir() else "is no folder, and was to hold"
    raise UpstreamMissing(f"upstream {mirror!r} {found} {wanted}; check REFORMATTERS_UPSTREAM or --upstream")


def _open_real(source: SourceArchive, options: "ClientConfig") -> "ObjectStore":
    parts = urlsplit(source.url)
    bucket, prefix = parts.netloc, parts.path.strip("/") or None
    # Endpoints are given in full: AWS_ENDPOINT_URL and the like mean the final stores, and obstore obeys them everywhere.
    if parts.scheme == "s3":
        region = source.region or "us-east-1"
        return S3Store(
            bucket,
            prefix=prefix,
            aws_endpoint_url_s3=f"https://s3.{region}.amazonaws.com",
            virtual_hosted_style_request=False,
            skip_signature=True,
            client_options=options,
            retry_config=NO_RETRIES,
        )
    if parts.scheme == "gs":
        return GCSStore(
            bucket,
            prefix=prefix,
            base_url="https://storage.googleapis.com",
            skip_signature=True,
            client_options=options,
            retry_config=NO_RETRIES,
        )
    options["allow_http"] = parts.scheme == "http"
    return HTTPStore(source.url, client_options=options, retry_config=NO_RETRIES)


def _folder(mirror: str) -> Path | None:
    """The mirror as a local folder, if it is one."""
    if mirror.startswith("file://"):
        return Path.from_uri(mirror)
    return None if "://" in mirror else Path(mirror)
