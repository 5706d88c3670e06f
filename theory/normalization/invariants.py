r"""What every answer about one activation must satisfy, checked before it leaves: report, a and b, family, audit.

Each invariant is a theorem or a definition, so a report that breaks one is wrong, whatever path led to it:

* a certified :math:`E \phi'^2` and a jump exclude each other;
* :math:`Var \phi \le E \phi'^2` (the Gaussian Poincaré inequality; Nash 1958, Chernoff 1981);
* :math:`\sup |\phi'|^2 \ge E \phi'^2`;
* a function that is not affine has two normalizations or none;
* for each printed a, b the function a phi + b has both moments 1, by quadrature in float64 that shares no step with
  the balls.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import sympy

from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.errors import ContradictionError
from theory.gaussian.expectations import Functional, expectations
from theory.numerics.arithmetic import FloatArray, X
from theory.numerics.quadrature import Estimate
from theory.numerics.survey import Survey

_ROUNDING = 1e-9  # of float64 and of printed digits, relative
_MOST_PLACES = 20  # that are checked closely
_LEAST_SCALE = 1e-150  # of a root that float64 can check
_FLOAT_ROUNDING = 1e-15  # of a, b and a phi, relative
_FLOAT_TOLERANCE = 1e-6  # of the float64 check, beside its own error estimate


class Root(Protocol):
    """A normalization that is about to leave."""

    @property
    def root(self) -> str: ...
    @property
    def a(self) -> float: ...
    @property
    def b(self) -> float: ...


class Report(Protocol):
    """What the invariants read of a report (`theory.normalization.conditions.Conditions`, or `Facts`)."""

    @property
    def certified(self) -> bool: ...
    @property
    def variance(self) -> float | None: ...
    @property
    def slope_second_moment(self) -> float | None: ...
    @property
    def error(self) -> float | None: ...
    @property
    def normalizable(self) -> str: ...
    @property
    def lipschitz(self) -> float | None: ...
    @property
    def jumps(self) -> tuple[str, ...]: ...
    @property
    def normalizations(self) -> "Sequence[Root]": ...


@dataclass(frozen=True, slots=True)
class Facts:
    """The same of an answer that is not a report: a normalization, a member of a family, a row of an audit."""

    certified: bool
    variance: float | None
    slope_second_moment: float | None
    error: float | None
    normalizations: Sequence[Root]
    jumps: tuple[str, ...] = ()
    normalizable: str = "yes"
    lipschitz: float | None = None


def check_invariants(report: Report, activation: Activation | CallableActivation) -> None:
    """Refuse a report that contradicts itself.

    Raises:
        ContradictionError: with the contradiction, and the formula to send with the report of the defect.
    """
    refuse(contradictions(report, activation), activation)


def refuse(found: Iterable[str], activation: Activation | CallableActivation) -> None:
    """Raise the error for the first of some contradictions, if there is one.

    Raises:
        ContradictionError: as for `check_invariants`.
    """
    for contradiction in found:
        formula = activation.expression if isinstance(activation, Activation) else activation.name
        raise ContradictionError(
            f"internal contradiction: {contradiction}. No answer is given. Please report it with the formula {formula}"
        )


def contradictions(report: Report, activation: Activation | CallableActivation) -> Iterator[str]:
    """The invariants that a report breaks, in words."""
    slope = report.slope_second_moment
    if slope is not None:
        if report.certified and report.jumps:
            yield f"E phi'^2 = {slope} is certified although phi jumps at {', '.join(report.jumps)}"
        yield from _inequalities(report, slope)
    is_affine = isinstance(activation, Activation) and activation.is_affine
    if report.normalizable == "yes" and len(report.normalizations) < 2 and not is_affine and not _is_tight(report):
        yield f"phi is not affine, and {len(report.normalizations)} of two normalizations are known"
    yield from _float_check(report.normalizations, activation)


def _inequalities(report: Report, slope: float) -> Iterator[str]:
    slack = (report.error or 0.0) * 4 + _ROUNDING * slope
    if report.variance is not None and report.variance > slope + slack:
        yield f"Var phi = {report.variance} is above E phi'^2 = {slope:.9g}"
    # A supremum is shown rounded, to six digits at least.
    if report.lipschitz is not None and report.lipschitz * report.lipschitz * (1 + 1e-5) < slope - slack:
        yield f"sup |phi'| = {report.lipschitz:.9g}, and its square is below E phi'^2 = {slope:.9g}"


def _is_tight(report: Report) -> bool:
    """Whether Var phi and E phi'^2 agree to the digits known, so that phi may be affine."""
    if report.variance is None or report.slope_second_moment is None:
        return True
    slope = report.slope_second_moment
    return abs(slope - report.variance) <= 4 * (report.error or 0.0) + _ROUNDING * slope


def _float_check(roots: Sequence[Root], activation: Activation | CallableActivation) -> Iterator[str]:
    """The second moments of the roots that are not 1; one quadrature for all of them."""
    roots = [
        root for root in roots if _LEAST_SCALE <= abs(root.a) and max(abs(root.a), abs(root.b)) <= 1 / _LEAST_SCALE
    ]
    if not roots:
        return  # float64 overflows
    a = roots[0].a
    scaled: dict[str, Functional] = {
        "mean": lambda _z, value, _slope: a * value,
        "second": lambda _z, value, _slope: (a * value) ** 2,
        "slope": lambda _z, _value, slope: (a * slope) ** 2,
    }
    squares = {f"{name}{index}": square for index, root in enumerate(roots) for name, square in _squares(root).items()}
    moments = expectations(activation, scaled | squares)
    if _is_missed(moments["mean"], moments["second"], moments["slope"]):
        return
    broken = list(_broken(roots, moments))
    if broken and isinstance(activation, Activation):  # panels may step over a short stretch, as of tanh(1e6*(x - 0.3))
        broken = list(_broken(roots, expectations(_looked_at_closely(activation), squares)))
    yield from broken


def _broken(roots: Sequence[Root], moments: Mapping[str, Estimate]) -> Iterator[str]:
    for index, root in enumerate(roots):
        found = {name: moments[f"{name}{index}"] for name in _squares(root)}
        owner = f"the root {root.root}, {_printed('a', root.a)}, {_printed('b', root.b)}"
        yield from _not_one(found, owner, _last_places(root.a, root.b))


def _looked_at_closely(activation: Activation) -> CallableActivation:
    """The formula with panels that shrink towards zeros and stationary points of the polynomials in it."""
    places = {float(point) for point in activation.breakpoint_values}
    nodes = activation.expression.atoms(sympy.Function, sympy.Pow)
    for inner in {argument for node in nodes for argument in node.args if argument.has(X)}:
        if inner.is_polynomial(X):
            coefficients = np.array([float(number) for number in sympy.Poly(inner, X).all_coeffs()])
            for line in (coefficients, np.polyder(coefficients)):
                places |= {float(root.real) for root in np.roots(line)}
    distances = 2.0 ** -np.arange(1, 54)
    near = [place + sign * distances for place in sorted(places)[:_MOST_PLACES] for sign in (-1, 1)]
    edges = np.unique(np.concatenate([*near, sorted(places)])) if near else np.empty(0)
    breakpoints = tuple(activation.breakpoint_values.tolist())
    known = Survey(breakpoints, edges=edges)

    def part(index: int) -> Callable[[FloatArray], FloatArray]:  # of the same path as without panels
        return lambda x: activation.value_and_slope(x)[index]

    return CallableActivation(activation.name, part(0), part(1), breakpoints, known)


def _squares(root: Root) -> dict[str, Functional]:
    a, b = root.a, root.b
    return {
        "E (a phi + b)^2": lambda _z, value, _slope: (a * value + b) ** 2,
        "E (a phi')^2": lambda _z, _value, slope: (a * slope) ** 2,
    }


def _last_places(a: float, b: float) -> float:
    """What the digits of a and b that were left out, and the rounding of a phi + b, may change in E (a phi + b)^2."""
    # A unit in the last printed place of a or b changes (a phi + b)^2 by at most 2 (|a phi + b|) (|phi| da + db).
    rounding = 2 * (last_place(a) / abs(a) * (1 + abs(b)) + last_place(b))
    # a phi and b nearly cancel where b is large, as for a function that is all but constant.
    cancelled = _FLOAT_ROUNDING * (1 + abs(b))
    return rounding + 2 * cancelled + cancelled**2


def _is_missed(mean: Estimate, second: Estimate, slope: Estimate) -> bool:
    """Whether float64 misses E phi'^2 and so breaks the inequality of Poincaré itself, as for tanh(1e200*x)."""
    spread = second.value - mean.value * mean.value
    error = 10 * (second.error + 2 * abs(mean.value) * mean.error + slope.error) + _FLOAT_ROUNDING * second.value
    return bool(slope.value < 0.5 * (spread - error))


def must_be_one(
    activation: Activation | CallableActivation,
    functionals: Mapping[str, Functional],
    owner: str,
    rounding: float = 0.0,
) -> Iterator[str]:
    """Those of some expectations that are not 1, by quadrature in float64 that shares no step with the balls.

    Args:
        activation: phi.
        functionals: of z, phi and phi', by name.
        owner: what has these expectations, for the message.
        rounding: what the digits that were left out may change.
    """
    yield from _not_one(expectations(activation, functionals), owner, rounding)


def _not_one(moments: Mapping[str, Estimate], owner: str, rounding: float) -> Iterator[str]:
    for name, moment in moments.items():
        if abs(moment.value - 1) > 10 * moment.error + rounding + _FLOAT_TOLERANCE:
            yield f"{name} = {moment.value:.9g} for {owner}"


def _printed(name: str, number: float) -> str:
    return f"{name} = {getattr(number, 'digits', number)}"


def last_place(number: float) -> float:
    """The unit in the last printed place of a number with digits; 0 for one that is printed as 0, and for a float."""
    text = getattr(number, "digits", "0")
    digits, _, exponent = text.lower().partition("e")
    return 0.0 if float(text) == 0 else 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
