"""What an asset's page says of a dataset beside its runs.

In: a dataset, the settings of its deployment, whose it is and where its code is. Out: what Dagster's asset decorators take.
"""

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.definitions.utils import is_valid_owner

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.describing import describe, describe_variable
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.core.spec.values import Frozen
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.names import BACKFILL, K8S_METADATA
from reformatters_dagster.orchestration.pods import NO_PODS, Pods

ROOT = Path(__file__).parents[2]
"""Of the repository, whose paths code links have."""


class Pages(Frozen):
    """What a deployment adds to the pages of its assets."""

    owners: tuple[str, ...] = ()
    """Whom to ask: e-mail addresses, and teams as `team:NAME`."""
    code_url: str | None = None
    """Where the repository's files are shown, such as `https://github.com/OWNER/REPOSITORY/blob/BRANCH`."""

    @classmethod
    def parse(cls, owners: str | None, code_url: str | None) -> Self:
        """From the texts of `REFORMATTERS_OWNERS` and `REFORMATTERS_CODE_URL`.

        Raises
        ------
        Refused
            When an owner is neither an address nor a team.
        """
        names = tuple(filter(None, (name.strip() for name in (owners or "").split(","))))
        for name in names:
            if not is_valid_owner(name):
                raise Refused(
                    f"REFORMATTERS_OWNERS names {name!r}; write e-mail addresses and team:NAME, separated by commas"
                )
        return cls(owners=names, code_url=(code_url or "").strip().rstrip("/") or None)


def page_of(dataset: DynamicalDataset, settings: Settings, pages: Pages, pods: Pods = NO_PODS) -> Mapping[str, Any]:
    """Arguments of an asset decorator that make the page of a dataset.

    The metadata that people read comes first. What Kubernetes is asked for is last: `DatasetRunCoordinator` reads it.
    """
    url = settings.store_url(dataset.template_config)
    columns = [
        dg.TableColumn(name=data_var.name, type=data_var.units, description=describe_variable(data_var))
        for data_var in dataset.template_config.data_vars
    ]
    return {
        "description": describe(dataset, url),
        "metadata": {
            "dagster/uri": url,
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "dagster/code_references": _code_references(dataset, pages),
            "dataset_id": dataset.dataset_id,
            K8S_METADATA: pods.of(dataset, BACKFILL),
        },
        "owners": list(pages.owners),
        "kinds": {"grib", "zarr", dataset.provider},
        "tags": {
            "provider": dataset.provider,
            "dataset": dataset.dataset_id,
            "version": dataset.template_config.dataset_version,
            "append_dim": dataset.template_config.append_dim.name,
        },
    }


def _code_references(dataset: DynamicalDataset, pages: Pages) -> dg.CodeReferencesMetadataValue:
    """The file that defines a dataset, and its provider's notes: at `code_url`, or on this machine."""
    defining = Path(str(sys.modules[dataset.region_job.__module__].__file__))
    notes = ROOT / "dataset_defs" / dataset.provider / "README.md"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        references = [_code_reference(path, pages) for path in (defining, notes) if path.exists()]
        return dg.CodeReferencesMetadataValue(code_references=references)


def _code_reference(path: Path, pages: Pages) -> dg.UrlCodeReference | dg.LocalFileCodeReference:
    if not path.is_relative_to(ROOT):
        return dg.LocalFileCodeReference(file_path=str(path), label=path.name)
    label = path.relative_to(ROOT).as_posix()
    if pages.code_url is None:
        return dg.LocalFileCodeReference(file_path=str(path), label=label)
    return dg.UrlCodeReference(url=f"{pages.code_url}/{label}", label=label)
