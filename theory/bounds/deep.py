r"""The deep bound: how far the gradients of all layers of one network differ, at finite width, depth and tolerance.

.. math:: P\Big(\max_{l \le L} |\log G_l| \ge \epsilon\Big) \le e^{\texttt{log}}, \qquad
          G_l = \frac{|\partial E/\partial W_l|^2}{|\partial E/\partial W_L|^2}

for Haar orthogonal or Gaussian weights, an input with :math:`|x_0|^2 = n` and any locally Lipschitz phi whose squared
length returns to 1 in depth. Derived for this project; theorems and proofs in docs/deep-bound.md and
docs/gaussian-deep-bound.md. The width it asks for is about
10 times :math:`v L/\epsilon^2` for tanh, v the variance per layer of the fluctuation law. `theory.bounds.search`
proposes the parameters, `theory.bounds.verifier` computes the bound from them, `theory.bounds.certified` proves it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from theory.activations.activation import Activation, NumericActivation, steps
from theory.bounds.certificate import Certificate, Readout
from theory.bounds.certified.writing import Say, certify, silent
from theory.bounds.gaussian import search as gaussian_search
from theory.bounds.gaussian import verifier as gaussian_verifier
from theory.bounds.growing.upper import sharper
from theory.bounds.search import propose
from theory.bounds.verifier import DeepBound, verify
from theory.depth.coefficients import DepthCoefficients, depth_coefficients, with_gaussian_weights
from theory.errors import UsageError, is_whole, unknown
from theory.numerics.edge import crossing


@dataclass(frozen=True, slots=True)
class Theorem:
    """The deep bound for one law of the weights.

    Args:
        propose: the search for a certificate.
        verify: the bound from it.
        coefficients: of the fluctuation law, from those for Haar weights.
    """

    propose: Callable[..., Certificate | str]
    verify: Callable[[Certificate, NumericActivation], DeepBound]
    coefficients: Callable[[DepthCoefficients[float]], DepthCoefficients[float]]


HAAR = Theorem(propose, verify, lambda coefficients: coefficients)
THEOREMS = {"haar": HAAR, "gaussian": Theorem(gaussian_search.propose, gaussian_verifier.verify, with_gaussian_weights)}
"""The law of the weights -> its theorem; Gaussian entries have variance 1/n."""


class Problem(NamedTuple):
    """What is asked for: n, L, epsilon, what is known about e_L, and for which weights."""

    width: int
    depth: int
    epsilon: float
    readout: Readout
    theorem: Theorem = HAAR


HOMOGENEOUS = "homogeneous: see theory.bounds.homogeneous"
"""Reason given for a positively homogeneous phi, whose deep law is another theorem."""


_NORMALIZED = 0.02  # largest miss of E phi^2 = E phi'^2 = 1 that a network may have and still be tried
_WIDEST = 10**8
_LARGEST_BUDGET = 0.05  # for the bad events
_LEAST_WIDTH = 16
_FIRST_WIDTH = 1.5  # where the search for a width begins, over the ideal width
_PROOFS = 4  # of wider and wider networks, until one is proved
_LOST = 0.003  # about the share of the logarithm that the proof loses
_SHARE = 0.13  # of the tails of the gradients that the bad events may cost
_TOLERANCES = (1.0, 0.8)  # shares of epsilon: a smaller tolerance is left more often, so its bound serves
_REACHED = 0.75  # of the ideal logarithm, no bound comes nearer
_VACUOUS = -0.5  # ideal logarithm from which nothing can be proved
_BEYOND_FLOATS = -60.0  # ideal logarithm below which a certificate may overflow


def deep_bound(
    activation: NumericActivation,
    width: int,
    depth: int,
    epsilon: float,
    readout: str | Readout = "random",
    weights: str = "haar",
    ratio: float | None = None,
    *,
    certified: bool = False,
    say: Say = silent,
) -> DeepBound:
    r"""Bound the probability that the squared gradient of some layer differs by a factor e^epsilon from the last one's.

    .. math:: P\Big(\max_{l \le L} |\log G_l| \ge \epsilon\Big) \le P(\text{bad}) + \sum_\pm \min_\lambda
              e^{-\lambda\epsilon} T_\pm \big(f_{L-1}(1) + g_{L-1}(1)\big)

    (derived for this project, docs/deep-bound.md).

    Args:
        activation: phi, normalized (`theory.normalization.normalize.normalize`).
        width, depth: n and L; W_1, ..., W_L are n x n.
        epsilon: > 0, of the natural logarithm of the ratio of squared norms.
        readout: what is known about e_L = dE/dx_L: "random", a uniform direction independent of the weights; "any", any
            function of the forward pass and of independent noise (then the bound is for P(|dE/dW_L| > 0 and ...)); or
            a `theory.bounds.certificate.Readout` with the alignment of e_L and x_L.
        weights: "haar", or "gaussian": independent, of variance 1/n_(l-1).
        ratio: for Gaussian chains of unequal widths, all n_1, ..., n_L at least `width`: the largest of 1 and the
            n_(l+1)/n_l. The readout must be random.
        certified: prove the bound in ball arithmetic (half a minute; `theory.bounds.certified`): for Haar weights, a
            formula phi, and the readout "random" or "any".
        say: is told what is being proved.

    Returns:
        `DeepBound`; where it says nothing its log is 0 and its reason tells why.

    Raises:
        UsageError: a width below 2, a depth below 1, an epsilon that is not positive, an unknown readout, unknown
            weights, or a ratio for Haar weights or below 1.

    >>> from theory.normalization.normalize import normalize
    >>> from theory.activations.specification import activation
    >>> tanh = normalize(activation("tanh"))
    >>> deep_bound(tanh, 300, 10, 1.0).probability < 0.05
    True
    >>> deep_bound(tanh, 550, 10, 1.0, weights="gaussian").probability < 0.05
    True
    >>> deep_bound(tanh, 30, 10, 1.0).reason
    'width 30 is too small: even a normal law of the predicted variance exceeds epsilon too often'
    """
    problem = Problem(width, depth, epsilon, _readout(readout), _theorem(weights, ratio))
    moments = _screened(activation, problem, certified)
    if isinstance(moments, DeepBound):
        return moments
    if width < _LEAST_WIDTH or _ideal_log(moments, width, depth, epsilon) > _VACUOUS:
        reason = "even a normal law of the predicted variance exceeds epsilon too often"
        return DeepBound("deep", 0.0, f"width {width} is too small: {reason}")
    found = _best(activation, moments, problem)
    return certify(found, activation, epsilon, say) if certified else found


def _readout(readout: str | Readout) -> Readout:
    if isinstance(readout, Readout):
        return readout
    if readout not in ("random", "any"):
        raise UsageError(f"the readout must be 'random', 'any' or a Readout with an alignment, not {readout!r}")
    return Readout("random") if readout == "random" else Readout("any")


def _theorem(weights: str, ratio: float | None = None) -> Theorem:
    if weights not in THEOREMS:
        raise unknown("weights", weights, list(THEOREMS))
    if ratio is None:
        return THEOREMS[weights]
    if weights != "gaussian" or not 1 <= ratio < np.inf:
        raise UsageError(f"a ratio of widths is for Gaussian weights, and at least 1, not {ratio} for {weights}")
    proposed, verified = partial(gaussian_search.propose, ratio=ratio), partial(gaussian_verifier.verify, ratio=ratio)
    return Theorem(proposed, verified, with_gaussian_weights)


def _check(width: float, depth: float, epsilon: float) -> None:
    if not is_whole(width, 2):
        raise UsageError(f"the width must be a whole number of at least 2, not {width}")
    if not is_whole(depth, 1):
        raise UsageError(f"the depth must be a whole number of at least 1, not {depth}")
    check_epsilon(epsilon)


def check_epsilon(epsilon: float) -> None:
    """Refuse a tolerance that is not positive, or not finite, with a UsageError."""
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise UsageError(f"epsilon must be a positive number, not {epsilon}; try 0.5")


def _screened(activation: NumericActivation, problem: Problem, certified: bool) -> DepthCoefficients[float] | DeepBound:
    """The coefficients for a problem that is well posed, or the bound where no search is needed."""
    _check(*problem[:3])
    if certified and problem.theorem is not HAAR:
        raise UsageError("only the bound for Haar weights can be certified; leave out weights and ratio")
    if problem.depth == 1:
        return DeepBound("deep", -np.inf, "one layer has nothing to be compared with")
    moments = problem.theorem.coefficients(depth_coefficients(activation))
    reason = _screen(activation, moments, problem.depth)
    return DeepBound("deep", 0.0, reason) if reason else moments


def _screen(activation: NumericActivation, moments: DepthCoefficients[float], depth: int) -> str:
    """Why the theorem gives nothing for this activation at any width, empty if it may."""
    if isinstance(activation, Activation) and activation.is_positively_homogeneous:
        return HOMOGENEOUS
    if not np.isfinite(moments.second + moments.slope_second + moments.second_slope_second):
        return "the moments of phi or of phi' are not finite"
    if len(steps(activation, "value")) > 0:
        return "phi jumps, so it is not locally Lipschitz"
    miss = max(abs(moments.second - 1), abs(moments.slope_second - 1))
    if miss > _NORMALIZED:
        return f"phi is not normalized: E phi^2 or E phi'^2 misses 1 by {miss:.3g}"
    if abs(moments.chi) >= 0.995:
        return f"the squared length does not return to 1 in depth (chi = {moments.chi:.4f})"
    if moments.log_ratio_variance(depth - 1) <= 0:
        return "the predicted variance of the log ratio is not positive"
    return ""


def _ideal_log(moments: DepthCoefficients[float], width: float, depth: int, epsilon: float) -> float:
    r"""log of :math:`2 e^{-n \epsilon^2/(2 V)}`, V the predicted n Var of the log ratio of the first layer."""
    return float(np.log(2) - width * epsilon**2 / (2 * moments.log_ratio_variance(depth - 1)))


def _best(
    activation: NumericActivation, moments: DepthCoefficients[float], problem: Problem, budget: float | None = None
) -> DeepBound:
    """The least of the bounds for this tolerance and for smaller ones, which are left more often.

    Each by a few budgets for the bad events: a share of what the tails of the gradients may cost, and then of what they
    do. The first is a guess, unless it is given.
    """
    width, depth, epsilon = problem[:3]
    best = DeepBound("deep", 0.0, "no tolerance was tried")
    wide = np.sqrt(_BEYOND_FLOATS / min(_ideal_log(moments, width, depth, epsilon), _BEYOND_FLOATS))
    for share in _TOLERANCES:
        smaller = problem._replace(epsilon=share * wide * epsilon)
        ideal = _ideal_log(moments, *smaller[:3])
        if ideal > _VACUOUS or (best.log < 0 and _REACHED * ideal > best.log):
            break
        found = _budgeted(activation, smaller, budget or float(_SHARE * np.exp(0.5 * ideal)), best)
        if found.log < best.log or best.log == 0:
            best = found
        else:
            break
        if best.log == 0:  # smaller exponents were tried already
            break
    return best


def _budgeted(activation: NumericActivation, problem: Problem, budget: float, like: DeepBound) -> DeepBound:
    """The least bound of a few budgets for the bad events, in turn a share of what the tails of the gradients cost.

    The search begins near the certificate of a like problem, if that proves anything.
    """
    best, last = DeepBound("deep", 0.0, "no budget was tried"), 0.0
    for _ in range(4):
        budget = float(np.clip(budget, 1e-100, _LARGEST_BUDGET))
        near = best if best.log < 0 and budget < 5 * last else like  # what a far smaller budget needs is no guide
        found = _attempt(activation, problem, budget, near.certificate if near.log < 0 else None)
        if found.log < best.log or best.log == 0:
            best = found
        elif found.log < 0:
            break
        last, wanted = budget, _SHARE * sum(np.exp(log) for name, log in found.terms if "gradients" in name)
        if found.log == 0:
            if budget == _LARGEST_BUDGET:
                break
            budget = _LARGEST_BUDGET
        elif 0.5 < wanted / budget < 2:
            break
        else:  # upwards with care: a small budget makes the tails large, which then want too much
            budget = min(wanted, budget * (wanted / budget) ** 0.75)
    return best


def _attempt(
    activation: NumericActivation, problem: Problem, budget: float, near: Certificate | None = None
) -> DeepBound:
    try:
        certificate = problem.theorem.propose(activation, *problem[:4], budget, near)
    except UsageError as error:  # phi is too rough for the quadrature: an outcome, not misuse
        return DeepBound("deep", 0.0, str(error))
    if isinstance(certificate, str):
        return DeepBound("deep", 0.0, certificate)
    return problem.theorem.verify(certificate, activation)


@dataclass(frozen=True, slots=True)
class DeepWidth:
    """A width at which the deep bound is small enough.

    Args:
        width: n, or None where there is none.
        bound: the bound at this width, or the last one that was tried.
        reason: why there is no width, else empty.
    """

    width: int | None
    bound: DeepBound
    reason: str = ""


def required_width_deep(
    activation: NumericActivation,
    depth: int,
    epsilon: float,
    probability: float,
    readout: str | Readout = "random",
    weights: str = "haar",
    *,
    certified: bool = False,
    say: Say = silent,
) -> DeepWidth:
    """The width from which on the deep bound is below a probability, to about two per cent, by bracketing.

    The bound that is returned belongs to the width that is returned; that narrower networks need more is a finding of
    the search, not a theorem.

    Args:
        activation: phi, normalized.
        depth, epsilon, readout, weights, certified, say: as in `deep_bound`.
        probability: wanted, in (0, 1).

    Raises:
        UsageError: as in `deep_bound`, or a probability outside (0, 1).

    >>> from theory.activations.specification import activation
    >>> from theory.normalization.normalize import normalize
    >>> required_width_deep(normalize(activation("relu")), 10, 1.0, 0.05).reason
    'homogeneous: see theory.bounds.homogeneous'
    """
    if not 0 < probability < 1:
        raise UsageError(f"the probability must lie between 0 and 1, not {probability}")
    problem = Problem(2, depth, epsilon, _readout(readout), _theorem(weights))
    moments = _screened(activation, problem, certified)
    if isinstance(moments, DeepBound):
        return DeepWidth(2, moments) if moments.log < 0 else DeepWidth(None, moments, moments.reason)
    wanted = float(np.log(probability))
    # the width at which Chernoff's bound for a normal law of the predicted variance would do
    ideal = 2 * moments.log_ratio_variance(depth - 1) * (np.log(2) - wanted) / epsilon**2
    least = max(int(ideal), _LEAST_WIDTH)
    most = min(_WIDEST, 300 * least)
    widths = _Widths(activation, moments, problem, probability, say)
    width: float | None = crossing(widths.attempt, wanted, np.ceil(_FIRST_WIDTH * least), (least, most))
    if width is not None and certified:
        proof = partial(certify, activation=activation, epsilon=epsilon, say=say)
        return _proved(width, wanted, partial(widths.bound, fresh=True), proof)
    while width is not None:
        if (bound := widths.bound(width)).log < wanted:
            return DeepWidth(int(width), bound)
        width = np.ceil(1.01 * width)
    reason = widths.near.reason or "the bound does not fall below the probability"
    return DeepWidth(None, widths.near, f"up to width {most}: {reason}")


@dataclass(slots=True)
class _Widths:
    """The bounds of several widths, each searched from the certificate that was found before, `near`."""

    activation: NumericActivation
    moments: DepthCoefficients[float]
    problem: Problem
    probability: float
    say: Say
    near: DeepBound = field(default_factory=partial(DeepBound, "deep", 0.0, "no width was tried"))

    def attempt(self, width: float) -> float:
        """The logarithm of a bound by one budget."""
        self.say(f"width {int(width)}")
        like, problem = self.near.certificate if self.near.log < 0 else None, self.problem._replace(width=int(width))
        found = _attempt(self.activation, problem, _SHARE * self.probability, like)
        self.near = found if found.log < 0 or self.near.log == 0 else self.near
        return found.log

    def bound(self, width: float, fresh: bool = False) -> DeepBound:
        """The bound by several budgets, unless `near` is sharp; `fresh`: of this very width."""
        if fresh and not (self.near.certificate and self.near.certificate.width == width):
            self.attempt(width)
        found = self.near.certificate if self.near.log < np.log(self.probability) else None
        # of a sharper search other budgets take long and were seen to add little
        if self.problem.theorem is HAAR and found and found.width == width and sharper(found):
            return self.near
        problem = self.problem._replace(width=int(width))
        return _best(self.activation, self.moments, problem, _SHARE * self.probability)


def _proved(
    width: float, wanted: float, bound_at: Callable[[float], DeepBound], prove: Callable[[DeepBound], DeepBound]
) -> DeepWidth:
    """The first of a few wider and wider networks whose bound is proved to be below a probability."""
    for _ in range(_PROOFS):
        while (bound := bound_at(width)).log >= (1 + _LOST) * wanted:
            width = np.ceil(1.01 * width)
        bound = prove(bound)
        if bound.log < wanted or bound.log == 0:
            return DeepWidth(int(width) if bound.log else None, bound, bound.reason)
        width = np.ceil(np.clip((1 + _LOST) * wanted / bound.log, 1.01, 1.5) * width)
    return DeepWidth(None, bound, f"not certified: what is proved stays above {np.exp(wanted):.3g}")
