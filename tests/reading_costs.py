"""The table of docs/reading.md of what a reader fetches, from the templates: `uv run python -m tests.reading_costs`.

In: chunk shapes. Out: for each dataset how many chunks hold a series at one point, and a map of one moment.
"""

from math import ceil, prod
from pathlib import Path

from dataset_defs import DATASETS
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.wording import spell_bytes

PAGE = Path(__file__).parents[1] / "docs/reading.md"
HEADER = "| dataset | a series at one point is | chunks of it | chunks of a map of one moment, all members |"
VALUE_BYTES = 4
GRID = {"latitude", "longitude", "y", "x"}


def table() -> str:
    """One row for each dataset."""
    return "\n".join([HEADER, "|---|---|---|---|", *(_row(one.template_config) for one in DATASETS)])


def _row(template: TemplateConfig) -> str:
    chunks, counts = template.chunks, _counts(template)
    of_chunk = VALUE_BYTES * prod(chunks.values())
    append = template.append_dim.name
    series = prod(count for name, count in counts.items() if name not in GRID)
    maps = prod(count for name, count in counts.items() if name in GRID or name == "ensemble_member")
    beside = " of each member" if "ensemble_member" in counts else ""
    told = f"all lead times{beside} of one init time" if template.has_lead_time else f"{chunks[append]:,} times"
    each = [f"{number:,}, {spell_bytes(number * of_chunk)} uncompressed" for number in (series, maps)]
    return f"| `{template.dataset_id}` | {told} | {' | '.join(each)} |"


def _counts(template: TemplateConfig) -> dict[str, int]:
    """How many chunks lie along each dimension; of the append dimension one."""
    labels = {dim.name: len(dim.labels) for dim in template.all_dims}
    return {name: ceil(labels.get(name, 1) / length) for name, length in template.chunks.items()}


def page() -> str:
    """The page with the table as it must be."""
    before, _, after = PAGE.read_text().partition(HEADER)
    return before + table() + after[after.index("\n\n") :]


if __name__ == "__main__":
    PAGE.write_text(page())
