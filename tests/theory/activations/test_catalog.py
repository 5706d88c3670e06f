"""Catalog: every named activation against a literal formula, exact parameters, names and errors."""

import math
from decimal import Decimal
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
from scipy import special

from theory.activations.catalog import CATALOG, build, find, names, nearest, resolve, selu_constants
from theory.activations.entry import exact_number
from theory.activations.formula import parse_formula
from theory.errors import SpecificationError
from theory.numerics.arithmetic import X

ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946  # Klambauer et al. 2017

# Literal NumPy formulas, written from the documentation of PyTorch and JAX and from the papers.
LITERAL = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x, s=0.01: np.maximum(0, x) + s * np.minimum(0, x),
    "prelu": lambda x, a=0.25: np.maximum(0, x) + a * np.minimum(0, x),
    "rrelu": lambda x, lo=1 / 8, hi=1 / 3: np.where(x >= 0, x, (lo + hi) / 2 * x),
    "relu6": lambda x: np.minimum(np.maximum(0, x), 6),
    "relu_squared": lambda x: np.where(x > 0, x * x, 0),
    "elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1)),
    "selu": lambda x: SCALE * (np.maximum(0, x) + np.minimum(0, ALPHA * (np.exp(np.minimum(x, 0)) - 1))),
    "celu": lambda x, a=1.0: np.maximum(0, x) + np.minimum(0, a * (np.exp(np.minimum(x, 0) / a) - 1)),
    "gelu": lambda x: x * (1 + special.erf(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "log_sigmoid": lambda x: np.log(1 / (1 + np.exp(-x))),
    "softplus": lambda x, beta=1.0: np.log(1 + np.exp(beta * x)) / beta,
    "squareplus": lambda x, b=4.0: (x + np.sqrt(x * x + b)) / 2,
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x >= 1, x, (x + 1) ** 2 / 4)),
    "sparse_sigmoid": lambda x: 0.5 * np.clip(x + 1, 0, 2),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "tanhshrink": lambda x: x - np.tanh(x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softshrink": lambda x, lam=0.5: np.sign(x) * np.maximum(np.abs(x) - lam, 0),
    "hard_sigmoid": lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 6 + 1 / 2)),
    "hard_swish": lambda x: np.where(x <= -3, 0, np.where(x >= 3, x, x * (x + 3) / 6)),
    "hard_tanh": lambda x, lo=-1.0, hi=1.0: np.clip(x, lo, hi),
    "erf": lambda x: special.erf(x),
    "sin": np.sin,
    "cos": np.cos,
    "arctan": np.arctan,
    "asinh": lambda x: np.sign(x) * np.log(np.abs(x) + np.sqrt(x * x + 1)),
    "gaussian": lambda x: np.exp(-x * x / 2),
    "abs": np.abs,
    "snake": lambda x, a=1.0: x + (1 - np.cos(2 * a * x)) / (2 * a),
    "hermite": lambda x, k=2: special.eval_hermitenorm(k, x) / math.sqrt(math.factorial(k)),
    "sign": np.sign,
    "step": lambda x: np.heaviside(x, 1.0),
    "hardshrink": lambda x, lam=0.5: np.where(np.abs(x) > lam, x, 0),
    "threshold": lambda x, t=1.0, v=0.0: np.where(x > t, x, v),
}

DEFAULTS = {
    "leaky_relu": {"negative_slope": Fraction(1, 100)},
    "prelu": {"a": Fraction(1, 4)},
    "rrelu": {"lower": Fraction(1, 8), "upper": Fraction(1, 3)},
    "elu": {"alpha": 1},
    "celu": {"alpha": 1},
    "softplus": {"beta": 1},
    "squareplus": {"b": 4},
    "softshrink": {"lambd": Fraction(1, 2)},
    "hardshrink": {"lambd": Fraction(1, 2)},
    "hard_tanh": {"min_val": -1, "max_val": 1},
    "snake": {"a": 1},
    "hermite": {"k": 2},
    "threshold": {"threshold": 1, "value": 0},
}

OTHER_PARAMETERS = [
    ("leaky_relu", (0.2,)),
    ("leaky_relu", (-1,)),
    ("prelu", (Fraction(1, 3),)),
    ("rrelu", (0.1, 0.3)),
    ("elu", (1.5,)),
    ("celu", (2.5,)),
    ("softplus", (2,)),
    ("softplus", (-0.5,)),
    ("squareplus", (0.25,)),
    ("squareplus", (0,)),
    ("softshrink", (1.25,)),
    ("softshrink", (0,)),
    ("hardshrink", (1.25,)),
    ("hard_tanh", (-2, 0.5)),
    ("snake", (5.5,)),
    ("hermite", (0,)),
    ("hermite", (1,)),
    ("hermite", (5,)),
    ("hermite", (11,)),
    ("threshold", (-0.5, 2)),
]

HALF = sympy.Rational(1, 2)
KINKS = {
    **dict.fromkeys(("relu", "leaky_relu", "prelu", "rrelu", "selu", "abs"), (0,)),
    "relu6": (0, 6),
    "sparse_sigmoid": (-1, 1),
    "hard_tanh": (-1, 1),
    "hard_sigmoid": (-3, 3),
    "hard_swish": (-3, 3),
    "softshrink": (-HALF, HALF),
}
JUMPS = {"sign": (0,), "step": (0,), "hardshrink": (-HALF, HALF), "threshold": (1,)}
HOMOGENEOUS = {"identity", "relu", "leaky_relu", "prelu", "rrelu", "abs"}

ALIASES = {
    "swish": "silu",
    "Swish": "silu",
    "leaky-relu": "leaky_relu",
    "Leaky ReLU": "leaky_relu",
    "LeakyReLU": "leaky_relu",
    "lrelu": "leaky_relu",
    "GELU": "gelu",
    "gelu_new": "gelu_tanh",
    "QuickGELU": "quick_gelu",
    "Hardtanh": "hard_tanh",
    "htanh": "hard_tanh",
    "HardSwish": "hard_swish",
    "hard_silu": "hard_swish",
    "hardsigmoid": "hard_sigmoid",
    "logsigmoid": "log_sigmoid",
    "soft_sign": "softsign",
    "Softplus": "softplus",
    "ReLU6": "relu6",
    "relu2": "relu_squared",
    "squared ReLU": "relu_squared",
    "atan": "arctan",
    "arcsinh": "asinh",
    "expit": "sigmoid",
    "logistic": "sigmoid",
    "linear": "identity",
    "heaviside": "step",
    "sgn": "sign",
    "Tanhshrink": "tanhshrink",
    "TanhShrink": "tanhshrink",
}


def _points():
    """Points that are no breakpoint of any entry: at a jump the value is a matter of convention."""
    return np.sort(np.concatenate([np.linspace(-8.03, 8.05, 401), [-1e-3, 1e-3, 1e-9, -1e-9]]))


def test_the_table_of_literal_formulas_is_complete():
    assert set(LITERAL) == set(names()) == set(CATALOG)


@pytest.mark.parametrize("name", names())
def test_values_equal_the_literal_formula(name):
    x = _points()
    np.testing.assert_allclose(build(name).value(x), LITERAL[name](x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("name", "parameters"), OTHER_PARAMETERS)
def test_values_with_other_parameters_equal_the_literal_formula(name, parameters):
    x = _points()
    literal = LITERAL[name](x, *map(float if name != "hermite" else int, parameters))
    np.testing.assert_allclose(build(name, *parameters).value(x), literal, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", names())
def test_slope_and_curvature_equal_central_differences(name):
    phi = build(name)
    x = _points()
    step = 1e-3
    distance = np.min(np.abs(x[:, None] - np.append(phi.breakpoint_values, np.inf)), axis=1)
    x = x[distance > 3 * step]

    def difference(function):
        near, far = (function(x + h) - function(x - h) for h in (step, 2 * step))
        return (8 * near - far) / (12 * step)

    # truncation step^4/30 * |phi^(5)| <= 1e-12 * 30, rounding 1.5 * 2^-53 * 66 / step = 1e-11 (|phi| <= 66)
    np.testing.assert_allclose(phi.slope(x), difference(phi.value), rtol=1e-10, atol=5e-11)
    np.testing.assert_allclose(phi.curvature(x), difference(phi.slope), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", names())
def test_value_slope_and_curvature_are_finite_and_silent_far_out(name):
    phi = build(name)
    x = np.array([-1e4, -745.2, -38.6, 38.6, 709.8, 1e4])
    value, slope = phi.value_and_slope(x)
    for numbers in (value, slope, phi.curvature(x)):
        assert np.isfinite(numbers).all()
    np.testing.assert_allclose(phi.value(x[[0, -1]]), value[[0, -1]], rtol=1e-15)
    with mpmath.workdps(30):
        for at, number in ((-10_000, value[0]), (10_000, value[-1])):
            exact = phi.expression.subs(X, at).evalf(30)
            # squareplus cancels at -1e4: x + sqrt(x^2 + 4) is known to half a unit of 1e4, 1e-12
            assert abs(float(exact) - number) <= 1e-14 * abs(float(exact)) + 2e-12


@pytest.mark.parametrize("name", names())
def test_kinks_jumps_and_homogeneity(name):
    phi = build(name)
    assert phi.kinks == KINKS.get(name, ())
    assert phi.jumps == JUMPS.get(name, ())
    assert phi.is_positively_homogeneous == (name in HOMOGENEOUS)


@pytest.mark.parametrize("name", names())
def test_default_parameters_are_exact(name):
    expected = DEFAULTS.get(name, {})
    assert {p.name: p.default for p in CATALOG[name].parameters} == {
        key: sympy.Rational(value) for key, value in expected.items()
    }
    assert all(isinstance(p.default, sympy.Rational) for p in CATALOG[name].parameters)
    assert not CATALOG[name].expression().atoms(sympy.Float)


@pytest.mark.parametrize("name", names())
def test_entries_are_documented_and_their_text_reads_back(name):
    entry = CATALOG[name]
    assert entry.summary
    assert entry.source
    assert parse_formula(f"{name}(x)") == entry.expression()
    again = parse_formula(str(entry.expression()))
    for point in (sympy.Rational(-13, 7), sympy.Rational(3, 11), sympy.Rational(17, 5)):
        values = [expression.subs(X, point).evalf(40) for expression in (again, entry.expression())]
        assert abs(values[0] - values[1]) < 1e-38
    assert sympy.latex(entry.expression())


def test_selu_constants_are_the_published_digits_and_solve_the_fixed_point():
    alpha, scale = selu_constants()
    assert abs(alpha.evalf(40) - sympy.Rational("1.6732632423543772848170429916717")) < 1e-31
    assert abs(scale.evalf(40) - sympy.Rational("1.0507009873554804934193349852946")) < 1e-31
    with mpmath.workdps(40):
        a, s = (mpmath.mpf(str(constant.evalf(45))) for constant in (alpha, scale))

        def moment(power):
            def integrand(z):
                value = s * z if z > 0 else s * a * mpmath.expm1(z)
                return value**power * mpmath.npdf(z)

            return mpmath.quad(integrand, [-20, -8, -3, 0, 3, 8, 20])

        assert abs(moment(1)) < mpmath.mpf("1e-30")
        assert abs(moment(2) - 1) < mpmath.mpf("1e-30")


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_aliases(alias, name):
    assert resolve(alias).name == name
    assert build(alias).expression == CATALOG[name].expression()


def test_no_two_entries_share_a_name():
    every = [n.replace("_", "") for entry in CATALOG.values() for n in (entry.name, *entry.aliases)]
    assert len(every) == len(set(every))


def test_parameters_by_position_and_name_are_exact():
    for phi in (build("leaky_relu", 0.2), build("leaky_relu", negative_slope=Fraction(1, 5))):
        assert phi.expression == sympy.Piecewise((X, X > 0), (X / 5, True))
        assert phi.name == "leaky_relu(negative_slope=0.2)"
    assert build("elu", 1).name == "elu"
    assert build("elu", Fraction(1, 3)).name == "elu(alpha=1/3)"
    assert build("hermite", 2.0) == build("hermite", k=2) == build("hermite")


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        (0.1, sympy.Rational(1, 10)),
        (np.float32(0.1), sympy.Rational(1, 10)),
        (np.int64(3), sympy.Integer(3)),
        (Decimal("0.25"), sympy.Rational(1, 4)),
        (1e-7, sympy.Rational(1, 10**7)),
        (sympy.Float(0.1) * sympy.pi, sympy.pi / 10),
        (sympy.Float("0.1234567890123456789012345", 25), sympy.Rational("0.1234567890123456789012345")),
    ],
)
def test_numbers_enter_exactly(value, exact):
    assert exact_number(value) == exact


@pytest.mark.parametrize(
    "value",
    [True, "0.1", None, [1], math.nan, math.inf, 1j, X, sympy.I, sympy.oo, 10**101, Fraction(10**5000)],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_finite_real_number_is_refused(value):
    with pytest.raises(SpecificationError, match="finite"):
        exact_number(value)


@pytest.mark.parametrize(
    ("name", "args", "parameters", "message"),
    [
        ("tanhh", (), {}, "mean tanh"),
        ("leakyrel", (), {}, "mean leaky_relu"),
        ("qwertyuiop", (), {}, "names()"),
        ("relu", (1,), {}, "no parameters"),
        ("elu", (1, 2), {}, "got 2"),
        ("elu", (), {"beta": 2}, "'beta'"),
        ("elu", (1,), {"alpha": 2}, "by position"),
        ("leaky_relu", (), {"negative_slope": math.nan}, "negative_slope must be a finite real number"),
        ("softplus", (0,), {}, "beta must be"),
        ("celu", (0,), {}, "alpha must be"),
        ("snake", (0.0,), {}, "a must be"),
        ("squareplus", (-1,), {}, "b must be"),
        ("softshrink", (-0.5,), {}, "lambd must be"),
        ("hardshrink", (-1,), {}, "lambd must be"),
        ("hard_tanh", (1, 1), {}, "min_val must be below max_val"),
        ("hard_tanh", (2,), {}, "min_val must be below max_val, but they are 2 and 1"),
        ("rrelu", (0.5, 0.25), {}, "exceed upper"),
        ("hermite", (-1,), {}, "k must be"),
        ("hermite", (2.5,), {}, "k must be"),
        ("hermite", (10**6,), {}, "k must be"),
    ],
)
def test_wrong_names_and_parameters_are_refused_with_a_reason(name, args, parameters, message):
    with pytest.raises(SpecificationError) as raised:
        build(name, *args, **parameters)
    assert message in str(raised.value)


def test_finding_and_nearest_names():
    assert find("no such thing") is None
    assert nearest("sofplus")[0] == "softplus"
    assert nearest("") == ()
    assert len(nearest("hard")) <= 3
