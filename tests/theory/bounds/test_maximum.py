"""Lemmas A, D, E and F of docs/deep-bound.md, each against simulation or a closed form."""

import dataclasses

import numpy as np
import pytest
from scipy.special import gammaln, hyp1f1

from theory.activations.specification import activation
from theory.bounds.certificate import Mixture, Readout, tent
from theory.bounds.moments import (
    direction_majorant,
    dominates_power,
    layer_kernel,
    layer_majorant,
    log_alignment_cost,
    log_maximum,
    power_supremum,
    top_alignment,
    top_cost,
)
from theory.bounds.search import propose
from theory.bounds.verifier import prepare
from theory.normalization.normalize import normalize

TANH = normalize(activation("tanh"))
N, L, TRIALS = 260, 10, 4000


@pytest.fixture(scope="module")
def setting():
    return prepare(propose(TANH, N, L, 1.0, Readout(), 0.03), TANH)


def sides(setting):
    return (1, setting.certificate.upper), (-1, setting.certificate.lower)


def at(setting, h, phi=TANH):
    """The setting with the neurons of one layer in place of quadrature nodes: exponents then sum to a log weight."""
    value, slope = phi.value_and_slope(h)
    return dataclasses.replace(setting, nodes=dataclasses.replace(setting.nodes, z=h, value=value, slope=slope))


def log_majorant(setting, sign, side, chain, h):
    """log Mbar(h)."""
    kernel = layer_kernel(at(setting, h), sign, side, chain)
    return np.logaddexp.reduce(kernel.constants + kernel.exponents.sum(axis=1))


def maximum(setting, sign, side, chain):
    """Lemma E for one side."""
    return log_maximum(setting, sign * chain.exponent, chain, layer_kernel(setting, sign, side, chain))


def forward(rng, depth):
    """Pre-activations of one network with Haar weights, h_1, ..., h_(depth): uniform on their spheres."""
    q, layers = 1.0, []
    for _ in range(depth):
        h = rng.standard_normal(N)
        h *= np.sqrt(N * q) / np.linalg.norm(h)
        layers.append(h)
        q = np.mean(TANH.value_and_slope(h)[0] ** 2)
    return layers


def test_the_majorant_of_a_direction_lies_just_above_two_slopes_in_closed_form(setting):
    # E e^{tau w^T N w} for k of n squared slopes 2, the others 0.5: |w|^2 = n splits by a Beta(k/2, (n-k)/2) variable.
    for k, tau in [(130, 0.03), (130, -0.05), (40, 0.02), (230, -0.08), (0, 0.1)]:
        square = np.where(np.arange(N) < k, 2.0, 0.5)
        nodes = dataclasses.replace(setting.nodes, slope=np.sqrt(square), z=square, value=square)
        shift = -tau * square.mean()
        kernel = direction_majorant(
            dataclasses.replace(setting, nodes=nodes, square=2.0), np.array([tau]), np.array([shift])
        )
        exact = 0.5 * tau * N + np.log(hyp1f1(k / 2, N / 2, 1.5 * tau * N)) if k else 0.5 * tau * N
        excess = kernel.constants[0] + kernel.exponents[0].sum() - exact
        assert 1.6 / N < excess < 1.8 / N + 4 * tau**2, (k, tau)
        worse = direction_majorant(
            dataclasses.replace(setting, nodes=nodes, square=2.0), np.array([tau]), np.array([shift + 0.05])
        )
        assert (
            worse.constants[0] + worse.exponents[0].sum() > exact + excess
        )  # any c is allowed, none is better by much


def test_a_shift_without_a_tilted_law_proves_nothing(setting):
    shifts = 0.5 - np.array([0.1 * setting.square - 1e-9, 0.1 * setting.square + 1e-9, 0.0])
    kernel = direction_majorant(setting, np.array([0.1, 0.1, -0.1]), shifts)
    assert (kernel.constants == np.inf).tolist() == [True, False, True]


def test_the_level_of_the_majorant_is_its_formula(setting):
    kernel = direction_majorant(setting, np.zeros(1), np.zeros(1))
    density = -N / 2 * np.log(2) - gammaln(N / 2) + (N / 2 - 1) * np.log(N) - N / 2
    assert kernel.constants[0] == pytest.approx(
        gammaln(N / 4 - 0.5) - gammaln(N / 4) - np.log(4 * np.sqrt(np.pi)) - density, abs=1e-10
    )
    assert kernel.exponents == pytest.approx(0.0)


def test_the_cost_of_the_alignment_is_its_formula(setting):
    c, t = setting.certificate, 6.0
    side = dataclasses.replace(c.lower, b=-0.7, horizon=8.0, spread=1.2, spread_shift=0.01)
    most = 1.2 / 0.98  # at phi' = 0
    expected = (1 - 2 * t * 0.7 * c.sigma_high * most * N / (N - 1) ** 2) ** -0.5
    assert np.exp(log_alignment_cost(setting, -1, side, np.array([t])))[0] == pytest.approx(expected, rel=1e-12)
    far = dataclasses.replace(side, horizon=4000.0)
    assert log_alignment_cost(setting, -1, far, np.array([t]))[0] == np.inf


@pytest.mark.parametrize("sign", [1, -1])
def test_the_alignment_at_the_top_costs_at_most_its_mean(setting, sign):
    # Two comparisons at 5 standard errors, false alarm 6e-7.
    side, c, rng = dict(sides(setting))[sign], setting.certificate, np.random.default_rng(8)
    h = forward(rng, L)[-1]
    _, d = TANH.value_and_slope(h)
    e = rng.standard_normal((40_000, N))
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    power, square = ((e * d) ** 2).sum(axis=1), (e @ (d * h)) ** 2 / (h @ h)
    ratio, exponent = square / power, side.chains[0].exponent
    sample = np.where(
        (power >= c.top_floor) & (ratio <= top_alignment(c)), (1 + side.b * ratio) ** (sign * exponent), 0
    )
    bound = np.exp(top_cost(setting, sign, side, exponent))
    assert sample.mean() - 5 * sample.std() / 200 <= bound <= 1.2 * sample.mean()


@pytest.mark.parametrize("sign", [1, -1])
def test_one_layer_is_dominated_whatever_the_alignment_and_the_bracket(setting, sign):
    # Lemmas A and F by simulation over v: 2 x 24 comparisons at 5 standard errors, false alarm below 2e-5. With these b
    # the bracket is often positive.
    phi = normalize(activation("silu"), "minus") if sign > 0 else TANH
    rng, positive = np.random.default_rng(1), 0
    for h in [layer for _ in range(8) for layer in forward(rng, 3)]:
        f, d = phi.value_and_slope(h)
        b, rho, t = sign * rng.choice([0.0, 0.3]), rng.uniform(-1, 1), rng.choice([5.0, 15.0])
        x, hat, gamma = f / np.linalg.norm(f), h / np.linalg.norm(h), np.sum(f * d * h) / np.sum(h * h)
        limits = dataclasses.replace(
            setting.certificate,
            a_high=np.sum((d * x) ** 2),
            sigma_high=np.sum((d * hat) ** 2),
            z_low=np.mean(d * d),
            z_high=np.mean(d * d),
            gamma_low=gamma - 0.01,
            gamma_high=gamma + 0.01,
            low=np.mean(f * f),
            high=np.mean(f * f),
        )
        changes = {"b": b, "bracket_tilts": (0.1,) * 3, "horizon": t, "spread": 1.001}
        side = dataclasses.replace(dict(sides(setting))[sign], spread_shift=-sign * t / (N - 1), **changes)
        here = dataclasses.replace(at(setting, h, phi), certificate=limits, square=float((d * d).max()))
        kernel = layer_majorant(here, sign, side, np.array([t]), np.array([-sign * t / (N - 1)]))
        logs = kernel.constants + kernel.exponents.sum(axis=1)
        v = rng.standard_normal((TRIALS, N))
        v -= np.outer(v @ x, x)
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        e = rho * x + np.sqrt(1 - rho**2) * v
        y = (((e * d) ** 2).sum(axis=1) + b * (e @ (d * hat)) ** 2) / (1 + b * rho**2)
        sample = np.exp(sign * t * y)
        assert sample.mean() - 5 * sample.std() / np.sqrt(TRIALS) <= np.exp(np.logaddexp.reduce(logs))
        positive += np.logaddexp.reduce(logs[1:]) > logs[0] - 3
    assert positive > 5  # the terms of the bracket are not idle


@pytest.mark.parametrize("sign", [1, -1])
def test_the_backward_pass_is_a_supermartingale_given_the_forward_pass(setting, sign):
    # Lemma D: E S_l <= 1 for every layer, and P(max_l S_l >= 2) <= 1/2, by backward passes on two forward passes;
    # 2 x 11 comparisons at 5 standard errors, false alarm below 7e-6.
    side, rng = dict(sides(setting))[sign], np.random.default_rng(4)
    chain = side.chains[0]
    rates, weights = np.array(chain.rates), np.array(chain.log_weights)
    for _ in range(2):
        layers = forward(rng, L)
        e = rng.standard_normal((TRIALS, N))
        e /= np.linalg.norm(e, axis=1, keepdims=True)
        energies, highest, log_s = None, np.ones(TRIALS), np.zeros(TRIALS)
        for below in range(L - 1, -1, -1):
            _, d = TANH.value_and_slope(layers[below])
            backward, hat = e * d, layers[below] / np.linalg.norm(layers[below])
            along = backward @ hat
            energy = (backward**2).sum(axis=1) + side.b * along**2
            if energies is not None:
                y = energy / energies
                log_y = np.logaddexp.reduce(weights + sign * rates * y[:, None], axis=1)
                log_s += log_y - log_majorant(setting, sign, side, chain, layers[below])
                s = np.exp(log_s)
                assert s.mean() <= 1 + 5 * s.std() / np.sqrt(TRIALS)
                highest = np.maximum(highest, s)
            energies = energy
            if below > 0:  # e_(l-1) = A x/|x| + what is uniform in the complement of x_(l-1)
                x = TANH.value_and_slope(layers[below - 1])[0]
                x /= np.linalg.norm(x)
                v = rng.standard_normal((TRIALS, N))
                v -= np.outer(v @ x, x)
                v /= np.linalg.norm(v, axis=1, keepdims=True)
                across = np.sqrt((backward**2).sum(axis=1) - along**2)
                e = along[:, None] * x + across[:, None] * v
        share = np.mean(highest >= 2)
        assert share <= 0.5 + 5 * np.sqrt(0.25 / TRIALS)
        assert share > 0  # it moves at all


@pytest.mark.parametrize("sign", [1, -1])
def test_the_potential_bounds_the_mean_of_the_maximum(setting, sign):
    # Lemma E: E max_(l < L) X_l <= f + g on 500 forward passes, and that of the sum; 4 comparisons at 5 standard
    # errors, false alarm 2e-6.
    side, rng = dict(sides(setting))[sign], np.random.default_rng(6)
    chain, power = side.chains[0], sign * side.chains[0].exponent
    sample, totals = np.empty((2, 500))
    for trial in range(len(sample)):
        layers, product, logs = forward(rng, L), 0.0, []
        for h in reversed(layers[: L - 1]):
            q = np.mean(TANH.value_and_slope(h)[0] ** 2)
            product += log_majorant(setting, sign, side, chain, h) + power * np.log(np.mean(h**2) / q)
            logs.append(product)
        sample[trial], totals[trial] = np.exp(max(logs)), np.exp(logs).sum()
    bound = np.exp(maximum(setting, sign, side, chain))
    assert sample.mean() + 5 * sample.std() / np.sqrt(len(sample)) <= bound
    assert bound <= 6 * sample.mean()
    useless = dataclasses.replace(chain, reflection=dataclasses.replace(chain.reflection, power=1e-9))
    bound = np.exp(maximum(setting, sign, side, useless))  # of the sum of all X_l
    assert totals.mean() + 5 * totals.std() / np.sqrt(len(totals)) <= bound <= 6 * totals.mean()


def test_a_potential_that_lacks_something_pays_for_it(setting):
    # The bound does not depend on the scale of g: it is raised until a g >= f. A g that is too small at an end of the
    # tube, or an f_0 below 1, costs as much as it lacks.
    side = setting.certificate.upper
    chain = side.chains[0]
    whole = maximum(setting, 1, side, chain)

    def with_g(change):
        functions = tuple(change(g) for g in chain.reflection.functions)
        return dataclasses.replace(chain, reflection=dataclasses.replace(chain.reflection, functions=functions))

    small = with_g(lambda g: Mixture(g.slopes, tuple(np.array(g.log_weights) - 9.0)))
    assert maximum(setting, 1, side, small) == pytest.approx(whole, abs=1e-9)
    flat = with_g(lambda _: Mixture((0.0,), (0.0,)))
    assert maximum(setting, 1, side, flat) > whole + 0.1
    lower = Mixture(chain.functions[0].slopes, tuple(np.array(chain.functions[0].log_weights) - 9.0))
    low_start = dataclasses.replace(chain, functions=(lower, *chain.functions[1:]))
    assert maximum(setting, 1, side, low_start) == pytest.approx(whole, abs=1e-9)


def test_two_layers_need_no_potential():
    found = propose(TANH, 200, 2, 1.0, Readout(), 0.03)
    setting = prepare(found, TANH)
    chain = found.upper.chains[0]
    mean = layer_kernel(setting, 1, found.upper, chain)
    start = power_supremum(-chain.exponent, None, chain.functions[0], setting.tube)
    step = setting.costs(mean, chain.functions[:1], chain.functions[1:2])[0]
    expected = start + step + chain.functions[1].log(1.0)
    assert maximum(setting, 1, found.upper, chain) == pytest.approx(float(expected), abs=1e-9)


def test_the_mirror_lies_above_the_negative_power(setting):
    rng = np.random.default_rng(3)
    for sign, side in sides(setting):
        chain, a = side.chains[0], 1.7
        shares = np.array(chain.reflection.shares)
        for h in forward(rng, 10):
            kernel = layer_kernel(at(setting, h), sign, side, chain)
            mirror = kernel.inverse_power(a, shares)
            lower = mirror.constants[0] + mirror.exponents[0].sum()
            exact = -a * np.logaddexp.reduce(kernel.constants + kernel.exponents.sum(axis=1))
            assert exact - 1e-9 <= lower <= exact + 0.5
    one = kernel.inverse_power(a, np.ones(1))  # of one term it is the power itself
    assert one.constants[0] + one.exponents[0].sum() == pytest.approx(
        -a * (kernel.constants[0] + kernel.exponents[0].sum()), rel=1e-12
    )


def test_a_supremum_of_powers_and_mixtures_is_one(setting):
    f, g = tent(2.0, 3.0), tent(-1.0, 4.0)
    low, high = setting.certificate.low, setting.certificate.high
    q = np.linspace(low, high, 30_001)
    for power in (7.0, -7.0):
        values = power * np.log(q) + f.log(q) - g.log(q)
        assert values.max() <= power_supremum(power, f, g, setting.tube) <= values.max() + 1e-5


def test_powers_are_dominated_only_from_the_floor_on(setting):
    side = setting.certificate.lower
    assert dominates_power(side.chains[0], -1, side.floor)
    assert not dominates_power(side.chains[0], -1, 0.9 * side.floor)
