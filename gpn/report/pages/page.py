"""One self-contained HTML page: nothing is loaded from elsewhere, and everything but our own markup is escaped."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from io import StringIO
from typing import TYPE_CHECKING, TypeVar

from gpn.report.pages.mathml import mathml
from gpn.report.tables.columns import Column
from gpn.report.words.text import printable
from theory.claims.registry import typeset

if TYPE_CHECKING:
    from gpn.report.pages.pictures import Picture

T = TypeVar("T")
_VOID = frozenset({"meta", "link"})
_IDENTITY = re.compile(r'\bid="([^"]+)"')


class Html(str):
    """Text that is HTML already; any other text is escaped where it enters a page."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page under a heading that the list of contents names; a folded one shows its heading alone."""

    title: str
    parts: tuple[Html, ...]
    folded: bool = False


def element(tag: str, *children: str, **attributes: str) -> Html:
    """An element; children that are not `Html` are escaped, and so are the attributes.

    Args:
        tag: its name.
        children: text or `Html`.
        attributes: by name, an underscore at the end dropped, others made hyphens.

    >>> print(element("p", "a < b", class_='"note"'))
    <p class="&quot;note&quot;">a &lt; b</p>
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(printable(value))}"' for name, value in attributes.items()
    )
    if tag in _VOID:
        return Html(f"<{tag}{named}>")
    return Html(f"<{tag}{named}>{join(children)}</{tag}>")


def folded(summary: str, *parts: str) -> Html:
    """What is read on demand: the summary shows, a click opens the parts."""
    return element("details", element("summary", summary), *parts)


def readable(text: str) -> Html:
    """A sentence with its letters and signs as people write them, and commands between backticks as code.

    >>> print(readable("`gpn width` says: phi'(h_1)^2 < 1"))
    <code>gpn width</code> says: φ′(h<sub>1</sub>)² &lt; 1
    """
    parts = printable(text).split("`")
    return join(element("code", part) if place % 2 else Html(typeset(part)) for place, part in enumerate(parts))


def join(children: Iterable[str], between: str = "") -> Html:
    """Children side by side, those that are not `Html` escaped.

    >>> join(["<", Html("<br>")])
    '&lt;<br>'
    """
    parts = (child if isinstance(child, Html) else escape(printable(child)) for child in children)
    return Html(between.join(parts))


def formula(latex: str, display: bool = True) -> Html:
    r"""A formula in MathML, which browsers typeset themselves: no font and no script need be loaded.

    What the converter cannot read, or makes anything but mathematics of, is shown as it was written.

    Args:
        latex: without dollar signs.
        display: on a line of its own.

    >>> formula("n^2", display=False).partition("<mrow>")[2]
    '<msup><mi>n</mi><mn>2</mn></msup></mrow></math>'
    """
    try:
        typeset = Html(mathml(latex, display))
    except ValueError:
        typeset = element("code", latex)
    if not display:
        return typeset
    return element("div", typeset, class_="formula", tabindex="0", role="group", aria_label="formula")


def table(columns: Sequence[Column[T]], items: Iterable[T], caption: str, marked: str = "") -> Html:
    """A table that sorts by any column: each heading is a button, and `aria-sort` tells the order.

    Args:
        columns: the specification, shared with the terminal.
        items: one for each row.
        caption: what the table shows, for those who do not see where it stands.
        marked: the header of a column whose first word becomes the class of its cells.
    """
    heads, lines = [], []
    for column in columns:
        button = element("button", column.header, type="button")
        heads.append(element("th", button, scope="col", aria_sort="none", class_="number" * column.right))
    for item in items:
        cells = []
        for column in columns:
            cell = column.render(item)
            words = cell.text.partition(" ")[0] if column.header == marked else ""
            style = f"{'number' * column.right} {words}".strip()
            cells.append(element("td", cell.text, data_key=_key(cell.key), class_=style))
        lines.append(element("tr", *cells))
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", join(lines, "\n")),
    )
    return element("div", whole, class_="table", tabindex="0", role="region", aria_label=caption)


def _key(key: float | str | None) -> str:
    """A key as the script reads it."""
    if isinstance(key, str):
        return key
    return "" if key is None or math.isnan(key) else repr(float(key)).replace("inf", "Infinity")


def figures(pictures: "Iterable[Picture]", size: str = "") -> Html:
    """Figures as inline SVG with their captions, side by side where the page is wide.

    Args:
        pictures: the figures.
        size: "large" for figures that need the width of the page.
    """
    drawn = []
    for shown in pictures:
        drawing = element("div", _svg(shown), class_="drawing", role="img", aria_label=shown.finding)
        drawn.append(element("figure", drawing, element("figcaption", readable(shown.caption))))
    return element("div", *drawn, class_=f"figures {size}".strip())


def _svg(shown: "Picture") -> Html:
    """The SVG of a figure: the same bytes every time, and no identity that another figure of the page has."""
    stream = StringIO()
    shown.draw().savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    names = {old: f"{shown.name}-{number}" for number, old in enumerate(dict.fromkeys(_IDENTITY.findall(text)))}
    text = _IDENTITY.sub(lambda match: f'id="{names[match[1]]}"', text)
    text = re.sub(r'(xlink:href="#|url\(#)([^")]+)', lambda match: match[1] + names[match[2]], text)
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1))
    return Html(text.replace("xlink:href", "href"))


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Names and what they are, as a list of descriptions."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))


def command(text: str) -> Html:
    """Something to type, kept as it is."""
    return element("pre", element("code", text), tabindex="0")


def document(title: str, mark: tuple[str, str] | None, lead: Sequence[Html], sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: the finding.
        mark: the verdict in a word and its class: "good", "bad" or "open"; None for a result without a verdict.
        lead: what stands before the list of contents.
        sections: the rest.
    """
    named = [(f"part-{number}", section) for number, section in enumerate(sections, 1)]
    links = [element("li", element("a", section.title, href=f"#{identity}")) for identity, section in named]
    verdict = [] if mark is None else [element("p", mark[0], class_=f"verdict {mark[1]}")]
    body = [
        element("header", element("h1", title), *verdict, *lead),
        element("nav", element("ul", *links), aria_label="Contents"),
        *(element("section", *_section(section, f"{identity}-title"), id=identity) for identity, section in named),
    ]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),  # else a browser asks for one
        element("style", _resource("page.css")),
    ]
    script = element("script", _resource("page.js"))
    body_element = element("body", element("main", join(body, "\n")), script)
    return f"<!DOCTYPE html>\n{element('html', element('head', *head), body_element, lang='en')}\n"


def _section(section: Section, identity: str) -> Sequence[Html]:
    heading = element("h2", section.title, id=identity)
    return [folded(heading, *section.parts)] if section.folded else [heading, *section.parts]


@cache
def _resource(name: str) -> Html:
    return Html(files("gpn.report.pages").joinpath(name).read_text(encoding="utf-8"))
