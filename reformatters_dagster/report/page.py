"""The page itself.

In: what the other modules of this room found. Out: one HTML document. Every text is escaped; the one script-free page loads
nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from reformatters_dagster.core.check.places import Place
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.describing import describe_variable, dimensions, facts, opening_lines
from reformatters_dagster.core.spec.values import JSON, Timestamp
from reformatters_dagster.core.spec.wording import spell_count, spell_label
from reformatters_dagster.report.completeness import GRADES, cells_of, fields_missing, texts_of
from reformatters_dagster.report.parts import Gallery
from reformatters_dagster.report.reference import Beside, Difference

_CODE, _LINK = re.compile(r"`([^`]+)`"), re.compile(r"&lt;(https?://[^\s&]+)&gt;")
_IMAGE = re.compile(r"!\[([^\]]*)\]\((data:image/png;base64,[A-Za-z0-9+/=]+)\)")
TOLD_APART = ("name", "passed", "severity", "message", "places")
"""What of a check's result has its own place on the page; all else is shown as it is."""
MOST_PLACES = 4
"""Places that are told of a check, the worst first."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A store beside a reference, as the page shows it."""

    beside: Beside
    differences: Sequence[Difference]
    galleries: Sequence[Gallery]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything on the page.

    Attributes
    ----------
    status, checks : JSON
        As `status --json` and `validate --json` print them.
    remarks : sequence of str
        What stands out of the store as a whole.
    """

    dataset: DynamicalDataset
    status: JSON
    checks: JSON
    remarks: Sequence[str]
    newest: str
    galleries: Sequence[Gallery]
    comparison: Comparison | None
    made_at: Timestamp


def render(report: Report) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("reformatters_dagster.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    environment.filters["figure"] = figure
    return environment.get_template("page.html").render(**_words(report))


def _words(report: Report) -> Mapping[str, Any]:
    template, status = report.dataset.template_config, report.status
    shown = {name for partition in status["partitions"] for name in partition["variables"]}
    texts = texts_of(status)
    stores = [_store(store, number) for number, store in enumerate(report.checks["stores"])]
    results = [one for store in stores for one in store["results"]]
    return {
        "report": report,
        "status": status,
        "attributes": template.dataset_attributes(),
        "next_due": _next_due(report.dataset, status),
        "facts": facts(report.dataset),
        "dimensions": dimensions(template),
        "opening": "\n".join(opening_lines(template, status["store"])),
        "variables": [(one, describe_variable(one)) for one in template.data_vars if one.name in shown],
        "cells": cells_of(status),
        "grades": GRADES,
        "texts": texts,
        "incomplete": [text for text in texts if not text.is_sound],
        "fields_missing": sum(map(fields_missing, status["partitions"])),
        "files_missing": spell_count(sum(len(one["missing_files"]) for one in status["partitions"]), "file"),
        "stores": stores,
        "failed": [one for one in results if not one["passed"]],
        "asked": len(results),
    }


def _next_due(dataset: DynamicalDataset, status: JSON) -> str:
    """When the label after the newest is to be there at the latest."""
    following = Timestamp(status["extent"][1]) + dataset.template_config.append_dim.frequency
    return f"{spell_label(following)} is due by {spell_label(following + dataset.soft_deadline)}"


def _store(store: JSON, number: int) -> JSON:
    """The results of one store, the failed ones first, each with whatever it tells beside its message."""
    results = [
        {
            **{name: one[name] for name in TOLD_APART},
            "id": f"check-{one['name']}" if number == 0 else f"check-{number}-{one['name']}",
            "title": one["name"] if number == 0 else f"{one['name']} of replica {number}",
            "places": _places([Place.model_validate(place) for place in one["places"]]),
            "more": _told({name: value for name, value in one.items() if name not in TOLD_APART}),
        }
        for one in store["checks"]
    ]
    return {"store": store["store"], "results": sorted(results, key=lambda one: bool(one["passed"]))}


def _places(places: Sequence[Place]) -> list[str]:
    told = [", ".join(filter(None, (one.variable, one.label, one.text))) for one in places[:MOST_PLACES]]
    more = len(places) - MOST_PLACES
    return [f"Where: {place}" for place in told] + [f"{more:,} more places are left out here"] * (more > 0)


def _told(found: Mapping[str, Any], under: str = "") -> list[tuple[str, Any]]:
    """Names and values of a nested document, flat; pictures as `{"alt": …, "uri": …}`."""
    rows: list[tuple[str, Any]] = []
    for name, value in found.items():
        title = name if not under or under == "metadata" else f"{under} {name}"
        if isinstance(value, Mapping):
            rows += _told(value, title)
        elif isinstance(value, list | tuple):
            rows += _told({str(number): one for number, one in enumerate(value, start=1)}, title)
        elif isinstance(value, str) and (image := _IMAGE.fullmatch(value.strip())):
            rows.append((title, {"alt": image[1], "uri": image[2]}))
        elif value not in ("", None):
            rows.append((title, value))
    return rows


def inline(text: str) -> Markup:
    """A text with `code` and <links> as Markdown has them; everything else of it is escaped."""
    safe = str(escape(text))
    coded = _CODE.sub(r"<code>\1</code>", safe)
    return Markup(_LINK.sub(r'<a href="\1">\1</a>', coded))


def figure(value: float) -> str:
    """A figure of statistics in four digits."""
    return "none" if isnan(value) else f"{value:.4g}"
