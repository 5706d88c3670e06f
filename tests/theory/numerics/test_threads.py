"""Results are the same bits for any number of BLAS threads, and the number that the user has set is put back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import scipy.linalg  # noqa: F401  # the second BLAS
from threadpoolctl import threadpool_info, threadpool_limits

from theory.numerics.threads import one_blas_thread

ROOT = Path(__file__).parents[3]
WORK = """
import hashlib, json
import gpn

report = gpn.verify("tanh", widths=400, depth=2, epsilons=0.3, trials=30, workers=1)
print("verify", json.dumps(report.to_dict()["rows"]))
batches = gpn.reproduce("gradients", activations=["relu"], width=300, depth=3, trials=4, batch=128, batches=())
print("gradients", batches.to_frame().to_csv())
run = gpn.train("tanh", depth=2, width=300, epochs=1, batch=128)
print("train", hashlib.sha256(run.gradient_norms.tobytes()).hexdigest())
"""


def threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.slow
def test_the_number_of_threads_changes_no_bit():
    """At width 400 the exact tail differs in its last digits between one thread and two where nothing limits them."""
    answers = [
        subprocess.run(
            [sys.executable, "-c", WORK],
            env=os.environ | {"OMP_NUM_THREADS": number, "OPENBLAS_NUM_THREADS": number},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in ("1", "2")
    ]
    assert answers[0].count("\n") > 5
    assert answers[0] == answers[1]


def test_the_last_one_to_leave_puts_the_number_back():
    with threadpool_limits(2, "blas"):
        before = threads()
        with one_blas_thread:
            one_blas_thread(threads)()
            assert set(threads()) == {1}
        assert threads() == before
        with pytest.raises(ZeroDivisionError):
            one_blas_thread(lambda: 1 // 0)()
        assert threads() == before
