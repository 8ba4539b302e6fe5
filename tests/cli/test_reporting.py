"""`report`: what the command says, where its page goes, and what it refuses."""

import sys
from pathlib import Path

import pytest

from tests.cli.deployment import ID, LABEL, Deployment, assert_fails
from tests.report.page import Page

NOW = ("--now", "2026-07-29T20")


REFUSED: list[tuple[tuple[str, ...], str, list[str]]] = [
    (("--variables", "wind"), "UnknownVariable", ["['wind']", "wind_u_10m"]),
    (
        ("--start", "2026-07-31", "--end", "2026-07-30"),
        "Refused",
        ["--start 2026-07-31", "--end 2026-07-30", "correct"],
    ),
    (("--start", "2026-08-30"), "NoPartition", ["from 2026-08-30T00:00 on", f"{LABEL} to {LABEL}"]),
    (("--end", "2026-07-29"), "NoPartition", ["before 2026-07-29T00:00", "correct the time"]),
    (("--reference", "nowhere.zarr"), "ReferenceUnusable", ["'nowhere.zarr'", "xr.open_zarr takes it"]),
    (("--reference", "teapot://x"), "ReferenceUnusable", ["'teapot://x'", "xr.open_zarr takes it"]),
    (("--output", "no-folder/x.html"), "Refused", ["no folder 'no-folder'", "make it first"]),
    (("--output", "."), "Refused", ["that is a folder", "name a file"]),
]


def test_a_bad_request_is_refused_with_what_to_do(published: Deployment, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    for arguments, error, words in REFUSED:
        assert_fails(published.reformat("report", ID, *NOW, "--output", str(page), *arguments), 2, error, *words)
    assert not page.exists()


def test_without_matplotlib_a_page_has_no_pictures(
    published: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    file = tmp_path / "gfs.html"
    asked = ("report", ID, *NOW, "--variables", "temperature_2m", "--output", str(file))
    assert_fails(published.reformat(*asked), 2, "Refused", "need matplotlib", "uv sync", "--no-pictures")
    result = published.reformat(*asked, "--no-pictures")
    assert result.exit_code == 0, result.output
    page = Page(file.read_text())
    failed = page.source.count('"badge bad"')
    assert f"{file}: 1 partitions, " in result.stdout
    assert f" checks of which {failed} failed, " in result.stdout
    assert failed
    assert f"p-{LABEL}" in page.ids
    assert page.alts == []
