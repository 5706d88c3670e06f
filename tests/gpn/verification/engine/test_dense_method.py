"""Any verification runs with explicit matrices, and by another way comes to the same."""

import numpy as np
import pytest
from scipy import stats

import gpn
from gpn.experiment import cells
from gpn.report.words.commands import verify_command
from gpn.sampling import sampler, simulation
from gpn.statistics.limits import Verdict
from gpn.verification.settings import DENSE_WIDTHS
from theory.activations.catalog import build
from theory.errors import UsageError
from theory.normalization.normalize import normalize

SMALL = {"widths": 12, "depth": (1, 3), "epsilons": 0.7, "trials": 40, "method": "dense", "workers": 1}


def test_one_layer_has_the_law_of_the_sampler():
    """Kolmogorov-Smirnov on three ratios: a false alarm of 1e-4 in each."""
    phi = normalize(build("gelu"))
    one = simulation.dense_one_step(phi, 7, 3000, np.random.default_rng(0))
    other = sampler.one_step(phi, 7, 3000, np.random.default_rng(1))
    for name in ("forward", "backward_random", "backward_fixed"):
        assert stats.ks_2samp(getattr(one, name), getattr(other, name)).pvalue > 1e-4


def test_a_verification_draws_matrices_everywhere(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a network without matrices")

    monkeypatch.setattr(cells.sampler, "one_step", refuse)
    real, calls = cells.sampler.sample, []
    monkeypatch.setattr(cells.sampler, "sample", lambda *given, **options: calls.append(1) or real(*given, **options))
    report = gpn.verify("tanh", **SMALL)
    assert len(calls) == 1  # one half of the pairs
    assert report.config.method == "dense"
    assert {row.method for row in report.engine} == {"dense", "matrix-free and dense"}
    assert report.verdicts["engine"] is Verdict.HOLDS
    assert "--method dense" in verify_command(report.config)
    assert report.verdict is not Verdict.VIOLATED


def test_weights_outside_the_theorem_have_matrices_too():
    assert gpn.verify("tanh", **SMALL, weights="gaussian", claims="engine").verdict is Verdict.HOLDS


def test_what_does_not_fit_or_is_unknown_is_refused():
    with pytest.raises(UsageError, match="explicit matrices of width 30000"):
        gpn.verify("tanh", widths=30_000, depth=50, method="dense", memory="2GiB")
    with pytest.raises(UsageError, match="unknown method"):
        gpn.verify("tanh", method="sparse")


def test_default_widths_are_those_that_matrices_can_afford():
    report = gpn.verify("tanh", depth=2, method="dense", claims="engine")
    assert report.config.widths == DENSE_WIDTHS
