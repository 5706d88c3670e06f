"""Timing of functions in turns; import this before NumPy, it asks for one BLAS thread."""

import os
import statistics
import time
from collections.abc import Callable, Sequence

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[variable] = "1"  # it has to be said before NumPy is imported


def alternate(
    functions: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float] = time.process_time
) -> list[list[float]]:
    """Seconds of functions called in turns, after one call each to warm up."""
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, kept in zip(functions, times, strict=True):
            start = clock()
            function()
            kept.append(clock() - start)
    return times


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """The median of the ratios of neighbouring timings, and their quartiles."""
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    last = len(ratios) - 1
    return f"{statistics.median(ratios):6.2f}   {ratios[round(last / 4)]:.2f} to {ratios[round(3 * last / 4)]:.2f}"


def median(times: Sequence[float], scale: float = 1.0) -> float:
    """The median in other units."""
    return scale * statistics.median(times)
