"""Evaluate one expression in many rigorous arithmetics: real and complex balls, power series, growth envelopes.

A ball m +- r is a set of numbers that is proved to contain the true one (Johansson 2017, "Arb: efficient
arbitrary-precision midpoint-radius interval arithmetic", IEEE Transactions on Computers 66). An expression becomes a
straight-line `Program` once and is bound to an arithmetic as often as needed. Constants enter exactly, or as balls at
the working precision, never as floats, and no ball is ever converted to another kind of number here.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

import sympy
from flint import acb, arb, ctx, fmpq

from theory.balls.arithmetics import COMPLEX, REAL, taylor_coefficients
from theory.balls.core import Arithmetic, NotCertifiable, precision
from theory.numerics.arithmetic import X
from theory.numerics.enclosed import Enclosed
from theory.numerics.special import hermite_normalized

_Step = tuple[str, str, Any, tuple[str, ...]]  # target, kind, detail, operands
_INFIX = {"add": "+", "multiply": "*"}


class deflated(sympy.Function):  # type: ignore[misc]
    r"""The quotient N(t)/t^m with its limit at t = 0, where N has a zero of order m at 0; t is the program's variable.

    The numerator of :math:`(N/t^m)' = (t N' - m N)/t^{m+1}` has a zero of order m + 1 for the same reason.
    """

    nargs = 2

    def _eval_derivative(self, variable: sympy.Symbol) -> sympy.Expr:
        numerator, order = self.args
        if not numerator.has(variable):
            return sympy.Integer(0)
        smaller = variable * sympy.diff(numerator, variable) - order * numerator
        smaller = sympy.expand(smaller) if numerator.is_polynomial(variable) else smaller
        return sympy.Integer(0) if smaller == 0 else deflated(smaller, order + 1)


class Program:
    """Expressions in one variable as a straight-line program that shares common subexpressions.

    Args:
        expressions: SymPy expressions without switches (`Abs`, `Piecewise`, ...).
        variable: their symbol.

    Raises:
        NotCertifiable: an operation without a rigorous implementation.

    >>> with precision(64):
    ...     (value,) = Program([X**2 / 3]).bind(REAL)(arb(2))
    >>> value.str(10)
    '[1.333333333 +/- 3.34e-10]'
    """

    def __init__(self, expressions: Sequence[sympy.Expr], variable: sympy.Symbol = X) -> None:
        self.variable = variable
        self._names: dict[Any, str] = {variable: "x"}
        self._leaves: dict[str, sympy.Expr] = {}
        self._folded: list[_Step] = []  # steps on constants alone, run once when the program is bound
        self._steps: list[_Step] = []
        self._outputs = [self._emit(_prepared(expression)) for expression in expressions]
        self._code = self._compiled()

    @property
    def size(self) -> int:
        """The number of operations of one evaluation."""
        return len(self._steps)

    def bind(self, arithmetic: Arithmetic) -> Callable[[Any], tuple[Any, ...]]:
        """The program as a function on the numbers of an arithmetic, with constants at the present precision."""
        constants: dict[str, Any] = {name: _leaf_ball(leaf) for name, leaf in self._leaves.items()}
        for target, kind, detail, operands in self._folded:
            constants[target] = _operation(kind, detail, REAL)(*(constants[name] for name in operands))
        namespace = {name: arithmetic.lift(ball) for name, ball in constants.items()}
        for target, kind, detail, _ in self._steps:
            namespace[f"f_{target}"] = _operation(kind, detail, arithmetic)
        # Compiled once and run thousands of times: a walk over the tree would cost more than the balls.
        exec(self._code, namespace)  # straight-line code made of the names above and nothing else
        run: Callable[[Any], tuple[Any, ...]] = namespace["run"]
        return run

    def _compiled(self) -> CodeType:
        lines = ["def run(x):"]
        for target, kind, _, operands in self._steps:
            call = f"f_{target}({', '.join(operands)})"
            lines.append(f"    {target} = {f' {_INFIX[kind]} '.join(operands) if kind in _INFIX else call}")
        lines.append(f"    return ({', '.join(self._outputs)},)")
        return compile("\n".join(lines), "<straight-line program>", "exec")

    def _emit(self, node: sympy.Expr) -> str:
        if node not in self._names:
            self._names[node] = self._emit_new(node)
        return self._names[node]

    def _emit_new(self, node: sympy.Expr) -> str:
        if not node.args or isinstance(node, sympy.CRootOf):
            return self._leaf(node)
        if isinstance(node, deflated):
            numerator, order = node.args
            program = Program([numerator], self.variable)
            return self._step("deflate", (program, int(order)), "x", self._emit(numerator), key=node)
        if isinstance(node, sympy.Add):
            return self._emit_sum(node)
        if isinstance(node, sympy.Mul):
            return self._fold("multiply", list(node.args))
        if isinstance(node, sympy.Pow):
            return self._emit_power(node)
        if isinstance(node, sympy.Function):
            operands = (self._emit(argument) for argument in node.args)
            return self._step("call", type(node).__name__, *operands)
        raise NotCertifiable(f"{type(node).__name__} has no rigorous implementation")

    def _leaf(self, node: sympy.Expr) -> str:
        if node.free_symbols:
            raise NotCertifiable(f"the symbol {node} has no value")
        name = f"c{len(self._names)}"
        self._leaves[name] = node
        return name

    def _emit_sum(self, node: sympy.Expr) -> str:
        """A sum, in which c - k*tanh(u)**2 becomes (c - k) + k*sech(u)**2: no cancellation where tanh is near +-1."""
        constant, terms = node.as_independent(self.variable, as_Add=True)
        for term in sympy.Add.make_args(terms):
            factor, rest = term.as_independent(self.variable, as_Add=False)
            is_square = isinstance(rest, sympy.Pow) and rest.exp == 2 and isinstance(rest.base, sympy.tanh)
            if is_square and _is_share(-factor, constant):
                slope = self._step("call", "sech_squared", self._emit(rest.base), self._emit(rest.base.args[0]))
                scaled = slope if factor == -1 else self._step("multiply", None, self._emit(-factor), slope)
                others = terms - term + (constant + factor)
                return scaled if others == 0 else self._step("add", None, self._emit(others), scaled)
        return self._fold("add", list(node.args))

    def _fold(self, kind: str, nodes: list[sympy.Expr]) -> str:
        """Constants first, so that they are combined once and for all."""
        nodes.sort(key=lambda node: node.has(self.variable))
        name = self._emit(nodes[0])
        for node in nodes[1:]:
            name = self._step(kind, None, name, self._emit(node))
        return name

    def _emit_power(self, node: sympy.Pow) -> str:
        if isinstance(node.exp, sympy.Rational):
            power = fmpq(int(node.exp.p), int(node.exp.q))
            return self._step("power", power, self._emit(node.base), key=node.exp)
        # A power with a variable exponent has no rule of its own: b^u = exp(u log b).
        logarithm = self._step("call", "log", self._emit(node.base))
        return self._step("call", "exp", self._step("multiply", None, self._emit(node.exp), logarithm))

    def _step(self, kind: str, detail: Any, *operands: str, key: Any = None) -> str:
        """Append a step unless the same one exists; a step on constants alone goes to the constants."""
        identity = (kind, detail if key is None else key, operands)
        if identity not in self._names:
            # Names tell constants (c...) from what depends on the variable (v...).
            constant = all(name.startswith("c") for name in operands)
            name = f"{'c' if constant else 'v'}{len(self._names)}"
            (self._folded if constant else self._steps).append((name, kind, detail, operands))
            self._names[identity] = name
        return self._names[identity]


def _operation(kind: str, detail: Any, arithmetic: Arithmetic) -> Callable[..., Any]:
    if kind == "add":
        return lambda a, b: a + b
    if kind == "multiply":
        return lambda a, b: a * b
    if kind == "power":
        return arithmetic.power(detail)
    if kind == "deflate":
        return arithmetic.deflate(*detail)
    if detail not in arithmetic.functions:
        raise NotCertifiable(f"the function {detail} has no rigorous rule here")
    return arithmetic.functions[detail]


def _is_share(part: sympy.Expr, whole: sympy.Expr) -> bool:
    """Whether 0 < part/whole <= 1."""
    if whole == 0:
        return False
    share = part / whole
    return bool(share.is_Rational and 0 < share <= 1)


def without_floats(expression: sympy.Expr) -> sympy.Expr:
    """The expression with every float replaced by the binary fraction that it is.

    >>> without_floats(sympy.Float(0.5) * X)
    x/2
    """
    exact: sympy.Expr = expression.xreplace({n: sympy.Rational(n) for n in expression.atoms(sympy.Float)})
    return exact


def _prepared(expression: sympy.Expr) -> sympy.Expr:
    """No floats, Hermite functions as polynomials, sinh/cosh as tanh."""
    exact = without_floats(expression)
    if exact.has(hermite_normalized):
        exact = exact.replace(hermite_normalized, lambda k, x: hermite_normalized(k, x).expand(func=True))
    if exact.has(sympy.sinh):
        exact = exact.replace(lambda node: isinstance(node, sympy.Mul), _hyperbolic_quotient)
    return exact


def _hyperbolic_quotient(product: sympy.Mul) -> sympy.Expr:
    """A product in which (sinh u/cosh u)^k is written as tanh(u)^k."""
    powers = product.as_powers_dict()
    for base, power in list(powers.items()):
        if isinstance(base, sympy.sinh):
            cosh = sympy.cosh(base.args[0])
            if powers.get(cosh, 0) == -power:
                product = product / base**power * cosh**power * sympy.tanh(base.args[0]) ** power
    return product


_CONSTANTS: Mapping[sympy.Expr, Callable[[], arb]] = {
    sympy.pi: arb.pi,
    sympy.E: arb.const_e,
    sympy.EulerGamma: arb.const_euler,
    sympy.Catalan: arb.const_catalan,
    sympy.GoldenRatio: lambda: (1 + arb(5).sqrt()) / 2,
}


def _leaf_ball(leaf: sympy.Expr) -> arb:
    if isinstance(leaf, sympy.Rational):
        return rational_ball(leaf)
    if leaf in _CONSTANTS:
        return _CONSTANTS[leaf]()
    if isinstance(leaf, Enclosed):
        enclosed: arb = leaf.enclosure(ctx.prec)
        return enclosed
    if isinstance(leaf, sympy.CRootOf) and leaf.is_real:
        error = sympy.Rational(1, 2 ** (ctx.prec + 10))
        return rational_ball(leaf.eval_rational(error)) + arb(0, rational_ball(error).upper())
    raise NotCertifiable(f"the constant {leaf} has no rigorous value here")


def rational_ball(number: sympy.Rational) -> arb:
    """A rational number as a ball at the present precision."""
    return arb(fmpq(int(number.p), int(number.q)))


def constant_ball(expression: sympy.Expr) -> arb:
    """A constant expression as a ball at the present precision.

    Raises:
        NotCertifiable: no rigorous finite value.

    >>> with precision(64):
    ...     print(constant_ball(sympy.sqrt(2)).str(10))
    [1.414213562 +/- 3.74e-10]
    """
    (value,) = Program([expression]).bind(REAL)(arb(0))
    if not value.is_finite():
        raise NotCertifiable(f"the constant {expression} is not seen to be a finite real number")
    ball: arb = value
    return ball


_PROBE_BITS = 64
_LARGEST_ORDER = 12


@lru_cache(maxsize=4096)  # a derivative repeats the same parts many times
def regularize(expression: sympy.Expr, variable: sympy.Symbol) -> sympy.Expr:
    """Rewrite removable singularities at 0 with `deflated`, so that ball arithmetic can cross them.

    Quotients such as sin(t)/t and sums such as cos(t)/t - sin(t)/t**2 are brought to one fraction N/D, whose zeros at
    0 are taken out. What cannot be rewritten is returned as it is.

    >>> t = sympy.Symbol("t", positive=True)
    >>> regularize(sympy.sin(t) / t, t)
    deflated(sin(t), 1)/deflated(t, 1)
    """
    if is_analytic_at_zero([expression], variable) or not expression.args:
        return expression
    rebuilt: sympy.Expr = expression.func(*(regularize(argument, variable) for argument in expression.args))
    if is_analytic_at_zero([rebuilt], variable):
        return rebuilt
    if isinstance(expression, sympy.Add):  # one fraction of few terms is short
        regular = [term for term in expression.args if is_analytic_at_zero([term], variable)]
        singular = regularize(expression - sympy.Add(*regular), variable) if regular else expression
        if is_analytic_at_zero([singular], variable):
            return sympy.Add(*regular, singular)
    if isinstance(expression, sympy.atan):
        return _atan_at_pole(expression.args[0], variable) or rebuilt
    numerator, denominator = sympy.fraction(sympy.together(expression))
    order = _order_of_zero(denominator, variable) if denominator.has(variable) else 0
    if not order:
        return rebuilt
    smooth = regularize(numerator, variable)
    if is_analytic_at_zero([smooth], variable) and _vanishes(smooth, variable, order):
        quotient = deflated(smooth, order) / deflated(denominator, order)
        if is_analytic_at_zero([quotient], variable):
            return quotient
    return rebuilt


def regular_derivatives(
    expression: sympy.Expr, variable: sympy.Symbol, direction: int, count: int
) -> list[sympy.Expr] | None:
    """A formula whose singularity at 0 is removable, and derivatives of it that are proved to be analytic at 0.

    A derivative has the removable factors of the formula at higher orders. To prove that again takes long.

    Args:
        expression: in the variable.
        variable: the distance from a point.
        direction: 1 or -1, the side of the point; derivatives are by direction*variable.
        count: how many derivatives.

    Returns:
        count + 1 formulas, None where they are not seen to be analytic.

    >>> t = sympy.Symbol("t", positive=True)
    >>> regular_derivatives(sympy.sin(t) / t, t, 1, 1)[1]
    deflated(t*cos(t) - sin(t), 2)/deflated(t, 1)
    """
    formulas = [regularize(expression, variable)]
    for _ in range(count):
        formulas.append(direction * sympy.diff(formulas[-1], variable))
    return formulas if is_analytic_at_zero(formulas, variable) else None


def _atan_at_pole(argument: sympy.Expr, variable: sympy.Symbol) -> sympy.Expr | None:
    """atan(u) next to a pole of u, as +-pi/2 - atan(1/u); None where 1/u is not proved to be analytic with a zero."""
    inverse = regularize(1 / argument, variable)
    if not is_analytic_at_zero([inverse], variable):
        return None
    coefficients = _low_coefficients(inverse, variable, _LARGEST_ORDER + 1)
    first = next((ball for ball in coefficients if not ball.is_zero()), arb(0))
    if first.contains(0) or not coefficients[0].is_zero():
        return None
    return (sympy.pi if first > 0 else -sympy.pi) / 2 - sympy.atan(inverse)


def is_analytic_at_zero(expressions: Sequence[sympy.Expr], variable: sympy.Symbol) -> bool:
    """Whether the expressions are proved to be analytic in some neighbourhood of 0."""
    return _is_analytic_at_zero(tuple(expressions), variable)


@lru_cache(maxsize=4096)
def _is_analytic_at_zero(expressions: tuple[sympy.Expr, ...], variable: sympy.Symbol) -> bool:
    with precision(_PROBE_BITS):
        # A small rectangle is enough: analytic on it means analytic in a neighbourhood.
        point = arb(0, arb(2) ** -40)
        try:
            values = Program(expressions, variable).bind(COMPLEX)(acb(point, point))
        except NotCertifiable:
            return False
        return all(value.is_finite() for value in values)


def _order_of_zero(expression: sympy.Expr, variable: sympy.Symbol) -> int:
    """The order of the zero at 0, from the Taylor coefficients that are exactly zero; 0 if it is not known."""
    coefficients = _low_coefficients(expression, variable, _LARGEST_ORDER + 1)
    order = next((k for k, value in enumerate(coefficients) if not value.is_zero()), 0)
    return order if order and not coefficients[order].contains(0) else 0


def _vanishes(expression: sympy.Expr, variable: sympy.Symbol, order: int) -> bool:
    """Whether the first `order` Taylor coefficients at 0 are proved to be zero, by exact balls or else by algebra."""
    coefficients = _low_coefficients(expression, variable, order)
    return bool(coefficients) and all(
        coefficient.is_zero() or (coefficient.contains(0) and _is_zero_derivative(expression, variable, k))
        for k, coefficient in enumerate(coefficients)
    )


def _is_zero_derivative(expression: sympy.Expr, variable: sympy.Symbol, k: int) -> bool:
    # `deflated` is a promise about values, which differentiation by SymPy does not know.
    if expression.has(deflated):
        return False
    derivative = sympy.diff(expression, variable, k).xreplace({variable: sympy.Integer(0)})
    return bool(sympy.expand(derivative) == 0)


def _low_coefficients(expression: sympy.Expr, variable: sympy.Symbol, count: int) -> list[arb]:
    """Leading Taylor coefficients at 0, none if they cannot be had."""
    with precision(_PROBE_BITS):
        try:
            return taylor_coefficients(Program([expression], variable), count)
        except NotCertifiable:
            return []
