"""Formulas and specifications: meaning, exactness, refusals, and no way to run code or to hang."""

import ast
import math
import time
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sympy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from theory.activations import catalog, specification
from theory.activations import formula as parse
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.catalog import build, names
from theory.activations.formula import parse_formula, parse_parameters
from theory.activations.specification import activation
from theory.errors import SpecificationError
from theory.numerics import special as functions
from theory.numerics.arithmetic import X

R = sympy.Rational
SECONDS = 5  # generous: a loaded machine; a hang or an exponential blow-up takes minutes
FUZZ = settings(
    max_examples=250,
    derandomize=True,
    deadline=timedelta(seconds=SECONDS),
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("0.1*x", X / 10),
        ("1e-3*x + .5 - 2.", X / 1000 - R(3, 2)),
        ("1_000*x/3", R(1000, 3) * X),
        ("0x10*x", 16 * X),
        ("-x**2", -(X**2)),
        ("x^2+1", X**2 + 1),
        ("2^-x", 2**-X),
        ("pi*x + e + E", sympy.pi * X + 2 * sympy.E),
        ("z*tanh(z)", X * sympy.tanh(X)),
        ("sin(t)", sympy.sin(X)),
        ("  x \n + 1 ", X + 1),
        ("np.tanh(x) + jnp.pi", sympy.tanh(X) + sympy.pi),
        ("torch.nn.functional.relu(x)", sympy.Max(X, 0)),
        ("F.leaky_relu(x, negative_slope=0.2)", build("leaky_relu", 0.2).expression),
        ("math.exp(-x**2/2)", sympy.exp(-(X**2) / 2)),
        ("log(x) + ln(x)", 2 * sympy.log(X)),
        ("log2(x) + log10(x)", sympy.log(X) / sympy.log(2) + sympy.log(X) / sympy.log(10)),
        ("expm1(x) + log1p(exp(x))", functions.expm1(X) + functions.log1p(sympy.exp(X))),
        ("x*Phi(x) - x*normal_cdf(x)", sympy.Integer(0)),
        ("square(x) + power(x, 3) + pow(x, 2)", 2 * X**2 + X**3),
        ("cbrt(-8)*x", -2 * X),
        ("arcsin(x) + asin(x)", 2 * sympy.asin(X)),
        ("min(x, 1, 2*x)", sympy.Min(X, 1, 2 * X)),
        ("np.maximum(x, 0)", sympy.Max(X, 0)),
        ("clip(x, -1, 1)", sympy.Min(sympy.Max(X, -1), 1)),
        ("where(x > 0, x, 0.1*x)", sympy.Piecewise((X, X > 0), (X / 10, True))),
        ("x if x >= 0 else -x", sympy.Piecewise((X, X >= 0), (-X, True))),
        ("piecewise((0, x < 0), (x, x < 1), 1)", sympy.Piecewise((0, X < 0), (X, X < 1), (1, True))),
        ("Piecewise((0, x < 0), (1, True))", sympy.Piecewise((0, X < 0), (1, True))),
        ("x*(x > 0)", X * sympy.Piecewise((1, X > 0), (0, True))),
        ("-1 < x <= 1", sympy.Piecewise((1, (X > -1) & (X <= 1)), (0, True))),
        ("(x > 0) & ~(x > 1)", sympy.Piecewise((1, (X > 0) & (X <= 1)), (0, True))),
        ("x if not (x < 0 or x > 1) else 0", sympy.Piecewise((X, ~((X < 0) | (X > 1))), (0, True))),
        ("where(x == 0, 1, sin(x)/x)", sympy.Piecewise((1, sympy.Eq(X, 0)), (sympy.sin(X) / X, True))),
        ("heaviside(x, 0.5)", sympy.Heaviside(X, R(1, 2))),
        ("heaviside(x)", build("step").expression),
        ("gelu(2*x)", 2 * X * functions.normal_cdf(2 * X)),
        ("elu(x, alpha=1.5)", build("elu", 1.5).expression),
        ("leaky_relu(x, 1/3)", build("leaky_relu", R(1, 3)).expression),
        ("LeakyReLU(x)", build("leaky_relu").expression),
        ("hermite(x, 3)", functions.hermite_normalized(3, X)),
        ("3", sympy.Integer(3)),
        ("sqrt(2)", sympy.sqrt(2)),
        ("(-8)**2", sympy.Integer(64)),
        ("x if True else 0", X),
    ],
)
def test_meaning(text, expression):
    assert parse_formula(text) == expression


def test_nested_piecewise_conditions_keep_their_meaning():
    phi = activation("leaky_relu(leaky_relu(x, 0.5) - 1, 0.5)")
    assert [float(b) for b in phi.breakpoints] == [0, 1]
    np.testing.assert_allclose(phi.value([-2.0, 0.5, 3.0]), [-1.0, -0.25, 2.0])


SECURITY = [
    "__import__('os')",
    "__import__('os').system('true')",
    "().__class__.__bases__[0].__subclasses__()",
    "x.__class__",
    "(1).real",
    "np.os.system(x)",
    "os.system(x)",
    "math.__dict__",
    "np.__dict__(x)",
    "np.load(x)",
    "torch.load(x)",
    "eval(x)",
    "exec('x')",
    "open(x)",
    "print(x)",
    "getattr(x, 'y')",
    "lambda x: x",
    "(lambda: x)()",
    "[x for x in (1, 2)]",
    "{x: x}",
    "{x}",
    "[x]",
    "x[0]",
    "(x := 1)",
    "f'{x}'",
    "'x'",
    "b'x'",
    "(yield x)",
    "(await x)",
    "elu(*x)",
    "elu(**x)",
    "elu(x, alpha='1')",
    "sin(x)(x)",
    "(sin if x > 0 else cos)(x)",
    "import os",
    "x; x",
    "x = 1",
    "del x",
    "None",
    "...",
    "1j*x",
]


@pytest.mark.parametrize("text", SECURITY)
def test_nothing_but_formulas_is_read(text):
    with pytest.raises(SpecificationError):
        parse_formula(text)
    with pytest.raises(SpecificationError):
        activation(text)


HOSTILE = [
    "9**9**9",
    "9**9**9**9",
    "x**(10**9)",
    "x**1e9",
    "(x**60)**60",
    "x**40*x**40",
    "(piecewise((x**60, x > 0), 0))**60",
    "1e999999",
    "1e-999999*x",
    "1e99999999999999999999",
    "9" * 400,
    "9" * 1999,
    "0x" + "f" * 1900,
    "sqrt(2)**(10**9)",
    "2**(10**9 + 0.5)",
    "((1+1e-10)**1000)**1000",
    "((1e200*x)**60)**1.0",
    "exp(exp(exp(100)))",
    "exp(1e300)",
    "exp(-1e4)",
    "tan(1e308)",
    "(" * 300 + "x" + ")" * 300,
    "-" * 1999 + "x",
    "not " * 400 + "x",
    "~" * 1500 + "x",
    "x**" * 600 + "x",
    "abs(" * 300 + "x" + ")" * 300,
    "sigmoid(" * 30 + "x" + ")" * 30,
    "gelu(" * 12 + "x" + ")" * 12,
    "elu(" * 12 + "x" + ")" * 12,
    "softsign(" * 12 + "x" + ")" * 12,
    "mish(" * 12 + "x" + ")" * 12,
    "x+" * 999 + "x",
    "[" * 1000,
    "{" * 1000,
    "x" * 3000,
    "x if " * 300 + "x",
    "hermite(x, 10**8)",
    "max(" + "x," * 900 + "x)",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:24])
def test_hostile_sizes_are_refused_quickly(text):
    start = time.perf_counter()
    with pytest.raises(SpecificationError) as raised:
        activation(text)
    assert time.perf_counter() - start < SECONDS
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("x +", "'x +'"),
        ("2x", "product"),
        ("x 1", "product"),
        ("tanh(", "never closed"),
        ("x\x00", "cannot read"),
        ("\ud800", "cannot read"),
        ("foo(x)", "'foo'"),
        ("tanhh(x)", "mean tanh"),
        ("exp1(x)", "mean exp"),
        ("y + 1", "'y'"),
        ("x + z", "'z'"),
        ("sigmoid*x", "as in sigmoid(x)"),
        ("x/0", "division by zero: '0'"),
        ("1/(x-x)", "division by zero: 'x-x'"),
        ("1/(sin(1)**2 + cos(1)**2 - 1)", "division by zero"),
        ("0**-1", "not a finite number"),
        ("log(0)", "not a finite number: 'log(0)'"),
        ("tan(pi/2)", "not a finite number"),
        ("sqrt(-1)", "not a real number: 'sqrt(-1)'"),
        ("log(-1)", "not a real number: 'log(-1)'"),
        ("asin(2)*x", "not a real number: 'asin(2)'"),
        ("(-8)**(1/3)", "not a real number"),
        ("sqrt(-x**2)", "not a real number"),
        ("(-x**2)**(1/3)", "not a real number"),
        ("(-2)**x", "variable power"),
        ("x // 2", "operators"),
        ("x % 0", "not a finite number"),
        ("mod(x, 1 - 1)", "not a finite number"),
        ("x in x", "comparisons"),
        ("x & 1", "condition"),
        ("where(x, 1, 2)", "condition"),
        ("where(x > 0, x)", "where(condition, a, b)"),
        ("piecewise((x, x > 0))", "default"),
        ("piecewise(x, x)", "(value, condition) pairs"),
        ("clip(x, 0)", "clip takes 3 arguments"),
        ("clip(x, 0, max=1)", "clip takes 3 arguments"),
        ("exp(x, x)", "exp takes 1 arguments"),
        ("elu(x, x)", "constant, not 'x'"),
        ("elu(x, 1, 2)", "alpha=1"),
        ("gelu(x, approximate='tanh')", "no parameters"),
        ("hard_tanh(x, 1, -1)", "min_val must be below max_val"),
        ("hermite(x, -1)", "k must be"),
    ],
)
def test_refusals_name_the_place(text, message):
    with pytest.raises(SpecificationError) as raised:
        parse_formula(text)
    assert message in str(raised.value)


@pytest.mark.parametrize("module", [parse, specification, catalog])
def test_the_readers_never_evaluate_text(module):
    tree = ast.parse(Path(module.__file__).read_text())
    used = {getattr(node, "id", getattr(node, "attr", None)) for node in ast.walk(tree)}
    assert not used & {"eval", "exec", "sympify", "parse_expr", "lambdify", "S", "literal_eval"}


@pytest.mark.parametrize("value", [None, 3, b"x", X])
def test_a_formula_is_text(value):
    with pytest.raises(SpecificationError, match=r"\btext\b"):
        parse_formula(value)


def test_warnings_of_python_s_own_parser_do_not_leak():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("1(2)", "1if x > 0 else 0", r"'\d'", "x is 1", "0x1for x in x", "(1, 2)[0]"):
            try:
                parse_formula(text)
            except SpecificationError:
                continue


TOKENS = [
    *("x", "x", "x", "1", "2", "0.5", "1e-3", "3e300", "0", "pi", "e", "t", "z", "foo", "True", "None", "1j"),
    *(
        "(",
        "(",
        ")",
        ")",
        "[",
        "]",
        "+",
        "-",
        "*",
        "/",
        "**",
        "^",
        "//",
        "%",
        "@",
        "~",
        "&",
        "|",
        "<",
        ">",
        "==",
    ),
    *(",", ",", "=", ":", ".", "'", '"', "#", "\\", "\n", "and", "or", "not", "if", "else", "lambda", "np."),
    *("where(", "piecewise((", "max(", "min(", "abs(", "sign(", "exp(", "log(", "sqrt(", "elu(", "gelu("),
    *("hermite(x,", "softplus(", "alpha=", "__class__", "9**9"),
]


@FUZZ
@given(st.text(max_size=60))
@example("\x00")
@example("\ud83d")
@example("x\\")
def test_any_text_is_read_or_refused(text):
    _read_or_refuse(text)


@FUZZ
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    _read_or_refuse(data.decode("latin-1"))


@FUZZ
@given(st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join))
def test_any_sequence_of_tokens_is_read_or_refused(text):
    _read_or_refuse(text)


def _read_or_refuse(text):
    try:
        expression = parse_formula(text)
    except SpecificationError:
        return
    assert expression.free_symbols <= {X}
    assert not expression.atoms(sympy.Float)


# A second reader for the same grammar: Python itself, on floats, only here and only on text made here.
PYTHON = {
    "abs": abs,
    "arctan": math.atan,
    "cos": math.cos,
    "max": max,
    "min": min,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x, s=0.01: x if x > 0 else s * x,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
    "sin": math.sin,
    "tanh": math.tanh,
    "where": lambda condition, a, b: a if condition else b,
    "softsign": lambda x: x / (1 + abs(x)),
    "pi": math.pi,
}


def _larger(inner):
    unary = st.sampled_from(["abs", "arctan", "cos", "relu", "sigmoid", "sin", "tanh", "softsign"])
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner),
        st.builds("{}/(2 + sin({}))".format, inner, inner),
        st.builds("-{}**2".format, st.sampled_from(["x", "0.7", "(x+1)"])),
        st.builds("{}({})".format, unary, inner),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), inner, inner),
        st.builds("leaky_relu({}, {})".format, inner, st.sampled_from(["0.1", "2", "1/3"])),
        st.builds("where(x {} {}, {}, {})".format, st.sampled_from("<>"), st.sampled_from("01"), inner, inner),
        st.builds("({} if -1 < x <= 1 and not x > 5 else {})".format, inner, inner),
    )


GRAMMAR = st.recursive(st.sampled_from(["x", "x", "0.1", "3", "2.5e-1", "pi"]), _larger, max_leaves=7)


@FUZZ
@given(GRAMMAR)
def test_random_formulas_mean_what_python_means(text):
    try:
        expression = parse_formula(text)
    except SpecificationError as error:
        reason = str(error)
        expression = None
    if expression is None:
        assert "too many piecewise" in reason or "too large" in reason
        return
    for point in (-2.3719, -0.5713, 0.3173, 1.4142, 6.0271):  # off every breakpoint that the grammar can make
        python = eval(text, {"__builtins__": {}}, PYTHON | {"x": point})
        ours = float(expression.subs(X, R(str(point))).evalf(30))
        # seven leaves of size <= 7: intermediate values below 7^7, every function but the product 1-Lipschitz
        assert math.isclose(ours, python, rel_tol=1e-9, abs_tol=1e-9)


@FUZZ
@given(GRAMMAR)
def test_printed_formulas_read_back(text):
    try:
        expression = parse_formula(text)
        again = parse_formula(str(expression))
    except SpecificationError:
        return
    for point in (R("-2.3719"), R("0.3173"), R("1.4142")):
        left, right = expression.subs(X, point).evalf(30), again.subs(X, point).evalf(30)
        assert abs(left - right) <= 1e-20 * (1 + abs(left))


def test_parameters():
    assert parse_parameters("") == ([], {})
    assert parse_parameters("0.2, b=sqrt(2)") == ([R(1, 5)], {"b": sympy.sqrt(2)})
    assert parse_parameters("x") is None
    assert parse_parameters("1)+f(2") is None


@pytest.mark.parametrize(
    ("text", "name", "expression"),
    [
        ("tanh", "tanh", sympy.tanh(X)),
        (" GELU ", "gelu", build("gelu").expression),
        ("tanh()", "tanh", sympy.tanh(X)),
        ("leaky_relu(0.2)", "leaky_relu(negative_slope=0.2)", build("leaky_relu", 0.2).expression),
        ("Leaky-ReLU(0.2)", "leaky_relu(negative_slope=0.2)", build("leaky_relu", 0.2).expression),
        ("elu(alpha=1.5)", "elu(alpha=1.5)", build("elu", 1.5).expression),
        ("hard tanh(-2, max_val=1/2)", "hard_tanh(min_val=-2, max_val=0.5)", None),
        ("hermite(3)", "hermite(k=3)", None),
        ("relu(x)", "relu(x)", sympy.Max(X, 0)),
        ("leaky-relu(x)", "leaky-relu(x)", build("leaky_relu").expression),
        ("tanh(x) + tanh(x)", "tanh(x) + tanh(x)", 2 * sympy.tanh(X)),
        ("3", "3", sympy.Integer(3)),
        ("x", "x", X),
        ("e", "e", sympy.E),
    ],
)
def test_text_is_a_name_with_parameters_or_a_formula(text, name, expression):
    phi = activation(text)
    assert phi.name == name
    assert expression is None or phi.expression == expression
    assert phi.expression == activation(phi.name).expression


def test_parameters_beside_a_name():
    assert activation("elu", alpha=1.5) == activation("elu(1.5)") == build("elu", 1.5)
    assert activation("Leaky-ReLU", 0.2) == build("leaky_relu", 0.2)


@pytest.mark.parametrize("name", names())
def test_every_catalog_name_is_a_specification(name):
    assert activation(name) == build(name)


@pytest.mark.parametrize(
    ("arguments", "parameters", "message"),
    [
        (("tanhh",), {}, "mean tanh"),
        (("leaky-rely",), {}, "mean leaky_relu"),
        (("tanhh",), {"alpha": 1}, "mean tanh"),
        (("relu(2)",), {}, "write relu"),
        (("softplus(beta=0)",), {}, "beta must be"),
        (("elu(1.5)",), {"alpha": 2}, "bare name"),
        (("2*x",), {"alpha": 2}, "bare name"),
        ((3,), {}, "got int"),
        ((None,), {}, "got None"),
        ((b"tanh",), {}, "got bytes"),
        (([1, 2],), {}, "got list"),
        ((np.zeros(3),), {}, "array"),
        ((int,), {}, "is a class"),
        ((X > 0,), {}, "SymPy"),
        ((sympy.Symbol("u") * sympy.Symbol("v"),), {}, "u, v"),
        ((sympy.I * X,), {}, "real function"),
        ((sympy.Function("f")(X),), {}, "real function"),
        ((sympy.zeta(X),), {}, "evaluated"),
        ((X,), {"alpha": 1}, "the name"),
        ((len,), {}, "elementwise"),
        ((lambda x: x.sum(),), {}, "elementwise"),
        ((np.sin,), {"breakpoints": [math.nan]}, "finite numbers"),
        ((np.sin,), {"derivative": len}, "elementwise"),
    ],
)
def test_what_is_no_activation_is_refused_with_a_reason(arguments, parameters, message):
    with pytest.raises(SpecificationError) as raised:
        activation(*arguments, **parameters)
    assert message in str(raised.value)


def test_sympy_expressions_in_any_symbol_become_exact():
    s = sympy.Symbol("s")
    assert activation(0.1 * sympy.tanh(s)).expression == sympy.tanh(X) / 10
    assert activation(sympy.Abs(s)).expression == sympy.Abs(X)
    assert activation(sympy.tanh).expression == sympy.tanh(X)
    assert activation(sympy.Lambda(s, s**2)).expression == X**2
    assert activation(sympy.Integer(3)).expression == 3
    phi = activation(sympy.tanh(X))
    assert isinstance(phi, Activation)
    assert activation(phi) is phi


def test_nested_piecewise_of_sympy_keeps_its_meaning():
    s = sympy.Symbol("s", real=True)
    inner = sympy.Piecewise((s, s > 0), (s / 2, True)) - 1
    phi = activation(sympy.Piecewise((inner, inner > 0), (inner / 2, True)))
    np.testing.assert_allclose(phi.value([-2.0, 0.5, 3.0]), [-1.0, -0.25, 2.0])


def test_callables():
    phi = activation(np.sin, derivative=np.cos)
    assert isinstance(phi, CallableActivation)
    assert phi.name == "sin"
    assert activation(phi) is phi
    assert activation(lambda x: np.abs(x), breakpoints=[1, 0], name="mine").breakpoint_values.tolist() == [
        0,
        1,
    ]
    value, slope = activation(np.tanh).value_and_slope(np.linspace(-3, 3, 11))
    np.testing.assert_allclose(slope, 1 - value**2, rtol=1e-9)


def test_limits_are_those_stated():
    assert parse.MAX_CHARACTERS == 2000
    assert parse_formula("+".join(f"x**{k}/{k}" for k in range(1, 31))).is_polynomial(X)
    assert parse_formula("+".join(f"abs(x - {k})" for k in range(20))).has(sympy.Abs)


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("x % 1", lambda x: x % 1),
        ("-x % 3", lambda x: -x % 3),
        ("np.floor(2*x)/2", lambda x: np.floor(2 * x) / 2),
        ("ceil(x)", np.ceil),
        ("torch.remainder(x, -2)", lambda x: np.remainder(x, -2)),
        ("frac(x) + mod(x, 0.5)", lambda x: x - np.floor(x) + np.mod(x, 0.5)),
    ],
)
def test_remainders_are_those_of_numpy(text, function):
    points = np.linspace(-20, 20, 301) + 1e-3
    np.testing.assert_allclose(activation(text).value(points), function(points), atol=1e-14)


def test_remainders_of_sympy():
    points = np.linspace(-20, 20, 301) + 1e-3
    for expression in (
        sympy.Mod(X, 2),
        X - 2 * sympy.floor(X / 2),
        2 * sympy.frac(X / 2),
        X + 2 - 2 * sympy.ceiling(X / 2 + sympy.Rational(1, 10**9)),
    ):
        np.testing.assert_allclose(activation(expression).value(points), points % 2, atol=1e-8)
