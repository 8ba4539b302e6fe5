"""Options that commands share, and what they stand for.

In: arguments, the `REFORMATTERS_*` variables, the wall clock. Out: settings, datasets, times, names.
"""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reformatters_dagster.core.spec.errors import Refused, UnknownDataset

if TYPE_CHECKING:
    from reformatters_dagster.core.run.dataset import DynamicalDataset
    from reformatters_dagster.core.spec.values import Timestamp
    from reformatters_dagster.core.store.settings import Settings, Workspace


def complete_id(begun: str) -> list[str]:
    """Ids of datasets that begin so, for the shell: those of committed templates, since importing the datasets takes seconds."""
    templates = (Path(__file__).parents[2] / "templates").glob("*/latest.zarr")
    ids = sorted(template.parent.name for template in templates)
    return [name for name in ids if name.startswith(begun) and not name.startswith("example-")]


Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="A dataset, as `reformat list` names it.", autocompletion=complete_id),
]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Base URL or folder of the stores. Default: REFORMATTERS_STORE."),
]
ReplicaUrls = Annotated[
    list[str] | None,
    typer.Option("--replica", metavar="URL", help="Base URL of a replica; repeatable. Default: REFORMATTERS_REPLICAS."),
]
UpstreamUrl = Annotated[
    str | None,
    typer.Option("--upstream", metavar="URL", help="URL or folder of a mirror. Default: REFORMATTERS_UPSTREAM."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Resume = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN", help="Go on with a run that ended early; it has said its name on stderr."),
]
Now = Annotated[str | None, typer.Option("--now", metavar="T", help="Work as if it were this time, UTC.")]


def settings_of(store: str | None = None, replicas: list[str] | None = None, upstream: str | None = None) -> "Settings":
    """The settings of the environment, replaced by those options that were given."""
    from dataset_defs import DATASETS
    from reformatters_dagster.core.store.settings import Settings

    settings = Settings.from_environment(os.environ)
    settings.refuse_unknown_starts([dataset.dataset_id for dataset in DATASETS])
    for option, url in [("store", store), ("upstream", upstream), *(("replica", one) for one in replicas or ())]:
        if url == "":
            raise Refused(f"--{option} '' names no place; give a URL or a folder, or leave the option out")
    given = {"store": store, "replicas": tuple(replicas or ()), "upstream": upstream}
    return settings.model_copy(update={name: one for name, one in given.items() if one})


def dataset_of(dataset_id: str) -> "DynamicalDataset":
    """The dataset of an id; an unknown id is refused with the known ones."""
    from dataset_defs import DATASETS, of_demo
    from reformatters_dagster.core.spec.wording import did_you_mean

    known = {dataset.dataset_id: dataset for dataset in (*DATASETS, *of_demo())}
    if dataset_id not in known:
        raise UnknownDataset(
            f"dataset {dataset_id!r} was asked for; there are {', '.join(sorted(known))}{did_you_mean([dataset_id], known)}"
        )
    return known[dataset_id]


def open_dataset(dataset_id: str, settings: "Settings") -> "tuple[DynamicalDataset, Workspace]":
    """The dataset of an id, from its start in these settings or in its store, and where it reads and writes."""
    dataset = dataset_of(dataset_id).started_by(settings)
    workspace = dataset.workspace(settings, wall_clock=time.time)
    return dataset.as_begun(workspace.stores.primary), workspace


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Names in `a,b`; None, for all, where the option was left out."""
    if text is None:
        return None
    names = tuple(filter(None, (name.strip() for name in text.split(","))))
    if not names:
        raise Refused(f"--variables {text!r} names none; write them as a,b or leave the option out for all")
    return names


def time_of(text: str | None = None) -> "Timestamp":
    """The time that was given, or that of the wall clock."""
    import pandas as pd

    from reformatters_dagster.core.store.settings import parse_time

    if text is not None:
        return parse_time(text)
    return pd.Timestamp(datetime.now(UTC).replace(tzinfo=None)).as_unit("us")
