"""A session of `dg dev` over the demo's dataset, whose newest forecast has a hole, and a page of a browser that looks at it."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page

from reformatters_dagster.demo.folder import Demo
from reformatters_dagster.demo.running import begin_demo
from reformatters_dagster.orchestration.resources import utc_now
from tests.browser.chromium import browser_page
from tests.orchestration.dev_session import DevSession, dev_session

WELCOMED = "mutation {setNuxSeen}"


@dataclass(frozen=True)
class Served:
    """The demo, the session that shows it, and the page that looks at it."""

    demo: Demo
    session: DevSession
    page: Page

    def open(self, path: str) -> None:
        self.page.goto(f"http://127.0.0.1:{self.session.web.port}{path}")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Nothing has healed the hole yet; sensors of the dataset are off."""
    demo = begin_demo(tmp_path / "demo", utc_now(), print)
    environment = os.environ | demo.environment | {"HOME": str(tmp_path), "VIRTUAL_ENV": sys.prefix}
    with (
        dev_session(tmp_path / "dev.log", environment, "--workspace", str(demo.workspace)) as session,
        browser_page(tmp_path / "profile") as page,
    ):
        session.web.ask(WELCOMED)
        yield Served(demo, session, page)
