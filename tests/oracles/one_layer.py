"""The bounds and the probability of one layer, for each claim by its own name, straight from an activation."""

from functools import partial

import numpy as np

from theory.claims.counted import CountedClaim
from theory.layer.conditioning import log_sphere_mean
from theory.layer.cramer import cramer
from theory.layer.exact import exact_tail
from theory.layer.law import event, layer_law
from theory.layer.levy import levy


def _tail(method, claim, phi, width, epsilon, side, q=1.0):
    return method(event(claim, layer_law(phi, width, q), epsilon, side))


cramer_forward = partial(_tail, cramer, CountedClaim.FORWARD)
cramer_backward_random = partial(_tail, cramer, CountedClaim.BACKWARD_RANDOM)
cramer_backward_fixed = partial(_tail, cramer, CountedClaim.BACKWARD_FIXED)
exact_forward = partial(_tail, exact_tail, CountedClaim.FORWARD)
exact_backward_random = partial(_tail, exact_tail, CountedClaim.BACKWARD_RANDOM)
exact_backward_fixed = partial(_tail, exact_tail, CountedClaim.BACKWARD_FIXED)
levy_forward = partial(levy, CountedClaim.FORWARD)
levy_backward_random = partial(levy, CountedClaim.BACKWARD_RANDOM)
levy_backward_fixed = partial(levy, CountedClaim.BACKWARD_FIXED)


def additive_bound(nodes, gain, width, tilt, q=1.0):
    """Logarithm of Cramér's bound on P(sum g(h_i) >= 0) at a given lambda, for any g at the nodes."""
    mean = log_sphere_mean(nodes, tilt * gain, width, q)
    return min(0.0, mean.log + mean.error, mean.log_upper)


def normal_factor(event, saddle):
    """lambda sigma sqrt(2 pi n), by which Cramér's bound exceeds the probability where this is large."""
    return float(saddle.tilt * saddle.sigma * np.sqrt(2 * np.pi * event.width))
