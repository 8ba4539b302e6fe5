"""The docs site, built as its readers get it: every page, no link that leads nowhere, and what code says of itself."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from dataset_defs import DATASETS
from tools.reference import commands

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    subprocess.run(
        command, check=True, cwd=ROOT, env=os.environ | {"REFORMATTERS_CODE_URL": "https://code.example/main"}
    )
    return folder


class Links(HTMLParser):
    """Where the links of a page lead, and what they load."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.loaded: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "a" and (href := told.get("href")):
            self.found.append(href)
        loads = told.get("src") or (told.get("href") if tag == "link" and told.get("rel") != "canonical" else None)
        if loads:
            self.loaded.append(loads)


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    lost, foreign = [], []
    for page in site.rglob("index.html"):
        links = Links(page)
        for link in links.found + links.loaded:
            parts = urlsplit(link)
            if not parts.scheme and not parts.netloc and not (page.parent / unquote(parts.path)).exists():
                lost.append(f"{page.relative_to(site)}: {link}")
        foreign += [one for one in links.loaded if urlsplit(one).netloc]
    assert (lost, foreign) == ([], [])


def test_it_has_a_page_of_every_dataset_and_every_command(site: Path) -> None:
    for dataset in DATASETS:
        text = (site / f"datasets/{dataset.dataset_id}/index.html").read_text()
        assert all(one.name in text for one in dataset.template_config.data_vars)
        assert dataset.template_config.dataset_attributes()["license"].split(" ")[0] in text
    told = (site / "reference/commands/index.html").read_text()
    assert [name for name in commands() if f'id="{name}"' not in told] == []


def test_what_is_no_page_is_linked_to_the_code(site: Path) -> None:
    assert "(https://code.example/main/helm/ci/aws.yaml)" in (site / "helm.md").read_text()


def test_llms_txt_lists_every_page_and_each_is_there(site: Path) -> None:
    text = (site / "llms.txt").read_text()
    assert text.startswith("# reformatters-dagster\n\n> ")
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): \S", text, re.MULTILINE)
    assert sorted(listed) == sorted(path.relative_to(site).as_posix() for path in site.rglob("*.md"))
