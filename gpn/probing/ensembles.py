"""Which ensemble a weight matrix looks drawn from, and with what scale."""

from dataclasses import dataclass

import numpy as np

from gpn.probing.tape import Weights

_NOISE = 6.0  # standard deviations that a statistic of the entries may miss by
_ORTHOGONAL = {"float64": 1e-8, "float32": 1e-4}  # largest residual; coarser types have 0.05
_COARSE = 0.05
_SHAPES = {"Gaussian": 0.0, "uniform": -1.2, "truncated normal": -0.63}  # excess kurtosis


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What the weights of a layer look like.

    Args:
        kind: "orthogonal", "independent" or "unknown".
        label: for a reader, as "Haar" or "Gaussian, He".
        gain: the factor of the length, see `gpn.probing.tape.Weights.gain`.
        scale: of an orthogonal matrix the factor before it; of another one its standard deviation times sqrt(n_in).
        transposed: whether the scale is a usual one for the transposed matrix, and for none of its own shape.
    """

    kind: str
    label: str
    gain: float
    scale: float
    transposed: bool = False


def ensemble_of(weights: Weights, dtype: str) -> Ensemble:
    """Recognize the ensemble of one matrix by its residual, its spectrum and the moments of its entries.

    Orthogonal matrices whose entries have the kurtosis of Haar ones are called Haar: one matrix cannot tell more.

    >>> ensemble_of(Weights.of(3 * np.eye(64)), "float64").label
    'orthogonal but not Haar, times 3'
    >>> ensemble_of(Weights.of(np.random.default_rng(0).normal(0, np.sqrt(2 / 64), (64, 64))), "float64").label
    'Gaussian, He'
    """
    count = weights.rows * weights.columns
    if not weights.traces[0] > 0:
        return Ensemble("unknown", "zero" if weights.traces[0] == 0 else "not finite", weights.gain, 0.0)
    noise = _NOISE * float(np.sqrt(24 / count))
    short = min(weights.rows, weights.columns)
    if weights.residual < _ORTHOGONAL.get(dtype, _COARSE) and short > 1:
        scale = float(np.sqrt(weights.traces[0] / short))
        square = weights.rows == weights.columns
        name = "Haar" if square else "semi-orthogonal"
        if abs(weights.kurtosis) > noise + 6 / short:
            name = "orthogonal but not Haar" if square else "semi-orthogonal but not Haar"
        times = f", times {scale:.4g}" if abs(scale - 1) > 1e-3 else ""
        return Ensemble("orthogonal", name + times, weights.gain, scale)
    scale = float(np.sqrt(weights.traces[0] / weights.rows))
    expected = (weights.rows + weights.columns + 1) / count
    if abs(weights.traces[1] / weights.traces[0] ** 2 / expected - 1) > 10 / np.sqrt(count) + 2 / short:
        sparse = f", {weights.zeros:.0%} zeros" if weights.zeros > 0.1 else ""
        return Ensemble("unknown", f"no known ensemble{sparse}", weights.gain, scale)
    shape = _shape(weights.kurtosis, noise)
    usual, transposed = _usual_scale(weights, count)
    label = f"{shape or 'independent'}, {usual or f'standard deviation {scale:.2g}/sqrt(n_in)'}"
    return Ensemble("independent", label, weights.gain, scale, transposed)


def _shape(kurtosis: float, noise: float) -> str:
    """The law of the entries by their kurtosis; empty where a small matrix does not tell, or for another law."""
    ranked = sorted((abs(kurtosis - value), name) for name, value in _SHAPES.items())
    is_clear = ranked[1][0] - ranked[0][0] > 2 * noise / _NOISE
    return ranked[0][1] if ranked[0][0] < noise + 0.05 and is_clear else ""


def _usual_scale(weights: Weights, count: int) -> tuple[str, bool]:
    """The name of the variance of the entries, and whether it is one of the transposed matrix alone."""
    variance, inward, outward = weights.traces[0] / count, weights.columns, weights.rows
    own = {
        "LeCun": 1 / inward,
        "He": 2 / inward,
        "PyTorch's default": 1 / (3 * inward),
        "Glorot": 2 / (inward + outward),
    }
    other = {
        "LeCun by fan-out": 1 / outward,
        "He by fan-out": 2 / outward,
        "PyTorch's default by fan-out": 1 / (3 * outward),
    }
    tolerance = _NOISE * np.sqrt(2 / count)
    for names, transposed in ((own, False), (other, True)):
        for name, value in names.items():
            if abs(variance / value - 1) < tolerance:
                return name, transposed
    return "", False
