"""The verifier of the deep bound: the inequalities it rests on, and that it fails closed."""

import dataclasses

import numpy as np
import pytest

from theory.activations.specification import activation
from theory.bounds.certificate import Certificate, Chain, Mixture, Readout, Reflection, defect, tent
from theory.bounds.moments import bracket_costs, bracket_functions, dominates_power, kappa, variance_room
from theory.bounds.search import propose
from theory.bounds.verifier import prepare, verify
from theory.depth.coefficients import depth_coefficients
from theory.normalization.normalize import normalize

TANH = normalize(activation("tanh"))


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    found = propose(TANH, 260, 10, 1.0, Readout(), 0.03)
    assert isinstance(found, Certificate)
    return found


def on_sphere(rng, trials, width, q=1.0):
    h = rng.standard_normal((trials, width))
    return h * np.sqrt(width * q) / np.linalg.norm(h, axis=1, keepdims=True)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_uniform_direction_dominates_one_in_the_complement(sign):
    # Step 4 of Lemma A: 6 comparisons at 5 standard errors.
    rng, n, t = np.random.default_rng(2), 40, 8.0
    for h in on_sphere(rng, 3, n):
        f, d = TANH.value_and_slope(h)
        x = f / np.linalg.norm(f)
        v = rng.standard_normal((60_000, n))
        u = v / np.linalg.norm(v, axis=1, keepdims=True)
        v -= np.outer(v @ x, x)
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        a = np.sum((d * x) ** 2)
        inside = np.exp(sign * t * ((v * d) ** 2).sum(axis=1))
        whole = np.exp(sign * t * (n * ((u * d) ** 2).sum(axis=1) - a) / (n - 1))
        error = np.hypot(inside.std(), whole.std()) / np.sqrt(len(v))
        assert inside.mean() <= whole.mean() + 5 * error


@pytest.mark.parametrize("sign", [1, -1])
def test_the_grid_of_gamma_bounds_the_bracket(certificate, sign):
    # (1 + b) |x|^2 times the literal bracket of Lemma A is at most the largest of the sums.
    side = certificate.upper if sign > 0 else certificate.lower
    setting, rng, n, counted = prepare(certificate, TANH), np.random.default_rng(3), certificate.width, 0
    for h in on_sphere(rng, 400, n, q=0.97):
        f, d = TANH.value_and_slope(h)
        at_h = dataclasses.replace(setting, nodes=dataclasses.replace(setting.nodes, z=h, value=f, slope=d))
        largest = bracket_functions(at_h, sign, side).sum(axis=1).max()
        gamma, a = np.sum(f * d * h) / np.sum(h * h), np.sum((f * d) ** 2) / np.sum(f * f)
        inside = certificate.gamma_low <= gamma <= certificate.gamma_high and a <= certificate.a_high
        inside &= certificate.z_low <= np.mean(d * d) <= certificate.z_high and np.mean(f * f) >= certificate.low
        if not inside:
            continue
        x, hat = f / np.linalg.norm(f), h / np.linalg.norm(h)
        qx = d * d * x + side.b * d * hat * np.sum(d * hat * x)
        mean = ((d * d).sum() - x @ (d * d * x)) / (n - 1)  # of v^T N v
        loss = 2 * side.horizon * (qx @ (qx / variance_room(setting, sign, side, d * d))) / kappa(setting, sign, side)
        bracket = sign * (x @ qx / (1 + side.b) - mean) + loss / (1 + side.b)
        assert (1 + side.b) * (f @ f) * bracket <= largest + 1e-9
        assert (1 + side.b) * (f @ f) * bracket >= largest - 0.15 * n  # and not far below
        counted += 1
    assert counted > 300


def test_the_cost_of_a_bracket_is_its_supremum():
    # (max over pi of e^{t (pi B - pi^2 l)} - 1) e^{-theta B} for B on a grid, pi in closed form.
    b = np.geomspace(1e-4, 8, 200_001)
    for t, theta, least in [(6.0, 9.0, 0.0), (6.0, 9.0, 0.1), (6.0, 30.0, 0.1), (2.0, 2.5, 0.01), (20.0, 21.0, 0.4)]:
        most = np.where(b < 2 * least, b**2 / (4 * least or 1), b - least)
        true = np.max(np.log(np.expm1(t * most)) - theta * b)
        [[cost]] = bracket_costs(np.array([t]), np.array([theta]), least)
        assert true - 1e-6 <= cost <= true + theta * least / 1000 + 1e-6
    assert bracket_costs(np.array([6.0]), np.array([6.0]), 0.1)[0, 0] == np.inf


def chain(exponent, rates, log_weights):
    constant = tent(0.0, 0.0)
    shares = (1.0,) * len(rates)
    reflection = Reflection(1.0, shares, (constant,))
    return Chain(exponent, tuple(rates), tuple(log_weights), shares, (constant, constant), (constant,), reflection)


def test_domination_of_the_upper_power_is_the_tangent():
    for exponent, anchor in [(7.0, 1.0), (7.0, 1.1), (0.5, 0.7)]:
        weight = exponent * np.log(anchor) - exponent
        assert dominates_power(chain(exponent, [exponent / anchor], [weight + 1e-9]), 1, 0.5)
        assert not dominates_power(chain(exponent, [exponent / anchor], [weight - 1e-6]), 1, 0.5)


def test_domination_of_the_lower_power_is_checked_everywhere(certificate):
    y = np.geomspace(certificate.lower.floor, 50, 20_000)
    for good in certificate.lower.chains:
        rates, weights = np.array(good.rates), np.array(good.log_weights)
        lead = np.logaddexp.reduce(weights - rates * y[:, None], axis=1) + good.exponent * np.log(y)
        assert lead.min() >= 0
        lowered = dataclasses.replace(good, log_weights=tuple(weights - lead.min() - 1e-5))
        assert not dominates_power(lowered, -1, certificate.lower.floor)
        assert not dominates_power(good, -1, 0.5 * certificate.lower.floor)
        without_constant = dataclasses.replace(
            good, rates=good.rates[1:], log_weights=good.log_weights[1:], shifts=good.shifts[1:]
        )
        assert not dominates_power(without_constant, -1, certificate.lower.floor)


def leaves(part, path=()):
    """Paths of all numbers in a certificate."""
    if dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            yield from leaves(getattr(part, field.name), (*path, field.name))
    elif isinstance(part, tuple):
        for index in {0, len(part) - 1} if part else ():
            yield from leaves(part[index], (*path, index))
    elif not isinstance(part, str):
        yield path


def changed(part, path, value):
    """A copy with one number replaced."""
    if not path:
        return value
    if isinstance(path[0], str):
        return dataclasses.replace(part, **{path[0]: changed(getattr(part, path[0]), path[1:], value)})
    return tuple(changed(item, path[1:], value) if i == path[0] else item for i, item in enumerate(part))


def test_the_certificate_holds_as_proposed(certificate):
    bound = verify(certificate, TANH)
    assert bound.log < np.log(0.05)
    assert bound.kind == "deep"
    for word in ("Gauss rules", "|z| > 14", "frequencies", "rounding"):
        assert word in bound.rigor
    assert "search" not in bound.rigor
    assert bound.log == pytest.approx(np.logaddexp.reduce([log for _, log in bound.terms]), abs=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None, "0"])
def test_every_number_must_be_finite(certificate, value):
    for path in leaves(certificate):
        bound = verify(changed(certificate, path, value), TANH)
        assert bound.log == 0, path
        assert bound.reason


def test_numbers_out_of_range_prove_nothing(certificate):
    for path, value in [
        (("width",), 3),
        (("width",), 260.5),
        (("depth",), 1),
        (("depth",), 10000000),
        (("epsilon",), 0.0),
        (("low",), 1.1),
        (("low",), 1e-09),
        (("high",), 0.9),
        (("high",), 1000000000.0),
        (("a_high",), -0.9),
        (("z_high",), 0.1),
        (("gamma_low",), 2.0),
        (("limit_tilts", 3), -0.1),
        (("overlap",), 1.0),
        (("top_floor",), 0.0),
        (("upper", "b"), -0.1),
        (("lower", "b"), -1.0),
        (("lower", "b"), 0.1),
        (("lower", "floor"), -0.1),
        (("lower", "floor_tilt"), 1000.0),
        (("upper", "horizon"), 1.0),
        (("upper", "horizon"), 1000.0),
        (("upper", "chains"), ()),
        (("lower", "bracket_tilts"), ()),
        (("upper", "spread"), 0.99),
        (("upper", "spread_shift"), 0.6),
        (("lower", "chains", 0, "sums"), ()),
        (("escapes",), ()),
        (("escapes", 0, "tilt"), -1.0),
        (("escapes", 0, "functions"), ()),
        (("limit_tilts",), (1.0,)),
        (("lower", "chains", 0, "rates"), (0.0,)),
        (("lower", "chains", 0, "functions"), ()),
        (("lower", "chains", 0, "functions", 0), Mixture((), ())),
        (("upper", "chains", 0, "reflection", "functions"), ()),
        (("upper", "chains", 0, "reflection", "power"), -1.0),
        (("lower", "chains", 0, "reflection", "shares"), (1.0,)),
        (("upper", "chains", 0, "shifts"), ()),
        (("readout", "kind"), "other"),
        (("readout", "alignment"), 1.5),
    ]:
        assert verify(changed(certificate, path, value), TANH).log == 0, path


@pytest.mark.slow
def test_other_choices_are_allowed_and_never_better_by_much(certificate):
    # The bound is another one, valid too; what the search found is near the best for each number by itself.
    best = verify(certificate, TANH).log
    for path in leaves(certificate):
        if path[0] in ("width", "depth", "epsilon", "readout"):
            continue
        for factor in (0.9, 1.1):
            number = certificate
            for key in path:
                number = getattr(number, key) if isinstance(key, str) else number[key]
            assert verify(changed(certificate, path, factor * number), TANH).log >= best - 0.2, (path, factor)


def test_infeasible_events_make_their_term_one(certificate):
    def term(name, path, value):
        return dict(verify(changed(certificate, path, value), TANH).terms)[name]

    assert term("limit of z low", ("z_low",), 1.05) == 0
    assert term("small gradients", ("lower", "b"), -0.01) == 0
    for side in ("upper", "lower"):  # a tilted direction that may vary more than the bound says
        shift = getattr(certificate, side).spread_shift
        gradients = {"upper": "large gradients", "lower": "small gradients"}[side]
        assert term(gradients, (side, "spread_shift"), shift - 0.02) == 0
    assert term("top, floor", ("top_shift",), 0.6) == 0
    assert term("floor of one layer", ("lower", "floor_shift"), 0.6) == 0
    assert term("floor of one layer", ("lower", "floor"), 1.2) == 0
    assert term("tube, above", ("high",), 1.02) == 0
    assert (
        term("large gradients", ("upper", "chains", 0, "log_weights", 0), -50.0) >= verify(certificate, TANH).log - 50
    )


def test_a_malformed_certificate_is_an_outcome(certificate):
    broken = dataclasses.replace(certificate, escapes=5)
    assert verify(broken, TANH).log == 0
    assert defect(certificate) == ""


def test_functions_so_small_that_sums_with_them_absorb_a_rise_prove_nothing(certificate):
    """log f + rise - log f is 0 in float64 for log f = -1e19: each layer would cost nothing, at any exponent."""
    flat = Mixture((0.0,), (-1e19,))
    [chain] = certificate.upper.chains
    cheap = dataclasses.replace(
        chain, functions=(flat, flat), sums=(flat,), reflection=Reflection(1.0, (1.0,), (flat,))
    )
    upper = dataclasses.replace(certificate.upper, chains=(cheap,))
    bound = verify(dataclasses.replace(certificate, upper=upper), TANH)
    assert bound.log == 0
    assert "beyond" in bound.reason


def test_the_predicted_variance_agrees_with_the_fluctuation_law():
    moments = depth_coefficients(TANH)
    assert moments.log_ratio_variance(99) == pytest.approx(195.95, abs=0.01)
    assert depth_coefficients(normalize(activation("selu"))).log_ratio_variance(99) == pytest.approx(112.62, abs=0.01)
    assert depth_coefficients(normalize(activation("gelu"))).log_ratio_variance(99) == pytest.approx(317.54, abs=0.01)
