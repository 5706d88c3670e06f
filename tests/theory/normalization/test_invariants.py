"""Whole reports: a certified jump is impossible, and a report that contradicts a theorem never leaves."""

import math
from dataclasses import replace

import pytest
import sympy
from flint import arb

from benchmarks.soundness_mutations import MUTATIONS, applied, is_seen
from gpn.cli import main
from tests.oracles.second_reader import jumps, reference
from theory.activations import ends, proofs
from theory.activations.specification import activation
from theory.balls.decimal import DecimalNumber
from theory.errors import ContradictionError
from theory.gaussian.certified import certified_moments
from theory.gaussian.moments import CONDITIONS
from theory.normalization import conditions
from theory.normalization.conditions import gaussian_poincare
from theory.normalization.invariants import contradictions

HIDDEN_JUMPS = [
    "x+abs(x)/x",
    "hard_tanh(1/x)",
    "clip(1/x,-5,5)",
    "clip(1/(x**2-2),-1,1)",
    "x+x/sqrt(x**2)",
    "relu(x)/x*(x+1)",
    "1/max(1/x,-0.5)",
    "x/abs(x)",
    "max(x,0)/x",
    "sqrt(x**2)/x",
    "tanh(1/(x-0.3))",
    "abs(abs(x)/x+1/2)",
    "max(tanh(1/x),-0.5)",
    "x*abs(x-1)/(x-1)",
    "arctan(1/(x**3-x))",
    "sigmoid(1/x)*exp(x)",
]
HIDDEN_JOINS = [
    "x*abs(x)/x",  # |x|
    "x**2*abs(x)/x",
    "abs(x**2-1)*(x-2)",
    "x*tanh(1/x)",
    "exp(-1/x**2)",
    "max(1/(1+x**2),0.5)",
    "1/max(abs(x),0.5)",
    "(x**2-1)/(x-1)*tanh(x)",
    "exp(tanh((((2*x-(pi/4)))**2-1)/(((2*x-(pi/4)))-1)*sigmoid(x)))",
    "(x**3-x)/(x**2-1)+1/(1+x**2)",
]


@pytest.mark.parametrize("text", HIDDEN_JUMPS)
def test_a_pole_inside_a_switch_is_a_jump(text):
    report = gaussian_poincare(activation(text), 15)
    assert report.normalizable == "no"
    assert report.slope_second_moment is None
    assert not report.normalizations
    assert report.lipschitz is None
    places = [float(sympy.sympify(place)) for place in report.jumps]
    assert places == pytest.approx([point for point, _ in jumps(text)], abs=1e-8)


@pytest.mark.parametrize("text", HIDDEN_JOINS)
def test_a_removable_pole_is_no_jump(text):
    report = gaussian_poincare(activation(text), 15)
    assert report.jumps == ()
    assert report.normalizable == "yes"
    assert report.certified or text == "exp(-1/x**2)"  # an essential singularity, off the real line only
    (_, _, slope, _), _, _ = reference(text)
    assert float(report.slope_second_moment) == pytest.approx(slope, rel=1e-6)


def test_reports_of_the_catalog_keep_the_invariants():
    for text in ("gelu", "relu", "x", "abs(x)", "elu(0.5)", "sign(x)", "exp(x**2)"):
        phi = activation(text)
        assert list(contradictions(gaussian_poincare(phi, 15), phi)) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"jumps": ("0",)}, "jumps"),
        ({"variance": 0.9}, "Var phi"),
        ({"lipschitz": 0.1}, "sup"),
        ({"normalizations": ()}, "two normalizations"),
    ],
)
def test_a_wrong_report_is_seen(changes, word):
    phi = activation("gelu")
    report = replace(gaussian_poincare(phi, 15), **changes)
    assert any(word in contradiction for contradiction in contradictions(report, phi))


@pytest.mark.parametrize(
    ("name", "value"), [("a", "1.490000000000"), ("b", "-0.900000000000"), ("b", "0.200000000000")]
)
def test_a_wrong_constant_is_seen_by_the_float_path(name, value):
    phi = activation("gelu")
    report = gaussian_poincare(phi, 15)
    wrong = replace(report.normalizations[0], **{name: DecimalNumber(value)})
    found = list(contradictions(replace(report, normalizations=(wrong, report.normalizations[1])), phi))
    assert any(value in contradiction for contradiction in found)


@pytest.mark.parametrize("threshold", [-6, -10, -13.9])
def test_a_function_that_is_all_but_constant_is_no_contradiction(threshold):
    """max(x, c) with c far out on the other side is the identity, min(x, c) all but constant: a is up to 1e22."""
    for text in (f"min(x, {threshold})", f"max(x, {-threshold})"):
        report = gaussian_poincare(activation(text), 30)
        assert (report.certified, report.normalizable) == (True, "yes")
        assert report.normalizations[0].a > 1e4


def test_a_contradiction_is_never_an_answer(monkeypatch, capsys):
    monkeypatch.setattr(conditions, "steps", lambda _activation, order: (0,) if order == "value" else ())
    with pytest.raises(ContradictionError, match="x\\*normal_cdf"):
        gaussian_poincare(activation("gelu"), 15)
    with pytest.raises(SystemExit) as end:
        main(["check", "gelu"])
    assert end.value.code == 70
    out, error = capsys.readouterr()
    assert out == ""
    assert "contradiction" in error


@pytest.mark.parametrize("error", MUTATIONS)
def test_the_campaign_sees_errors_that_are_made_on_purpose(error):
    formula = MUTATIONS[error][1]
    assert not is_seen(formula)
    with applied(error):
        assert is_seen(formula)
    assert not is_seen(formula)


def test_a_short_stretch_that_panels_step_over_is_no_contradiction():
    slope = gaussian_poincare(activation("x + exp(-(100000*(x - 0.3))^2)"), 15).slope_second_moment
    k, c = 1e5, 2e10  # E phi'^2 = 1 + E g'^2 for the bump g, but for 2 E g', a part in 1e10
    bump = math.exp(-0.09 * c / (1 + 2 * c)) / math.sqrt(1 + 2 * c)
    assert slope == pytest.approx(1 + 4 * k**4 / (1 + 4 * k * k) * bump, rel=1e-8)


@pytest.mark.parametrize("text", ["tanh(1/x**2)", "erf(1/x**2) + x", "tanh(log(abs(x)))", "x*tanh(1/x)"])
def test_continuity_is_proved_without_the_limits_of_sympy(monkeypatch, text):
    def wrong(*_arguments, **_named):
        return sympy.Integer(7)

    monkeypatch.setattr("sympy.limit", wrong)
    proofs.discontinuity.cache_clear()
    ends.one_sided_limit.cache_clear()
    assert proofs.proved_jumps(activation(text).expression, activation(text).pieces) == []
    assert isinstance(certified_moments(activation(text), 10, CONDITIONS).moment("slope_second"), arb)


@pytest.mark.parametrize(
    "text", ["(1 - tanh(1/abs(x)))*exp(2/abs(x)) + tanh(x)", "where(x < 0, 0, (1-tanh(1/x))*exp(2/x))"]
)
def test_a_limit_of_sympy_alone_certifies_nothing(text):
    proofs.discontinuity.cache_clear()
    ends.one_sided_limit.cache_clear()
    report = gaussian_poincare(activation(text), 10)
    assert not report.certified or report.slope_second_moment is None
    assert proofs.proved_jumps(activation(text).expression, activation(text).pieces) == []
