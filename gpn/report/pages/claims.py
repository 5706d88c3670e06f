"""A statement of the theory on a page, and in a notebook."""

from dataclasses import fields

from gpn.experiment.versions import repository
from gpn.report.pages.page import Html, element, folded, formula, join, readable
from theory.claims.claim import Claim
from theory.claims.registry import claim as look_up


def claim_parts(entry: Claim) -> Html:
    """A statement of the theory, folded under its title: words, formulas, letters, assumptions, rigor, source."""
    words = f"The event: {entry.words}." if entry.event else entry.words
    letters = [join([formula(letter, display=False), ": ", readable(meaning)]) for letter, meaning in entry.symbols]
    sources = [join([f"{name}: ", _proof(text) if name == "Proof" else text])
               for name, text in entry.facts() if name in ("Rigor", "Reference", "Proof")]  # fmt: skip
    return folded(
        join([element("b", entry.title), " ", element("span", entry.rigor, class_="soft")]),
        element("p", readable(words), class_="lead"),
        *(formula(statement) for statement in entry.statement),
        element("p", "where ", join(letters, "; "), ".", class_="symbols"),
        element("p", readable(f"Assumes: {' '.join(entry.assumptions)}"), class_="symbols"),
        element("p", join(sources, ". "), ".", class_="symbols"),
    )


def _proof(place: str) -> Html:
    """Where the proof stands: a link, once the repository has an address."""
    address = repository()
    if address is None:
        return join([place])
    page, _, section = place.partition("#")
    return element("a", place, href=f"{address}/blob/main/{page}#{section}")


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
