"""Exported code runs, agrees with the activation and is normalized: checked by quadrature of its own."""

import math
import re
import warnings

import numpy as np
import pytest
import sympy
from scipy import integrate

from gpn.export import snippet
from theory.activation import Activation, CallableActivation
from theory.arithmetic import X
from theory.catalog import CATALOG
from theory.errors import UsageError
from theory.poincare import gaussian_poincare, normalization
from theory.specification import activation

SPECS = [
    *(name for name in CATALOG if name != "hermite"),
    "hermite(5)",
    "leaky_relu(0.2)",
    "elu(alpha=1.5)",
    "softplus(beta=2)",
    "x*sigmoid(1.3*x)",
    "tanh(x) + sin(3*x)/10",
    "where(x > 1, sqrt(x), x/2 + 1/2)",
    "exp(-abs(x))",
    "normal_pdf(x)**2*x",
]


def functions(spec, root="auto"):
    """The activation, its normalization and the two functions of the executed snippet."""
    phi = activation(spec)
    chosen = normalization(phi, root)
    names = {}
    exec(snippet(phi, chosen, "numpy"), names)
    value, slope = (names[name] for name in names if name.startswith("gpn_"))
    return phi, chosen, value, slope


def normalizable(spec):
    return gaussian_poincare(activation(spec), 10).normalizable == "yes"


@pytest.mark.parametrize("spec", [spec for spec in SPECS if normalizable(spec)])
def test_executed_snippet_is_normalized_and_agrees_with_the_activation(spec):
    phi, chosen, value, slope = functions(spec)
    for function in (value, slope):
        moment, _ = integrate.quad(
            lambda z, function=function: float(function(z)) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
            -38,
            38,
            points=[*phi.breakpoint_values, -6, -2, 0, 2, 6],
            limit=500,
            epsabs=1e-12,
            epsrel=1e-12,
        )
        assert moment == pytest.approx(1, abs=1e-10)
    x = np.concatenate([np.linspace(-9, 9, 1801) + 1e-7, [-1e4, 1e4]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no overflow, also where another branch applies
        got = value(x), slope(x)
    expected = chosen.a * phi.value(x) + chosen.b, chosen.a * phi.slope(x)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("root", ["plus", "minus", "stable"])
def test_constants_are_printed_to_the_last_bit(root):
    phi = activation("gelu")
    chosen = normalization(phi, root)
    names = {}
    exec(snippet(phi, chosen, "numpy"), names)
    assert (names["A"], names["B"]) == (chosen.a, chosen.b)
    latex = snippet(phi, chosen, "latex")
    numbers = [float(number) for number in re.findall(r"[ab] = (-?[\d.]+)", latex)]
    assert numbers == [chosen.a, chosen.b]


def test_snippet_keeps_the_shape_and_takes_lists_and_scalars():
    _, _, value, slope = functions("elu")
    assert value(np.zeros((2, 0, 3))).shape == slope(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert value([1, 2]).shape == (2,)
    assert np.ndim(value(1)) == 0


def test_identity_has_a_slope_of_the_right_shape():
    _, _, value, slope = functions("identity")
    np.testing.assert_array_equal(slope(np.zeros((2, 3))), np.ones((2, 3)))
    np.testing.assert_array_equal(value([1.5]), [1.5])


def test_snippet_says_where_it_comes_from():
    phi = activation("gelu")
    code = snippet(phi, normalization(phi), "numpy")
    for part in ("gelu: x*normal_cdf(x)", "minus", "0.497184", "stable", "2006.12169", "gpn "):
        assert part in code.split("import")[0]
    assert "scipy" not in snippet(activation("tanh"), normalization(activation("tanh")), "numpy")
    assert max(map(len, code.splitlines())) <= 110


@pytest.mark.parametrize(
    "name", ['x"""\nimport os', "a\nos.system('x')", "b\u2028import os", "\\", "class", "%\n\\input{x}"]
)
@pytest.mark.parametrize("target", ["numpy", "latex"])
def test_a_hostile_name_stays_in_its_comment(name, target):
    harmless = Activation("tanh", sympy.tanh(X))
    hostile = Activation(name, sympy.tanh(X))
    code = snippet(hostile, normalization(harmless), target)
    body = [line for line in code.splitlines() if not line.startswith(("#", "%"))]
    expected = snippet(harmless, normalization(harmless), target).replace("gpn_tanh", "gpn_activation")
    assert [line.replace("gpn_class", "gpn_activation") for line in body] == [
        line for line in expected.splitlines() if not line.startswith(("#", "%"))
    ]


def test_latex_states_the_formula():
    phi = activation("elu")
    latex = snippet(phi, normalization(phi), "latex")
    assert r"\begin{equation}" in latex
    assert r"\begin{cases}" in latex
    assert latex.count("{") == latex.count("}")


def test_unknown_target_and_functions_without_a_formula_are_refused():
    phi = activation("tanh")
    with pytest.raises(UsageError, match="numpy, latex"):
        snippet(phi, normalization(phi), "fortran")
    opaque = CallableActivation("mine", np.tanh)
    with pytest.raises(UsageError, match="SymPy expression"):
        snippet(opaque, normalization(phi), "numpy")
