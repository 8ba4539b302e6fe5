"""A report read back: its sections, its texts, and what a browser would load for it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

from reformatters_dagster.core.check.validators import CheckResult
from reformatters_dagster.report.page import MOST_PLACES, Report, render

VOID = {"meta", "img", "br", "link", "input", "hr"}
LOADS = {"src", "srcset", "data", "poster", "action"}


@dataclass
class Page(HTMLParser):
    """What a page says. Reading it fails where a tag is not closed, or closed twice."""

    source: str
    text: str = ""
    loaded: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    alts: list[str] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)
    articles: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[tuple[str, str | None]] = []
        self.feed(self.source)
        self.close()
        assert self._open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.loaded += [value for name, value in found.items() if name in LOADS or (tag == "link" and name == "href")]
        self.linked += [found["href"]] if tag == "a" else []
        self.ids += [found["id"]] if "id" in found else []
        self.alts += [found["alt"]] if tag == "img" else []
        if tag not in VOID:
            self._open.append((tag, found.get("id")))

    def handle_endtag(self, tag: str) -> None:
        last, _ = self._open.pop()
        assert last == tag, f"<{last}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "style":
            return
        self.text += data
        for tag, name in self._open:
            texts = {"section": self.sections, "article": self.articles}.get(tag)
            if texts is not None and name is not None:
                texts[name] = texts.get(name, "") + data


def failures_shown(report: Report) -> tuple[dict[str, CheckResult], Page]:
    """The checks of the primary that fail, by name, and the page: it names each above, and tells its message and its places."""
    page = Page(render(report))
    anchors = {one.removeprefix("#") for one in page.linked if one.startswith("#")}
    assert anchors <= set(page.ids)
    above = page.text.partition("What it is")[0]
    primary, *_ = report.checks["stores"]
    results = [CheckResult.model_validate(one) for one in primary["checks"]]
    failing = {one.name: one for one in results if not one.passed}
    assert ("Failed checks:" in above) >= bool(failing)
    for name, found in failing.items():
        article = page.articles[f"check-{name}"]
        assert f"check-{name}" in anchors
        assert name in above
        assert article.split()[:2] == ["failed" if found.severity == "ERROR" else "warns", name]
        assert found.message.replace("`", "") in article, "what stands in backticks is drawn as code"
        for place in found.places[:MOST_PLACES]:
            assert ", ".join(filter(None, (f"Where: {place.variable}, {place.label}", place.text))) in article
    return failing, page
