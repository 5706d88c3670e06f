"""Networks that float64 cannot hold say nothing: they count neither for a bound nor against it."""

import numpy as np
import pytest
from scipy import stats

import gpn
from gpn.experiment.cells import Deep, spread
from gpn.statistics.evidence import Counted
from gpn.statistics.limits import Verdict
from gpn.statistics.sequential import Watched
from gpn.verification.verify import verify
from theory.activations.specification import activation
from theory.bounds.homogeneous import Slopes, homogeneous_slopes, slopes_deep_bound
from theory.depth.coefficients import NoPrediction, depth_coefficients
from theory.depth.fluctuation import log_ratio_law
from theory.errors import UsageError
from theory.trainability.isometry import finite_width_variance


def test_limits_hold_whatever_the_unknown_trials_showed():
    """Clopper and Pearson's beta quantiles at the two extremes."""
    lower, upper = Counted(exceedances=3, trials=40, unknown=5).limits(0.01)
    assert lower == pytest.approx(stats.beta.ppf(0.01, 3, 38), rel=1e-12)
    assert upper == pytest.approx(stats.beta.ppf(0.99, 9, 32), rel=1e-12)
    for shown in range(6):
        low, high = Counted(3 + shown, 40).limits(0.01)
        assert lower <= low <= high <= upper


def test_limits_at_every_look_hold_whatever_the_unknown_trials_showed():
    looks, unclear = ((1, 20), (3, 40)), (2, 5)
    seen = Watched(looks, unclear)
    assert (seen.unknown, Watched(looks).unknown) == (5, 0)
    assert seen.limits(0.01)[0] == Watched(looks).limits(0.01)[0]
    assert seen.limits(0.01)[1] == Watched(((3, 20), (8, 40))).limits(0.01)[1]


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
@pytest.mark.parametrize("until", [None, "decided"])
@pytest.mark.parametrize("formula", ["1e100*x", "1e-100*x", "1e-200*x", "-1e-200*abs(x)"])
def test_a_proved_theorem_is_not_called_violated_by_networks_out_of_reach(formula, until, method):
    """Linear maps and |x| have all ratios exactly 1; these leave float64 in layers 2 to 4."""
    options = {"root": None, "claims": "network", "until": until, "cap": 400 if until else None, "method": method}
    report = verify(formula, 8, 9, 0.5, None if until else 16, **options)
    [row] = [row for row in report.rows if row.bound_kind == "deep"]
    assert (row.bound, row.exceedances, row.unknown) == (0.0, 0, row.trials)
    assert (row.lower, row.upper, row.verdict) == (0.0, 1.0, Verdict.UNDECIDED)
    assert report.verdict is Verdict.UNDECIDED
    assert "out of reach of float64" in report.summary()
    [note] = [note for note in report.notes if note.startswith("Out of reach")]
    first = {"1e100*x": 4, "1e-100*x": 3}.get(formula, 2)
    assert f"in {row.trials:,} of {row.trials:,} networks, the first of them in layer {first}." in note


@pytest.mark.parametrize("formula", ["1e30*x", "1e-30*x", "-1e-30*abs(x)"])
def test_what_float64_holds_is_counted(formula):
    report = verify(formula, 8, 9, 0.5, 16, root=None, claims="network")
    assert report.verdict is Verdict.HOLDS  # and the prediction, whose rate is 0 up to rounding, takes no memory
    assert all(row.unknown == 0 for row in report.rows)


def test_a_network_that_died_is_known():
    """ReLU of width 2 dies in a layer with probability 1/4: all its gradients are exactly 0."""
    found = Deep(activation("relu"), 2, 6, "haar")(np.random.default_rng(0), 4000)
    dead = np.isinf(found["spread"]).mean()
    assert not np.isnan(found["spread"]).any()
    assert abs(dead - (1 - 0.75**6)) < 5 * np.sqrt(0.25 / 4000)
    assert not found["lost in"].any()


def test_the_layer_that_is_lost():
    """1e80^4 overflows; 1e-200 is held, and its square is 0; some networks of x^3 overflow, others shrink."""
    lost = {name: gpn.simulate(name, 8, 6, 5).lost_in.tolist() for name in ("1e80*x", "1e-200*x", "tanh")}
    assert lost == {"1e80*x": [4] * 5, "1e-200*x": [2] * 5, "tanh": [0] * 5}
    found = Deep(activation("x**3"), 2, 9, "haar")(np.random.default_rng(1), 200)
    unknown = np.isnan(found["spread"])
    assert 0 < unknown.sum() < 200
    assert (unknown == (found["lost in"] > 0)).all()


def test_the_top_gradient_must_be_known():
    """A gradient below the top that vanished or overflowed is far from it; that at the top is the yardstick."""
    seen = spread(np.array([[-np.inf, 0.0, 0.0], [np.inf, 0.0, 0.0], [0.0, 0.0, np.inf], [0.0, np.nan, 0.0]]))
    np.testing.assert_array_equal(seen, [np.inf, np.inf, np.nan, np.nan])


def test_a_simulated_width_is_refused_where_networks_are_lost():
    report = gpn.required_width("1e100*x", 9, 0.5, 0.05, root=None, simulate=True)
    [found] = [one for one in report.requirements if one.kind == "simulation"]
    assert found.value is None
    assert "float64 cannot hold" in found.reason


def test_theory_of_activations_whose_squares_underflow():
    """Multiples of one homogeneous function have one bound, and no law is made of numbers that are 0 in float64."""
    small, usual = (homogeneous_slopes(activation(f"{scale}*leaky_relu(x)")) for scale in ("1e-200", "1"))
    assert isinstance(small, Slopes)
    assert isinstance(usual, Slopes)
    assert small.squares == pytest.approx(usual.squares, rel=1e-14)
    assert slopes_deep_bound(small, 800, 5, 1.0).log == pytest.approx(slopes_deep_bound(usual, 800, 5, 1.0).log)
    assert isinstance(log_ratio_law(depth_coefficients(activation("1e-100*leaky_relu(x)")), 64, 9), NoPrediction)
    assert finite_width_variance(1e-200, 0.0, 32, 9) == pytest.approx(finite_width_variance(1.0, 0.0, 32, 9))
    assert finite_width_variance(1e-100, 1.5e-200, 32, 9) == pytest.approx(finite_width_variance(1.0, 1.5, 32, 9))


@pytest.mark.parametrize("formula", ["1e-100*x", "1e-60*tanh(x)"])
def test_a_jacobian_that_underflows_is_refused(formula):
    with pytest.raises(UsageError, match="underflows in layer"):
        gpn.spectrum(formula, 9, 8, 2, root=None)
