"""The deep bound for Gaussian weights: its lemmas against exact integrals and simulation, and its doors."""

import dataclasses

import numpy as np
import pytest

from gpn.engine.shape import Shape
from gpn.sampling.sampler import sample
from theory.activations.specification import activation
from theory.bounds.certificate import Readout
from theory.bounds.deep import deep_bound
from theory.bounds.gaussian import verifier
from theory.bounds.gaussian.means import prepare
from theory.bounds.gaussian.search import propose
from theory.bounds.moments import log_maximum
from theory.depth.coefficients import depth_coefficients, with_gaussian_weights
from theory.depth.fluctuation import log_ratio_law
from theory.errors import UsageError
from theory.initialization.path import Layer
from theory.initialization.shaped import shaped_law
from theory.normalization.normalize import normalize

TANH = normalize(activation("tanh"))
N, L = 430, 10


@pytest.fixture(scope="module")
def setting():
    return prepare(propose(TANH, N, L, 1.0, Readout(), 0.007), TANH)


def at(setting, h, phi=TANH):
    """The setting with the neurons of one layer in place of quadrature nodes: exponents then sum to a log weight."""
    value, slope = phi.value_and_slope(h)
    return dataclasses.replace(setting, nodes=dataclasses.replace(setting.nodes, z=h, value=value, slope=slope))


def log_sum(kernel, q):
    lines = getattr(kernel, "lines", 0.0)
    return np.logaddexp.reduce(kernel.constants + lines * q + kernel.exponents.sum(axis=1))


def log_mean(sign, t, b, rho, h, phi, q, ratio=1.0):
    """log E exp(+-t Y) over e = rho sqrt(r) x/|x| + g/sqrt(n), g normal in the complement of x: an exact integral."""
    f, d = phi.value_and_slope(h)
    n, x = len(h), f / np.linalg.norm(f)
    p = d * h / np.sqrt(n * q)
    form = (np.diag(d * d) + b * np.outer(p, p)) * sign * t / (1 + b * rho**2)
    basis = np.linalg.svd(np.eye(n) - np.outer(x, x))[0][:, : n - 1]
    inside = np.eye(n - 1) - 2 / n * basis.T @ form @ basis
    along = 2 * rho * np.sqrt(ratio / n) * basis.T @ form @ x
    return rho**2 * ratio * x @ form @ x - np.linalg.slogdet(inside)[1] / 2 + along @ np.linalg.solve(inside, along) / 2


@pytest.mark.parametrize(("sign", "ratio"), [(1, None), (-1, None), (1, 1.7), (-1, 1.7)])
def test_one_layer_is_dominated_whatever_the_alignment(setting, sign, ratio):
    # Lemma A on layers with limits that just hold; often the bracket is positive. With a ratio, the majorant is that of
    # a narrower layer, of 50 neurons.
    rng, positive, n, close = np.random.default_rng(1), 0, 60, []
    least = n if ratio is None else 50
    for name in ("tanh", "selu", "silu", "gelu"):
        phi = normalize(activation(name))
        for _ in range(6):
            q, b, t = rng.uniform(0.7, 1.3), rng.choice([0.4, 1.5]) if sign > 0 else 0.0, rng.choice([2.0, 6.0])
            h = rng.standard_normal(n) * np.sqrt(q)
            f, d = phi.value_and_slope(h)
            gamma, square = np.sum(f * d * h) / (n * q), float((d * d).max())
            side = dataclasses.replace(setting.certificate.upper, b=b, horizon=t, bracket_tilts=(0.2,) * 3)
            if 1 - 2 * t / least * square < 0.05:
                continue
            sigma = np.sum((d * h) ** 2 / (1 - 2 * t / least * d * d)) / (n * q)
            if sign > 0 and 2 * t / least * b * sigma > 0.9:
                continue
            limits = dataclasses.replace(
                setting.certificate,
                width=least,
                sigma_high=sigma,
                z_low=np.mean(d * d),
                gamma_low=gamma - 0.01,
                gamma_high=gamma + 0.01,
                low=np.mean(f * f),
                high=np.mean(f * f),
                upper=side,
            )
            here = dataclasses.replace(at(setting, h, phi), certificate=limits, square=square, ratio=ratio)
            if sign > 0:
                kernel = verifier.upper_majorant(here, side, np.array([t]))
                kernel = dataclasses.replace(kernel, exponents=kernel.exponents * least / n)
                bound, plain = log_sum(kernel, q), kernel.constants[0] + kernel.exponents[0].sum()
            else:
                bound = plain = verifier.lower_exponents(here, np.array([t])).sum() * least / n
            exact = [log_mean(sign, t, b, rho, h, phi, q, ratio or 1.0) for rho in (0.0, 0.1, 0.4, 0.8, 1.1)]
            assert max(exact) <= bound + 1e-9
            positive += max(exact) > plain
            close.append(plain - exact[0])
    assert positive > 5 if sign > 0 else positive == 0
    assert 0 <= np.median(close) < (0.1 if ratio is None else 0.5)


def test_the_potential_bounds_the_mean_of_the_maximum(setting):
    # Lemma E: E max_(l < L) X_l <= f + g on 400 forward passes; 2 comparisons at 5 standard errors, false alarm 6e-7.
    for sign, side in ((1, setting.certificate.upper), (-1, setting.certificate.lower)):
        [chain], rng = side.chains, np.random.default_rng(6)
        power, sample_of = sign * chain.exponent, []
        for _ in range(400):
            q, steps = 1.0, []
            for _ in range(L - 1):
                h = rng.standard_normal(N) * np.sqrt(q)
                after = np.mean(TANH.value_and_slope(h)[0] ** 2)
                mean = log_sum(verifier.layer_kernel(at(setting, h), sign, side, chain), q)
                steps.append(mean + power * np.log(q / after))
                q = after
            sample_of.append(np.exp(np.cumsum(steps[::-1]).max()))
        bound = np.exp(log_maximum(setting, power, chain, verifier.layer_kernel(setting, sign, side, chain)))
        assert np.mean(sample_of) + 5 * np.std(sample_of) / 20 <= bound <= 6 * np.mean(sample_of)


@pytest.mark.parametrize(
    ("name", "root", "width", "depth", "trials"),
    [
        ("tanh", "auto", 430, 10, 1000),
        *[
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("tanh", "auto", 2180, 50, 300),
                ("sin", "auto", 560, 10, 1000),
                ("erf", "auto", 490, 10, 1000),
                ("arctan", "auto", 550, 10, 1000),
                ("selu", "plus", 640, 10, 1000),
                ("elu", "minus", 640, 10, 1000),
                ("gelu", "minus", 860, 10, 1000),
                ("silu", "minus", 3400, 50, 200),
            )
        ],
    ],
)
def test_the_bound_lies_above_the_simulated_exceedance(name, root, width, depth, trials):
    # The exceedance is far below the bound; nine comparisons at 5 standard errors raise a false alarm below 1e-5.
    phi = normalize(activation(name), root)
    found = deep_bound(phi, width, depth, 1.0, weights="gaussian")
    rng = np.random.default_rng(9)
    logs = 2 * sample(phi, width, depth, trials, rng, weights="gaussian").log_gradient_norms
    share = np.mean(np.abs(logs[:, :-1] - logs[:, -1:]).max(axis=1) >= 1.0)
    assert 1e-3 < found.probability < 0.1
    assert share <= found.probability + 5 * np.sqrt(found.probability / trials)


def test_a_chain_of_unequal_widths_stays_below_the_bound_of_its_narrowest_layer():
    # One comparison at 5 standard errors; the exceedance is far below the bound.
    widths = [20, 480, 460, 600, 470, 900, 500, 460]
    found = deep_bound(TANH, 460, 7, 1.0, weights="gaussian", ratio=900 / 470)
    rng = np.random.default_rng(5)
    drawn = sample(TANH, widths[0], 7, 300, rng, shape=Shape.read(widths), weights="gaussian")
    logs = 2 * drawn.log_gradient_norms - np.log(widths[:-1])
    share = np.mean(np.abs(logs[:, :-1] - logs[:, -1:]).max(axis=1) >= 1.0)
    assert 1e-3 < found.probability < 0.1
    assert share <= found.probability + 5 * np.sqrt(found.probability / 300)
    assert "grows where" in deep_bound(TANH, 460, 7, 1.0, weights="gaussian", ratio=9.0).reason
    assert "readout is random" in deep_bound(TANH, 2000, 7, 1.0, "any", "gaussian", 1.0).reason
    for weights, ratio in (("haar", 1.0), ("gaussian", 0.9)):
        with pytest.raises(UsageError, match="a ratio of widths"):
            deep_bound(TANH, 460, 7, 1.0, weights=weights, ratio=ratio)


def test_a_certificate_serves_wider_layers_term_by_term():
    # The corollary for unequal widths: every term falls with the width, all parameters as they are but the exponents of
    # the brackets, which are n/n_l as large.
    for name, width in (("tanh", 500), ("gelu", 1000)):
        phi = normalize(activation(name))
        narrow = propose(phi, width, 6, 1.0, Readout(), 0.01, ratio=1.3)
        tilts = tuple(tilt / 1.5 for tilt in narrow.upper.bracket_tilts)
        wide = dataclasses.replace(
            narrow, width=3 * width // 2, upper=dataclasses.replace(narrow.upper, bracket_tilts=tilts)
        )
        before, after = (dict(verifier.verify(c, phi, 1.3).terms) for c in (narrow, wide))
        assert max(before.values()) < -2
        assert all(after[term] <= before[term] + 1e-3 for term in before)


def test_any_readout_costs_more_but_on_the_upper_side_alone():
    known, less = (
        verifier.verify(propose(TANH, 700, 10, 1.0, Readout(kind), 0.007), TANH) for kind in ("random", "any")
    )
    assert known.log < less.log < -0.5
    assert dict(known.terms)["small gradients"] == pytest.approx(dict(less.terms)["small gradients"], abs=1e-9)


@pytest.mark.slow
def test_an_aligned_readout_stays_below_the_bound_for_any():
    # e_L = x_L, which the theorem for unknown readouts covers; one comparison at 5 standard errors.
    found = deep_bound(TANH, 1000, 10, 2.0, "any", weights="gaussian")
    rng = np.random.default_rng(2)
    logs = 2 * sample(TANH, 1000, 10, 500, rng, weights="gaussian", readout="aligned").log_gradient_norms
    share = np.mean(np.abs(logs[:, :-1] - logs[:, -1:]).max(axis=1) >= 2.0)
    assert found.probability < 0.1
    assert share <= found.probability + 5 * np.sqrt(found.probability / 500)


def test_the_prediction_is_that_of_the_law_of_layers_that_differ():
    for name in ("tanh", "gelu"):
        phi = normalize(activation(name))
        shaped = shaped_law([Layer(phi)] * 7, [1000] * 8, orthogonal=False)
        law = log_ratio_law(phi, 1000, 7, weights="gaussian")
        assert law.gradient_mean == pytest.approx(shaped.mean, abs=1e-12)
        assert law.gradient_variance == pytest.approx(shaped.variance, rel=1e-9)
        assert law.mean == pytest.approx(shaped.mean - shaped.mean[-1], abs=1e-12)
        assert law.variance[:-1] == pytest.approx((((shaped.factor - shaped.factor[-1]) ** 2).sum(axis=1))[:-1])
        coefficients = with_gaussian_weights(depth_coefficients(phi))
        assert coefficients.log_ratio_variance(6) == pytest.approx(1000 * law.variance[0], rel=1e-9)
        assert coefficients.slope_variance == pytest.approx(depth_coefficients(phi).slope_variance)
    relu = log_ratio_law(normalize(activation("relu")), 1000, 7, weights="gaussian")
    assert "Haar (orthogonal) weights only" in relu.reason


def test_what_is_out_of_reach_says_why():
    assert "homogeneous" in deep_bound(normalize(activation("relu")), 1000, 10, 1.0, weights="gaussian").reason
    assert "too small" in deep_bound(TANH, 100, 50, 0.5, weights="gaussian").reason
    aligned = deep_bound(TANH, 1000, 10, 1.0, Readout("aligned", 0.1), weights="gaussian")
    assert aligned.reason == "for Gaussian weights the readout is random or any"
    with pytest.raises(UsageError, match="unknown weights 'he'"):
        deep_bound(TANH, 1000, 10, 1.0, weights="he")


def test_a_certificate_that_proves_nothing_makes_its_term_one(setting):
    c = setting.certificate

    def terms(**changes):
        return dict(verifier.verify(dataclasses.replace(c, **changes), TANH).terms)

    def above(**changes):
        return terms(upper=dataclasses.replace(c.upper, **changes))["large gradients"]

    assert max(terms().values()) < -2
    assert terms(sigma_high=1e4)["large gradients"] == 0  # no mean of e^{tY} is left
    assert above(b=0.0) == above(b=0.01) == 0  # the bracket is positive
    assert above(horizon=0.6 * N / setting.square) == 0  # 2 T s reaches n
    assert above(bracket_tilts=(1e-3,) * 3) == 0  # theta <= t
    assert terms(top_tilt=0.5 / c.top_floor)["top"] == 0
    assert terms(lower=dataclasses.replace(c.lower, floor=0.9))["small gradients"] < -2  # y0 is E3's to pay
    assert terms(lower=dataclasses.replace(c.lower, floor=0.9))["floor of one layer"] == 0
    assert terms(lower=dataclasses.replace(c.lower, floor=0.5 * c.lower.floor))["small gradients"] == 0
    assert verifier.verify(dataclasses.replace(c, low=np.nan), TANH).log == 0
