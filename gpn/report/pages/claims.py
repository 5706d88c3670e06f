"""A statement of the theory on a page, and in a notebook."""

import re
from collections.abc import Iterator
from dataclasses import fields

from gpn.report.pages.page import Html, element, formula, join
from theory.claims.claim import Claim
from theory.claims.registry import claim as look_up

_GREEK = {"phi": "φ", "epsilon": "ε", "chi": "χ", "lambda": "λ", "kappa": "κ", "rho": "ρ", "alpha": "α", "delta": "δ"}
_SIGNS = {
    **{rf"(?<![A-Za-z]){name}(?![A-Za-z])": letter for name, letter in _GREEK.items()},
    r"\bsqrt\(": "√(",
    r"<=": "≤",
    r">=": "≥",
    r"\^2(?!\w)": "²",
}


def claim_parts(entry: Claim) -> Iterator[Html]:
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


class ShownClaim(Claim):
    """A statement of the theory that a notebook shows."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """The whole record; a notebook typesets the formulas between dollar signs."""
        head = (element("b", self.title), f" ({self.kind}, ", element("code", self.id), f"). {self.words}")
        letters = [element("li", f"${letter}$: {meaning}") for letter, meaning in self.symbols]
        return join(
            [
                element("p", *head),
                *(element("p", f"$${statement}$$") for statement in self.statement),
                *(element("p", "where"), element("ul", *letters), element("p", "Assumes")),
                element("ul", *(element("li", assumption) for assumption in self.assumptions)),
                element("ul", *(element("li", f"{name}: {text}") for name, text in self.facts())),
            ]
        )


def claim(identity: str) -> ShownClaim:
    """One statement of the theory: what it says, what it assumes, where it is proved, computed and tested.

    Args:
        identity: its id, such as "levy-forward"; docs/claims.md lists all.

    Raises:
        UsageError: there is no such claim; the nearest is named.

    >>> claim("levy-forward").title
    'Lévy bound, forward'
    """
    found = look_up(identity)
    return ShownClaim(**{field.name: getattr(found, field.name) for field in fields(found)})


def readable(text: str) -> str:
    """A sentence of the registry of claims with its letters and signs as people write them.

    >>> readable("phi'(h)^2 <= chi, so epsilon >= sqrt(nq).")
    "φ'(h)² ≤ χ, so ε ≥ √(nq)."
    """
    for pattern, sign in _SIGNS.items():
        text = re.sub(pattern, sign, text)
    return text
