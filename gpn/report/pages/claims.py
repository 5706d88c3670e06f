"""A statement of the theory on a page."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpn.report.pages.page import Html, element, formula, join

if TYPE_CHECKING:
    from theory.claims.claim import Claim

_GREEK = {"phi": "φ", "epsilon": "ε", "chi": "χ", "lambda": "λ", "kappa": "κ", "rho": "ρ", "alpha": "α", "delta": "δ"}
_SIGNS = {
    **{rf"(?<![A-Za-z]){name}(?![A-Za-z])": letter for name, letter in _GREEK.items()},
    r"\bsqrt\(": "√(",
    r"<=": "≤",
    r">=": "≥",
    r"\^2(?!\w)": "²",
}


def claim_parts(entry: "Claim") -> Iterator[Html]:
    """A statement of the theory: words, formulas, letters, assumptions, rigour, source."""
    yield element("h3", entry.title)
    words = f"The event: {entry.words}." if entry.event else entry.words
    yield element("p", readable(words), class_="lead")
    yield from (formula(statement) for statement in entry.statement)
    letters = [join([formula(letter, display=False), f": {readable(meaning)}"]) for letter, meaning in entry.symbols]
    yield element("p", "where ", join(letters, "; "), ".", class_="symbols")
    yield element("p", readable(f"Assumes: {' '.join(entry.assumptions)}"), class_="symbols")
    sources = [f"{name}: {text}" for name, text in entry.facts() if name in ("Rigor", "Reference", "Proof")]
    yield element("p", f"{'. '.join(sources)}.", class_="symbols")


def readable(text: str) -> str:
    """A sentence of the registry of claims with its letters and signs as people write them.

    >>> readable("phi'(h)^2 <= chi, so epsilon >= sqrt(nq).")
    "φ'(h)² ≤ χ, so ε ≥ √(nq)."
    """
    for pattern, sign in _SIGNS.items():
        text = re.sub(pattern, sign, text)
    return text
