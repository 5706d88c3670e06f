"""Every term of the deep bound for Gaussian weights a second time, from its page: other code, another rule.

Pre-activations are sqrt(q) times a standard normal variable here, and suprema are sampled. A term of the verifier lies
above its twin, and hardly above; then each number in its formulas is lowered by a tenth.
"""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from tests.theory.bounds.test_terms import Lowered, excess, mixture, reloaded
from theory.activations.specification import activation
from theory.bounds.certificate import Mixture, Readout
from theory.bounds.gaussian import means as honest_means
from theory.bounds.gaussian import verifier as honest_verifier
from theory.bounds.gaussian.search import propose
from theory.bounds.layer_means import Kernel
from theory.layer.conditioning import normal_nodes
from theory.normalization.normalize import normalize

N, L, EPSILON = 260, 4, 1.0
PHI = normalize(activation("sin"))
RULE = normal_nodes(20.0, panel=0.5, order=16)
K2 = float(PHI.a**2)  # |phi'| = |a cos| is at most a
NEAR = 2e-3


@pytest.fixture(scope="module")
def certificate():
    return propose(PHI, N, L, EPSILON, Readout(), 0.03)


def lengths(c):
    return np.linspace(c.low, c.high, 25)


def mean(psi, q):
    """log E exp(sum psi(h_i)), h_i ~ N(0, q)."""
    return N * logsumexp(RULE.log_weights + psi(np.sqrt(q) * RULE.points))


def parts(h):
    """phi^2, s, s phi^2, phi phi' h at h."""
    f, d = PHI.value_and_slope(h)
    return f**2, d**2, (f * d) ** 2, f * d * h


def below(c, t):
    return lambda h: t * parts(h)[2] / (N**2 * c.low) - 0.5 * np.log(1 + 2 * t * parts(h)[1] / N)


def sharpened(c, h):
    """s/(1 - 2 T s/n)."""
    return parts(h)[1] / (1 - 2 * c.upper.horizon * parts(h)[1] / N)


def above(c, t):
    """(constant, psi, k) of the upper side for one rate."""
    b, side, rate = c.upper.b, c.upper, 2 * t / N
    middle = (c.gamma_low + c.gamma_high) / 2 / c.high
    price = 2 * side.horizon / N / (1 - 2 * side.horizon * b * c.sigma_high / N)
    p, w = price / (1 + b / N) ** 2, b * c.z_low
    least = min(np.roots([p, -2 * p * w - 1, p * w**2]).real) / b  # the loss x = p (w - x)^2 over b
    constant = t * b * middle**2 / N - np.log(1 - rate * b * c.sigma_high) / 2

    def plain(h):
        _, s, both, mixed = parts(h)
        return -np.log(1 - rate * s) / 2 - t / N * (both + 2 * b * middle * mixed) / (N * c.high)

    yield constant, plain, 0.0
    gammas = np.linspace(c.gamma_low, c.gamma_high, len(side.bracket_tilts))
    eta = (gammas[1] - gammas[0]) / 2
    for gamma, tilt in zip(gammas, side.bracket_tilts, strict=True):

        def bracket(h, gamma=gamma, tilt=tilt):
            square, s, both, mixed = parts(h)
            f, d = PHI.value_and_slope(h)
            loss = price * (s * f + b * gamma * d * h) ** 2 * sharpened(c, h) / s
            corner = c.z_low * square + c.low * (s - c.z_low)
            return plain(h) + tilt * ((1 + b / N) * both + 2 * b * gamma * mixed + loss - b * corner)

        yield constant + excess(t, tilt * N * c.low * b, least), bracket, tilt * b * N * (eta**2 - gamma**2)


def conditions(c):
    _, sigma, z, _, first, last = c.limit_tilts
    events = {
        "sigma high": (lambda h: sigma * sharpened(c, h) * h**2, -sigma * c.sigma_high * N, L),
        "z low": (lambda h: z * (c.z_low - parts(h)[1]), 0.0, L - 1),
        "gamma low": (lambda h: -first * parts(h)[3], first * c.gamma_low * N, L - 1),
        "gamma high": (lambda h: last * parts(h)[3], -last * c.gamma_high * N, L - 1),
    }
    for name, (psi, line, count) in events.items():
        yield f"limit of {name}", np.log(count) + max(mean(psi, q) + line * q for q in lengths(c))


def mapped(kernel, f, q):
    """log (K f)(q)."""
    terms = [
        constant + line * q + w - s + mean(lambda h, psi=psi, s=s: psi(h) + s / N * parts(h)[0], q)
        for constant, psi, line in kernel
        for s, w in zip(f.slopes, f.log_weights, strict=True)
    ]
    return logsumexp(terms)


def levels(c, kernel, functions, steps):
    """0 and what the functions grow by, the last one repeated."""
    found = [0.0]
    for k in range(steps):
        f, after = functions[min(k, len(functions) - 1)], functions[min(k + 1, len(functions) - 1)]
        found.append(found[-1] + max(mapped(kernel, f, q) - mixture(after, q) for q in lengths(c)))
    return np.array(found)


PLAIN = [(0.0, lambda h: 0 * h, 0.0)]


def tube(c):
    for sign, escape, name, end in ((-1, c.escapes[0], "below", c.low), (1, c.escapes[1], "above", c.high)):
        start = Mixture((sign * escape.tilt,), (0.0,))
        rises = levels(c, PLAIN, (start, *escape.functions), L - 1)[1:]
        logs = [rise + mixture(f, 1.0) for rise, f in zip(rises, escape.functions, strict=False)]
        assert len(logs) == L - 1
        yield f"tube, {name}", logsumexp(logs) - escape.tilt * abs(end - 1)


def tail(c, sign, side):
    """Lemmas D and E."""
    [chain] = side.chains
    power, a, f, g = sign * chain.exponent, chain.reflection.power, chain.functions, chain.reflection.functions
    nodes = [
        [(constant + weight, psi, line) for constant, psi, line in (above(c, t) if sign > 0 else [(0, below(c, t), 0)])]
        for t, weight in zip(chain.rates, chain.log_weights, strict=True)
    ]
    shares = np.array(chain.reflection.shares) / sum(chain.reflection.shares)
    first = [(share, terms[0]) for share, terms in zip(shares, nodes, strict=True)]
    constant = -a * sum(share * (term[0] - np.log(share)) for share, term in first)
    mirror = [(constant, lambda h: -a * sum(share * term[1](h) for share, term in first), 0.0)]
    kernel = [term for terms in nodes for term in terms]
    level = max(-power * np.log(q) - mixture(f[0], q) for q in lengths(c)) + levels(c, kernel, f, L - 1)
    up = levels(c, mirror, g, L - 2)

    def lack(k):
        fk, gk = f[min(k, len(f) - 1)], g[min(k, len(g)) - 1]
        return max((1 + a) * power * np.log(q) + mixture(fk, q) - mixture(gk, q) for q in lengths(c)) - np.log(a)

    raised = max(level[k] - up[k - 1] + lack(k) for k in range(1, L - 1)) + up[L - 2]
    bare = level[L - 1] + mixture(f[min(L - 1, len(f) - 1)], 1.0)
    maximum = np.logaddexp(bare, raised + mixture(g[min(L - 2, len(g)) - 1], 1.0))
    share = 2 * chain.exponent * side.b * c.sigma_high / (c.top_floor * N) if sign > 0 else 0.0
    top = -np.log(1 - share) / 2 - chain.exponent * EPSILON
    return top + min(maximum, np.logaddexp(bare, sums(c, chain, power, level)))


def sums(c, chain, power, level):
    """The layers l > 1 in the sum of all X_l."""
    f, h, total = chain.functions, chain.sums, -np.inf
    for k in range(1, L):
        hk = h[min(k, len(h)) - 1]
        if k > 1:
            total += max(mapped(PLAIN, h[min(k - 1, len(h)) - 1], q) - mixture(hk, q) for q in lengths(c))
        if k < L - 1:
            fk = f[min(k, len(f) - 1)]
            own = level[k] + max(power * np.log(q) + mixture(fk, q) - mixture(hk, q) for q in lengths(c))
            total = np.logaddexp(total, own)
    return total + mixture(h[min(L - 1, len(h)) - 1], 1.0)


@pytest.fixture(scope="module")
def twins(certificate):
    c = certificate
    t, y0 = c.lower.floor_tilt, c.lower.floor
    floor = np.log(L - 1) + t * y0 + max(mean(below(c, t), q) for q in lengths(c))
    top = max(mean(lambda h: -np.log(1 + 2 * c.top_tilt * (parts(h)[1] - c.top_floor)) / 2, q) for q in lengths(c))
    tails = {"large gradients": tail(c, 1, c.upper), "small gradients": tail(c, -1, c.lower)}
    return tails | dict(conditions(c)) | dict(tube(c)) | {"top": top, "floor of one layer": floor}


def strays(terms, twins):
    """The terms that do not lie just above their twins."""
    assert terms.keys() == twins.keys()
    return [name for name, twin in twins.items() if not twin - 1e-6 <= terms[name] <= twin + NEAR]


def test_every_term_lies_just_above_its_twin(certificate, twins):
    assert strays(dict(honest_verifier.verify(certificate, PHI).terms), twins) == []


def differs(means, verifier, c):
    """Whether Lemma A for one layer, or what is known at the top, are other formulas than here."""
    s = means.prepare(c, PHI)
    h, rate = s.nodes.z, np.array(c.upper.chains[0].rates)
    kernel = verifier.upper_majorant(s, c.upper, rate)
    expected = list(above(c, rate[0]))
    if not np.allclose(kernel.exponents, [psi(h) for _, psi, _ in expected], rtol=1e-9, atol=1e-13):
        return True
    gap = kernel.constants - [constant for constant, _, _ in expected]
    if not np.allclose(kernel.lines, [line for _, _, line in expected]) or not np.all((gap > -1e-6) & (gap < 0.01)):
        return True
    b = c.upper.b
    p, w = verifier.price(s, c.upper) / (1 + b / N) ** 2, b * c.z_low
    if not np.isclose(
        verifier.least_loss(s, c.upper), min(np.roots([p, -2 * p * w - 1, p * w**2]).real) / b, rtol=1e-9
    ):
        return True
    careful = dataclasses.replace(c, readout=Readout("any"))
    top = stats.chi2(N).logsf(N * (1 + c.overlap)), 3 * np.log(1 + c.upper.b * (1 + c.overlap))
    return not np.allclose(
        [verifier.top(dataclasses.replace(s, certificate=careful)), verifier.top_cost(careful, 1, 3.0)], top, rtol=1e-9
    )


def undershoots(means, c):
    """Whether a supremum is missed in the middle of a cell, where one of the parts of the margin is tight.

    With one node h all is known: n (log beta - beta h^2)/2 + k/beta - log f(1/beta) is stationary there for this h.
    """
    c = dataclasses.replace(c, low=3.98, high=4.02)
    spacing = (1 / c.low - 1 / c.high) / 511
    beta = 1 / c.high + 0.5 * spacing
    for n, line, slope, bend in ((10**6, 0.0, 0.0, 0.0), (4, -1e3, 0.0, 0.0), (4, 0.0, 1e3, 0.0), (4, 0.0, 1e4, 1e4)):
        square = (n / beta + 2 * (slope - line) / beta**2) / n
        f = Mixture((slope + bend, slope - bend), (-bend * (1 / beta - 1), bend * (1 / beta - 1)))  # equal at 1/beta
        setting = means.prepare(dataclasses.replace(c, width=n), PHI)
        one = {"z": np.sqrt([square]), "log_weight": np.zeros(1), "value": np.zeros(1), "slope": np.zeros(1)}
        nodes = dataclasses.replace(setting.nodes, guard=np.zeros(1, dtype=bool), **one)
        kernel = means.LinedKernel(np.zeros(1), np.zeros((1, 1)), np.array([line]))
        [found] = dataclasses.replace(setting, nodes=nodes).costs(kernel, (means.ONE,), (f,))
        exact = n / 2 * (np.log(beta) + (1 - beta) * square) + line / beta - f.log(1 / beta)
        margin = spacing**2 / 8 * (n / (2 * beta**2) + 2 * (slope - line + bend) / beta**3 + bend**2 / beta**4)
        if not -1e-3 * margin <= found - exact <= 0.1 * margin:
            return True
    return False


MODULES = ("gaussian.means", "gaussian.verifier")


@pytest.mark.parametrize("name", MODULES)
def test_a_number_that_is_lowered_is_seen(certificate, twins, name):
    honest, missed, index = dict(honest_verifier.verify(certificate, PHI).terms), [], 0
    assert not differs(honest_means, honest_verifier, certificate)
    assert not undershoots(honest_means, certificate)
    while True:
        transformer = Lowered(index)
        with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
            try:
                means, verifier = reloaded(patch, MODULES, name, transformer)
                terms = dict(verifier.verify(certificate, PHI).terms)
                seen = undershoots(means, certificate) or differs(means, verifier, certificate)
            except (TypeError, IndexError, ValueError):  # a number of things is none any more
                terms, seen = {}, True
        if transformer.left >= 0:
            break
        index += 1
        lower = any(terms[name] < honest[name] - 1e-12 for name in terms)
        if not seen and lower and not strays(terms, twins):
            missed.append((name, transformer.line))
    assert index > 15
    assert missed == []


def test_plain_kernels_have_no_lines(certificate):
    # E e^(c z^2) for one neuron is (1 - 2 c q)^(-1/2): the supremum over q is at the end of the tube, and known.
    setting = honest_means.prepare(certificate, PHI)
    kernel = Kernel(np.zeros(1), 0.1 * setting.nodes.z[None, :] ** 2)
    [found] = setting.costs(kernel, (honest_means.ONE,), (honest_means.ONE,))
    exact = -N / 2 * np.log(1 - 0.2 * certificate.high)
    assert exact <= found <= exact + 1e-3
    heavy = Kernel(np.zeros(1), 0.5 * setting.nodes.z[None, :] ** 2)  # has no mean from q = 1 on
    assert setting.costs(heavy, (honest_means.ONE,), (honest_means.ONE,))[0] == np.inf
