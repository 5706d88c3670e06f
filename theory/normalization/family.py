"""A family of activations with one free parameter, and the numbers of its members."""

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import sympy
from flint import arb

from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.catalog import find
from theory.activations.entry import Entry, exact_number
from theory.activations.formula import free_names, syntax_tree
from theory.activations.specification import activation, is_reference, load
from theory.balls.core import NotCertified
from theory.errors import SpecificationError
from theory.gaussian.certified import certified_moments
from theory.gaussian.convergence import convergence
from theory.gaussian.float_moments import moment_estimates
from theory.gaussian.moments import CONDITIONS, Moments, Normalization
from theory.normalization.invariants import Facts, check_invariants
from theory.numerics.budget import Budget
from theory.numerics.quadrature import Estimate

_RESERVED = frozenset(("x", "z", "t", "pi", "e", "E", "True", "False"))
_NAN = float("nan")
NOT_RESOLVED = "not resolved in float64: phi changes on too short a stretch"
_BITS = 100  # more than float64 moments are worth
_DIGITS = 16
_PATIENCE = 3.0  # seconds of processor time for the proof of the moments of one member


@dataclass(frozen=True, slots=True)
class Family:
    """Activations that depend on one parameter.

    Args:
        text: the family as it is written.
        parameter: the name of the parameter.
        build: maps a value of the parameter to the activation.
    """

    text: str
    parameter: str
    build: Callable[[float], Activation | CallableActivation]


@dataclass(frozen=True, slots=True)
class Member:
    """The moments and normalizations of one member of a family: float64 numbers, proved where that is possible.

    Args:
        value: the value of the parameter.
        mean, second_moment, slope_second_moment: E phi, E phi^2, E phi'^2.
        normalizations: plus and minus, or one where both coincide; none where there are no numbers.
        error: the largest error of the moments that these numbers come from: a proved bound for a formula whose moments
            are certified, else an estimate, which does not know of features of a Python function narrower than 0.0016.
        reason: why the numbers are nan, else empty.
        phi: the activation itself, None where there are no numbers.
    """

    value: float
    mean: float = _NAN
    second_moment: float = _NAN
    slope_second_moment: float = _NAN
    normalizations: tuple[Normalization[float], ...] = ()
    error: float = float("inf")
    reason: str = ""
    phi: Activation | CallableActivation | None = field(default=None, repr=False, compare=False)

    @property
    def a(self) -> float:
        """Scale of both normalizations."""
        return self.normalizations[0].a if self.normalizations else _NAN

    @property
    def b_plus(self) -> float:
        """Shift of the root plus."""
        return self.normalizations[0].b if self.normalizations else _NAN

    @property
    def b_minus(self) -> float:
        """Shift of the root minus."""
        return self.normalizations[-1].b if self.normalizations else _NAN

    @property
    def chi_plus(self) -> float:
        """Slope of the length map at 1 with the root plus."""
        return self.normalizations[0].chi if self.normalizations else _NAN

    @property
    def chi_minus(self) -> float:
        """Slope of the length map at 1 with the root minus."""
        return self.normalizations[-1].chi if self.normalizations else _NAN


def family(spec: object, parameter: str | None = None) -> Family:
    """Return the family of activations that a text, a SymPy expression or a function of the parameter stands for.

    Args:
        spec: text with one name besides the variable ("elu(alpha)", "x*sigmoid(beta*x)"); "module:function" to import,
            a function phi(x, parameter) or one of the parameter that returns an activation; a SymPy expression with
            two symbols; or a function that maps a number to anything
            `theory.activations.specification.activation` reads.
        parameter: the name of the parameter; needed where there are several candidates.

    Raises:
        SpecificationError: there is no such parameter, or there are several candidates and none is chosen.

    >>> family("elu(alpha)").build(2).expression
    Piecewise((x, x > 0), (2*expm1(x), True))
    """
    if isinstance(spec, Family):
        return spec
    if is_reference(spec):
        return _from_reference(str(spec))
    if isinstance(spec, str):
        return _from_text(spec, parameter)
    if isinstance(spec, sympy.Expr):
        return _from_sympy(spec, parameter)
    if callable(spec):
        build = spec
        return Family(getattr(spec, "__name__", "family"), parameter or "value", lambda v: activation(build(v)))
    raise SpecificationError(
        "a family is a text with a free parameter ('elu(alpha)'), a SymPy expression in two symbols or a "
        f"function of the parameter; got {type(spec).__name__}"
    )


def member(spec: object, parameter: str | None, value: float) -> Member:
    """The numbers of one member of a family; nan with a reason where they do not exist.

    >>> round(member("leaky_relu(slope)", "slope", 0.0).a, 12)  # sqrt 2
    1.414213562373
    """
    value = float(value)
    try:
        phi = family(spec, parameter).build(value)
    except SpecificationError as error:
        return Member(value, reason=str(error))
    if getattr(phi, "undefined", ()):
        return Member(value, reason="undefined on part of the line")
    if getattr(phi, "jumps", ()):
        return Member(value, reason=f"jumps at {', '.join(map(str, getattr(phi, 'jumps', ())))}")
    moments = _moments(phi)
    if isinstance(moments, str):
        return Member(value, reason=moments)
    if not moments.balls["slope_second"] > 0:
        is_unknown = isinstance(phi, Activation) and not moments.certified and not phi.is_affine
        return Member(value, reason=NOT_RESOLVED if is_unknown else "constant: no scale a makes it GPN")
    roots = moments.normalizations()
    assert not isinstance(roots, NotCertified)  # E phi'^2 > 0
    found = tuple(root.converted(lambda ball: float(ball.mid())) for root in roots)
    mean, second, slope = (float(moments.balls[name].mid()) for name in ("mean", "second", "slope_second"))
    doubt = max(float(ball.rad() + abs(ball - float(ball.mid())).upper()) for ball in moments.balls.values())
    variance = float(moments.variance.mid())
    check_invariants(Facts(moments.certified, variance, slope, doubt * (1 + abs(mean)), found), phi)
    return Member(
        value,
        mean=mean,
        second_moment=second,
        slope_second_moment=slope,
        normalizations=found,
        error=doubt,
        phi=phi,
    )


def _moments(phi: Activation | CallableActivation) -> Moments | str:
    """The moments of a member, proved where they can be, else in float64; or why they are not known.

    Quadrature in float64 steps over what happens on a short stretch, as in tanh(1e6 x): without a proof two ways of
    placing its panels have to agree.
    """
    unproved = NotCertified("not finished")
    proof = Budget(_PATIENCE).attempt("", 1.0, lambda: certified_moments(phi, _DIGITS, CONDITIONS), unproved)
    if isinstance(proof, Moments) and _is_sharp(proof):
        return proof
    estimates = moment_estimates(phi, CONDITIONS)
    if any(estimate.error > 1e-6 * max(1.0, abs(estimate.value)) for estimate in estimates.values()):
        return _trouble(phi)
    if isinstance(phi, Activation):
        looked_at = CallableActivation(phi.name, phi.value, phi.slope, tuple(phi.breakpoint_values))
        others = moment_estimates(looked_at, CONDITIONS)
        pairs = [(estimates[name], others[name]) for name in CONDITIONS]
        known = proof.balls if isinstance(proof, Moments) else {}
        pairs += [(estimates[name], Estimate(float(ball.mid()), float(ball.rad()))) for name, ball in known.items()]
        if not all(abs(e.value - o.value) <= e.error + o.error + 1e-12 * abs(e.value) for e, o in pairs):
            return NOT_RESOLVED
    is_homogeneous = isinstance(phi, Activation) and phi.is_positively_homogeneous
    balls = {name: arb(estimate.value, estimate.error) for name, estimate in estimates.items()}
    return Moments(balls, _BITS, homogeneous=is_homogeneous)


def _is_sharp(moments: Moments) -> bool:
    """Whether all moments are proved to the digits of a table, and more."""
    balls = [moments.balls.get(name, arb.nan()) for name in CONDITIONS]
    return all(ball.rad() <= 1e-12 * (1 + abs(ball)) for ball in balls)


def _trouble(phi: Activation | CallableActivation) -> str:
    """Why a moment is not known in float64."""
    orders: tuple[tuple[Literal["value", "slope"], str], ...] = (("value", "E phi^2"), ("slope", "E phi'^2"))
    for order, moment in orders:
        if isinstance(phi, Activation) and convergence(phi, order).verdict == "diverges":
            return f"{moment} diverges"
    return "a moment could not be computed in float64"


def _from_reference(reference: str) -> Family:
    function = load(reference)
    names = _required(function)
    if len(names) == 2:
        parameter = names[1]

        def build(value: float) -> Activation | CallableActivation:
            return activation(lambda x: function(x, value), name=f"{reference}({parameter}={value:g})")

        return Family(reference, parameter, build)
    if len(names) == 1:
        return Family(reference, names[0], lambda value: activation(_built(function, reference, names[0], value)))
    raise SpecificationError(
        f"{reference:.100} must be a function phi(x, parameter), or one of the parameter that returns an activation"
    )


def _built(function: Callable[[float], object], reference: str, parameter: str, value: float) -> object:
    """What a function of the parameter returns.

    Raises:
        SpecificationError: the function fails.
    """
    try:
        return function(value)
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise SpecificationError(
            f"{reference:.100} fails at {parameter} = {value:g} ({what:.200}); it must be a function phi(x, parameter) "
            "or one of the parameter that returns an activation"
        ) from error


def _required(function: Any) -> list[str]:
    """Names of the positional arguments without default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty]


def _from_text(text: str, parameter: str | None) -> Family:
    tree, _ = syntax_tree(text)
    if isinstance(tree, ast.Name) and (entry := find(text)) is not None:
        return _from_text(_with_parameter(entry, parameter), parameter)
    free = free_names(tree)
    candidates = sorted(free - _RESERVED)
    if parameter is None and len(candidates) != 1:
        seen = f"it has {', '.join(candidates)}: choose one" if candidates else "it has none"
        raise SpecificationError(f"a family such as 'elu(alpha)' has one free parameter; in {text!r:.60} {seen}")
    name = candidates[0] if parameter is None else parameter
    if name not in free:
        raise SpecificationError(f"{text!r:.60} has no parameter {name!r:.40}; free are {', '.join(sorted(free))}")

    def build(value: float) -> Activation | CallableActivation:
        try:
            member_text = ast.unparse(_Substitution(name, value).visit(syntax_tree(text)[0]))
        except RecursionError as error:
            raise SpecificationError(f"the family {text!r:.60} is nested too deeply") from error
        return activation(member_text)

    return Family(" ".join(text.split()), name, build)


def _with_parameter(entry: Entry, parameter: str | None) -> str:
    """The text of a bare name with its parameter: "elu" is the family "elu(alpha=alpha)"."""
    names = [known.name for known in entry.parameters]
    wanted = names[0] if parameter is None and len(names) == 1 else parameter
    if wanted not in names:
        seen = f"the parameters {', '.join(names)}: choose one" if names else "no parameter"
        raise SpecificationError(f"{entry.name} has {seen}; a family has one, such as 'elu(alpha)'")
    return f"{entry.name}({wanted}={wanted})"


class _Substitution(ast.NodeTransformer):
    """Replaces a name by a number."""

    def __init__(self, name: str, value: float) -> None:
        self._name = name
        number = exact_number(value, name)
        size: ast.expr = ast.Constant(abs(float(number)))
        self._number = ast.UnaryOp(ast.USub(), size) if number < 0 else size

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._number if node.id == self._name else node


def _from_sympy(expression: sympy.Expr, parameter: str | None) -> Family:
    symbols = {str(symbol): symbol for symbol in expression.free_symbols}
    others = sorted(set(symbols) - {"x"})
    name = others[0] if parameter is None and len(others) == 1 else parameter
    if name not in symbols:
        raise SpecificationError(f"{expression!s:.60} has the symbols {', '.join(symbols)}: which is the parameter?")
    symbol = symbols[name]

    def build(value: float) -> Activation | CallableActivation:
        return activation(expression.subs(symbol, exact_number(float(value), name)))

    return Family(str(expression), name, build)
