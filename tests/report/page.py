"""A report read back: its sections, its texts, and what a browser would load for it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "link", "input", "hr"}
LOADS = {"src", "srcset", "data", "poster", "action"}


@dataclass
class Page(HTMLParser):
    """What a page says. Reading it fails where a tag is not closed, or closed twice."""

    path: Path
    text: str = ""
    loaded: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    alts: list[str] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[tuple[str, str | None]] = []
        self.source = self.path.read_text()
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
            self._open.append((tag, found.get("id") if tag == "section" else None))

    def handle_endtag(self, tag: str) -> None:
        last, _ = self._open.pop()
        assert last == tag, f"<{last}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "style":
            return
        self.text += data
        for _, section in self._open:
            if section is not None:
                self.sections[section] = self.sections.get(section, "") + data
