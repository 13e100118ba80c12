"""An HTML page as text to read: headings, links, lists, tables and code stay; what only decorates goes. Pure."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin

_NEVER = frozenset({
    "script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "audio", "video", "select",
    "button",
})  # fmt: skip
_NOISE = frozenset({"nav", "footer", "aside", "dialog", "menu"})
_BLOCKS = frozenset({
    "address", "article", "body", "details", "div", "dl", "fieldset", "figcaption", "figure", "form", "header",
    "hr", "main", "p", "section", "summary", "table",
})  # fmt: skip
_CODE = ("code", "kbd", "samp", "tt")  # where the words end matters
_PREFIXES = {f"h{level}": "#" * level + " " for level in range(1, 7)} | {"blockquote": "> ", "dt": "", "dd": "  "}
# These may end without a tag of their own, so nobody knows where a hidden one ends.
_OPEN_ENDED = frozenset({
    "area", "base", "br", "col", "dd", "dt", "embed", "hr", "img", "input", "li", "link", "meta", "option", "p",
    "source", "td", "th", "tr", "wbr",
})  # fmt: skip
_HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_LANGUAGE = re.compile(r"\blang(?:uage)?-([\w+#-]{1,20})")
_JOINERS = "\u200c\u200d"
_LONGEST_LINK = 500
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to read of a page."""

    title: str
    text: str


def read_page(source: str, url: str) -> Page:
    """The title and the text of a page; its links are made absolute by its `url`."""
    reader = _Reader(url, _NOISE)
    reader.read(source)
    if reader.skipping in _NOISE:
        # A menu without an end has swallowed the page: better with the menus than without the text.
        reader = _Reader(url, frozenset())
        reader.read(source)
    return Page(_line(reader.title), reader.text())


def clean(text: str) -> str:
    """Text without characters that cannot be seen: they can hide words, and mean nothing to a reader."""
    return "".join(c for c in text if c in "\n\t" or c in _JOINERS or unicodedata.category(c)[0] != "C")


def _line(text: str) -> str:
    return clean(" ".join(text.split()))


class _Reader(HTMLParser):
    """Hears tags and text, and writes. Line breaks, spaces and prefixes are owed until text follows."""

    def __init__(self, url: str, noise: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.skipping = ""  # the element that is left out now
        self._url = url
        self._left_out = _NEVER | noise
        self._depth = 0  # how many of its kind are open
        self._in_title = False
        self._parts: list[str] = []
        self._breaks = 0
        self._space = False
        self._prefix = ""
        self._lists: list[list[int]] = []  # [whether numbered, items so far] of each list that is open
        self._cells: list[int] = []  # cells so far in the row of each table that is open
        self._href: str | None = None
        self._linked = -1  # where the text of the open link begins
        self._code: list[str] | None = None  # what the open <pre> holds so far
        self._language = ""
        self._main = [-1, -1]

    def read(self, source: str) -> None:
        """Read all of it but an unfinished tag at the end, on which the parser could take for ever."""
        self.feed(source)
        rest = self.rawdata.partition("<")[0]
        if rest:
            self.handle_data(html.unescape(rest))
        self._end_code()

    def text(self) -> str:
        """What was read; only the main part of it, when the page says which that is."""
        first, last = self._main
        main = "".join(self._parts[first : last if last >= 0 else None]).strip() if first >= 0 else ""
        return main or "".join(self._parts).strip()

    # ------------------------------------------------------------ what is heard

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if self.skipping:
            self._depth += tag == self.skipping
        elif tag in self._left_out or _is_hidden(tag, found):
            self.skipping, self._depth = tag, 1
        elif tag == "title":
            self._in_title = not self.title
        elif self._code is not None:
            self._in_code(tag, found)
        else:
            self._open(tag, found)

    def handle_endtag(self, tag: str) -> None:
        if self.skipping:
            self._depth -= tag == self.skipping
            self.skipping = self.skipping if self._depth else ""
        elif tag == "title":
            self._in_title = False
        elif tag == "pre":
            self._end_code()
        elif self._code is None:
            self._close(tag)

    def handle_data(self, data: str) -> None:
        if self.skipping:
            return
        if self._in_title:
            self.title += data
        elif self._code is not None:
            self._code.append(data)
        else:
            self._say(data)

    def _open(self, tag: str, attrs: dict[str, str | None]) -> None:
        if tag == "pre":
            self._break(2)
            self._code, self._language = [], ""
            self._in_code(tag, attrs)
        elif tag == "a":
            self._end_link()
            self._href, self._linked = attrs.get("href"), -1
        elif tag == "img":
            self._say(f" {attrs.get('alt') or ''} ")
        elif tag == "br":
            self._breaks = max(self._breaks, 1)
        elif tag in _CODE:
            self._say("`")
        else:
            self._begin(tag)

    def _begin(self, tag: str) -> None:
        """A tag that begins a line."""
        if tag in ("ul", "ol"):
            self._break(1 if self._lists else 2)
            self._lists.append([int(tag == "ol"), 0])
        elif tag == "li":
            self._item()
        elif tag in ("tr", "td", "th"):
            self._cell(tag)
        elif tag in _PREFIXES:
            self._break(1 if tag == "dd" else 2)
            self._prefix = _PREFIXES[tag]
        elif tag in _BLOCKS:
            self._block(tag)
            if tag == "main" and self._main[0] < 0:
                self._main[0] = len(self._parts)

    def _close(self, tag: str) -> None:
        if tag == "a":
            self._end_link()
        elif tag in _CODE:
            self._say("`")
        elif tag in ("ul", "ol"):
            del self._lists[-1:]
            self._break(1 if self._lists else 2)
        elif tag in ("li", "dd", "dt"):
            self._prefix = ""
        elif tag in _PREFIXES:
            self._prefix = ""
            self._break(2)
        elif tag in _BLOCKS:
            self._block(tag, end=True)
            if tag == "main" and self._main[1] < 0 <= self._main[0]:
                self._main[1] = len(self._parts)

    # ------------------------------------------------------------ what is written

    def _break(self, lines: int) -> None:
        # What a prefix stands before belongs on its line.
        if not self._prefix:
            self._breaks = max(self._breaks, lines)

    def _say(self, data: str) -> None:
        words = _line(data)
        if words and words != "¶":
            self._put(words, spaced=self._space or data[0].isspace())
            self._space = data[-1].isspace()
        elif data:
            self._space = True

    def _put(self, text: str, *, spaced: bool = False) -> None:
        """Write text as it is, after what is owed."""
        self._parts += ["\n" * self._breaks or " " * spaced, self._prefix]
        if self._href is not None and self._linked < 0:
            self._linked = len(self._parts)
        self._parts.append(text)
        self._breaks, self._space, self._prefix = 0, False, ""

    def _block(self, tag: str, *, end: bool = False) -> None:
        if tag == "table":
            self._cells = self._cells[:-1] if end else [*self._cells, 0]
        if tag in ("p", "div") and self._cells:
            self._space = True  # in a table a paragraph is a cell
        else:
            self._break(2)

    def _item(self) -> None:
        kind = self._lists[-1] if self._lists else [0, 0]
        kind[1] += 1
        self._breaks = max(self._breaks, 1) if kind[1] == 1 else 1
        depth = min(len(self._lists), _DEEPEST) - 1
        self._prefix = "  " * depth + (f"{kind[1]}. " if kind[0] else "- ")

    def _cell(self, tag: str) -> None:
        if tag == "tr" or not self._cells:
            self._break(1)
            self._cells[-1:] = [0] if self._cells else []
            return
        self._cells[-1] += 1
        if self._cells[-1] > 1 and not self._breaks:
            self._parts.append(" |")
        self._space = True

    def _end_link(self) -> None:
        href, self._href = self._href, None
        if href and self._linked >= 0 and not href.startswith("#"):
            target = _joined(self._url, href)
            if target:
                self._parts[self._linked] = f"[{self._parts[self._linked]}"
                self._parts.append(f"]({target})")

    def _in_code(self, tag: str, attrs: dict[str, str | None]) -> None:
        found = _LANGUAGE.search(attrs.get("class") or "")
        if found and not self._language:
            self._language = found[1]
        if tag == "br" and self._code is not None:
            self._code.append("\n")

    def _end_code(self) -> None:
        code, self._code = self._code, None
        text = clean("".join(code or ())).strip("\n")
        if text.strip():
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            self._put(f"{fence}{self._language}\n{text}\n{fence}")
            self._breaks = 2


def _is_hidden(tag: str, attrs: dict[str, str | None]) -> bool:
    if tag in _OPEN_ENDED:
        return False
    hidden = "hidden" in attrs or attrs.get("aria-hidden") == "true"
    return hidden or _HIDING.search(attrs.get("style") or "") is not None


def _joined(url: str, href: str) -> str:
    """Where a link leads; "" when that is no page."""
    try:
        target = urljoin(url, "".join(href.split()))
    except ValueError:
        return ""
    return clean(target) if target.startswith(("http://", "https://")) and len(target) <= _LONGEST_LINK else ""
