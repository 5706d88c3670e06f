"""Errors that are made on purpose in the certificates, to see which of them the campaign of random formulas detects.

    python benchmarks/soundness_mutations.py

Each is a context, inside which a report is wrong. The table is in docs/rigor.md.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from flint import arb

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.soundness import examine, formulas
from theory.activations import activation as activations
from theory.activations import critical_points, pieces
from theory.activations.proofs import discontinuity
from theory.gaussian import certified, certified_integrals
from theory.normalization import lipschitz_proofs
from theory.normalization.branch_and_bound import Search

_COUNT = 40
Patch = tuple[Any, str, Any]
"""An owner, the name of an attribute, and what stands there instead."""


def _small_balls() -> list[Patch]:
    """Integrals to three digits, without their radius."""
    right = certified_integrals.acb.integral

    class Coarse(certified_integrals.acb):
        @staticmethod
        def integral(*arguments: Any, **options: Any) -> Any:
            options |= {"abs_tol": arb(1e-3), "rel_tol": arb(1e-3)}
            return right(*arguments, **options).mid()

    return [(certified_integrals, "acb", Coarse)]


def _shifted_end() -> list[Patch]:
    """The last of the pieces begins a thousandth too late."""

    def late(piece: Any, *rest: Any) -> Any:
        return right(piece, *rest) + arb(1e-3)

    right = certified_integrals._rounded_end
    return [(certified_integrals, "_rounded_end", late)]


def _joined_anyway() -> list[Patch]:
    """Neighbouring pieces are taken for continuous without a proof."""

    def none(*_arguments: Any) -> None:
        return None

    owners = (certified, lipschitz_proofs, activations)
    return [(owner, "discontinuity", none) for owner in owners]


def _missed_zeros() -> list[Patch]:
    """The last zero of a polynomial is not found."""
    right = critical_points._polynomial_zeros
    return [(critical_points, "_polynomial_zeros", lambda polynomial: (right(polynomial) or [])[:-1])]


def _low_supremum() -> list[Patch]:
    """Suprema are a hundredth too low."""
    right = Search.enclosure
    return [(Search, "enclosure", lambda self: right(self) * arb(0.99))]


MUTATIONS: Mapping[str, tuple[Callable[[], list[Patch]], str]] = {
    "integrals to three digits, their radius left out": (_small_balls, "tanh(2*x)*sin(3*x)"),
    "a piece that begins 0.001 late": (_shifted_end, "tanh(x)*abs(x-0.5)"),
    "pieces taken for joined without a proof": (_joined_anyway, "hard_tanh(1/x)"),
    "the last zero of a polynomial is missed": (_missed_zeros, "abs(x**2-2)*tanh(x)"),
    "suprema lowered by 1 %": (_low_supremum, "tanh(x)"),
}
"""What is wrong, and a formula that shows it."""


@contextmanager
def applied(name: str) -> Iterator[None]:
    """Make an error for as long as the context lasts; what was computed before is forgotten, and afterwards too."""
    with ExitStack() as stack:
        _forget()
        for owner, attribute, new in MUTATIONS[name][0]():
            stack.enter_context(mock.patch.object(owner, attribute, new))
        yield
    _forget()


def _forget() -> None:
    for cached in (discontinuity, pieces.split, pieces._resolved, lipschitz_proofs._enclosed):
        cached.cache_clear()


def is_seen(formula: str) -> str:
    """What the campaign holds against the report of a formula, empty if nothing."""
    _, outcome, faults, _ = examine((formula, 60.0))
    return faults if faults or outcome == "crash" else ""


def main() -> None:
    texts = formulas(seed=5, count=_COUNT)
    assert not any(map(is_seen, texts))
    print(f"| error | seen in {_COUNT} random formulas | what is found for one |", "|---|---|---|", sep="\n")
    for name, (_, formula) in MUTATIONS.items():
        with applied(name):
            print(f"| {name} | {sum(map(bool, map(is_seen, texts)))} | `{formula}`: {is_seen(formula)} |", flush=True)


if __name__ == "__main__":
    main()
