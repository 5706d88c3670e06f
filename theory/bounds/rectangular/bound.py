r"""The door of the deep bound for semi-orthogonal layers of unequal widths: search, and verification layer by layer."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.special import betainccinv, betaincinv

from theory.activations.activation import NumericActivation
from theory.bounds.certificate import Certificate
from theory.bounds.deep import check_epsilon, deep_bound
from theory.bounds.draft import SHARES, Draft
from theory.bounds.homogeneous import homogeneous_slopes
from theory.bounds.rectangular.layers import ChainSetting, Kind, Limits, kinds_of
from theory.bounds.rectangular.verifier import kernels, prepared, verify
from theory.bounds.search import regular_limits
from theory.bounds.verifier import DeepBound, prepare
from theory.depth.coefficients import depth_coefficients
from theory.errors import UsageError, is_whole
from theory.numerics.arithmetic import FloatArray

_SHARES = (0.85, 1.0, 0.7, 0.55)  # of the narrowest layer: the widths whose certificates for square layers are tried
_ENOUGH = -6.0  # a logarithm below which no other is tried
_FAR = 22.0  # minus the logarithm of a probability of a normal law, beyond which a wider certificate is not looked for
_MORE_B, _BRACKETS = (0.0, 0.3, 0.7), (1.0, 0.5, 0.25, 0.12)  # where widths grow
_HIGHEST = 9.0


def chain_bound(
    activation: NumericActivation, widths: Sequence[int], epsilon: float, readout: str = "random"
) -> DeepBound:
    r"""Bound the probability that the squared gradient of some layer of a chain differs by a factor e^epsilon.

    .. math:: P\Big(\max_l |\log G_l| \ge \epsilon\Big), \qquad
              G_l = \frac{|\partial E/\partial W_l|^2/n_{l-1}}{|\partial E/\partial W_L|^2/n_{L-1}}

    W_l is :math:`n_l \times n_{l-1}` with orthonormal rows or columns, uniformly distributed, times
    :math:`\max(1, (n_l/n_{l-1})^{1/2})` (derived for this project, docs/rectangular-deep-bound.md).

    Args:
        activation: phi, normalized.
        widths: n_0, ..., n_L.
        epsilon: > 0, of the natural logarithm.
        readout: "random" or "any", as for `theory.bounds.deep.deep_bound`.

    Returns:
        `DeepBound`; where it says nothing its log is 0 and its reason tells why.

    Raises:
        UsageError: widths that are not positive whole numbers, or what `deep_bound` does not take.

    >>> from theory.activations.specification import activation
    >>> from theory.normalization.normalize import normalize
    >>> chain_bound(normalize(activation("tanh")), [784, 256, 300, 256], 1.0).probability < 0.01
    True
    """
    if len(widths) < 2 or not all(is_whole(width, 1) for width in widths):
        raise UsageError(f"widths are n_0, ..., n_L, at least two positive whole numbers, not {list(widths)}")
    check_epsilon(epsilon)
    if readout not in ("random", "any"):
        raise UsageError(f"for unequal widths the readout is 'random' or 'any', not {readout!r}")
    if homogeneous_slopes(activation) is not None:
        return DeepBound("deep", 0.0, "the theorem of positively homogeneous activations is that of square layers")
    widths, best = [int(width) for width in widths], DeepBound("deep", 0.0, "no width was tried")
    wide = _wide_enough(activation, len(widths) - 1, epsilon)
    for share in _SHARES:
        width = max(int(np.ceil(share * min(min(widths[1:]), wide))), 2)
        square = deep_bound(activation, width, len(widths) - 1, epsilon, readout)
        if square.certificate is None or square.log == 0:
            if share == 1:
                return square if best.log == 0 else best  # narrower layers have no certificate either
            continue
        found = verify(*fitted(square, activation, widths))
        if best.log < 0 and found.log >= best.log:
            break
        best = found
        if best.log < _ENOUGH:
            break
    return best


def _wide_enough(activation: NumericActivation, depth: int, epsilon: float) -> float:
    """A width whose certificate serves all wider layers: far in the tail a search takes long and fails easily."""
    if depth < 2:
        return np.inf
    variance = depth_coefficients(activation).log_ratio_variance(depth - 1)
    return 2 * _FAR * variance / epsilon**2 if variance > 0 else np.inf


def fitted(
    square: DeepBound, activation: NumericActivation, widths: Sequence[int]
) -> tuple[Certificate, NumericActivation, Sequence[int], tuple[Limits, ...]]:
    """What `verify` takes: a certificate for square layers with what makes it serve a chain.

    Where widths grow, those of a few b and exponents of the brackets with which the layers, each by itself, cost least.

    Args:
        square: a bound for square layers, with its certificate.
        activation, widths: as for `chain_bound`.
    """
    c, limits = square.certificate, limits_for(square, activation, widths)
    assert c is not None
    layers = kinds_of(widths)[:-1]
    kinds = tuple(dict.fromkeys(kinds_of(widths)))
    if all(kind.factor == 1 for kind in layers):
        return c, activation, widths, limits
    counts, tried = [layers.count(kind) for kind in kinds], []
    for more in _MORE_B:
        here = replace(c, upper=replace(c.upper, b=c.upper.b + more))
        scaled = [tuple(replace(part, brackets=scale) for part in limits) for scale in _BRACKETS]
        logs = np.array([_steps(prepared(here, activation, widths, each)) for each in scaled])
        best = logs.argmin(axis=0)
        total = float(np.dot(counts, logs.min(axis=0)))
        tried.append((total, here, tuple(scaled[i][k] for k, i in enumerate(best))))
    _, c, limits = min(tried, key=lambda item: item[0])
    return c, activation, widths, limits


def _steps(s: ChainSetting) -> FloatArray:
    """What one layer of each kind costs on the upper side, with the last function of the chain; (kinds,)."""
    side = s.certificate.upper
    last, kernel = side.chains[0].functions[-1:], kernels(s, 1, side, side.chains[0])
    with np.errstate(all="ignore"):
        return np.nan_to_num(s.table(kernel, last, last)[:, 0], nan=np.inf, posinf=1e9)


def limits_for(square: DeepBound, activation: NumericActivation, widths: Sequence[int]) -> tuple[Limits, ...]:
    """Limits for each kind of layer that fail about as rarely as those of a certificate do for square layers."""
    c = square.certificate
    assert c is not None
    wanted = max(log for name, log in square.terms if name.startswith("limit")) - float(np.log(c.depth))
    made = partial(_limits, c, activation, wanted)
    return tuple(made(kind) if kind.free else Limits.of(c) for kind in dict.fromkeys(kinds_of(widths)))


def _limits(c: Certificate, activation: NumericActivation, wanted: float, kind: Kind) -> Limits:
    share, shape = kind.width / (kind.width + kind.free), (kind.width / 2, kind.free / 2)
    least, most = betaincinv(*shape, 0.5 * np.exp(wanted)) / share, betainccinv(*shape, 0.5 * np.exp(wanted)) / share
    low, high = float(c.low * least), float(c.high * most)
    wide = replace(c, width=kind.width, low=low, high=high)
    budget = float(np.exp(wanted) * c.depth / SHARES["limit"])
    with np.errstate(all="ignore"):
        draft = regular_limits(Draft(prepare(wide, activation, _HIGHEST), depth_coefficients(activation), budget))
    return replace(Limits.of(draft.certificate), low=low, high=high) if isinstance(draft, Draft) else Limits.of(c)
