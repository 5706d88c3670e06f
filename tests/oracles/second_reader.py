"""A second reader of formulas that shares no code with `theory`: moments, jumps and the largest slope in float64.

It walks Python's syntax tree of the text and differentiates forward with dual numbers. Its quadrature knows no
breakpoints: it bisects every panel in which a switch changes its branch or a denominator its sign, down to 1e-14.
Next to a removable 0/0 the slope is lost to rounding, so there a panel need not be so narrow.
"""

import ast
import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special


@dataclass
class Dual:
    value: Any
    slope: Any


def phi(x):
    return special.ndtr(x)


def density(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


FUNCTIONS = {
    "tanh": (np.tanh, lambda x: 4 * special.expit(2 * x) * special.expit(-2 * x)),
    "erf": (special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x)),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda x: -np.sin(x)),
    "arctan": (np.arctan, lambda x: 1 / (1 + x * x)),
    "asinh": (np.arcsinh, lambda x: 1 / np.sqrt(1 + x * x)),
    "sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "softplus": (lambda x: np.logaddexp(0, x), special.expit),
    "Phi": (phi, density),
    "exp": (np.exp, np.exp),
    "expm1": (np.expm1, np.exp),
    "log": (np.log, lambda x: 1 / x),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "gelu": (lambda x: x * phi(x), lambda x: phi(x) + x * density(x)),
    "silu": (lambda x: x * special.expit(x), lambda x: special.expit(x) * (1 + x * special.expit(-x))),
    "abs": (np.abs, np.sign),
    "sign": (np.sign, np.zeros_like),
    "heaviside": (lambda x: np.heaviside(x, 0.5), np.zeros_like),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.heaviside(x, 0.5)),
    "hard_tanh": (lambda x: np.clip(x, -1, 1), lambda x: np.where(np.abs(x) < 1, 1.0, 0.0)),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda x: np.exp(np.minimum(x, 0))),
}
SWITCHING = ("abs", "sign", "heaviside", "relu", "elu", "hard_tanh")
COMPARISONS = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}


class Reader:
    """Evaluates a formula and its slope at points, and remembers branches that were taken and signs of denominators."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text, mode="eval").body

    def __call__(self, x):
        self.x, self.branches, self.poles = x, [], []
        with np.errstate(all="ignore"):
            found = self.read(self.tree)
        return (np.broadcast_to(part, x.shape) for part in (found.value, found.slope))

    def read(self, node: ast.AST) -> Any:
        match node:
            case ast.Constant():
                return Dual(np.float64(node.value), np.float64(0))
            case ast.Name(id="x"):
                return Dual(self.x, np.ones_like(self.x))
            case ast.Name(id="pi"):
                return Dual(np.float64(math.pi), np.float64(0))
            case ast.UnaryOp():
                operand = self.read(node.operand)
                return Dual(-operand.value, -operand.slope)
            case ast.Compare():
                left, right = self.read(node.left), self.read(node.comparators[0])
                return COMPARISONS[type(node.ops[0])](left.value, right.value)
            case ast.BoolOp():
                return np.logical_and(*map(self.read, node.values))
            case ast.IfExp():
                return self.choose(self.read(node.test), self.read(node.body), self.read(node.orelse))
            case ast.BinOp():
                return self.combine(node.op, self.read(node.left), self.read(node.right))
        return self.call(node.func.id, [self.read(argument) for argument in node.args])

    def combine(self, op: ast.operator, a: Dual, b: Dual) -> Dual:
        match op:
            case ast.Add():
                return Dual(a.value + b.value, a.slope + b.slope)
            case ast.Sub():
                return Dual(a.value - b.value, a.slope - b.slope)
            case ast.Mult():
                return Dual(a.value * b.value, a.slope * b.value + a.value * b.slope)
            case ast.Div():
                self.poles.append(b.value > 0)
                return Dual(a.value / b.value, (a.slope * b.value - a.value * b.slope) / b.value**2)
        return Dual(a.value**b.value, b.value * a.value ** (b.value - 1) * a.slope)

    def call(self, name: str, arguments: list[Any]) -> Dual:
        if name == "where":
            return self.choose(*arguments)
        if name == "clip":
            return self.call("min", [self.call("max", arguments[:2]), arguments[2]])
        if name in ("max", "min"):
            a, b = arguments
            return self.choose(a.value > b.value if name == "max" else a.value < b.value, a, b)
        (u,) = arguments
        if name in SWITCHING:
            self.branches.append(u.value > 0)
        value, slope = FUNCTIONS[name]
        return Dual(value(u.value), slope(u.value) * u.slope)

    def choose(self, mask, a: Dual, b: Dual) -> Dual:
        self.branches.append(mask)
        return Dual(np.where(mask, a.value, b.value), np.where(mask, a.slope, b.slope))


NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)
NODES, WEIGHTS = np.array([-1 + 1e-15, *NODES, 1 - 1e-15]), np.array([0, *WEIGHTS, 0])  # ends, to see every switch


def panel_sums(reader, left, right):
    """Sums of the integrands, of their moduli, and whether switches, denominators or the value change in the panel."""
    half = (right - left) / 2
    z = ((left + right) / 2)[:, None] + half[:, None] * NODES
    value, slope = reader(z)
    integrands = np.stack([value, value**2, slope**2, value**2 * (z * z - 1)]) * density(z)
    integrands[:, :, [0, -1]] = 0
    mixed = np.zeros((3, len(left)), dtype=bool)
    mixed[2] = ~(np.abs(value[:, -1] - value[:, 0]) <= 1e-3)
    for row, tests in zip(mixed, (reader.branches, reader.poles), strict=False):
        for test in tests:
            taken = np.broadcast_to(test, z.shape)
            row |= (taken != taken[:, :1]).any(axis=1)
    ends = np.abs(value[:, [0, -1]] - value[:, [1, -2]]).max(axis=1)  # a jump beside an end, which no node would see
    mixed[0] |= ~(ends <= 0.3 * np.ptp(value[:, 1:-1], axis=1) + 1e-9)
    return (integrands @ WEIGHTS) * half, (np.abs(integrands) @ WEIGHTS) * half, mixed


def reference(text: str):
    """E phi, E phi^2, E phi'^2, E phi^2 (z^2 - 1), errors (the differences of the last bisections) and the moduli."""
    reader = Reader(text)
    edges = np.linspace(-14.03, 14.01, 1201)
    left, right = edges[:-1], edges[1:]
    coarse, modulus, _ = panel_sums(reader, left, right)
    scale = modulus.sum(axis=1, keepdims=True) + 1e-300
    total, error = np.zeros(4), modulus[:, [0, -1]].sum(axis=1)  # the last panels, for what lies beyond them
    while left.size:
        middle = (left + right) / 2
        first, _, mixed_first = panel_sums(reader, left, middle)
        second, _, mixed_second = panel_sums(reader, middle, right)
        difference = np.abs(first + second - coarse)
        switched, at_pole, jumped = mixed_first | mixed_second
        settled = (difference <= 1e-14 * scale).all(axis=0) & ~switched & ~at_pole
        smooth = (difference <= 1e-10 * scale).all(axis=0) & ~switched & ~jumped & (right - left < 2e-5)  # at a 0/0
        done = settled | smooth | (right - left < 1e-14) | (left.size > 20_000)
        total += (first + second)[:, done].sum(axis=1)
        error += difference[:, done].sum(axis=1)
        left, right = (
            np.concatenate([left, middle])[np.tile(~done, 2)],
            np.concatenate([middle, right])[np.tile(~done, 2)],
        )
        coarse = np.concatenate([first, second], axis=1)[:, np.tile(~done, 2)]
    return total, error, scale[:, 0]


def jumps(text: str, reach: float = 6.0) -> list[tuple[float, float]]:
    """(point, size) of the jumps of a formula within the reach that bisection pins down to rounding."""
    reader = Reader(text)
    edges = np.linspace(-reach - 0.0137, reach + 0.0071, 8001)
    left, right = edges[:-1], edges[1:]
    low, high = (np.array(next(iter(reader(points)))) for points in (left, right))
    with np.errstate(all="ignore"):
        suspect = np.argsort(-np.abs(high - low))[:60]
    left, right, low, high = left[suspect], right[suspect], low[suspect], high[suspect]
    for _ in range(30):
        middle = left + (right - left) * 0.4937  # off the round numbers, where a factor may be 0/0
        value = np.array(next(iter(reader(middle))))
        goes_left = np.abs(value - low) > np.abs(high - value)
        left, low = np.where(goes_left, left, middle), np.where(goes_left, low, value)
        right, high = np.where(goes_left, middle, right), np.where(goes_left, value, high)
    size = np.abs(high - low)
    near = np.abs(next(iter(reader(left - 1e-9))) - next(iter(reader(right + 1e-9))))
    real = np.isfinite(size) & (size > 1e-6) & (np.abs(near - size) < 0.01 * size)
    return sorted({(round(float(x), 9), float(s)) for x, s in zip(left[real], size[real], strict=True)})


def largest_slope(text: str) -> float:
    """The largest |phi'| that is taken at some point: a lower bound of the supremum."""
    reader = Reader(text)
    x = np.concatenate(
        [np.linspace(-40.0037, 40.0011, 200_001), np.geomspace(40, 1e6, 2001), -np.geomspace(40, 1e6, 2001)]
    )
    slope = np.abs(list(reader(x))[1])
    best = np.argsort(-np.where(np.isfinite(slope), slope, -1))[:5]
    top = float(np.max(slope[best]))
    for point in x[best]:
        fine = point + np.linspace(-4e-4, 4e-4, 4001)
        top = max(top, float(np.nanmax(np.abs(list(reader(fine))[1]))))
    return top
