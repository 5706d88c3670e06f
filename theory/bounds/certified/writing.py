"""Certified bounds: what the search found is written as a certificate, which the checker then evaluates.

Nothing here has to be trusted. The checker takes all of it from the file, and refuses what it does not see to hold.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, Context, Decimal
from math import ceil, exp, log, sqrt
from time import process_time
from typing import Any

import numpy as np
import sympy
from scipy.optimize import linprog

from theory.activations.activation import Activation, NumericActivation
from theory.bounds.certificate import LIMITS, Certificate, Mixture, Side
from theory.bounds.certified.checker import parse, prove
from theory.bounds.certified.formula import Refused
from theory.bounds.moments import Setting, Sign
from theory.bounds.verifier import DeepBound, prepare
from theory.normalization.normalize import NormalizedActivation
from theory.numerics.special import normal_cdf, sigmoid, softplus

Say = Callable[[str], None]
CERTIFIED = "certified"
"""`DeepBound.rigor` of a bound that the checker has proved."""
PATIENCE = 300.0
"""Seconds of processor time after which a proof is given up."""


_ABOVE = 1 + 1e-12  # what must lie above another decimal
_SPARE = 1.5e-3  # by which the variances lie below their bound
_NEAR, _FAR = 10, 16  # where the panels end; coordinates beyond are rare, but for narrow networks of a growing phi
_ATTEMPTS = ((1, 3), (1, 4), (2, 3))  # panels are divided by the first; terms of the polynomial above the variances
_LARGEST_STEP, _LARGEST_LOSS = 1e-3, 0.02  # of the logarithm of a supremum: each, and of all layers together


class Unwritten(Exception):
    """No certificate can be written, with the reason."""


def silent(_words: str) -> None:
    """Says nothing."""


def certify(bound: DeepBound, activation: NumericActivation, epsilon: float, say: Say = silent) -> DeepBound:
    """The same bound, proved by the checker in ball arithmetic; one that says nothing if it is not.

    Args:
        bound: a bound with a certificate.
        activation: phi, for which it was found.
        epsilon: the tolerance; the certificate may have been found for a smaller one.
        say: is told of each term that is computed.

    Returns:
        `DeepBound` with the rigor "certified" and the document that `gpn verify-certificate` reads.
    """
    if bound.log == 0 or bound.certificate is None:
        return bound
    reason, end = "", process_time() + PATIENCE
    for finer, terms_of_bound in _ATTEMPTS:
        try:
            document = written(bound.certificate, activation, epsilon, finer, terms_of_bound)
            terms = prove(parse(json.dumps(document)), say, end - process_time())
        except Unwritten as error:
            return DeepBound("deep", 0.0, f"not certified: {error}", certificate=bound.certificate)
        except Refused as error:
            reason = f"not certified: {error}"
            continue
        stated = _rounded_up(sum(exp(term) for term in terms.values()))
        if stated >= 1:
            return DeepBound("deep", 0.0, "not certified: the terms add up to 1 or more", certificate=bound.certificate)
        document["statement"]["bound"] = stated
        return replace(bound, log=log(stated), terms=tuple(terms.items()), rigor=CERTIFIED, document=document)
    return DeepBound("deep", 0.0, reason, certificate=bound.certificate)


def _rounded_up(total: float) -> float:
    """Four digits, upwards: of a sum in floats of numbers that were rounded up."""
    return float(Context(prec=4, rounding=ROUND_CEILING).create_decimal(Decimal(total * _ABOVE)))


def written(
    certificate: Certificate, activation: NumericActivation, epsilon: float, finer: int = 1, count: int = 3
) -> dict[str, Any]:
    """A certificate as the document that the checker reads; its bound is yet to be found.

    Args:
        certificate: with a random readout or with any.
        activation: phi, a formula.
        epsilon: the tolerance of the statement.
        finer: the panels of the quadrature are divided by this.
        count: terms of the polynomial above the variances.

    Raises:
        Unwritten: a readout or a formula that the checker does not know.
    """
    c, s = certificate, prepare(certificate, activation)
    if c.readout.kind not in ("random", "any"):
        raise Unwritten("an aligned readout is not covered")
    spread = sqrt(2 / c.width)
    rule = {
        "edges": _edges(finer, sqrt(c.width * c.high)),
        "order": 12,
        "step": 0.4,
        "frequencies": 28,
        "cells": ceil(log(c.high / c.low) / (4 * spread)),
        "tolerance": min(_LARGEST_STEP, _LARGEST_LOSS / c.depth),
    }
    phi = formulas(activation)
    statement = {"activation": phi, "width": c.width, "depth": c.depth, "epsilon": epsilon, "bound": 1}
    escapes = zip(("below", "above"), c.escapes, strict=True)
    return {
        "statement": statement | {"readout": c.readout.kind},
        "rule": rule,
        "tube": [c.low, c.high],
        "escapes": {side: {"tilt": e.tilt, "functions": _functions(e.functions)} for side, e in escapes},
        "limits": {name: getattr(c, name) for name in LIMITS},
        "tilts": dict(zip(LIMITS, c.limit_tilts, strict=True)),
        "top": {"overlap": c.overlap, "floor": c.top_floor, "tilt": c.top_tilt, "shift": c.top_shift},
        "upper": _side(s, 1, c.upper, count),
        "lower": _side(s, -1, c.lower, count)
        | {"floor": c.lower.floor, "floor_tilt": c.lower.floor_tilt, "floor_shift": c.lower.floor_shift},
    }


def _edges(finer: int, reach: float) -> list[int]:
    """The ends of panels in units of 1/32: fine near 0, coarse further out; far out only where the width is small."""
    end = _FAR if reach < 1.5 * _FAR else _NEAR
    half = [
        edge for a, b, step in ((0, 2, 4), (2, 6, 8), (6, end, 16)) for edge in range(32 * a, 32 * b, step // finer)
    ]
    return sorted({sign * edge for edge in (*half, 32 * end) for sign in (-1, 1)})


def _functions(functions: Sequence[Mixture]) -> list[list[list[float]]]:
    return [[list(f.slopes), list(f.log_weights)] for f in functions]


def _side(s: Setting, sign: Sign, side: Side, count: int) -> dict[str, Any]:
    """One sign, with the chain that the search found best."""
    chain = side.chains[0]
    rates, shifts = list(chain.rates), list(chain.shifts)
    all_rates, all_shifts = (rates, shifts) if sign > 0 else ([*rates, side.floor_tilt], [*shifts, side.floor_shift])
    return {
        "b": side.b,
        "horizon": _ABOVE * max(all_rates),
        "variance": _variance(s, sign, side.b, all_rates, all_shifts, count),
        "brackets": list(side.bracket_tilts),
        "exponent": chain.exponent,
        "rates": rates,
        "log_weights": [weight + 1e-9 for weight in chain.log_weights],
        "shifts": shifts,
        "f": _functions(chain.functions),
        "g": _functions(chain.reflection.functions),
        "h": _functions(chain.sums),
        "power": chain.reflection.power,
        "shares": list(chain.reflection.shares),
    }


def _variance(s: Setting, sign: Sign, b: float, rates: list[float], shifts: list[float], count: int) -> list[float]:
    """Coefficients of the least polynomial of s above 1 and each 1/(1 - 2c -+ 2 t s/(n - 1)), by the loss."""
    grid = np.linspace(0, 1.02 * s.square, 400)
    variances = [
        1 - 2 * c - 2 * sign * t / (s.certificate.width - 1) * grid for t, c in zip(rates, shifts, strict=True)
    ]
    least = 1 / np.minimum(np.min(variances, axis=0), 1.0)
    gamma = 0.5 * (s.certificate.gamma_low + s.certificate.gamma_high)
    mixed = s.nodes.slope * (s.nodes.slope * s.nodes.value + b * gamma * s.nodes.z)
    cost = np.vander(s.nodes.slope**2, count, increasing=True).T @ (np.exp(s.nodes.log_weight) * mixed**2)
    powers = np.vander(grid, count, increasing=True)
    found = linprog(cost, A_ub=-powers, b_ub=-(1 + _SPARE) * least, bounds=(None, None))
    if found.x is None:
        raise Unwritten("the variances of tilted directions have no bound")
    return [float(x) for x in found.x]


def formulas(activation: NumericActivation) -> dict[str, Any]:
    """phi as the checker reads it: the pieces of a formula, the breaks between them, a scale and a shift."""
    if not isinstance(activation, Activation):
        raise Unwritten("phi is no formula")
    base, scale, shift = activation, 1.0, 0.0
    if isinstance(activation, NormalizedActivation):
        base, scale, shift = activation.base, float(activation.a), float(activation.b)
    if not all(point.is_integer for point in base.breakpoints):
        raise Unwritten("phi has a breakpoint that is not a whole number")
    pieces = [_text(piece.value) for piece in base.pieces]
    return {"pieces": pieces, "breaks": [int(b) for b in base.breakpoints], "scale": scale, "shift": shift}


class _Printer(sympy.printing.str.StrPrinter):  # type: ignore[misc]
    """Writes what the checker reads."""

    def _print_Exp1(self, _constant: sympy.Expr) -> str:
        return "exp(1)"

    def _print_expm1(self, function: sympy.Expr) -> str:
        return f"(exp({self._print(function.args[0])}) - 1)"

    def _print_erfc(self, function: sympy.Expr) -> str:
        return f"(1 - erf({self._print(function.args[0])}))"


def _text(expression: sympy.Expr) -> str:
    """A formula in the functions of the checker."""
    for special in (sigmoid, softplus, normal_cdf):
        expression = expression.replace(special, special.elementary)
    return str(_Printer().doprint(expression))
