"""Atoms and edges: ReLU, leaky ReLU and |x| at tolerances that their mean squares meet exactly, by closed forms.

With squared slopes S and s of sum 2 and k ~ Bin(n, 1/2) positive coordinates, the mean of phi'^2 is (S k + s (n-k))/n,
and the squared length and |D u|^2 are s + (S - s) B, B ~ Beta(k/2, (n-k)/2), a point mass for k = 0 and n.
"""

import mpmath
import numpy as np
import pytest

import gpn
from gpn.experiment import cells
from gpn.sampling.rare_events import TailEvent, Tilt, importance_sample, log_largest_estimate
from gpn.statistics.evidence import Weighted
from gpn.statistics.limits import Verdict
from gpn.verification.plan import count
from gpn.verification.questions import Event, one_step_questions
from gpn.verification.settings import Settings
from theory.activations.specification import activation
from theory.claims.counted import ONE_LAYER, CountedClaim
from theory.layer.law import layer_law
from theory.layer.tails import one_step
from theory.normalization.normalize import normalize

WIDTHS = (2, 3, 8, 64, 512)
SLOPES = {"relu": 0, "leaky_relu": mpmath.mpf(1) / 100, "abs": 1}


def closed_form(name, claim, n, epsilon, side):
    """The probability with 40 digits, from binomial and Beta laws alone."""
    with mpmath.workdps(40):
        lower_slope = mpmath.mpf(SLOPES[name])
        s = 2 * lower_slope**2 / (1 + lower_slope**2)
        gap, epsilon = 2 - 2 * s, mpmath.mpf(epsilon)
        target = 1 + epsilon if side == "upper" else 1 - epsilon
        total = mpmath.mpf(0)
        for k in range(n + 1):
            total += mpmath.binomial(n, k) * tail(claim, n, k, s, gap, target, side)
        return total / mpmath.mpf(2) ** n


def tail(claim, n, k, s, gap, target, side):
    mean = s + gap * k / n
    if claim == "backward-one-step-fixed" or k in (0, n) or gap == 0:
        return (mean >= target) if side == "upper" else (mean <= target)
    share = (target - s) / gap
    if not 0 < share < 1:
        return (share <= 0) == (side == "upper")
    below = mpmath.betainc(mpmath.mpf(k) / 2, mpmath.mpf(n - k) / 2, 0, share, regularized=True)
    return 1 - below if side == "upper" else below


def events():
    for claim in ONE_LAYER:
        for n in WIDTHS:
            for epsilon in (0.5, 1.0, 1.5):
                for side in ("upper", "lower"):
                    yield claim, n, epsilon, side


@pytest.mark.parametrize("name", SLOPES)
def test_exact_probabilities_and_bounds_at_atoms_and_edges(name):
    """To 1e-9 or the stated error; no bound is below, and at the end of what can be reached Cramér's is equal."""
    phi = normalize(activation(name))
    laws = {n: layer_law(phi, n) for n in WIDTHS}
    edges = 0
    for claim, n, epsilon, side in events():
        known, found = closed_form(name, claim, n, epsilon, side), one_step(claim, laws[n], epsilon, side)
        if known == 0:
            assert found.exact.log == -np.inf
            continue
        log = float(mpmath.log(known))
        assert found.exact.log == pytest.approx(log, abs=found.exact.error + 1e-9)
        assert found.cramer.log >= log - 1e-9
        assert found.levy.log >= log - 1e-9
        if name == "relu" and epsilon == 1.0:
            assert log == pytest.approx(-n * np.log(2), rel=1e-12)
            assert found.cramer.log == pytest.approx(log, abs=1e-9)
            edges += 1
    assert edges == (30 if name == "relu" else 0)


@pytest.mark.parametrize("claim", ONE_LAYER)
@pytest.mark.parametrize("side", ["upper", "lower"])
@pytest.mark.parametrize("width", [64, 512])
def test_integration_at_the_edge_of_relu_gives_two_to_the_minus_n(claim, side, width):
    """Every limit is exact, with error 1e-6 each; a slack of 1e-9 would be 1.3 % too much at 64 and a third at 512."""
    settings = Settings.read("relu", width, 1, 1.0)
    phi = normalize(activation("relu"))
    [question] = [
        q
        for q in one_step_questions(settings, phi)
        if (q.event.claim, q.event.side, q.kind.name) == (claim, side, "exact")
    ]
    tie = question.event.tie
    assert tie <= 3e-14
    event, tilt = TailEvent(claim, width, 1.0, side, tie), Tilt(*EDGE_TILTS[claim, side])
    logs = importance_sample(phi, event, tilt, 30_000, np.random.default_rng(2))
    log_truth = -width * np.log(2)
    lower, upper = Weighted(logs - log_truth, log_largest_estimate(phi, event, tilt) - log_truth).limits(1e-6)
    assert 0.6 < lower <= 1 <= upper < 1.6


EDGE_TILTS = {
    ("forward-one-step", "upper"): (1e6, -2e6),
    ("forward-one-step", "lower"): (1e6, 0.0),
    ("backward-one-step-random", "upper"): (1e8, 0.0),
    ("backward-one-step-random", "lower"): (1e8, 0.0),
    ("backward-one-step-fixed", "upper"): (20.0, 0.0),
    ("backward-one-step-fixed", "lower"): (20.0, 0.0),
}


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("name", SLOPES)
def test_no_true_activation_is_violated_at_its_atoms(name, epsilon):
    """The verdict of the whole run, by networks and by integration, with widths at which counting sees the atoms."""
    report = gpn.verify(name, widths=(2, 8, 64), depth=2, epsilons=epsilon, trials=2000)
    assert Verdict.VIOLATED not in {row.verdict for row in report.rows}
    if (name, epsilon) == ("relu", 1.0):
        inside = ("forward-gaussian-input", "upper")  # a normal h has no longest |phi(h)|, so this is no edge
        cramer = [row for row in report.rows if row.bound_kind == "cramer" and (row.claim, row.side) != inside]
        assert all(row.equal for row in cramer)
        assert {row.verdict for row in cramer if row.width == 64} == {Verdict.HOLDS}


def test_networks_on_an_atom_are_counted_and_others_are_not():
    """The mean of phi'^2 of ReLU is 2k/8; (sqrt 2)^2 is not 2, and a continuous event has no slack at all."""
    outcome = cells.OneStep(normalize(activation("relu")), 8, "haar")(np.random.default_rng(0), 4000)
    atom = Event(CountedClaim.BACKWARD_FIXED, 8, 1, 0.5, "upper", 2e-14)
    heads = np.round(outcome["backward-one-step-fixed"] * 4)
    assert count(atom, outcome).exceedances == (heads >= 6).sum()
    outcome = {"forward-one-step": np.array([1.5 - 1e-12, 1.5, 1.5 + 1e-12])}
    assert count(Event(CountedClaim.FORWARD, 8, 1, 0.5, "upper"), outcome).exceedances == 2
