"""The procedures of `docs/operations.md`, as far as they are commands."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def commands_of(heading: str) -> list[str]:
    """Lines of the `sh` block of a procedure."""
    section = PAGE.read_text().partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    (block,) = blocks
    return block.splitlines()
