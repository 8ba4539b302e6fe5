"""Figures that were measured before, read from the tables of `benchmarks/README.md`, so that nobody copies them by hand.

In: a section, a row and a column of it. Out: the number, the first one of its cell.
"""

import re
from pathlib import Path

README = Path(__file__).with_name("README.md")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def measured(section: str, row: str, column: str, path: Path = README) -> float:
    """The first number of one cell: a median, where the cell has a spread too.

    Raises
    ------
    LookupError
        When the document has no such section, row or column, or no number there.
    """
    found = re.search(rf"<!-- {section}: begin -->\n(.*?)<!-- {section}: end -->", path.read_text(), re.DOTALL)
    if found is None:
        raise LookupError(f"{path} has no section {section!r}: run `python -m benchmarks {section} --write`")
    head: list[str] = []
    for line in found[1].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif cells[0] == row and column in head and (number := NUMBER.search(cells[head.index(column)])):
            return float(number[0].replace(",", ""))
    raise LookupError(f"section {section!r} of {path} has no number for {row!r}, {column!r}: measure it again")
