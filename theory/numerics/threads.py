"""Linear algebra in one thread: with another number of threads BLAS adds in another order, and rounds otherwise."""

from contextlib import ContextDecorator
from threading import Lock
from typing import Any


class _OneBlasThread(ContextDecorator):
    """Limits every BLAS of this process to one thread while some thread is inside."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                import scipy.linalg  # noqa: F401  # it brings a BLAS of its own, which must be there to be limited
                from threadpoolctl import threadpool_limits

                self._limits = threadpool_limits(1, "blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limits.restore_original_limits()


one_blas_thread = _OneBlasThread()
"""Enter it with `with`, or decorate a function: what is computed inside is the same bits for any number of threads that
the user has set. The number is one of the whole process and is put back when the last one has left.

>>> import numpy as np
>>> with one_blas_thread:
...     float(np.ones(3) @ np.ones(3))
3.0
"""
