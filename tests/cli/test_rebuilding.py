"""`rebuild-status`: Dagster's record of partitions, from the ledger, into the instance of `DAGSTER_HOME`."""

import json
from pathlib import Path

import dagster as dg

from tests.cli.deployment import ID, LABEL, Deployment, answer, assert_fails

KEY = dg.AssetKey(["noaa", "gfs_forecast"])
NEXT = "2026-07-30T00:00"


def test_the_command_reports_to_the_instance_of_dagster_home(copied: Deployment, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (said,) = answer(copied.reformat("rebuild-status", ID, "--json", DAGSTER_HOME=str(home)))
    assert said == {"dataset_id": ID, "known": 0, "reported": [LABEL], "unreadable": []}
    told = copied.reformat("rebuild-status", "--all", "--dry-run", DAGSTER_HOME=str(home))
    assert (told.exit_code, f"{ID}: 0 partitions would be reported, 1 known before" in told.stdout) == (0, True)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_materialized_partitions(KEY) == {LABEL}

    ledger = copied.folder / "stores" / ID / "_internal/v0.1.0/ledger" / f"{LABEL}.json"
    ledger.with_name(f"{NEXT}.json").write_text(json.dumps({}))
    told = copied.reformat("rebuild-status", ID, DAGSTER_HOME=str(home))
    assert (told.exit_code, f"{NEXT}: its ledger entry cannot be read" in told.stdout) == (1, True)


def test_the_command_refuses_without_an_instance_or_a_dataset(copied: Deployment, tmp_path: Path) -> None:
    nowhere = copied.reformat("rebuild-status", ID, DAGSTER_HOME="")
    assert_fails(nowhere, 2, "Refused", "there is none", "set DAGSTER_HOME to the folder of its dagster.yaml")
    absent = copied.reformat("rebuild-status", ID, DAGSTER_HOME=str(tmp_path / "absent"))
    assert_fails(absent, 2, "Refused", "there is none", "set DAGSTER_HOME")
    both = copied.reformat("rebuild-status", ID, "--all")
    assert_fails(both, 2, "Refused", "give either the ID of a dataset or --all")
