"""Ways in which an upstream file, or the index beside it, can be bad."""

from collections.abc import Callable
from pathlib import Path


def rewrite_index(path: Path, change: Callable[[list[list[str]]], list[list[str]]]) -> None:
    """Change the fields of an index's lines: number, start, and the rest."""
    index = path.with_name(f"{path.name}.idx")
    lines = [line.split(":", 2) for line in index.read_text().splitlines()]
    index.write_text("".join(":".join(line) + "\n" for line in change(lines)))


def message_ranges(path: Path) -> dict[str, slice]:
    """Where each message of a file is, by element; the bucket's total, not the run's, is APCP."""
    lines = path.with_name(f"{path.name}.idx").read_text().splitlines()
    starts = [int(line.split(":")[1]) for line in lines]
    stops = [*starts[1:], path.stat().st_size]
    elements = [line.split(":")[3] for line in lines]
    return {
        element: slice(start, stop)
        for element, start, stop in reversed(list(zip(elements, starts, stops, strict=True)))
    }


def shift_index(path: Path) -> None:
    rewrite_index(path, lambda lines: [lines[0], *([number, str(int(at) + 7), rest] for number, at, rest in lines[1:])])


def swap_lines(path: Path) -> None:
    """The index names the first two messages in the other order."""
    rewrite_index(
        path,
        lambda lines: [[*lines[0][:2], lines[1][2]], [*lines[1][:2], lines[0][2]], *lines[2:]],
    )


def index_of_yesterday(path: Path) -> None:
    rewrite_index(path, lambda lines: [[*line[:2], line[2].replace("d=20260729", "d=20260728")] for line in lines])


def garbled_index(path: Path) -> None:
    path.with_name(f"{path.name}.idx").write_text("<html>Busy</html>\n")


def remove_index(path: Path) -> None:
    path.with_name(f"{path.name}.idx").unlink()


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap_messages(path: Path) -> None:
    data, at = path.read_bytes(), message_ranges(path)
    assert (at["TMP"].start, at["TMP"].stop) == (0, at["UGRD"].start)
    path.write_bytes(data[at["UGRD"]] + data[at["TMP"]] + data[at["UGRD"].stop :])


def damage(path: Path) -> None:
    """Spoil the packed groups of the temperature; lengths and identity stay right."""
    data, at = bytearray(path.read_bytes()), message_ranges(path)["TMP"].start + 16
    while data[at + 4] != 7:
        at += int.from_bytes(data[at : at + 4])
    length = int.from_bytes(data[at : at + 4])
    data[at + 5 : at + length] = b"\xff" * (length - 5)
    path.write_bytes(data)


def cut_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])
