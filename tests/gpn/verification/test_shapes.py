"""Verification of networks with widths, gains, biases and branches: what is asked, what is said, what is found."""

import json

import numpy as np
import pytest

import gpn
from gpn.report.words.commands import verify_command
from gpn.report.words.verdicts import growth_words
from gpn.statistics.limits import Verdict
from gpn.verification.kinds import DEEP
from gpn.verification.questions import bounds_chain
from gpn.verification.settings import Settings
from theory.errors import UsageError

LAYERS = [300, 200, 200, 300, 150]


@pytest.fixture(scope="module")
def report():
    return gpn.verify("tanh", layers=LAYERS, gain=1.5, bias=0.2, root=None, epsilons=[0.6, 0.9], trials=8000, seed=3)


def test_only_the_prediction_speaks_and_it_is_right(report):
    """8,000 networks; a prediction that is missed lies beyond its margin with probability 0.99 for all rows."""
    assert {(row.claim, row.kind.role, row.width, row.depth) for row in report.rows} == {
        ("deep-gradient-ratio", "prediction", 300, 4)
    }
    for row in report.rows:
        assert row.verdict is not Verdict.VIOLATED
        assert row.estimate == pytest.approx(row.prediction, rel=0.25)
        assert 0.01 < row.prediction < 0.9
    assert report.verdict is Verdict.UNDECIDED
    assert not report.engine
    assert "proved for square layers" in " ".join(report.notes)


def test_the_report_says_the_shape_and_how_to_ask_again(report):
    config = report.config
    assert config.shape_words == "layers 300, 200, 200, 300, 150, gain 1.5, bias 0.2"
    command = verify_command(config)
    assert "--layers 300,200,200,300,150 --gain 1.5 --bias 0.2" in command
    assert "--width" not in command
    facts = json.loads(json.dumps(report.to_dict()))["config"]
    assert (facts["layers"], facts["gain"], facts["bias"], facts["residual"]) == (LAYERS, [1.5], [0.2], None)
    [profile] = report.profiles
    inner = profile.gradient_norms[:, 1:4] / profile.predicted[:, 1:4]
    np.testing.assert_allclose(inner, 1.0, atol=0.05)


def test_chains_that_keep_squared_lengths_have_the_deep_bound():
    covered = {"layers": [300, 230, 250, 230], "weights": "scaled_orthogonal"}
    report = gpn.verify("tanh", layers=[784, 256, 256, 256], epsilons=[1.0], trials=50)
    [bound] = [row.bound for row in report.rows if row.kind is DEEP]
    assert bound < 0.05
    assert "but the deep bound for chains" in " ".join(report.notes)
    for arguments, expected in [
        (covered, True),
        ({"layers": [300, 200, 200]}, True),
        ({"layers": [300, 200, 220]}, False),  # |h|^2/n shrinks
        ({"layers": [200, 300, 300], "gain": [1.5**0.5, 1.0]}, True),
        ({"layers": [200, 300, 300], "gain": [1.2, 1.0]}, False),
        (covered | {"bias": 0.1}, False),
        (covered | {"linear_output": True}, False),
        ({"widths": 200, "depth": 2, "gain": 1.1}, False),
        ({"layers": [300, 200, 220], "weights": "gaussian"}, True),
        ({"layers": [300, 200, 220], "weights": "gaussian", "gain": 1.1}, False),
    ]:
        assert bounds_chain(Settings.read("tanh", **arguments)) == expected, arguments


def test_a_shape_is_read_once():
    square = Settings.read(layers=[64, 64, 64], weights="orthogonal")
    assert (square.widths, square.depths, square.is_shaped, square.weights) == ((64,), (2,), False, "haar")
    assert Settings.read(widths=64, weights="scaled_orthogonal").weights == "haar"
    biased = Settings.read(widths=[32, 64], depth=[2], gain=[1.0, 1.0], bias=[0.1, 0.2])
    assert (biased.gain, biased.bias, biased.claims) == ((1.0,), (0.1, 0.2), ("deep-gradient-ratio",))
    assert biased.shape(64, 2).widths == (64, 64, 64)
    for arguments, message in [
        ({"layers": [4, 3], "widths": 8}, "leave width and depth out"),
        ({"layers": [4, 3], "depth": 8}, "leave width and depth out"),
        ({"layers": [4, 3], "claims": "one-layer"}, "only whole networks"),
        ({"widths": 8, "depth": [2, 3], "gain": [1.0, 2.0]}, "each of the 3 layers"),
        ({"widths": 8, "gain": "large"}, "one finite number"),
    ]:
        with pytest.raises(UsageError, match=message):
            Settings.read(**arguments)


def test_branches_and_losses_have_no_prediction():
    rng = np.random.default_rng(0)
    data = {"inputs": rng.standard_normal((20, 6)), "labels": rng.integers(0, 3, 20)}
    for method in ("dense", "matrix-free"):
        report = gpn.verify("relu", layers=[8, 8, 4], residual=0.5, trials=50, root=None, method=method, **data)
        assert {row.bound_kind for row in report.rows} == {
            "none (prediction: there is no law of networks with residual branches)"
        }
        assert report.rows[0].trials == 50
    loss = gpn.verify("relu", layers=[8, 6, 4], trials=50, **data)
    assert "random readout" in loss.rows[0].bound_kind


def test_the_same_run_with_other_workers_and_after_a_resume_has_the_same_bits(tmp_path):
    arguments = {"layers": [40, 30, 20], "bias": 0.3, "trials": 300, "epsilons": 0.5}
    first = gpn.verify("tanh", **arguments, store=tmp_path)
    assert gpn.verify("tanh", **arguments, workers=2).rows == first.rows
    assert gpn.resume(tmp_path).rows == first.rows


def test_a_linear_last_layer_may_be_narrow():
    """Ten logits: with an activation in their layer the law would need more of them."""
    report = gpn.verify(
        "relu", layers=[300, 200, 10], bias=0.1, root=None, linear_output=True, trials=2000, epsilons=0.1
    )
    [row] = report.rows
    assert row.estimate == pytest.approx(row.prediction, abs=0.06)  # five standard errors
    assert 0.1 < row.prediction < 0.9
    assert "a linear last layer" in report.config.shape_words
    assert "--linear-output" in verify_command(report.config)
    curved = gpn.verify("relu", layers=[300, 200, 10], root=None, trials=20)
    assert "layer 2: at a width of 10" in curved.rows[0].bound_kind


def test_growth_is_said_first():
    """relu(16 x) doubles 8^2 times: 128 per layer, exactly; float16 ends at 65504 < 128^(5/2)."""
    report = gpn.verify("relu", widths=16, depth=40, gain=16.0, root=None, trials=50)
    first = report.summary().splitlines()[0]
    assert first == growth_words(report.log_lengths)
    assert "by a factor 128 per layer, to 10^84 after 40 layers" in first
    assert "float16 from layer 5 on, float32 from layer 37 on." in first
    np.testing.assert_allclose(np.diff(report.log_lengths), np.log(128.0), rtol=1e-12)
    plain = gpn.verify("relu(16*x)", widths=16, depth=3, root=None, trials=50, claims="network")
    assert plain.summary().startswith("Signals grow: squared lengths by a factor 128 per layer, to 10^6 after 3 layers")
    wider = gpn.verify("relu", layers=[8, 16, 32, 64, 128], trials=50, root=None)
    np.testing.assert_allclose(np.diff(wider.log_lengths), -np.log(4.0), rtol=1e-12)
    assert "shrink: squared lengths by a factor 0.25 per layer" in wider.summary()
    vanishing = gpn.verify("tanh", widths=16, depth=60, gain=0.01, root=None, trials=50, claims="network")
    assert "shrink: squared lengths by a factor 0.0001 per layer, to 0 after 60 layers" in vanishing.summary()
    for wrong in ({"gain": 1e60}, {"gain": 1e-60}, {"bias": 1e60}, {"residual": 1e60}):
        with pytest.raises(UsageError, match=r"gains lie between 1e-50 and 1e\+50"):
            gpn.verify("tanh", widths=16, depth=3, trials=50, **wrong)
    scaled = gpn.verify("relu", layers=[8, 16, 32, 64, 128], trials=50, weights="scaled_orthogonal")
    assert not scaled.log_lengths
