"""Is a function that claims to draw Haar matrices right? A test of proved false alarm, before its matrices are used."""

import numpy as np

from gpn.engine.norms import FloatArray
from gpn.engine.weights import Ensemble, Weights, draw, haar
from theory.errors import UsageError

FALSE_ALARM = 1e-6
"""How often a function that is right is refused, at most."""

_SIZES = ((4, 4), (5, 3), (3, 5))
_DRAWS = 2000
_ROUNDING = 1e-5  # of single precision, over a few columns


def check_claim(weights: Weights, rng: np.random.Generator) -> None:
    r"""Test a weights function that claims to be Haar, by its attribute `ensemble`; others claim nothing.

    2,000 of its matrices of sizes 4 x 4, 5 x 3 and 3 x 5 must be orthogonal, and as many Haar matrices must have the
    same law of five numbers: two entries, u^T W v for fixed u and v, a product of entries, the determinant of a
    square block. By Dvoretzky, Kiefer and Wolfowitz the empirical distribution functions of N numbers of one law each
    differ by

        P(sup |F_N - G_N| >= D) <= 4 exp(-N D^2 / 2).

    Source: P. Massart, The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality, Ann. Probab. 18 (1990).

    Args:
        weights: a name, which claims nothing here, or a function (rng, rows, columns) -> array.
        rng: where its matrices come from.

    Raises:
        UsageError: the function claims to be Haar and is not; of functions that are, at most one in a million.

    >>> def qr(rng, rows, columns):
    ...     return np.linalg.qr(rng.standard_normal((rows, columns)))[0]
    >>> check_claim(qr, np.random.default_rng(0))
    >>> qr.ensemble = "haar"
    >>> try:
    ...     check_claim(qr, np.random.default_rng(0))
    ... except UsageError as error:
    ...     print(str(error).split(": ")[1].split(" (")[0])
    an entry of 4 x 4 matrices has another law
    """
    if isinstance(weights, str) or getattr(weights, "ensemble", None) != "haar":
        return
    allowed = np.sqrt(2.0 * np.log(4.0 * 5.0 * len(_SIZES) / FALSE_ALARM) / _DRAWS)
    for rows, columns in _SIZES:
        ours, theirs = (_numbers(function, rng, rows, columns) for function in (haar, weights))
        for name, first, second in zip(_NAMES, ours, theirs, strict=True):
            distance = _distance(first, second)
            if distance > allowed:
                raise UsageError(
                    f"the weights function {weights!r:.60} is not Haar: {name} of {rows} x {columns} matrices has "
                    f"another law (distance {distance:.2f}, {allowed:.2f} allowed); a QR decomposition needs the "
                    "signs of the diagonal of R, see gpn.engine.weights.haar"
                )


_NAMES = ("an entry", "the last entry", "u^T W v", "a product of entries", "the determinant of a block")


def _numbers(function: Ensemble, rng: np.random.Generator, rows: int, columns: int) -> list[FloatArray]:
    """The five numbers of each matrix, arrays (draws,)."""
    w = np.array([draw(function, rng, rows, columns) for _ in range(_DRAWS)])
    least = min(rows, columns)
    gram = w @ w.swapaxes(1, 2) if rows <= columns else w.swapaxes(1, 2) @ w
    miss = float(np.abs(gram - np.eye(least)).max())
    if miss > _ROUNDING:
        raise UsageError(
            f"the weights function {function!r:.60} is not Haar: its matrices of {rows} x {columns} are not orthogonal "
            f"(by {miss:.2g})"
        )
    left, right = np.arange(1.0, rows + 1), np.cos(np.arange(columns))
    return [
        w[:, 0, 0],
        w[:, -1, -1],
        w @ right @ left,
        w[:, 0, 0] * w[:, 1, 1],
        np.linalg.det(w[:, :least, :least]),
    ]


def _distance(first: FloatArray, second: FloatArray) -> float:
    """The largest difference of two empirical distribution functions; numbers that differ by rounding are the same."""
    first, second = np.sort(first.round(6)), np.sort(second.round(6))
    points = np.concatenate([first, second])
    functions = [np.searchsorted(sample, points, side="right") / len(sample) for sample in (first, second)]
    return float(np.abs(functions[0] - functions[1]).max())
