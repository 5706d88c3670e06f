"""The memory of a verification: within its budget, refused before the work begins, without a trace in the bits."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gpn
from gpn.experiment import cells, streams
from gpn.experiment import runs as experiment
from gpn.experiment import store as run_store
from gpn.experiment.fingerprint import fingerprint
from gpn.sampling import memory
from gpn.verification import plan, questions
from gpn.verification.resources import PROGRAM, WORKER, Budget, Resources
from gpn.verification.settings import Settings
from tests.root import ROOT
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.layer.levy import Bound

SMALL = {"widths": (16, 24), "depth": (2, 9), "epsilons": 0.5, "trials": 60, "weights": "gaussian"}


def deep(width, depth, trials, keep_layers=False):
    return plan._job(
        ("deep", width, depth), 2, cells.Deep(activation("relu"), width, depth, "haar", None, keep_layers), trials
    )


def test_threads_share_and_processes_take_something_of_their_own():
    total = 3 * 2**30
    assert Budget.read("3GiB", 2, None).share() == (total - PROGRAM) // 2
    assert Budget.read(total, 2, "threads") == Budget.read(total, 2, None)
    assert Budget.read(total, 3, "processes").share() == (total - PROGRAM - 4 * WORKER) // 3
    with ThreadPoolExecutor(1) as pool:
        assert Budget.read(total, 2, pool).processes == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "free_memory", lambda: 2**30)
        assert Budget.read(None, 2, None).share() == 2**28
    with pytest.raises(UsageError, match=r"memory.*'4GiB'"):
        gpn.verify("relu", **SMALL, memory="much")


def test_real_inputs_and_their_copies_count():
    """Read once, scaled for each of two widths, and a draft; in processes each worker has them, too."""
    vectors = np.ones((1000, 128))
    each, labels = vectors.nbytes, 1000 * 8
    settings = Settings.read("relu", (128, 256), 2, inputs=vectors, labels=np.arange(1000) % 10)
    budget = Resources.read("threads", 2, "3GiB").suited(settings).budget
    assert budget.inputs == 4 * (each + labels)
    assert budget.share() == (3 * 2**30 - PROGRAM - budget.inputs) // 2
    assert Resources.read("processes", 2, "3GiB").suited(settings).budget.inputs == (4 + 4 * 3) * (each + labels)
    assert Resources.read(None, 2, "3GiB").suited(settings).budget.processes == 2
    small = Resources.read(None, 2, "900MiB").suited(settings)
    assert (small.executor, small.budget.processes) == ("threads", 0)


def test_inputs_that_cannot_fit_are_refused():
    vectors = np.ones((2, 10**7))
    with pytest.raises(UsageError, match=r"for the inputs and their copies.*more than the 700"):
        gpn.verify("relu", 10**7, 1, inputs=vectors, memory="700MiB", executor="threads", trials=1)


SHELLS = """
import numpy as np
from pathlib import Path
import gpn
rng = np.random.default_rng(0)
np.save("x.npy", rng.standard_normal((40_000, 400)))  # 128 MB
from gpn.verification.resources import Resources, PROGRAM
from gpn.verification.settings import Settings
settings = Settings.read("relu", (400, 500), 2, 0.5, 20, inputs="x.npy", weights="gaussian")
expected = Resources.read("threads", 1, "4GiB").suited(settings).budget.inputs
gpn.verify("relu", (400, 500), 2, 0.5, 20, inputs="x.npy", weights="gaussian", workers=1, store="o")
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:"]
print(int(peak) * 1024, expected, PROGRAM)  # ru_maxrss would count the process that started this one as well
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
def test_the_peak_with_real_inputs_is_what_was_counted(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SHELLS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, env=environment)
    peak, expected, program = map(int, done.stdout.split())
    settings_too = 128_000_000  # this script reads them twice
    assert peak < expected + settings_too + program + 2**26
    assert peak > expected - 2**27


@pytest.mark.parametrize(("width", "size", "words"), [
    (1_000_000, "400MB", "width 1000000 and depth 200"), (64, "100MB", "the rest for the program itself"),
    (2**31, "4GiB", "width 2147483648"),
])  # fmt: skip
def test_networks_that_cannot_fit_are_refused_before_any_theory(monkeypatch, width, size, words):
    monkeypatch.setattr(questions, "one_step_questions", None)
    with pytest.raises(UsageError, match=f"{words}.*memory.*workers") as caught:
        gpn.verify("tanh", widths=width, depth=200, trials=3, memory=size, workers=2)
    assert "\n" not in str(caught.value)


def test_results_that_cannot_fit_are_refused():
    """1e9 trials of single layers are 24 GB; in rounds, of which only the counts are kept, they are no matter."""
    job = plan._job(("one-step", 64, 1), 1, cells.OneStep(activation("relu"), 64, "haar"), 10**9)
    budget = Budget.read("4GiB", 2, None)
    with pytest.raises(UsageError, match=r"22\.4 GiB.*trials"):
        budget.fit([job, deep(64, 10, 1000)], in_rounds=False)
    assert budget.fit([job, deep(64, 10, 1000)], in_rounds=True)[0] == job


def test_few_trials_of_narrow_networks_take_little():
    """A whole chunk of them would be four million trials."""
    report = gpn.verify("relu", widths=2, depth=1, epsilons=0.5, trials=20, weights="he", memory="420MiB", workers=2)
    assert {row.trials for row in report.rows} == {20}


def test_the_memory_budget_is_not_part_of_the_identity_of_a_cell():
    job = deep(1024, 200, 1000, keep_layers=True)
    [fitted] = Budget.read("2GiB", 2, None).fit([job], in_rounds=False)
    assert 2**28 < fitted.cell.compute.memory < 2**30
    assert fitted == job
    assert fingerprint(fitted.cell) == fingerprint(job.cell)
    other = replace(job.cell, compute=replace(job.cell.compute, keep_layers=False))
    assert fingerprint(other) != fingerprint(job.cell)


def test_neither_memory_nor_workers_change_a_bit_and_a_run_resumes_with_others(monkeypatch, tmp_path):
    """The first part keeps one layer and draws all others twice."""
    monkeypatch.setattr(streams, "CHUNK_NEURONS", 600)
    whole = gpn.verify("relu", **SMALL)

    def stop(done, total, _words):
        if done > 0.7 * total:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gpn.sampling.memory.layers_that_fit", lambda *_: 1)
        with pytest.raises(KeyboardInterrupt):
            gpn.verify("relu", **SMALL, workers=1, store=tmp_path, progress=stop)
    resumed = gpn.resume(tmp_path, workers=2, memory="8GiB")
    assert json.dumps(resumed.to_dict()) == json.dumps(whole.to_dict())
    for profile, twin in zip(resumed.profiles, whole.profiles, strict=True):
        np.testing.assert_array_equal(profile.gradient_norms, twin.gradient_norms)
    assert run_store.read_summary(tmp_path).finished


SCRIPT = """
import sys
from pathlib import Path
from gpn.experiment import cells
from gpn.experiment import runs as experiment
from gpn.verification import plan
from gpn.verification.resources import Budget
from theory.activations.specification import activation
work = cells.Deep(activation("relu"), 200_000, 100, "haar", None, True)
jobs = [plan._job(("deep", 200_000, 100), 2, work, 3), plan._job(("deep", 200_000, 99), 2, work, 2)]
if sys.argv[1] != "none":
    jobs = Budget.read(sys.argv[1], 2, None).fit(jobs, False)
results = experiment.run([job.cell for job in jobs], 0, workers=2, executor="threads")
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak) * 1024, results[0]["spread"].tobytes().hex())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
def test_the_peak_of_a_process_stays_within_its_budget():
    """All layers of two networks are 320 MB, and the budget leaves 180 MB for them.

    The peak is that of the program alone (VmHWM); ru_maxrss would count the process that started it as well.
    """

    def peak(size):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, size], capture_output=True, text=True, cwd=ROOT, check=True
        )
        return done.stdout.split()

    (large, bits), (small, same_bits) = peak("2GiB"), peak("496MiB")
    assert int(small) <= 496 * 2**20 - 100 * 2**20  # the theory and the figures are not among these
    assert int(large) > int(small) + 100e6
    assert same_bits == bits


def test_probabilities_that_float64_cannot_hold_are_unknown_not_1():
    law = questions._held(Bound("exact", -2000.0))
    assert (law.kind, questions._probability(law)) == ("none", None)
    law = questions._held(Bound("exact", -600.0))
    assert law.kind == "exact"
    assert questions._probability(law) == pytest.approx(np.exp(-600.0))


def test_streams_of_networks_that_are_too_large_have_no_identity():
    for options in ({"widths": 2**32}, {"depth": 2**32}):
        with pytest.raises(UsageError, match=r"below 2\*\*32"):
            gpn.verify("relu", **SMALL | options)
    assert experiment.Cell(1, (2**32 - 1) << 32 | (2**32 - 1), print, 1, 1).cell == 2**64 - 1
