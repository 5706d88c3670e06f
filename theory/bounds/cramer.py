"""Search for Cramér exponents of rare events of one layer, many at once, to leading order in the width.

The bounds that count are those of `theory.bounds.verifier` with the exponents found here; see also
`theory.layer.cramer`, which computes single events exactly.
"""

import numpy as np

from theory.bounds.grid import Nodes
from theory.bounds.layer_means import GUARDED, log_chi_squared
from theory.numerics.arithmetic import FloatArray

_ENOUGH = -80.0  # logarithm of a probability below which an event is not pursued further


def cramer(nodes: Nodes, psi: FloatArray, width: int, q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cramér's bound on P(sum psi(h_i) >= 0 | |h|^2 = nq), to leading order, and its exponent; the worst of several q.

    Args:
        nodes: a rule.
        psi: (B, K).
        width: n.
        q: (Q,).

    Returns:
        log probability and exponent, (B,) each, at the q where the probability is largest.
    """
    systems, lengths = np.repeat(psi, len(q), axis=0), np.tile(q, len(psi))
    size = np.sqrt(systems**2 @ np.exp(nodes.log_weight)) + 1e-12
    tilts = np.stack([1e-3 / size, np.zeros(len(systems))])
    ceiling = np.full(len(systems), np.inf)  # no tilted law from here on: its mass runs off to large |z|
    best, kept = np.zeros(len(systems)), tilts.copy()
    for _ in range(60):
        law, log, moments = _cramer_state(nodes, systems, tilts, lengths, width)
        lost = ~(np.isfinite(log) & (width * law[:, nodes.guard].sum(axis=1) < 0.1 * GUARDED))
        ceiling = np.where(lost, tilts[0], ceiling)
        better = ~lost & (log < best) & (tilts[0] > 0)
        best, kept = np.where(better, log, best), np.where(better, tilts, kept)
        # Newton's step towards mean psi = 0, mean z^2 = q; towards the second alone where the event is rare enough
        (one, two, first, mixed, second), enough = moments, best < _ENOUGH
        determinant = first * second - mixed**2
        step = np.where(enough, 0.0, (second * one - mixed * (two - lengths)) / determinant)
        full = (first * (two - lengths) - mixed * one) / determinant
        stride = np.where(enough, (two - lengths) / second, full)
        damping = np.minimum(1.0, np.minimum(0.7 / (np.abs(step) * size), 0.1 / np.abs(stride)))
        exponent = np.minimum(tilts[0] - damping * step, 0.5 * (tilts[0] + ceiling))
        tilts = np.where(lost, np.stack([0.5 * (kept[0] + ceiling), kept[1]]), [exponent, tilts[1] - damping * stride])
        if not np.any(np.abs(step) * size + np.abs(stride) >= 1e-7):
            break
    log = best.reshape(len(psi), len(q))
    worst = log.argmax(axis=1)
    exponent = np.take_along_axis(kept[0].reshape(log.shape), worst[:, None], axis=1)[:, 0]
    return log.max(axis=1), np.maximum(exponent, 1e-300)


def _cramer_state(
    nodes: Nodes, systems: FloatArray, tilts: FloatArray, lengths: FloatArray, width: int
) -> tuple[FloatArray, FloatArray, tuple[FloatArray, ...]]:
    """The tilted laws, the logarithms of the bounds, and the tilted moments of psi and z^2."""
    square = nodes.z**2
    logs = nodes.log_weight + tilts[0][:, None] * systems + tilts[1][:, None] * square
    peak = logs.max(axis=1, keepdims=True)
    law = np.exp(logs - peak)
    mass = law.sum(axis=1)
    law /= mass[:, None]
    one, two = np.einsum("sk,sk->s", law, systems), law @ square
    first = np.einsum("sk,sk->s", law, systems**2) - one**2
    mixed = np.einsum("sk,sk->s", law, systems * square) - one * two
    second = law @ square**2 - two**2
    log = width * (peak[:, 0] + np.log(mass) - tilts[1] * lengths) - 0.5 * np.log(2 * np.pi * width * second)
    return law, log - log_chi_squared(width * lengths, width), (one, two, first, mixed, second)
