"""Cramér's bound on the sphere: exponential Markov under the exact law of one layer.

The right side of Markov's inequality is computed essentially exactly (`theory.layer.conditioning`; below width 16
`theory.layer.radial`). It is sharp in the exponent and asks nothing of phi': kinks and jumps are allowed. Derived for
this project (H. Cramér 1938 for the exponential tilt), docs/one-step.md#cramer-bound.

Rigour: lambda and mu are free, so finding them costs none. What is not proved is the quadrature over a coordinate, the
inversion over one frequency, rounding, and the searched extremes of phi^2 or phi'^2; the first three are
estimated by a second rule and added, so that the bound errs upward.
"""

import numpy as np
from scipy.optimize import minimize_scalar

from theory.layer.conditioning import log_sphere_mean
from theory.layer.law import Event, certainty, unusable
from theory.layer.levy import Bound
from theory.layer.radial import log_radial_mean
from theory.layer.saddle import Saddle, find_saddle, largest_tilt, weights
from theory.layer.special_cases import at_edge

_KIND = "cramer"
_RECURSION = 16  # below this width the radial recursion is quicker than the inversion, and more accurate
_RETREATS = 20  # of lambda from a saddle near infinity, each by a factor _RETREAT
_RETREAT = 0.02


def cramer(event: Event, saddle: Saddle | None = None) -> Bound:
    r"""Bound on a one-step tail: the squared length or a squared backward norm leaves 1 by epsilon in one layer.

    .. math:: P\Bigl(\frac1n \sum_i \psi(h_i) \ge t\Bigr) \le \min_{\lambda \ge 0} e^{-n\lambda t}
              E\bigl[e^{\lambda \sum_i \psi(h_i)} \bigm| |h|^2 = nq\bigr], \qquad t = 1 + \epsilon

    with :math:`\psi = \phi^2` for the squared length and :math:`\psi = \phi'^2` for a flat fixed backward signal, the
    paper's theorem (Lu, Gould, Ajanthan 2020) at its flattest. For a random direction :math:`u = w/|w|`

    .. math:: P(|Du|^2 \ge t) \le \min_{0 \le \lambda < \lambda_{max}}
              E\Bigl[\prod_i (1 - 2\lambda(\phi'(h_i)^2 - t))^{-1/2} \Bigm| |h|^2 = nq\Bigr]

    since with D = diag phi'(h) :math:`|Du|^2 \ge t` says that :math:`\sum_i (\phi'(h_i)^2 - t) w_i^2 \ge 0`. The lower
    tail has the signs turned and :math:`t = 1 - \epsilon` (derived for this project; see the module on rigour).

    Args:
        event: as `theory.layer.law.event` makes it.
        saddle: the saddle point of the event, if it is known already.

    >>> from theory.activations.specification import activation
    >>> from theory.layer.law import event, layer_law
    >>> relu = layer_law(activation("sqrt(2)*max(x, 0)"), 512)
    >>> round(cramer(event("forward-one-step", relu, 0.2, "upper")).probability, 6)
    0.030623
    """
    reason = unusable(event)
    if reason:
        return Bound("none", 0.0, reason)
    known = certainty(event)
    if known is not None:
        log, reason = (0.0, "the event is certain") if known else (-np.inf, "the target cannot be reached")
        return Bound(_KIND, log, reason)
    edge = at_edge(event)
    if edge is not None and edge.log == -np.inf:
        return Bound(_KIND, -np.inf, edge.reason)
    if event.width < _RECURSION:
        return _small(event)
    saddle = find_saddle(event) if saddle is None else saddle
    if saddle is None:
        return Bound(_KIND, 0.0, "the sum is a constant, at the target within rounding")
    if saddle.tilt == 0:
        return Bound(_KIND, 0.0, "the mean itself lies beyond the target at this width")
    return _best(event, saddle)


def _best(event: Event, saddle: Saddle) -> Bound:
    """The bound near the saddle, or at a smaller lambda where the saddle is too far out to be computed at."""
    profile, start = event.profile, saddle.law.mu
    tilt = _refine(event, saddle)
    for _ in range(_RETREATS):
        mean = log_sphere_mean(profile.nodes, weights(event, tilt, profile.values), event.width, start=start)
        check = weights(event, tilt, profile.check_values)
        second = log_sphere_mean(profile.check_nodes, check, event.width, start=start)
        both = np.isfinite(mean.log) and np.isfinite(second.log)
        error = 2 * abs(second.log - mean.log) if both else np.inf  # of the integrals over a coordinate
        total = float(min(mean.log + mean.error, mean.log_upper)) + error
        if np.isfinite(total):
            return Bound(_KIND, total) if total < 0 else Bound(_KIND, 0.0, "no tilt gives a bound below 1")
        tilt *= _RETREAT
    return Bound("none", 0.0, f"the inversion over the sphere does not settle near lambda = {saddle.tilt:.3g}")


def _refine(event: Event, saddle: Saddle) -> float:
    """The best lambda among the saddle, both sides of it and where their parabola has its minimum.

    The saddle balances one coordinate, not the sphere: the minimum is of the order 1/n away.
    """

    def log_mean(tilt: float) -> float:  # with the errors of inversion and rounding added
        exponent = weights(event, tilt, event.profile.values)
        mean = log_sphere_mean(event.profile.nodes, exponent, event.width, start=saddle.law.mu)
        return float(min(mean.log + mean.error, mean.log_upper))

    limit = largest_tilt(event)
    length = min(1 / max(saddle.sigma * np.sqrt(event.width), 1e-300), 0.5 * saddle.tilt)
    length = float(min(length, 0.5 * (limit - saddle.tilt)))
    tried = {saddle.tilt: log_mean(saddle.tilt)}
    for shrink in (1.0, 0.125):
        best, step = min(tried, key=lambda tilt: tried[tilt]), shrink * length
        if not (step > 0 and 0 < best - step and best + step < limit):
            break
        tried |= {best + sign * step: log_mean(best + sign * step) for sign in (-1, 1)}
        left, middle, right = tried[best - step], tried[best], tried[best + step]
        bend = left - 2 * middle + right
        vertex = best + float(np.clip(0.5 * (left - right) / bend, -2, 2)) * step if bend > 0 else best
        if 0 < vertex < limit and vertex not in tried:
            tried[vertex] = log_mean(vertex)
    return min(tried, key=lambda tilt: tried[tilt])


def _small(event: Event) -> Bound:
    """Below the smallest width of the inversion: the recursion over the radius, lambda by a bounded search."""

    def log_mean(tilt: float, points: int) -> float:
        return log_radial_mean(
            lambda x: weights(event, tilt, event.profile.function(x)),
            event.profile.breakpoints,
            event.width,
            points=points,
        )

    limit = largest_tilt(event)
    values = event.profile.values[np.abs(event.profile.nodes.points) < 2]
    largest = max(float(np.abs(values).max()), np.finfo(float).tiny)  # whose square may overflow
    scale = 1 / (1e-3 + largest * float(np.std(values / largest)))
    reach = min(limit, 30 * scale) if not event.weighted else min(limit, 1e12)
    minimum = minimize_scalar(
        lambda y: log_mean(reach * y * y, 60), bounds=(0, 1 - 1e-6), method="bounded", options={"xatol": 1e-3}
    )
    tilt = reach * float(minimum.x) ** 2
    coarse, fine = log_mean(tilt, 60), log_mean(tilt, 120)
    total = fine + 2 * abs(fine - coarse)
    return Bound(_KIND, total) if total < 0 else Bound(_KIND, 0.0, "no tilt gives a bound below 1")
