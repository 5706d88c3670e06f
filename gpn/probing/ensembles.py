"""Which ensemble a weight matrix looks drawn from, with what scale, and what to paste to draw an orthogonal one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpn.probing.results import PartRow
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


def ensemble_of(weights: Weights, dtype: str, again: Sequence[Weights] = ()) -> Ensemble:
    """Recognize the ensemble of one matrix by its residual, its spectrum and the moments of its entries.

    Orthogonal matrices whose entries have the kurtosis of Haar ones are called Haar: one matrix cannot tell more.

    Args:
        weights: the matrix.
        dtype: its type, as in "float32".
        again: the same layer in other initializations: small matrices tell the law of their entries only together.

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
    drawn = list({one.key: one for one in (weights, *again)}.values())
    shape = _shape([one.kurtosis for one in drawn], count)
    usual, transposed = _usual_scale(drawn)
    label = f"{shape}, {usual or f'standard deviation {scale:.2g}/sqrt(n_in)'}"
    return Ensemble("independent", label, weights.gain, scale, transposed)


def _shape(kurtoses: Sequence[float], count: int) -> str:
    """The law of the entries by their kurtosis, where it is told from the others; "independent" for another law."""
    noise = float(np.sqrt(24 / (count * len(kurtoses))))
    kurtosis = float(np.mean(kurtoses)) + 6 / count  # what the sample moments of normal entries miss by
    ranked = sorted((abs(kurtosis - value), name) for name, value in _SHAPES.items())
    if ranked[0][0] > _NOISE * noise + 0.05:
        return "independent"
    is_clear = ranked[1][0] - ranked[0][0] > 2 * noise
    return ranked[0][1] if is_clear else "independent (too few to tell)"


def _usual_scale(drawn: Sequence[Weights]) -> tuple[str, bool]:
    """The names of the variance of the entries, and whether it is one of the transposed matrix alone.

    Empty where the matrices are too small to tell more than two of them apart.
    """
    inward, outward = drawn[0].columns, drawn[0].rows
    count = inward * outward
    variance = float(np.mean([one.traces[0] for one in drawn])) / count
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
    tolerance = _NOISE * np.sqrt(2 / (count * len(drawn)))
    for scales, transposed in ((own, False), (other, True)):
        fits = {value: name for name, value in reversed(scales.items()) if abs(variance / value - 1) < tolerance}
        if fits:
            return (" or ".join(list(fits.values())[::-1]) if len(fits) < 3 else ""), transposed
    return "", False


ZERO_BIAS = {
    "PyTorch": "torch.nn.init.zeros_(layer.bias)",
    "JAX": "jax.nn.initializers.zeros as the initializer of the bias",
}
"""What to paste for bias 0, by library."""


def drawing_lines(maps: Sequence[PartRow], library: str, gain: float = 1.0) -> list[str]:
    """The code that makes weights orthogonal with a gain of the length, also where a layer widens.

    Args:
        maps: the rows of the maps.
        library: "PyTorch" or "JAX"; there is no code for another one.
        gain: the gain.

    >>> drawing_lines([], "PyTorch", 1.5)
    ['gpn.torch.orthogonal_(layer.weight, 1.5)']
    """
    wide = any(row.width > row.width_in for row in maps)
    options = [f"{gain:.5g}"] * (gain != 1) + ["scaled=True"] * wide
    if library == "PyTorch":
        return [f"gpn.torch.orthogonal_({', '.join(['layer.weight', *options])})"]
    if library != "JAX":
        return []
    kinds = sorted({"delta_" * (row.kind == "convolution") for row in maps})
    makers = (f"gpn.jax.{kind}orthogonal({', '.join(options)})" for kind in kinds)
    return [f"{' or '.join(makers)} as the initializer of the kernel"]


def in_brackets(lines: Sequence[str]) -> str:
    """Lines to paste behind a sentence; nothing where there are none.

    >>> in_brackets(["a", "b"]), in_brackets([])
    (' (a; b)', '')
    """
    return f" ({'; '.join(lines)})" if lines else ""
