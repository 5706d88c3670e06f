"""Exported code runs, agrees with the activation and is normalized: checked by quadrature of its own."""

import math
import random
import re
import subprocess
import sys
import warnings

import mpmath
import numpy as np
import pytest
import sympy
from flint import arb
from scipy import integrate

import gpn
from gpn.checking import snippet_code
from gpn.checking.snippets import TARGETS, _constants, _literal, export
from tests.gpn.checking.exported import NORMALIZABLE, WITH_JUMPS
from theory.activations import catalog
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.balls.core import NotCertified
from theory.balls.functions import FUNCTIONS
from theory.errors import UsageError
from theory.normalization.conditions import gaussian_poincare
from theory.normalization.normalize import normalization
from theory.numerics.arithmetic import X, compile_expressions
from theory.numerics.special import normal_cdf, sigmoid, softplus


def functions(spec, root="auto"):
    """The activation, its normalization and the two functions of the executed snippet."""
    phi = activation(spec)
    chosen = normalization(phi, root)
    names = {}
    exec(export(phi, "numpy", root), names)
    value, slope = (names[name] for name in names if name.startswith("gpn_"))
    return phi, chosen, value, slope


def test_only_what_cannot_be_normalized_is_left_out():
    assert {gaussian_poincare(activation(spec), 10).normalizable for spec in WITH_JUMPS} == {"no"}


@pytest.mark.parametrize("spec", NORMALIZABLE)
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
    exec(export(phi, "numpy", root), names)
    assert (names["A"], names["B"]) == (chosen.a, chosen.b)
    latex = export(phi, "latex", root)
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
    code = export("gelu", "numpy")
    for part in (
        "gelu: x*normal_cdf(x)",
        "minus",
        "0.497184",
        "stable",
        "certified to 40 digits",
        "2006.12169",
        "gpn ",
    ):
        assert part in code.split("import")[0]
    assert "scipy" not in export("tanh", "numpy")


def test_constants_are_the_exact_numbers_rounded_to_17_digits():
    """Against ReLU's closed form, a = sqrt 2 and b_- = -1/sqrt(pi) - sqrt(1/pi), from E phi = 1/sqrt(2 pi)."""
    with mpmath.workdps(40):
        expected = mpmath.nstr(-2 / mpmath.sqrt(mpmath.pi), 17)
    found = dict(re.findall(r"^([AB]) = (\S+)$", export("relu", "numpy", "minus"), re.MULTILINE))
    assert found["B"] == expected
    # To 17 digits sqrt 2 = 1.4142135623730950, but that reads back as the float below the nearest one.
    assert float("1.4142135623730950") != math.sqrt(2) == float(found["A"])
    assert found["A"] == "1.41421356237309505"


def test_an_enclosure_that_does_not_decide_the_float_gives_no_literal():
    assert _literal(arb(math.pi, 1e-3), math.pi) is None
    assert _literal(arb(1, 1e-3), 0.0) is None
    assert _literal(arb(0), 0.0) == "0.0"


def test_what_is_not_certified_is_reported(monkeypatch):
    monkeypatch.setattr("gpn.checking.snippets.certified_moments", lambda *_: NotCertified("for a test"))
    code = export("tanh", "numpy")
    assert "not certified: for a test" in code
    assert float(re.search(r"^A = (\S+)$", code, re.MULTILINE)[1]) == normalization(activation("tanh")).a


@pytest.mark.parametrize(
    "name", ['x"""\nimport os', "a\nos.system('x')", "b\u2028import os", "\\", "class", "%\n\\input{x}"]
)
@pytest.mark.parametrize("target", TARGETS)
def test_a_hostile_name_stays_in_its_comment(name, target):
    harmless, hostile = (export(Activation(label, sympy.tanh(X)), target) for label in ("2*x", name))
    bodies = [[line for line in code.splitlines() if not line.startswith(("#", "%"))] for code in (harmless, hostile)]
    words = [re.sub("gpn_class", "gpn_activation", re.sub("GPNClass", "GPNActivation", "\n".join(b))) for b in bodies]
    assert words[0] == words[1]


def test_every_file_is_formatted(tmp_path):
    """By ruff with its default settings (88 characters), so that a pasted file is clean in a repository that checks."""
    pytest.importorskip("ruff")
    constants = _constants(activation("gelu"), "auto")
    for index, formula in enumerate([*NORMALIZABLE, *map(str, random_formulas(10))]):
        phi = activation(formula)
        for target in ("numpy", "torch", "jax", "keras"):
            code = TARGETS[target](phi, constants)
            (tmp_path / f"{target}_{index}.py").write_text(code)
            assert max(len(line) for line in code.splitlines() if not line.startswith("#")) <= 88
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(tmp_path)]
    formatted = subprocess.run(command, capture_output=True, text=True)
    assert formatted.returncode == 0, formatted.stdout[:3000]


def random_formulas(count):
    """Smooth formulas of every operation, nested three deep, from a fixed seed."""
    rng = random.Random(7)

    def build(depth):
        if depth == 0:
            return rng.choice([X, X, -X, X + 1, sympy.Rational(rng.randint(-9, 9), 7), sympy.Integer(2)])
        one, other = build(depth - 1), build(depth - 1)
        return rng.choice(
            [
                lambda: one + other,
                lambda: one - 2 * other,
                lambda: one * other,
                lambda: one / (other**2 + 1),
                lambda: -one * (other - one),
                lambda: (one**2 + 2) ** sympy.Rational(-3, 2),
                lambda: sympy.sqrt(other**2 + 1) - one**3,
                lambda: 2 ** sympy.tanh(one) / sympy.sqrt(1 + other**2),
                lambda: sympy.sin(one - other) ** 2,
                lambda: (sigmoid(one) - sympy.erf(other)) ** 3,
                lambda: sympy.exp(-(one**2)) * softplus(other),
                lambda: normal_cdf(-one) / (3 - sympy.cos(other)) / 5,
            ]
        )()

    return [formula for formula in (build(3) for _ in range(count)) if formula.has(X)]


def test_random_formulas_are_written_as_they_are():
    """Against SymPy's own code for mpmath at 30 digits: brackets, signs and divisions of the written code."""
    constants = _constants(activation("gelu"), "auto")
    points = np.array([-1.7, -0.3, 0.41, 2.2])
    for formula in random_formulas(40):
        names = {}
        exec(TARGETS["numpy"](Activation("random", formula), constants), names)
        wanted = compile_expressions([formula, sympy.diff(formula, X)], "mpmath")
        for point, value, slope in zip(
            points, names["gpn_random"](points), names["gpn_random_slope"](points), strict=True
        ):
            with mpmath.workdps(30):
                exact = [float(number) for number in wanted(mpmath.mpf(float(point)))]
            got = (value - names["B"]) / names["A"], slope / names["A"]
            np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-9 * (1 + max(map(abs, exact))))


def test_latex_states_the_formula():
    latex = export("elu", "latex")
    assert r"\begin{equation}" in latex
    assert r"\begin{cases}" in latex
    assert latex.count("{") == latex.count("}")


@pytest.mark.parametrize("argument", ["log(1+exp(x))", "log1p(exp(x))", "log(2+2*exp(x)) - log(2)"])
def test_the_logarithm_of_an_exponential_does_not_overflow(argument):
    formula = f"x*tanh({argument})"
    value, slope = functions(formula)[2:]
    x = np.array([-800.0, -1.0, 0.5, 800.0])
    mish, its_slope = functions("mish")[2:]
    np.testing.assert_allclose(value(x), mish(x), rtol=1e-13)
    np.testing.assert_allclose(slope(x), its_slope(x), rtol=1e-13)
    torch_code, jax_code = (export(formula, target) for target in ("torch", "jax"))
    assert "exp(" not in torch_code.split("def ")[1]
    assert "logsigmoid(-x)" in torch_code
    assert "jax.nn.softplus(x)" in jax_code


def test_nan_stays_nan():
    for spec in ("relu", "hard_tanh", "elu", "sparse_sigmoid", "x*sigmoid(x)"):
        _, _, value, _ = functions(spec)
        assert np.isnan(value(np.nan))


def test_unknown_target_and_functions_without_a_formula_are_refused():
    with pytest.raises(UsageError, match="numpy, torch, jax, keras, latex"):
        export("tanh", "fortran")
    for opaque in (CallableActivation("mine", np.tanh), "math:tanh"):
        with pytest.raises(UsageError, match="SymPy expression"):
            export(np.tanh if isinstance(opaque, str) else opaque, "numpy")
    with pytest.raises(UsageError, match="no normalization"):
        export("sign", "torch")


def test_export_is_a_function_of_the_package_whatever_was_imported_before():
    assert gpn.export is export


@pytest.mark.parametrize("library", [snippet_code.NUMPY, snippet_code.TORCH, snippet_code.JAX, snippet_code.KERAS])
def test_every_function_that_a_formula_can_name_is_written_in_every_library(library):
    in_formulas = {name for name, record in FUNCTIONS.items() if record.written or catalog.find(name)}
    rewritten = {function.__name__ for function in library.rewritten}
    assert in_formulas <= set(library.functions) | rewritten
