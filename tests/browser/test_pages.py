"""A walk over Dagster's pages: what a dataset is, what its newest forecast lacks, whether it is healthy; filling it by clicks.

One walk rather than many tests, since a session of Dagster takes long to open. No step sleeps: each waits for what it expects.
`SCREENSHOTS=docs/ui uv run pytest -m slow tests/browser` writes the pictures of the docs.
"""

from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Locator, expect

from dataset_defs.noaa.gfs.demo import DATASET, VARIABLES
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.demo.folder import CYCLE
from reformatters_dagster.demo.running import deliver_late_file
from reformatters_dagster.orchestration.names import asset_key
from tests.browser.chromium import PATIENCE, picture_of
from tests.browser.conftest import Served
from tests.stack.webserver import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:dagster"),
]

ASSET = f"/assets/{'/'.join(asset_key(DATASET).path)}"
HEAL = DATASET.job_name("heal")

expect.set_options(timeout=PATIENCE)


def test_a_person_reads_fills_and_heals_a_dataset_by_clicks(served: Served, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    reads_what_the_dataset_is(served, pictures)
    reads_why_a_check_failed(served, pictures)
    chooses_what_can_be_made(served)
    heals_the_hole(served)
    fills_what_is_published(served, pictures)
    reads_the_overview(served, pictures)


def reads_what_the_dataset_is(served: Served, pictures: Path) -> None:
    """Its description and the table of its variables, on the first page."""
    served.open(ASSET)
    page = served.page
    expect(page.get_by_text(DATASET.template_config.attributes.description.partition(",")[0]).first).to_be_visible()
    expect(page.get_by_text("Open it in Python:")).to_be_attached()
    for name in VARIABLES:
        expect(page.get_by_text(name, exact=True).first).to_be_attached()
    expect(page.get_by_text("degree_Celsius", exact=True)).to_be_attached()
    picture_of(page, "asset", pictures)


def reads_why_a_check_failed(served: Served, pictures: Path) -> None:
    """The hole is what the check of completeness tells of."""
    served.open(f"{ASSET}?view=checks")
    page = served.page
    page.get_by_text("complete_partitions", exact=True).first.click()
    expect(page.get_by_text("1 recent partition is incomplete").first).to_be_visible()
    expect(page.get_by_text("Latest execution")).to_be_visible()
    picture_of(page, "check", pictures)


def open_dialog(served: Served) -> Locator:
    """The dialog that launches partitions, as the button on the asset's page opens it."""
    page = served.page
    served.open(f"{ASSET}?view=partitions")
    expect(page.get_by_text("Missing (1)")).to_be_visible()
    page.get_by_role("button", name="Materialize").first.click()
    return page.get_by_role("dialog").filter(has_text="Launch runs")


def choose(dialog: Locator, button: str, partitions: str) -> None:
    dialog.get_by_role("button", name=button, exact=True).click()
    expect(dialog.get_by_role("textbox")).to_have_value(partitions)


def chooses_what_can_be_made(served: Served) -> None:
    """The newest partition is past what readers see. "Latest" and "Missing" choose it, and its run ends well."""
    demo = served.demo
    newest = partition_key(demo.second + CYCLE)
    dialog = open_dialog(served)
    choose(dialog, "All", f"[{partition_key(demo.first)}...{newest}]")
    choose(dialog, "Missing", newest)
    choose(dialog, "Latest", newest)
    dialog.get_by_role("button", name="Launch 1 run").click()
    expect(dialog).not_to_be_visible()
    run = sees_success(served, "dagster/partition", newest)
    assert any(f"nothing is made of partition {newest}" in line for line in served.session.web.said(run.run_id))


def sees_success(served: Served, tag: str, value: str) -> Run:
    """Waits on the page of runs until the one with a tag has succeeded."""
    served.open(f"/runs?{urlencode({'q[0]': f'tag:{tag}={value}'})}")
    expect(served.page.get_by_text("Success", exact=True).first).to_be_visible()
    (run,) = served.session.web.runs(**{tag: value})
    assert run.status == "SUCCESS"
    return run


def heals_the_hole(served: Served) -> None:
    """The late file appears, a person switches the sensor on, and what was missing is there."""
    demo, page = served.demo, served.page
    deliver_late_file(demo)
    served.open(f"/locations/noaa/sensors/{HEAL}")
    switch = page.get_by_role("checkbox").first
    expect(switch).not_to_be_checked()
    page.locator("label", has=switch).click()
    expect(switch).to_be_checked()
    run = sees_success(served, "dagster/sensor_name", HEAL)
    assert run.tags["dagster/partition"] == partition_key(demo.second)
    (healed,) = status(DATASET, demo.settings.stores(DATASET.template_config), contains=demo.second).partitions
    assert healed.entry is not None
    assert not any(known.missing for known in healed.entry.variables.values())
    served.open(f"{ASSET}?view=partitions&partition={partition_key(demo.second)}")
    expect(page.get_by_text("fields_missing", exact=True).first).to_be_visible()


def fills_what_is_published(served: Served, pictures: Path) -> None:
    """A backfill of the partitions that readers see. Of "All", Dagster counts the one that is left to the update as failed."""
    demo, page = served.demo, served.page
    dialog = open_dialog(served)
    dialog.get_by_role("textbox").fill(f"[{partition_key(demo.first)}...{partition_key(demo.second)}]")
    dialog.get_by_role("textbox").press("Enter")
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(page.get_by_text("Created backfill")).to_be_visible()
    page.get_by_text("View", exact=True).click()
    expect(page.get_by_text("100% completed")).to_be_visible()
    backfill = urlsplit(page.url).path.rstrip("/").rpartition("/")[2]
    runs = served.session.web.runs(**{"dagster/backfill": backfill})
    assert [run.status for run in runs] == ["SUCCESS", "SUCCESS"]
    picture_of(page, "backfill", pictures)


def reads_the_overview(served: Served, pictures: Path) -> None:
    """How the deployment is, in one table."""
    served.open(f"/assets/overview/{DATASET.provider}")
    expect(served.page.get_by_role("link", name=DATASET.dataset_id)).to_be_visible()
    picture_of(served.page, "overview", pictures)
