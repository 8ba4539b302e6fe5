"""What runs print, kept in an object store, so that it outlives their pods.

In: the files into which Dagster captures stdout and stderr. Out: one object for each below `url`, in any store that obstore
opens, with the credentials of the environment. `dagster.yaml` names `ObjectStoreComputeLogManager`. Webserver and daemon import
this module, so it must not import the core.

Dagster's own managers bring a client library for each cloud, and the one for Google's store forbids pandas 3.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import dagster as dg
from dagster._core.storage.cloud_storage_compute_log_manager import (
    PollingComputeLogSubscriptionManager,
    TruncatingCloudStorageComputeLogManager,
)
from dagster._core.storage.compute_log_manager import CapturedLogSubscription, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from obstore.exceptions import BaseError
from obstore.store import from_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

log = logging.getLogger(__name__)

CLIENT: "ClientConfig" = {"allow_http": True, "timeout": timedelta(seconds=30)}
RETRIES: "RetryConfig" = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
PARTIAL = ".partial"
"""Ends the key of what a run that is at work has printed so far."""


class ObjectStoreComputeLogManager(TruncatingCloudStorageComputeLogManager[dg.DagsterInstance], ConfigurableClass):
    """Captures locally, as Dagster does, and puts the files into an object store.

    A store that is down costs log lines, never a run: a failed put is a warning.

    Parameters
    ----------
    url : str
        Where the logs lie, such as `s3://bucket/_logs`.
    upload_interval : int, optional
        Seconds between two puts of what a run at work has printed. None: it is put when the step ends.
    """

    def __init__(
        self, url: str, upload_interval: int | None = None, inst_data: ConfigurableClassData | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._url, self._interval, self._inst_data = url.rstrip("/"), upload_interval, inst_data
        self._store = from_url(self._url, client_options=CLIENT, retry_config=RETRIES)
        self._folder = tempfile.TemporaryDirectory(prefix="compute_logs_")
        self._local = LocalComputeLogManager(self._folder.name)
        self._subscriptions = PollingComputeLogSubscriptionManager(self)  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        interval = dg.Field(dg.Noneable(int), is_required=False, default_value=None)
        return {"url": dg.StringSource, "upload_interval": interval}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    @property
    def local_manager(self) -> LocalComputeLogManager:
        return self._local

    @property
    def upload_interval(self) -> int | None:
        return self._interval

    def _key(self, log_key: Sequence[str], io_type: ComputeIOType, *, partial: bool = False) -> str:
        return f"{'/'.join(log_key)}.{IO_TYPE_EXTENSION[io_type]}{PARTIAL if partial else ''}"

    def _local_path(self, log_key: Sequence[str], io_type: ComputeIOType, *, partial: bool = False) -> Path:
        return Path(self._local.get_captured_local_path(log_key, IO_TYPE_EXTENSION[io_type], partial=partial))

    def _upload_file_obj(
        self, data: IO[bytes], log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        key = self._key(log_key, io_type, partial=partial)
        try:
            self._store.put(key, data)
            if not partial:
                self._store.delete(self._key(log_key, io_type, partial=True))
        except FileNotFoundError:
            log.debug("no part of %s was stored before", key)
        except (BaseError, OSError) as error:
            log.warning("logs were not stored: %s/%s: %s", self._url, key, error)

    def download_from_cloud_storage(
        self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        found = self._store.get(self._key(log_key, io_type, partial=partial))
        path = self._local_path(log_key, io_type, partial=partial)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found.bytes())

    def cloud_storage_has_logs(self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False) -> bool:
        try:
            self._store.head(self._key(log_key, io_type, partial=partial))
        except FileNotFoundError:
            return False
        return True

    def delete_logs(self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None) -> None:
        """Delete the logs of one key, or of all keys below a prefix, here and in the store. Dagster refuses to delete all."""
        self._local.delete_logs(log_key=log_key, prefix=prefix)
        if log_key is not None:
            kinds = [(kind, part) for kind in IO_TYPE_EXTENSION for part in (False, True)]
            stored = [(kind, part) for kind, part in kinds if self.cloud_storage_has_logs(log_key, kind, part)]
            keys = [self._key(log_key, kind, partial=part) for kind, part in stored]
        else:
            keys = [one["path"] for page in self._store.list("/".join(prefix or ())) for one in page]
        if keys:
            self._store.delete(keys)

    def download_url_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str | None:  # noqa: ARG002
        """None: the webserver hands logs over itself, and stores need not be public."""
        return None

    def display_path_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str:
        return f"{self._url}/{self._key(log_key, io_type)}"

    def get_log_keys_for_log_key_prefix(
        self, log_key_prefix: Sequence[str], io_type: ComputeIOType
    ) -> Sequence[list[str]]:
        """Log keys directly below a prefix, in their order."""
        end = f".{IO_TYPE_EXTENSION[io_type]}"
        listed = self._store.list_with_delimiter("/".join(log_key_prefix))["objects"]
        names = sorted(Path(one["path"]).name for one in listed)
        return [[*log_key_prefix, name.removesuffix(end)] for name in names if name.endswith(end)]

    def on_subscribe(self, subscription: CapturedLogSubscription) -> None:
        self._subscriptions.add_subscription(subscription)

    def on_unsubscribe(self, subscription: CapturedLogSubscription) -> None:
        self._subscriptions.remove_subscription(subscription)

    def dispose(self) -> None:
        self._subscriptions.dispose()
        super().dispose()  # type: ignore[no-untyped-call]
        self._folder.cleanup()
