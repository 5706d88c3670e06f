"""The deep bound for semi-orthogonal chains: its layers against simulation and closed forms, and its door."""

import dataclasses

import numpy as np
import pytest
from scipy.special import hyp1f1

from gpn.engine.shape import Shape
from gpn.engine.weights import haar
from gpn.sampling.sampler import sample
from theory.activations.activation import Activation
from theory.activations.specification import activation
from theory.bounds import verifier as square
from theory.bounds.certificate import Mixture, Readout
from theory.bounds.deep import deep_bound
from theory.bounds.grid import cells, gaussian_nodes, points
from theory.bounds.layer_means import log_mean
from theory.bounds.moments import identity, log_maximum
from theory.bounds.rectangular.bound import chain_bound, fitted
from theory.bounds.rectangular.layers import Kind, Limits, embedded, kinds_of
from theory.bounds.rectangular.verifier import LENGTHS, conditions, kernels, majorants, prepared, verify
from theory.errors import UsageError
from theory.normalization.normalize import normalize
from theory.numerics.arithmetic import X

TANH = normalize(activation("tanh"))
CHAIN = [400, 220, 280, 220, 250, 220]


@pytest.fixture(scope="module")
def proposal():
    return fitted(deep_bound(TANH, 150, 5, 1.0), TANH, CHAIN)


@pytest.fixture(scope="module")
def setting(proposal):
    return prepared(*proposal)


@pytest.mark.parametrize("c", [0.3, -0.4])
def test_free_coordinates_have_their_closed_form(c):
    # |h|^2 = (n + k) q B, B a Beta(n/2, k/2) variable: E e^{c |h|^2} is Kummer's function
    n, k, q = 120, 70, np.array([0.8, 1.0, 1.3])
    nodes = gaussian_nodes(Activation("identity", X), 16.0, 1.0)
    psi, exact = c * nodes.z[None, :] ** 2, np.log(hyp1f1(n / 2, (n + k) / 2, c * (n + k) * q))
    assert log_mean(nodes, psi, n, points(q), k).at_centres()[0] == pytest.approx(exact, abs=1e-9)
    assert 0 <= log_mean(nodes, psi, n, cells(0.8, 1.3, n), k).suprema()[0] - exact[2 if c > 0 else 0] < 0.05


@pytest.mark.parametrize(("rows", "columns"), [(60, 100), (100, 60)])
def test_the_forward_step_is_that_of_explicit_matrices(setting, rows, columns):
    # 4,000 matrices; two comparisons at 5 standard errors, false alarm 1e-6.
    rng, slope, trials = np.random.default_rng(3), 10.0, 4000
    x = np.sqrt(columns) * np.eye(columns)[0]
    h = np.array([haar(rng, rows, columns) @ x for _ in range(trials)]) * np.sqrt(max(1, rows / columns))
    drawn = np.exp(slope * (np.mean(TANH.value_and_slope(h)[0] ** 2, axis=1) - 1))
    [kind] = kinds_of([columns, rows])
    here = dataclasses.replace(setting, kinds=(kind,), tube=points(np.ones(1)))
    found = np.exp(here.table(identity(here), [Mixture((slope,), (0.0,))], [Mixture((0.0,), (0.0,))])[0, 0])
    assert abs(found - drawn.mean()) < 5 * drawn.std() / np.sqrt(trials) < 0.2 * found


def layer(setting, phi, h, kind, sign, t, b):
    """The setting with the neurons of one layer in place of nodes and limits that just hold, and a side."""
    f, d = phi.value_and_slope(h)
    length, gamma, z = np.mean(f * f), np.sum(f * d * h) / np.sum(h * h), np.mean(d * d)
    least = 100
    values = (
        np.sum((d * f) ** 2) / np.sum(f * f),
        np.sum((d * h) ** 2) / np.sum(h * h),
        z,
        z,
        gamma - 0.01,
        gamma + 0.01,
    )
    nodes = dataclasses.replace(setting.nodes, z=h, value=f, slope=d)
    certificate = dataclasses.replace(setting.certificate, width=least, low=length, high=length)
    side = dataclasses.replace(
        setting.certificate.upper if sign > 0 else setting.certificate.lower,
        b=b, horizon=t, spread=1.001, spread_shift=-sign * t * z / (least - 1), bracket_tilts=(0.1,) * 3,
    )  # fmt: skip
    limits = Limits(1.0, 1.0, values, (1.0,) * 6)
    here = dataclasses.replace(
        setting, certificate=certificate, nodes=nodes, square=float((d * d).max()), kinds=(kind,), limits=(limits,)
    )
    return here, side


@pytest.mark.parametrize("sign", [1, -1])
def test_one_layer_is_dominated_whatever_the_alignment(setting, sign):
    # Lemma A for layers below wider, equal and narrower ones: 2 x 48 comparisons at 5 standard errors,
    # false alarm 4e-5.
    rng, n, trials, close, positive = np.random.default_rng(1), 110, 2000, [], 0
    for trial in range(48):
        ambient, stretch = [(110, 1.0), (110, 0.6), (150, 1.0), (200, 1.0)][trial % 4]
        phi, r = (TANH if trial % 3 else normalize(activation("silu"), "minus")), ambient / n
        b, t = sign * rng.choice([0.0, 0.4]), rng.choice([2.0, 6.0])
        rho = 0.0 if trial % 2 else rng.uniform(-1, 1) * np.sqrt(stretch)
        h = rng.standard_normal(n)
        here, side = layer(setting, phi, h, Kind(n, 0, ambient), sign, t, b)
        kernel = majorants(here, sign, side, np.array([t]), np.array([side.spread_shift])).members[0]
        logs = kernel.constants + kernel.exponents.sum(axis=1)
        f, d = phi.value_and_slope(h)
        x, hat = f / np.linalg.norm(f), h / np.linalg.norm(h)
        v = rng.standard_normal((trials, ambient))  # uniform in the complement of (x, 0)
        v[:, :n] -= np.outer(v[:, :n] @ x, x)
        v = (v / np.linalg.norm(v, axis=1, keepdims=True))[:, :n]
        e = np.sqrt(r) * (rho * x + np.sqrt(1 - rho**2) * v)
        y = (((e * d) ** 2).sum(axis=1) + b * (e @ (d * hat)) ** 2) / (1 + b * rho**2 / stretch)
        drawn = np.exp(sign * t * y)
        assert drawn.mean() - 5 * drawn.std() / np.sqrt(trials) <= np.exp(np.logaddexp.reduce(logs)), trial
        positive += np.logaddexp.reduce(logs[1:]) > logs[0] - 3
        if b == 0 and rho == 0:
            close.append(logs[0] - np.log(drawn.mean()))
    assert np.max(np.abs(close)) < 0.35  # a tenth of t would be seen: the mean of the exponent is about t
    assert positive > 5 if sign > 0 else True


@pytest.mark.parametrize("sign", [1, -1])
def test_the_potential_bounds_the_mean_of_the_maximum(setting, sign):
    # Lemma E: E max_(l < L) X_l <= f + g on 300 forward passes of the chain; two comparisons at 5 standard errors.
    side, rng, sample_of = (
        setting.certificate.upper if sign > 0 else setting.certificate.lower,
        np.random.default_rng(6),
        [],
    )
    [chain] = side.chains
    power = sign * chain.exponent
    for _ in range(300):
        q, steps = 1.0, []
        for kind in setting.layers[:-1]:
            y = rng.standard_normal(kind.width + kind.free)
            h = (y * np.sqrt(len(y) * q) / np.linalg.norm(y))[: kind.width]
            value, slope = TANH.value_and_slope(h)
            nodes = dataclasses.replace(setting.nodes, z=h, value=value, slope=slope)
            place = setting.kinds.index(kind)
            here = dataclasses.replace(setting, nodes=nodes, kinds=(kind,), limits=(setting.limits[place],))
            kernel = kernels(here, sign, side, chain).members[0]
            after = np.mean(value**2)
            steps.append(
                np.logaddexp.reduce(kernel.constants + kernel.exponents.sum(axis=1)) + power * np.log(q / after)
            )
            q = after
        sample_of.append(np.exp(np.cumsum(steps[::-1]).max()))
    found = np.exp(log_maximum(setting, power, chain, kernels(setting, sign, side, chain)))
    assert np.mean(sample_of) + 5 * np.std(sample_of) / np.sqrt(300) <= found <= 6 * np.mean(sample_of)


def test_square_layers_have_the_terms_of_the_theorem_for_them(proposal):
    # The limits are asked of the layer L too.
    c = proposal[0]
    mine = dict(verify(c, TANH, [c.width] * 6).terms)
    for name, log in square.verify(c, TANH).terms:
        more = np.log(5 / 4) if name.startswith("limit") and "sigma" not in name else 0.0
        assert mine[name] == pytest.approx(log + more, abs=1e-2), name


def test_the_length_before_the_activation_is_a_beta_variable(setting):
    # exact probabilities beside 200,000 draws, at 5 standard errors
    rng = np.random.default_rng(4)
    ratio = (gamma := rng.gamma(110, size=200_000)) / (gamma + rng.gamma(90, size=200_000)) * 400 / 220
    limits = [dataclasses.replace(part, low=0.9 * setting.certificate.low) for part in setting.limits]
    here = dataclasses.replace(setting, layers=setting.layers[:1], kinds=setting.kinds[:1], limits=tuple(limits[:1]))
    drawn = np.mean(ratio < 0.9)
    exact = np.exp(conditions(here)[LENGTHS])
    assert abs(drawn - exact) < 5 * np.sqrt(drawn / 200_000)


@pytest.mark.parametrize(
    ("name", "root", "widths", "trials"),
    [
        ("tanh", "auto", CHAIN, 400),
        *[
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("tanh", "auto", [784, *[256] * 10], 1000),
                ("tanh", "auto", [220, 440] * 5 + [220], 1000),
                ("erf", "auto", [784, *[256] * 10], 1000),
                ("erf", "auto", [260, 400] * 5 + [260], 1000),
                ("selu", "plus", [784, *[256] * 10], 1000),
                ("selu", "plus", [784, 512, 400, 300, *[256] * 7], 1000),
            )
        ],
    ],
)
def test_the_bound_lies_above_the_simulated_exceedance(name, root, widths, trials, proposal):
    # The exceedance is far below the bound; seven comparisons at 5 standard errors raise a false alarm below 1e-5.
    phi, depth = normalize(activation(name), root), len(widths) - 1
    rng = np.random.default_rng(9)
    found = verify(*proposal) if widths is CHAIN else chain_bound(phi, widths, 1.0)
    drawn = sample(
        phi, widths[0], depth, trials, rng, shape=Shape.read(widths), weights="scaled_orthogonal"
    ).log_gradient_norms
    logs = 2 * drawn - np.log(widths[:-1])
    share = np.mean(np.abs(logs[:, :-1] - logs[:, -1:]).max(axis=1) >= 1.0)
    assert 1e-4 < found.probability < 0.2  # it says something, and is no guess far in the tail
    assert share <= found.probability + 5 * np.sqrt(found.probability / trials)


def test_what_does_not_fit_proves_nothing(proposal, setting):
    c, limits = proposal[0], setting.limits

    def reason(certificate=c, widths=CHAIN, limits=limits):
        found = verify(certificate, TANH, widths, limits)
        assert found.log == 0
        return found.reason

    assert verify(c, TANH, CHAIN, limits).log < -2
    assert "wider layers" in reason(widths=[*CHAIN[:-1], 149])
    assert "another depth" in reason(widths=CHAIN[:-1])
    assert "limits do not fit" in reason(limits=limits[:-1])
    assert "limits do not fit" in reason(limits=(dataclasses.replace(limits[0], low=np.nan), *limits[1:]))
    assert "random or any" in reason(dataclasses.replace(c, readout=Readout("aligned", 0.1)))
    assert "add up" in reason(limits=())  # the limits of square layers fail where |h| varies
    narrow = dataclasses.replace(limits[1], low=1.01 * c.low)
    assert "lengths before" in reason(limits=(limits[0], narrow, *limits[2:]))
    assert "large gradients" in reason(limits=(limits[0], dataclasses.replace(limits[1], brackets=1e-3), *limits[2:]))
    a, sigma, *others = limits[-1].values
    top = dataclasses.replace(limits[-1], values=(a, 1000 * sigma, *others))  # the alignment at the top is not limited
    assert kinds_of(CHAIN).count(kinds_of(CHAIN)[-1]) == 1
    assert dict(verify(c, TANH, CHAIN, (*limits[:-1], top)).terms)["small gradients"] == 0
    assert "too small" in chain_bound(TANH, [784, 256, 10], 1.0).reason
    assert "homogeneous" in chain_bound(normalize(activation("relu")), [784, 256, 300], 1.0).reason
    for widths, readout in ([[784], "random"], [[784, 0.5], "random"], [[784, np.nan], "random"], [CHAIN, "aligned"]):
        with pytest.raises(UsageError):
            chain_bound(TANH, widths, 1.0, readout)
    for epsilon in (0.0, np.nan):
        with pytest.raises(UsageError, match="epsilon must be a positive number"):
            chain_bound(TANH, CHAIN, epsilon)


def test_neurons_that_are_switched_off_change_what_is_known_of_the_mean(setting):
    c = setting.certificate
    inside = embedded(c, Kind(60, 0, 90))
    for name in ("low", "high", "z_low", "z_high"):  # |x|^2 and tr N are sums over 60 neurons of 90
        assert getattr(inside, name) * 90 == pytest.approx(60 * getattr(c, name), rel=1e-12)
    assert (inside.width, inside.a_high, inside.sigma_high) == (90, c.a_high, c.sigma_high)
