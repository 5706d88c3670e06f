"""The deep bound end to end: figures, validity against simulation, and what it says where it says nothing."""

import numpy as np
import pytest

from gpn.sampling.sampler import sample
from theory.activations.specification import activation
from theory.bounds import chains, grid, layer_means
from theory.bounds import deep as module
from theory.bounds.certificate import Readout
from theory.bounds.deep import HOMOGENEOUS, deep_bound, required_width_deep
from theory.bounds.search import propose
from theory.bounds.verifier import DeepBound, evaluated, verify
from theory.depth.coefficients import depth_coefficients
from theory.errors import UsageError
from theory.normalization.normalize import normalize

TANH = normalize(activation("tanh"))


def log_ratios(phi, width, depth, trials, seed):
    """log G_l for l < L, (trials, L - 1)."""
    logs = 2 * sample(phi, width, depth, trials, np.random.default_rng(seed)).log_gradient_norms
    return logs[:, :-1] - logs[:, -1:]


@pytest.fixture(scope="module")
def bound():
    return deep_bound(TANH, 205, 10, 1.0)


def test_the_figure_for_ten_layers(bound):
    assert 0.02 < bound.probability < 0.05
    assert not bound.reason
    assert dict(bound.terms)["large gradients"] < np.log(0.02)


@pytest.mark.parametrize(("name", "width", "epsilon"), [("tanh", 220, 0.8)])
def test_the_bound_lies_above_the_simulated_exceedance(name, width, epsilon):
    # The exceedance lies tenfold below the bound; five standard errors more: false alarm below 1e-6.
    phi = normalize(activation(name))
    found = deep_bound(phi, width, 6, epsilon)
    share = np.mean(np.abs(log_ratios(phi, width, 6, 20_000, 3)).max(axis=1) >= epsilon)
    assert found.log < 0
    assert share <= found.probability + 5 * np.sqrt(found.probability / 20_000)


def test_the_bound_falls_with_the_tolerance_and_the_width():
    def log(width, epsilon):
        return verify(propose(TANH, width, 5, epsilon, Readout(), 0.01), TANH).log

    assert log(300, 1.0) < log(300, 0.7) < 0
    assert log(450, 0.7) < log(300, 0.7)


FINER = {"_STEP": 0.6, "_HALF": 15, "_DEGREE": 14}
FINEST = {"_STEP": 0.6, "_HALF": 16, "_DEGREE": 16, "_REACH": 0.5, "_TERMS": 20, "_GRID": 641}


@pytest.mark.parametrize(("finer", "gain"), [(FINER, 2e-3), pytest.param(FINEST, 0.02, marks=pytest.mark.slow)])
def test_finer_rules_change_nothing(bound, monkeypatch, request, finer, gain):
    # Quadrature and frequencies refined together: what is numerical is settled. Finer cells and grids lower the margins
    # of the suprema, never raise them.
    for name, value in finer.items():
        [module] = [module for module in (grid, layer_means) if hasattr(module, name)]
        monkeypatch.setattr(module, name, value)
    evaluated.cache_clear()  # of the coarser rule, and afterwards of the finer one
    request.addfinalizer(evaluated.cache_clear)
    assert bound.log - gain <= verify(bound.certificate, TANH).log <= bound.log + 2e-3


def test_what_is_out_of_reach_says_why():
    relu = normalize(activation("relu"))
    assert deep_bound(relu, 1000, 10, 1.0).reason == HOMOGENEOUS
    assert "not normalized" in deep_bound(activation("tanh"), 1000, 10, 1.0).reason
    assert "jumps" in deep_bound(activation("sign(x)"), 1000, 10, 1.0).reason
    assert "chi = 1.1135" in deep_bound(normalize(activation("gelu"), "plus"), 1000, 10, 1.0).reason
    assert "too small" in deep_bound(TANH, 60, 50, 0.5).reason
    assert deep_bound(TANH, 2, 10, 1.0).log == 0
    narrow = deep_bound(normalize(activation("selu")), 110, 10, 1.0)
    assert narrow.log == 0
    assert narrow.reason


def test_what_no_floor_can_be_above_is_above_each_and_close(bound, monkeypatch):
    """So the search leaves out only what it would not have found, and its result is the same without that."""
    pairs, find, ceiling = [], chains._floor, chains._highest_floor

    def found(draft, side):
        pairs.append((find(draft, side).floor, ceiling(draft, side.horizon)))
        return find(draft, side)

    monkeypatch.setattr(chains, "_floor", found)
    monkeypatch.setattr(chains, "_highest_floor", lambda *_: np.inf)
    assert deep_bound(TANH, 205, 10, 1.0) == bound
    assert len(pairs) > 3
    assert all(0 <= highest - floor < 0.02 for floor, highest in pairs)


def test_one_layer_has_nothing_to_compare():
    assert deep_bound(TANH, 64, 1, 0.5).probability == 0


def test_misuse_is_an_error():
    for arguments in [(1, 10, 1.0), (64.5, 10, 1.0), (64, 0, 1.0), (64, 10, 0.0), (64, 10, np.nan)]:
        with pytest.raises(UsageError):
            deep_bound(TANH, *arguments)
    with pytest.raises(UsageError, match="readout"):
        deep_bound(TANH, 64, 10, 1.0, "aligned")
    with pytest.raises(UsageError, match="probability"):
        required_width_deep(TANH, 10, 1.0, 1.5)


def test_less_knowledge_of_the_readout_costs_more():
    known = verify(propose(TANH, 300, 10, 1.0, Readout("random"), 0.01), TANH)
    slightly = verify(propose(TANH, 300, 10, 1.0, Readout("aligned", 0.1), 0.01), TANH)
    assert known.log < slightly.log < 0


@pytest.mark.slow
def test_an_aligned_readout_stays_below_the_bound_for_any():
    # e_L = x_L: the exceedance is zero of 200 where the bound for unknown readouts is far from vacuous.
    found = deep_bound(TANH, 3000, 50, 2.0, "any")
    logs = 2 * sample(TANH, 3000, 50, 200, np.random.default_rng(1), readout="aligned").log_gradient_norms
    share = np.mean(np.abs(logs[:, :-1] - logs[:, -1:]).max(axis=1) >= 2.0)
    assert share <= found.probability < 0.05


@pytest.mark.parametrize("least", [500, 1234])
def test_the_width_is_bracketed_to_two_per_cent(monkeypatch, least):
    def attempt(_activation, problem, *_):
        return DeepBound("deep", -4.0 if problem[0] >= least else -2.0, "")

    monkeypatch.setattr(module, "_attempt", attempt)
    found = required_width_deep(TANH, 10, 1.0, 0.05)
    assert least <= found.width <= 1.021 * least
    monkeypatch.setattr(module, "_attempt", lambda *_: DeepBound("deep", 0.0, "no tube"))
    never = required_width_deep(TANH, 10, 1.0, 0.05)
    assert never.width is None
    assert "no tube" in never.reason


@pytest.mark.slow
def test_the_required_width_has_its_bound_below_the_probability():
    found = required_width_deep(TANH, 10, 1.0, 0.05)
    assert found.bound.probability < 0.05
    assert 10 <= found.width / (10 * depth_coefficients(TANH).variance_per_layer) <= 17
    assert found.bound.certificate.width == found.width


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "epsilon", "reference"),
    [(10, 1.0, 200), (10, 0.5, 724), (50, 1.0, 952), (50, 0.5, 3597), (200, 1.0, 3791), (200, 0.5, 14476)],
)
def test_the_table_of_widths(depth, epsilon, reference):
    found = required_width_deep(TANH, depth, epsilon, 0.05)
    assert found.width <= 1.03 * reference
    assert 8.5 <= found.width * epsilon**2 / (depth * depth_coefficients(TANH).variance_per_layer) <= 11


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "root", "width", "depth"),
    [
        ("tanh", "auto", 200, 10),
        ("erf", "auto", 235, 10),
        ("sin", "auto", 256, 10),
        ("hard_tanh", "auto", 239, 10),
        ("arctan", "auto", 277, 10),
        ("relu", "minus", 1000, 10),
        ("selu", "plus", 203, 10),
        ("gelu", "minus", 452, 10),
        ("elu", "minus", 193, 10),
        ("silu", "minus", 900, 10),
        ("gelu", "minus", 1687, 50),
        ("selu", "plus", 621, 50),
    ],
)
def test_other_activations_are_within_reach(name, root, width, depth):
    # At the widths that are asked for (docs/deep-bound.md); the true exceedance is far below the bound, so twelve
    # comparisons at 5 standard errors raise a false alarm with probability below 1e-5.
    phi = normalize(activation(name), root)
    found = deep_bound(phi, width, depth, 1.0)
    trials = 4_000_000 // (width * depth) + 200
    share = np.mean(np.abs(log_ratios(phi, width, depth, trials, 9)).max(axis=1) >= 1.0)
    assert found.probability < 0.05
    assert share <= found.probability + 5 * np.sqrt(found.probability / trials)


def test_a_very_wide_network_is_bounded_by_a_smaller_tolerance():
    """Beyond the range of float64 the bound of a smaller tolerance serves; it is far below anything countable."""
    phi = normalize(activation("tanh"))
    assert deep_bound(phi, 2**16, 10, 1.0).log < -20
