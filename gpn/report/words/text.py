"""Numbers and names as text that is safe to print: one line, no control characters."""

import math
import unicodedata
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context

ROOT_SIGNS = {"plus": "₊", "minus": "₋"}
"""The sign of a root b of the normalization, as a subscript."""
ROOT_NAMES = {f"b_{root}": f"b{sign}" for root, sign in ROOT_SIGNS.items()}
"""What figures and their captions call a root."""
STABILITY = {
    "stable": "stable: squared length returns to 1",
    "marginal": "marginal: nothing returns squared length to 1",
    "unstable": "unstable: squared length leaves 1",
}
GIVEN_UP = "Given up, because its share of the time limit was spent"
"""What is said of the parts of a report that were not finished: each has its share of the limit."""


@dataclass(frozen=True, slots=True)
class TableCell:
    """One cell of a table.

    Args:
        text: what it shows.
        key: by what its column is sorted; None stands after all others.
        style: the style of the text in the terminal, such as "bold red".
    """

    text: str
    key: float | str | None
    style: str = ""


def supremum_text(value: float | None, kind: str) -> str:
    """A supremum in words; of an upper bound two digits, rounded up, of an estimate four.

    Args:
        value: None where it is infinite or not known.
        kind: see `theory.normalization.lipschitz.Supremum`.

    >>> supremum_text(0.75147562, "exact"), supremum_text(2979.96, "upper bound"), supremum_text(None, "infinite")
    ('= 0.75147562', '<= 3.0e3', 'infinite')
    """
    if value is None:
        return kind
    if kind != "upper bound":
        return f"= {value:.8g}" if kind == "exact" else f"about {value:.4g}"
    rounded = Context(prec=2, rounding=ROUND_CEILING).create_decimal(value)
    return f"<= {float(rounded):.2g}" if 0.01 <= rounded < 100 else f"<= {rounded:.1e}".replace("e+", "e")


def plain(text: str, limit: int = 300) -> str:
    """One printable line: control characters and lone surrogates are shown escaped, long text is shortened.

    >>> print(plain("tanh\\x1b[31m(x)"))
    tanh\\x1b[31m(x)
    """
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def printable(text: str) -> str:
    r"""Text with control characters and lone surrogates shown escaped; line ends stay.

    >>> printable("a\x1bb\nc") == r"a\x1bb" + "\n" + "c"
    True
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if character != "\n" and unicodedata.category(character)[0] == "C"
        else character
        for character in text
    )


def short_number(value: float | None, digits: int = 3) -> str:
    """A number as people write it; a dash for a missing one.

    >>> short_number(0.00012345), short_number(0.43), short_number(1.0), short_number(None)
    ('1.23e-4', '0.430', '1', '-')
    """
    if value is None:
        return "-"
    if not math.isfinite(value) or value == 0:
        return f"{value:.0f}"
    if not 1e-3 <= abs(value) < 10.0**digits:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.0f}" if value == int(value) else f"{value:#.{digits}g}"
