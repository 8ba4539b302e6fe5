"""Hooks of MkDocs: the pages of the docs site that are not in docs/, and the links between all of them.

In: the repository's own pages, and what code says of itself. Out: one site, whose links stay inside it; a page for each dataset
and for the commands and checks; `llms.txt`, which lists the pages in Markdown, each of which lies beside its HTML.

`uv run mkdocs build --strict` writes the site to site/. Links to files that are no page lead to `REFORMATTERS_CODE_URL`; where
that is not set they are the file's name.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools import reference

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "helm/README.md": "helm.md",
    "helm/TRIAL.md": "trial.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Pages that lie elsewhere in the repository, and their places in the site. Those of docs/ keep their names."""
PICTURES = {"benchmarks/cpu.png": "cpu.png"}
LINK = re.compile(r"(?P<head>!?\[(?P<text>[^\]]*)\]\()(?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")
_written: dict[str, str] = {}
"""The Markdown of every page, by its place."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the page of every dataset in the navigation."""
    _written.clear()
    assert config.nav is not None
    for entry in config.nav:
        if "Datasets" in entry:
            entry["Datasets"] = ["datasets/index.md", *(f"datasets/{one}.md" for one in reference.dataset_ids())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies elsewhere, and what is written from code."""
    for path, place in _elsewhere().items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text()))
    for path, place in PICTURES.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_bytes()))
    for place, text in reference.pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    place = page.file.src_uri
    origin = {there: path for path, there in _elsewhere().items()}.get(place, f"docs/{place}")
    if place not in reference.pages():
        markdown = LINK.sub(partial(_relinked, place, origin), markdown)
    _written[place] = markdown
    return markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Write the Markdown of every page beside its HTML, and `llms.txt`."""
    site = Path(config.site_dir)
    for place, markdown in _written.items():
        file = site / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(markdown)
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", "", "## Pages", ""]
    lines += [f"- [{_title(text)}]({place}): {_first_sentence(text)}" for place, text in sorted(_written.items())]
    (site / "llms.txt").write_text("\n".join(lines) + "\n")


def _elsewhere() -> dict[str, str]:
    providers = sorted((ROOT / "dataset_defs").glob("*/README.md"))
    return PAGES | {one.relative_to(ROOT).as_posix(): f"providers/{one.parent.name}.md" for one in providers}


def _relinked(place: str, origin: str, link: re.Match[str]) -> str:
    """A link of a page, where it leads to a file of the repository; any other as it is."""
    target = posixpath.normpath(posixpath.join(PurePosixPath(origin).parent.as_posix(), link["path"]))
    if not (ROOT / target).exists():
        return link[0]
    there = _place_of(target)
    if there is not None:
        relative = posixpath.relpath(there, PurePosixPath(place).parent.as_posix())
        return f"{link['head']}{relative}{link['anchor'] or ''})"
    code_url = os.environ.get("REFORMATTERS_CODE_URL", "").strip().rstrip("/")
    return f"{link['head']}{code_url}/{target})" if code_url else f"{link['text']} (`{target}`)"


def _place_of(target: str) -> str | None:
    """Where the site has a file of the repository; None where it has not."""
    places = _elsewhere() | PICTURES
    for path in (target, f"{target}/README.md"):
        if path in places:
            return places[path]
    inside = target.removeprefix("docs/")
    return inside if inside != target and Path(target).suffix in {".md", ".png"} else None


def _title(markdown: str) -> str:
    return next((line.removeprefix("# ") for line in markdown.splitlines() if line.startswith("# ")), "")


def _first_sentence(markdown: str) -> str:
    """Of the first paragraph that is prose."""
    told = (text for text in _paragraphs(markdown) if text[0] not in "#|!`<[-*" and text[-1] != ":")
    return re.split(r"(?<=\.)\s", next(told, ""), maxsplit=1)[0].replace("\n", " ")


def _paragraphs(markdown: str) -> Iterator[str]:
    yield from (text.strip() for text in markdown.split("\n\n") if text.strip())
