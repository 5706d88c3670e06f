"""Named activations: every elementwise one of torch.nn and jax.nn, classical ones, and negative controls.

Sources: the documentation of PyTorch (torch.nn, "Non-linear Activations") and of JAX (jax.nn, "Activation
functions"), and the papers named in each entry. Parameters have the names and the default values of PyTorch.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

import sympy
from sympy import Abs, Max, Min, Piecewise, Rational

from theory.activations.activation import Activation
from theory.activations.entry import MAX_HERMITE_DEGREE, Entry, Parameter, decimal_text
from theory.errors import SpecificationError
from theory.numerics.arithmetic import X
from theory.numerics.special import expm1, hermite_normalized, normal_cdf, sigmoid, softplus

_WRITTEN_AS_NAME = re.compile(r"[^\W\d](?:[\w -]*\w)?")


def _normalize(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


def _leaky(x: sympy.Expr, slope: sympy.Expr) -> sympy.Expr:
    return Piecewise((x, x > 0), (slope * x, True))


def _hard_tanh(x: sympy.Expr, min_val: sympy.Expr, max_val: sympy.Expr) -> sympy.Expr:
    if not min_val < max_val:
        seen = f"{decimal_text(min_val)} and {decimal_text(max_val)}"
        raise SpecificationError(f"hard_tanh: min_val must be below max_val, but they are {seen}")
    return Min(Max(x, min_val), max_val)


def _rrelu(x: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr) -> sympy.Expr:
    if not lower <= upper:
        seen = f"{decimal_text(lower)} and {decimal_text(upper)}"
        raise SpecificationError(f"rrelu: lower must not exceed upper, but they are {seen}")
    return _leaky(x, (lower + upper) / 2)


def _hard_sigmoid(x: sympy.Expr) -> sympy.Expr:
    return Min(Max(x + 3, 0), 6) / 6


def selu_constants() -> tuple[sympy.Expr, sympy.Expr]:
    r"""SELU's alpha and lambda in closed form, such that E phi(z) = 0 and E phi(z)^2 = 1 for z ~ N(0, 1).

    With c = erfc(1/sqrt 2),

    $\alpha = -\sqrt{2/\pi} / (c \sqrt e - 1)$ and
    $\lambda = (1 - c \sqrt e) \sqrt{2\pi}
    / \sqrt{2 \operatorname{erfc}(\sqrt 2) e^2 + \pi c^2 e - 2 (2 + \pi) c \sqrt e + \pi + 2}$.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017, "Self-Normalizing Neural Networks", equation 14.

    >>> [value.evalf(20) for value in selu_constants()]
    [1.6732632423543772848, 1.0507009873554804934]
    """
    c = sympy.erfc(1 / sympy.sqrt(2)) * sympy.exp(Rational(1, 2))
    alpha = sympy.sqrt(2 / sympy.pi) / (1 - c)
    radicand = 2 * sympy.erfc(sympy.sqrt(2)) * sympy.exp(2) + sympy.pi * c**2 - 2 * (2 + sympy.pi) * c + sympy.pi + 2
    return alpha, (1 - c) * sympy.sqrt(2 * sympy.pi) / sympy.sqrt(radicand)


def _selu(x: sympy.Expr) -> sympy.Expr:
    alpha, scale = selu_constants()
    return Piecewise((scale * x, x > 0), (scale * alpha * expm1(x), True))


def _gelu_tanh(x: sympy.Expr) -> sympy.Expr:
    """x (1 + tanh u)/2 = x sigma(2u), which does not cancel for negative x."""
    return x * sigmoid(2 * sympy.sqrt(2 / sympy.pi) * (x + Rational("0.044715") * x**3))


def _p(name: str, default: int | str, domain: str = "a real number") -> Parameter:
    return Parameter(name, Rational(default), domain)


_NONZERO = "a number other than 0"
_NONNEGATIVE = "a number >= 0"


_ENTRIES: tuple[Entry, ...] = (
    Entry("identity", lambda x: x, "x", "torch.nn.Identity, jax.nn.identity", aliases=("linear", "id")),
    Entry("relu", lambda x: Max(x, 0), "max(0, x)", "torch.nn.ReLU, jax.nn.relu", aliases=("rectifier", "ramp")),
    Entry(
        "leaky_relu",
        lambda x, negative_slope: _leaky(x, negative_slope),
        "x for x > 0, else negative_slope*x",
        "torch.nn.LeakyReLU, jax.nn.leaky_relu",
        (_p("negative_slope", "0.01"),),
        ("lrelu",),
    ),
    Entry(
        "prelu",
        lambda x, a: _leaky(x, a),
        "x for x > 0, else a*x (a at its initial value)",
        "torch.nn.PReLU",
        (_p("a", "0.25"),),
        ("parametric_relu",),
    ),
    Entry(
        "rrelu",
        _rrelu,
        "x for x > 0, else x*(lower + upper)/2: the slope used in evaluation",
        "torch.nn.RReLU",
        (_p("lower", "1/8"), _p("upper", "1/3")),
        ("randomized_relu",),
    ),
    Entry("relu6", lambda x: Min(Max(x, 0), 6), "min(max(0, x), 6)", "torch.nn.ReLU6, jax.nn.relu6"),
    Entry(
        "relu_squared",
        lambda x: Max(x, 0) ** 2,
        "max(0, x)**2",
        "So et al. 2021 (Primer)",
        aliases=("squared_relu", "relu2"),
    ),
    Entry(
        "elu",
        lambda x, alpha: Piecewise((x, x > 0), (alpha * expm1(x), True)),
        "x for x > 0, else alpha*(exp(x) - 1)",
        "torch.nn.ELU, jax.nn.elu",
        (_p("alpha", 1),),
    ),
    Entry(
        "selu",
        _selu,
        "lambda*elu(x, alpha) with the exact constants for which E phi = 0 and E phi^2 = 1",
        "torch.nn.SELU, jax.nn.selu; Klambauer et al. 2017",
    ),
    Entry(
        "celu",
        lambda x, alpha: Piecewise((x, x > 0), (alpha * expm1(x / alpha), True)),
        "x for x > 0, else alpha*(exp(x/alpha) - 1)",
        "torch.nn.CELU, jax.nn.celu",
        (_p("alpha", 1, _NONZERO),),
    ),
    Entry(
        "gelu",
        lambda x: x * normal_cdf(x),
        "x*Phi(x) with Phi the normal distribution function (jax.nn.gelu defaults to gelu_tanh)",
        "torch.nn.GELU; Hendrycks and Gimpel 2016",
        aliases=("gelu_erf", "exact_gelu"),
    ),
    Entry(
        "gelu_tanh",
        _gelu_tanh,
        "x*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))/2",
        "torch.nn.GELU(approximate='tanh'), jax.nn.gelu; Hendrycks and Gimpel 2016",
        aliases=("gelu_new", "tanh_gelu", "gelu_approximate"),
    ),
    Entry(
        "quick_gelu",
        lambda x: x * sigmoid(Rational("1.702") * x),
        "x*sigmoid(1.702*x)",
        "Hendrycks and Gimpel 2016",
        aliases=("gelu_sigmoid",),
    ),
    Entry(
        "sigmoid",
        sigmoid,
        "1/(1 + exp(-x))",
        "torch.nn.Sigmoid, jax.nn.sigmoid",
        aliases=("logistic", "expit"),
    ),
    Entry(
        "silu",
        lambda x: x * sigmoid(x),
        "x*sigmoid(x)",
        "torch.nn.SiLU, jax.nn.silu; Elfwing et al. 2017",
        aliases=("swish",),
    ),
    Entry("mish", lambda x: x * sympy.tanh(softplus(x)), "x*tanh(softplus(x))", "torch.nn.Mish; Misra 2019"),
    Entry("log_sigmoid", lambda x: -softplus(-x), "log(sigmoid(x))", "torch.nn.LogSigmoid, jax.nn.log_sigmoid"),
    Entry(
        "softplus",
        lambda x, beta: softplus(beta * x) / beta,
        "log(1 + exp(beta*x))/beta (PyTorch's linear branch above a threshold is numerical only: left out)",
        "torch.nn.Softplus, jax.nn.softplus; Dugas et al. 2000",
        (_p("beta", 1, _NONZERO),),
    ),
    Entry(
        "squareplus",
        lambda x, b: (x + sympy.sqrt(x**2 + b)) / 2,
        "(x + sqrt(x**2 + b))/2",
        "jax.nn.squareplus; Barron 2021",
        (_p("b", 4, _NONNEGATIVE),),
    ),
    Entry(
        "sparse_plus",
        lambda x: Piecewise((0, x <= -1), ((x + 1) ** 2 / 4, x < 1), (x, True)),
        "0 for x <= -1, (x + 1)**2/4 for -1 < x < 1, x for x >= 1",
        "jax.nn.sparse_plus",
    ),
    Entry(
        "sparse_sigmoid",
        lambda x: Piecewise((0, x <= -1), ((x + 1) / 2, x < 1), (1, True)),
        "0 for x <= -1, (x + 1)/2 for -1 < x < 1, 1 for x >= 1",
        "jax.nn.sparse_sigmoid",
    ),
    Entry("tanh", sympy.tanh, "tanh(x)", "torch.nn.Tanh, jax.numpy.tanh", aliases=("hyperbolic_tangent",)),
    Entry("tanhshrink", lambda x: x - sympy.tanh(x), "x - tanh(x)", "torch.nn.Tanhshrink"),
    Entry("softsign", lambda x: x / (1 + Abs(x)), "x/(1 + |x|)", "torch.nn.Softsign, jax.nn.soft_sign"),
    Entry(
        "softshrink",
        lambda x, lambd: Piecewise((x - lambd, x > lambd), (x + lambd, x < -lambd), (0, True)),
        "x - lambd for x > lambd, x + lambd for x < -lambd, else 0",
        "torch.nn.Softshrink",
        (_p("lambd", "0.5", _NONNEGATIVE),),
    ),
    Entry(
        "hard_sigmoid",
        _hard_sigmoid,
        "min(max(0, x + 3), 6)/6",
        "torch.nn.Hardsigmoid, jax.nn.hard_sigmoid",
        aliases=("hsigmoid",),
    ),
    Entry(
        "hard_swish",
        lambda x: x * _hard_sigmoid(x),
        "x*min(max(0, x + 3), 6)/6",
        "torch.nn.Hardswish, jax.nn.hard_swish; Howard et al. 2019",
        aliases=("hard_silu", "hswish"),
    ),
    Entry(
        "hard_tanh",
        _hard_tanh,
        "min(max(min_val, x), max_val)",
        "torch.nn.Hardtanh, jax.nn.hard_tanh",
        (_p("min_val", -1), _p("max_val", 1)),
        ("htanh",),
    ),
    Entry("erf", sympy.erf, "2/sqrt(pi) * integral of exp(-t**2) from 0 to x", "torch.erf, jax.lax.erf"),
    Entry("sin", sympy.sin, "sin(x)", "torch.sin, jax.numpy.sin", aliases=("sine",)),
    Entry("cos", sympy.cos, "cos(x)", "torch.cos, jax.numpy.cos", aliases=("cosine",)),
    Entry("arctan", sympy.atan, "arctan(x)", "torch.arctan, jax.numpy.arctan", aliases=("atan",)),
    Entry("asinh", sympy.asinh, "arcsinh(x)", "torch.asinh, jax.numpy.arcsinh", aliases=("arcsinh",)),
    Entry(
        "gaussian",
        lambda x: sympy.exp(-(x**2) / 2),
        "exp(-x**2/2): the normal density scaled to 1 at 0, not exp(-x**2)",
        "Broomhead and Lowe 1988",
    ),
    Entry("abs", Abs, "|x|", "torch.abs, jax.numpy.abs", aliases=("absolute", "absolute_value", "modulus")),
    Entry(
        "snake",
        lambda x, a: x + sympy.sin(a * x) ** 2 / a,
        "x + sin(a*x)**2/a",
        "Ziyin, Hartwig and Ueda 2020",
        (_p("a", 1, _NONZERO),),
    ),
    Entry(
        "hermite",
        lambda x, k: hermite_normalized(k, x),
        "He_k(x)/sqrt(k!), the k-th probabilists' Hermite polynomial, orthonormal under N(0, 1)",
        "Abramowitz and Stegun 1964, chapter 22",
        (_p("k", 2, f"an integer from 0 to {MAX_HERMITE_DEGREE}"),),
    ),
    Entry(
        "sign",
        sympy.sign,
        "-1, 0 or 1 (negative control: it jumps)",
        "torch.sign, jax.numpy.sign",
        aliases=("signum", "sgn"),
    ),
    Entry(
        "step",
        lambda x: Piecewise((0, x < 0), (1, True)),
        "0 for x < 0, else 1 (negative control: it jumps)",
        "torch.heaviside, jax.numpy.heaviside",
        aliases=("heaviside", "unit_step", "binary_step"),
    ),
    Entry(
        "hardshrink",
        lambda x, lambd: Piecewise((x, x > lambd), (x, x < -lambd), (0, True)),
        "x for |x| > lambd, else 0 (negative control: it jumps)",
        "torch.nn.Hardshrink",
        (_p("lambd", "0.5", _NONNEGATIVE),),
    ),
    Entry(
        "threshold",
        lambda x, threshold, value: Piecewise((x, x > threshold), (value, True)),
        "x for x > threshold, else value (negative control: it jumps unless they are equal)",
        "torch.nn.Threshold (which has no defaults)",
        (_p("threshold", 1), _p("value", 0)),
    ),
)


CATALOG: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every named activation by its canonical name."""


_BY_ANY_NAME: Mapping[str, Entry] = MappingProxyType(
    {_normalize(name): entry for entry in _ENTRIES for name in (entry.name, *entry.aliases)}
)


def names() -> tuple[str, ...]:
    """Return the canonical names, in catalog order.

    >>> len(names()) == len(CATALOG)
    True
    """
    return tuple(CATALOG)


def find(name: str) -> Entry | None:
    """Return the entry of a name or alias, or None; case, spaces, "-" and "_" between letters do not matter.

    >>> find("Leaky-ReLU").name, find("nonsense")
    ('leaky_relu', None)
    >>> find("-relu") is None  # a formula
    True
    """
    return _BY_ANY_NAME.get(_normalize(name)) if _WRITTEN_AS_NAME.fullmatch(name.strip()) else None


def nearest(name: str) -> tuple[str, ...]:
    """Return at most three canonical names that resemble a misspelt one.

    >>> nearest("tanhh")[0]
    'tanh'
    """
    matches = get_close_matches(_normalize(name)[:40], list(_BY_ANY_NAME), n=6, cutoff=0.6)
    return tuple(dict.fromkeys(_BY_ANY_NAME[match].name for match in matches))[:3]


def resolve(name: str) -> Entry:
    """Return the entry of a name or alias.

    Raises:
        SpecificationError: no such name; the message has the nearest ones.

    >>> resolve("swish").name
    'silu'
    """
    entry = find(name)
    if entry is None:
        close = nearest(name)
        hint = (
            f"did you mean {' or '.join(close)}?" if close else "see theory.activations.catalog.names() for all of them"
        )
        raise SpecificationError(f"there is no activation named {name!r:.60}; {hint}")
    return entry


def build(name: str, *args: object, **parameters: object) -> Activation:
    """Return the activation of a name or alias, with parameters by position or by name.

    Args:
        name: as in `names()`, or an alias; case, spaces, "-" and "_" do not matter.
        args, parameters: real numbers; a float counts as its shortest decimal text, so 0.2 is exactly 1/5.

    Raises:
        SpecificationError: an unknown name, or parameters that the activation does not take.

    >>> build("LeakyReLU", 0.2).expression
    Piecewise((x, x > 0), (x/5, True))
    """
    entry = resolve(name)
    return Activation(entry.label(*args, **parameters), entry.expression(X, *args, **parameters))
