"""A theorem, law or bound as data: what it says, what it assumes, where it is proved, computed and tested.

The record states; it does not compute. Rendering, evaluation and testing are separate readers of it, as in
F. Johansson's Fungrim (2019), where a theorem is data with explicit assumptions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["theorem", "law", "bound", "prediction", "definition", "estimate"]


Rigor = Literal[
    "definition",
    "proved",
    "exact law",
    "numerical evaluation of a proved bound",
    "asymptotic prediction",
]


LETTERS = {
    r"n": "width, the number of neurons of each layer",
    r"L": "depth, the number of layers",
    r"l": "a layer, from 1 next to the input to L at the top",
    r"\phi": "the activation, applied to each neuron; its weak derivative is phi'",
    r"z": "a standard normal variable; E without more is the expectation over it",
    r"\epsilon": "tolerance, positive",
    r"q": "squared length per neuron of the input of a layer",
    r"q_l": "squared length per neuron after layer l, |x_l|^2/n",
    r"h": "pre-activation of a layer, W x; h_i are its entries",
    r"x_l": "output of layer l, phi(h_l)",
    r"W_l": "weight matrix of layer l",
    r"D": "the diagonal matrix of the phi'(h_i)",
    r"s": "phi'^2",
    r"u": "a uniform unit vector that is independent of h",
    r"Q_n(q)": "mean of q_1 at width n from squared length q, E phi(h_1)^2",
    r"S_n(q)": "mean of phi'(h_1)^2 at width n and squared length q",
    r"K": "sup |phi'| on |h| <= sqrt(nq)",
    r"K'": "sup |phi''| on |h| <= sqrt(nq), the Lipschitz constant of phi' there",
    r"\chi": "slope Q'(1) of the length map at 1",
    r"\kappa": "half of E s(z) (z^2 - 1)",
    r"B": "|D u|^2, the factor by which a layer changes the squared norm of a backward signal",
    r"e_l": "backward signal dE/dx_l, with e_(l-1) = W_l^T d_l",
    r"d_l": "backward signal dE/dh_l, the product of phi'(h_l) and e_l, entry by entry",
    r"G_l": "|dE/dW_l|^2/|dE/dW_L|^2, squared Frobenius norms",
    r"\rho_l": "cosine of the angle between e_l and x_l",
    r"\lambda": "exponent of the Markov inequality, not negative",
    r"c_k": "Hermite coefficient E phi(z) He_k(z)/sqrt(k!)",
    r"N": "number of independent trials",
    r"k": "number of trials that showed the event",
    r"\alpha": "error probability of a limit or of a verdict",
}
"""What a letter means wherever a claim does not say otherwise."""


WEAK = "phi is weakly differentiable (kinks are allowed, jumps are not), with finite E phi^2 and E phi'^2."
GPN = "phi is Gaussian-Poincaré normalized: E phi(z)^2 = E phi'(z)^2 = 1."
HAAR = "Every weight matrix is n x n, orthogonal and Haar-uniform; the layers are independent."
UNIFORM = "h is uniform on the sphere |h|^2 = nq, as W x is for a Haar-uniform orthogonal W and |x|^2 = nq."
FRESH = "u is uniform on the unit sphere and independent of h; inside a network only the top layer is so."
LIPSCHITZ = "phi is Lipschitz on |h| <= sqrt(nq)."
SLOPE_LIPSCHITZ = "phi' is Lipschitz on |h| <= sqrt(nq): no kinks there."
SHELL = "The input lies on the thin shell: |x_0|^2 = n."
RANDOM_READOUT = "The readout direction e_L is uniform and independent of all weights."
WIDE = "The width is large; what is left out is of higher order in 1/n."
MEASURABLE = "phi is measurable and phi' is any version of its derivative: kinks and jumps of phi' are allowed."
"""Assumptions that several claims share."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of the theory.

    Args:
        id: lower-case words joined by hyphens; rows of a report name their claim by it.
        kind: theorem, law, bound, prediction, definition or estimate.
        title: a few words.
        words: the statement, or the event whose probability is meant, in plain words.
        statement: LaTeX, each entry a displayed formula.
        symbols: pairs of a letter in LaTeX and its meaning.
        assumptions: everything that the statement needs, each in a sentence.
        rigor: "proved"; "exact law", proved with equality and evaluated to rounding; "numerical evaluation of a proved
            bound", whose quadratures and suprema carry estimated errors; or "asymptotic prediction", which has an error
            of its own at finite width.
        reference: author, year and number where it is published; empty where it is ours.
        proof: page and section in the repository, "docs/page.md#section"; empty where the reference has the proof.
        function: what computes it, "module:name" (`pkgutil.resolve_name` finds it); empty for a fact about the rest.
        test: "tests/file.py::name", the test that would fail if it were false.
        event: LaTeX of the probability of the event, for the axis of a figure.
        tested_by: pairs of a kind of bound and a claim that a row of that kind may rest on, for the claims that
            `gpn.verify` counts.
    """

    id: str
    kind: Kind
    title: str
    words: str
    statement: tuple[str, ...]
    symbols: tuple[tuple[str, str], ...]
    assumptions: tuple[str, ...]
    rigor: Rigor
    reference: str = ""
    proof: str = ""
    function: str = ""
    test: str = ""
    event: str = ""
    tested_by: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"<Claim {self.id}: {self.title} ({self.kind}, {self.rigor})>"

    def _repr_latex_(self) -> str:
        return "\n".join(f"$${formula}$$" for formula in self.statement)

    def facts(self) -> Iterator[tuple[str, str]]:
        """Rigor, reference, proof, function and test, those that there are, each with its name."""
        named = {
            "Rigor": self.rigor,
            "Reference": self.reference,
            "Proof": self.proof,
            "Function": self.function,
            "Test": self.test,
        }
        return ((name, text) for name, text in named.items() if text)


def letters(*wanted: str, **others: str) -> tuple[tuple[str, str], ...]:
    r"""Symbols of a claim: those of `LETTERS` by name, and its own with their meaning.

    >>> letters("n", t="a threshold")
    (('n', 'width, the number of neurons of each layer'), ('t', 'a threshold'))
    """
    return tuple((letter, LETTERS[letter]) for letter in wanted) + tuple(others.items())
