"""`status`: what a person sees of a store's completeness on one screen, and what options leave of it."""

import json
from typing import Any

from reformatters_dagster.cli.completeness import heat_map, missing_lines, ranges_of, short_names
from tests.cli.deployment import ID, LABEL, Deployment, answer, assert_fails


def variable(expected: int, succeeded: int, **changes: Any) -> dict[str, Any]:
    counts = {"written": True, "expected": expected, "succeeded": succeeded, "missing": expected - succeeded}
    return counts | {"outdated": 0, "first_reason": None if expected == succeeded else "gone"} | changes


NEVER = variable(0, 0, written=False)


def partition(name: str, **variables: dict[str, Any]) -> dict[str, Any]:
    return {"partition": name, "variables": variables, "unreadable": None, "unwritten_labels": [], "missing_ranges": []}


def test_the_map_has_a_character_for_each_partition_and_a_line_for_variables_alike() -> None:
    partitions = [
        partition("a", one=variable(20, 20), two=variable(20, 20), three=NEVER),
        partition("b", one=variable(20, 19), two=variable(20, 19), three=variable(20, 0)),
        partition("c", one=variable(20, 1), two=variable(20, 1), three=variable(20, 20, outdated=1)),
        partition("d", one=NEVER, two=NEVER, three=variable(20, 20)) | {"unreadable": "damaged"},
    ]
    title, alike, other, *legend = heat_map({"partitions": partitions}, 80)
    assert title == "completeness of 4 partitions, a to d:"
    assert (alike, other) == ("one, two  #90?", "three     -.~?")
    assert " ".join(legend).startswith("# all fields, 9 to 0 tenths of them")
    partitions[0]["unwritten_labels"] = [{"variables": ["one"]}]
    assert list(heat_map({"partitions": partitions}, 80))[1] == "one    ~90?"


def test_the_map_fits_the_terminal_and_shows_the_newest() -> None:
    partitions = [partition(f"{number}", **{"long_name" * 9: variable(1, number % 2)}) for number in range(99)]
    for width in (40, 80):
        lines = list(heat_map({"partitions": partitions}, width))
        assert max(map(len, lines)) <= width
        assert lines[0].endswith(" to 98:")
        assert lines[1].endswith("#.#.")


def test_missing_files_are_told_in_ranges_that_used_files_interrupt() -> None:
    files = [f"gfs/f{hour}" for hour in (7, 8, 9, 10, 12, 13)]
    found = list(ranges_of(files, ["gfs/f6", "gfs/f11"]))
    assert found == [files[:4], files[4:]]
    assert [short_names(one) for one in found] == [("f7", "f10"), ("f12", "f13")]
    assert short_names(["a/b.f001.grib2", "a/b.f384.grib2"]) == ("f001.grib2", "f384.grib2")
    assert short_names(["a/b.f001"]) == ("b.f001", "b.f001")


def test_many_ranges_are_cut_to_a_screen() -> None:
    lost = {"first": "f007", "last": "f384", "files": 3, "reason": "gone " * 30, "variables": ["one"]}
    partitions = [partition(f"{number}", one=NEVER, two=NEVER) | {"missing_ranges": [lost]} for number in range(20)]
    *lines, more = missing_lines({"partitions": partitions}, 60)
    assert [line.partition(":")[0] for line in lines] == [
        f"{number} lacks f007 to f384, 3 files, of one" for number in range(19, 14, -1)
    ]
    assert {text.count("\n") for text in lines} == {2}
    assert max(len(line) for text in lines for line in text.splitlines()) <= 60
    assert more == "and 15 more ranges of missing files: --missing shows all"
    every = list(missing_lines({"partitions": partitions}, 60, most=None))
    assert (len(every), every[0].count("gone")) == (20, 30)


def test_status_fits_a_screen_and_names_ranges(published: Deployment) -> None:
    screen = {"TTY_COMPATIBLE": "1", "TERM": "dumb", "COLUMNS": "80"}
    text = published.reformat("status", ID, **screen).stdout
    assert f"completeness of partition {LABEL}:" in text
    assert f"{LABEL} lacks f001 to f384, 208 files, of temperature_2m:\n" in text
    one = published.reformat("status", ID, "--variable", "temperature_2m", **screen).stdout
    assert "wind" not in one
    assert len(one.splitlines()) < 24
    assert max(map(len, one.splitlines()[2:])) <= 80


def test_reasons_that_differ_in_numbers_alone_make_one_range(copied: Deployment) -> None:
    (path,) = copied.folder.rglob("_internal/**/ledger/*.json")
    entry = json.loads(path.read_text())
    for number, lost in enumerate(entry["missing_files"]):
        lost["reason"] = f"IndexMismatch: there is no {number}-{number + 1} hour ave fcst"
    path.write_text(json.dumps(entry))
    (found,) = answer(copied.reformat("status", ID, "--variable", "temperature_2m", "--json"))["partitions"]
    (lost,) = found["missing_ranges"]
    assert (lost["first"], lost["last"], lost["files"]) == ("f001", "f384", 208)
    assert lost["reason"] == "IndexMismatch: there is no 0-1 hour ave fcst"


def test_status_of_a_choice(published: Deployment) -> None:
    chosen = ("--partition", "2026-07-29T20", "--variable", "temperature_2m")
    document = answer(published.reformat("status", ID, *chosen, "--json"))
    (found,) = document["partitions"]
    assert (found["partition"], list(found["variables"]), list(document["coverage"])) == (
        LABEL,
        ["temperature_2m"],
        ["temperature_2m"],
    )
    (lost,) = found["missing_ranges"]
    assert (lost["first"], lost["last"], lost["files"]) == ("f001", "f384", 208)
    told = published.reformat("status", ID, *chosen, "--missing").stdout
    assert told.startswith(f"{LABEL} lacks f001 to f384, 208 files, of temperature_2m: SourceFileMissing: the file at ")
    never = published.reformat("status", ID, "--variable", "wind_u_10m", "--missing").stdout
    assert never == "no file is missing\n"
    assert_fails(published.reformat("status", ID, "--variable", "wind"), 2, "UnknownVariable", "['wind']")
    for time in ("2026-07-29T12", "2026-07-30"):
        assert_fails(
            published.reformat("status", ID, "--partition", time),
            2,
            "NoPartition",
            f"store has labels {LABEL} to {LABEL}",
        )
