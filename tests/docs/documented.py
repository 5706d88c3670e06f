"""What a page of the documentation shows: its fenced blocks, the commands in them, and its links.

A comment on the line before a fence tells what the block is when its language does not:

    <!-- slow -->              takes long: only with `pytest -m slow`
    <!-- needs: torch dask -->  only where these can be imported
    <!-- file: phi.py -->      the contents of a file in the reader's folder
    <!-- not run: why -->      shown, not run
"""

import re
from dataclasses import dataclass

from tests.root import ROOT

PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>.*?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_LONG = re.compile(r"gpn (verify(?!.*--(trials|resume))|width|audit|train|reproduce)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its line in the page, its language, its text, and the comment before it."""

    line: int
    language: str
    body: str
    mark: str

    @property
    def slow(self) -> bool:
        return "slow" in self.mark or any(_LONG.match(command) for command, _ in self.commands())

    def commands(self) -> list[tuple[str, str | None]]:
        """Commands with what they print; None where a shell block shows none."""
        if self.language == "sh":
            lines = (line.partition("  #")[0].strip() for line in self.body.splitlines())
            return [(part.strip(), None) for line in lines for part in line.split("&&") if part.strip()]
        if self.language not in ("text", "console") or not self.body.startswith("$ "):
            return []
        parts = re.split(r"^\$ ", self.body, flags=re.MULTILINE)[1:]
        return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> list[Block]:
    text = text_of(page)
    return [
        Block(text[: found.start()].count("\n") + 1, found["language"], found["body"], found["mark"] or "")
        for found in _FENCE.finditer(text)
    ]


def links(page: str) -> list[str]:
    """Targets of the links of a page that lead into the repository."""
    text = _FENCE.sub("", text_of(page))
    return [target for target in _LINK.findall(text) if not re.match(r"\w+:", target)]


def anchors(page: str) -> set[str]:
    """Where GitHub lets a link into a page land: explicit anchors, and headings in lower case with hyphens."""
    text = text_of(page)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


def agree(shown: str, printed: str) -> bool:
    """Whether the lines printed are those shown; a line "..." stands for any lines, "..." in one for anything.

    >>> agree("a\\n...\\nd\\n", "a\\nb\\nc\\nd\\n"), agree("a\\n...\\nd\\n", "a\\nb\\n")
    (True, False)
    """
    parts = re.split(r"^\.\.\.$\n?", _tidy(shown), flags=re.MULTILINE)
    pattern = r"(?:.*\n)*?".join(re.escape(part).replace(re.escape("..."), ".*") for part in parts)
    return re.fullmatch(pattern, _tidy(printed)) is not None


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"
