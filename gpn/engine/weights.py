"""Ensembles of random weight matrices: Haar orthogonal, i.i.d. Gaussian and uniform, a negative control."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from gpn.engine.arguments import count
from gpn.engine.norms import FloatArray
from theory.errors import UsageError, unknown

Ensemble = Callable[[np.random.Generator, int, int], FloatArray]
Weights = str | Ensemble
"""A name of `ENSEMBLES` or `SPELLINGS`, or a function (rng, rows, columns) -> array."""

SPELLINGS: Mapping[str, str] = MappingProxyType(
    {
        "orthogonal": "haar",
        "lecun": "gaussian",
        "kaiming": "he",
        "xavier": "glorot",
        "kaiming_uniform": "he_uniform",
        "xavier_uniform": "glorot_uniform",
    }
)
"""The words of the frameworks -> the names here."""


def haar(rng: np.random.Generator, rows: int, columns: int | None = None) -> FloatArray:
    """Draw a Haar-uniform orthogonal matrix; semi-orthogonal if the two sizes differ.

    With G a matrix of independent N(0, 1) entries and G = Q R its QR decomposition,
        W = Q diag(sign R_11, ..., sign R_kk)
    is uniform: the decomposition whose diagonal of R is positive is unique, and G and V G have the same law
    for every orthogonal V. Without the signs the law is that of the library's convention (see `qr_unsigned`).
    For rows >= columns the columns are orthonormal (W uniform on the Stiefel manifold), else the rows are.

    Source: F. Mezzadri, How to generate random matrices from the classical compact groups, Notices of the
    AMS 54 (2007), 592-604.

    Args:
        rng: where the randomness comes from.
        rows, columns: the shape of W, n_out by n_in; `columns` left out means a square matrix.

    Raises:
        UsageError: a size that is not a positive whole number.

    >>> w = haar(np.random.default_rng(0), 5, 3)
    >>> w.shape, bool(np.allclose(w.T @ w, np.eye(3)))
    ((5, 3), True)
    """
    q, diagonal, transposed = _qr(rng, *_shape(rows, columns))
    q *= np.where(diagonal < 0.0, -1.0, 1.0)
    return q.T if transposed else q


def qr_unsigned(rng: np.random.Generator, rows: int, columns: int | None = None) -> FloatArray:
    """Draw an orthogonal matrix that is NOT Haar: Q of a Gaussian matrix with the signs LAPACK gives it.

    A negative control. LAPACK's Householder reflections give Q_11 <= 0 (for two rows or more) and, for a
    square matrix, det Q = (-1)^(n-1) in every draw.

    Source: F. Mezzadri, Notices of the AMS 54 (2007), 592-604, describes the mistake.

    Args:
        rng, rows, columns: as for `haar`.

    >>> bool(qr_unsigned(np.random.default_rng(0), 4)[0, 0] < 0)
    True
    """
    q, _, transposed = _qr(rng, *_shape(rows, columns))
    return q.T if transposed else q


def orthogonal_scale(ensemble: str, rows: int, columns: int) -> float:
    """Give the factor of the semi-orthogonal matrix: 1 for "haar", max(1, sqrt(n_out/n_in)) for "scaled_orthogonal".

    >>> orthogonal_scale("scaled_orthogonal", 8, 2), orthogonal_scale("scaled_orthogonal", 2, 8)
    (2.0, 1.0)
    """
    return float(np.sqrt(max(1.0, rows / columns))) if ensemble == "scaled_orthogonal" else 1.0


def standard_deviation(ensemble: str, rows: int, columns: int) -> float:
    """Give the standard deviation of one entry of an i.i.d. Gaussian ensemble.

        gaussian (LeCun): sqrt(1/n_in),   he: sqrt(2/n_in),   glorot: sqrt(2/(n_in + n_out)).

    Sources: Y. LeCun, L. Bottou, G. Orr, K.-R. Mueller, Efficient BackProp (1998); K. He et al. (2015),
    arXiv 1502.01852; X. Glorot, Y. Bengio (2010).

    Args:
        ensemble: "gaussian", "he" or "glorot".
        rows, columns: n_out and n_in.

    Raises:
        UsageError: another ensemble.

    >>> standard_deviation("he", 10, 8)
    0.5
    """
    variances = {"gaussian": 1.0 / columns, "he": 2.0 / columns, "glorot": 2.0 / (columns + rows)}
    if ensemble not in variances:
        raise UsageError(f"{ensemble!r} is not a Gaussian ensemble; the Gaussian ones are {', '.join(variances)}")
    return float(np.sqrt(variances[ensemble]))


def canonical(weights: str) -> str:
    """Give the name of `ENSEMBLES` for a word of the frameworks, any other as it is.

    >>> canonical("orthogonal"), canonical("he")
    ('haar', 'he')
    """
    return SPELLINGS.get(weights, weights)


def of_square_layers(ensemble: str) -> str:
    """Give the simplest name of the same law of square matrices: of two semi-orthogonal and two Gaussian scalings.

    >>> of_square_layers("scaled_orthogonal"), of_square_layers("glorot"), of_square_layers("he")
    ('haar', 'gaussian', 'he')
    """
    return {"scaled_orthogonal": "haar", "glorot": "gaussian"}.get(ensemble, ensemble)


def is_orthogonal(ensemble: str) -> bool:
    """Whether a matrix of the ensemble is a factor times a semi-orthogonal one that is uniform."""
    return ensemble in ("haar", "scaled_orthogonal")


def mean_factor(ensemble: str, rows: int, columns: int) -> float:
    """Give the factor of the semi-orthogonal matrix, or of Gaussian entries of variance 1/n_in.

    >>> mean_factor("he", 10, 8) ** 2, mean_factor("scaled_orthogonal", 8, 2)
    (2.0000000000000004, 2.0)
    """
    if is_orthogonal(ensemble):
        return orthogonal_scale(ensemble, rows, columns)
    return standard_deviation(ensemble, rows, columns) * float(np.sqrt(columns))


def mean_length_factor(ensemble: str, rows: int, columns: int) -> float:
    r"""Give E |W|_F^2/n_out, by which squared lengths per neuron grow forward, and squared gradients backward.

    >>> mean_length_factor("haar", 8, 2), mean_length_factor("haar", 2, 8), round(mean_length_factor("he", 8, 2), 12)
    (0.25, 1.0, 2.0)
    """
    seen = min(1.0, columns / rows) if is_orthogonal(ensemble) else 1.0
    return mean_factor(ensemble, rows, columns) ** 2 * seen


def draw(ensemble: Weights, rng: np.random.Generator, rows: int, columns: int | None = None) -> FloatArray:
    """Draw one weight matrix W (n_out by n_in) from an ensemble.

    "haar": uniform orthogonal; "scaled_orthogonal": the same times sqrt(n_out/n_in) where that is above 1, so that
    squared lengths per neuron are kept; "gaussian", "he", "glorot": i.i.d. N(0, s^2) with s of `standard_deviation`;
    "lecun_uniform", "he_uniform", "glorot_uniform": i.i.d. uniform on [-sqrt(3) s, sqrt(3) s] with the same
    variances; "qr_unsigned": a negative control that is orthogonal but not uniform.

    Source of "scaled_orthogonal": J. Martens et al. (2021), arXiv 2110.01765 (scaled uniform orthogonal).

    Args:
        ensemble: a key of `ENSEMBLES` or of `SPELLINGS`, or a function (rng, rows, columns) -> array.
        rng: where the randomness comes from.
        rows, columns: n_out and n_in; `columns` left out means a square matrix.

    Raises:
        UsageError: an unknown ensemble, a size that is not a positive whole number, or a function that gives no
            finite array of that size.

    >>> draw("glorot_uniform", np.random.default_rng(0), 2, 3).shape
    (2, 3)
    """
    shape = _shape(rows, columns)
    if not isinstance(ensemble, str):
        return _drawn_by(ensemble, rng, shape)
    name = canonical(ensemble)
    if name not in ENSEMBLES:
        raise unknown("weights", ensemble, [*ENSEMBLES, *SPELLINGS])
    return ENSEMBLES[name](rng, *shape)


def _drawn_by(function: Ensemble, rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    if not callable(function):
        raise UsageError(f"weights must be a name or a function (rng, rows, columns) -> array, not {function!r:.60}")
    matrix = np.array(function(rng, *shape), dtype=np.float64)
    if matrix.shape != shape or not np.isfinite(matrix).all():
        raise UsageError(f"the weights function {function!r:.60} must give a finite array of shape {shape}")
    return matrix


def _shape(rows: int, columns: int | None) -> tuple[int, int]:
    rows = count("rows", rows)
    return rows, rows if columns is None else count("columns", columns)


def _qr(rng: np.random.Generator, rows: int, columns: int) -> tuple[FloatArray, FloatArray, bool]:
    """Q (tall or square), the diagonal of R, and whether the caller must transpose."""
    normals = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normals)
    return q, np.diagonal(r), rows < columns


def _scaled_orthogonal(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    return haar(rng, rows, columns) * orthogonal_scale("scaled_orthogonal", rows, columns)


def _gaussian(variance: str, rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    normals = rng.standard_normal((rows, columns))
    normals *= standard_deviation(variance, rows, columns)
    return normals


def _uniform(variance: str, rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    half_width = float(np.sqrt(3.0)) * standard_deviation(variance, rows, columns)
    return rng.uniform(-half_width, half_width, (rows, columns))


ENSEMBLES: Mapping[str, Ensemble] = MappingProxyType(
    {
        "haar": haar,
        "scaled_orthogonal": _scaled_orthogonal,
        "gaussian": partial(_gaussian, "gaussian"),
        "he": partial(_gaussian, "he"),
        "glorot": partial(_gaussian, "glorot"),
        "lecun_uniform": partial(_uniform, "gaussian"),
        "he_uniform": partial(_uniform, "he"),
        "glorot_uniform": partial(_uniform, "glorot"),
        "qr_unsigned": qr_unsigned,
    }
)
"""Name -> function (rng, rows, columns) -> matrix."""
