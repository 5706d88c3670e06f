"""`gpn.torch` and `gpn.jax`: orthogonal weights have Haar's law, gains are PyTorch's where they should be.

Each statistic is compared with its exact value at 5.5 standard errors (false alarm below 4e-8 for each).
"""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binom

import gpn
from theory.depth.fluctuation import log_ratio_law, prediction_margin, spread_quantile
from theory.errors import UsageError

SIZE, COUNT = 5, 4000


def haar_statistics(matrices):
    """Statistics of Haar's law on O(n), each with its exact mean (Diaconis and Shahshahani 1994; Weingarten)."""
    n = matrices.shape[1]
    trace = np.trace(matrices, axis1=1, axis2=2)
    return {
        "trace": (trace, 0.0),
        "trace squared": (trace**2, 1.0),
        "trace^4": (trace**4, 3.0),
        "trace of the square": (np.trace(matrices @ matrices, axis1=1, axis2=2), 1.0),
        "last entry^4": (matrices[:, -1, -1] ** 4, 3 / (n * (n + 2))),
        "first entry^2, last^2": (matrices[:, 0, 0] ** 2 * matrices[:, -1, -1] ** 2, (n + 1) / ((n - 1) * n * (n + 2))),
        "determinant": (np.linalg.det(matrices), 0.0),
    }


def assert_haar(matrices):
    identity = np.eye(matrices.shape[1])
    assert np.abs(matrices @ matrices.transpose(0, 2, 1) - identity).max() < 1e-5
    for name, (values, exact) in haar_statistics(matrices).items():
        error = values.std() / math.sqrt(len(values))
        assert abs(values.mean() - exact) < 5.5 * error, name


def test_the_statistics_see_a_matrix_whose_signs_are_not_corrected():
    rng = np.random.default_rng(0)
    wrong = np.linalg.qr(rng.standard_normal((COUNT, SIZE, SIZE)))[0]
    with pytest.raises(AssertionError):
        assert_haar(wrong)


def test_without_the_framework_one_sentence_says_what_is_missing():
    code = "import sys\nsys.modules['{0}'] = None\ntry: import gpn.{0}\nexcept ImportError as error: print(error)"
    for name, project in (("torch", "PyTorch"), ("jax", "JAX")):
        result = subprocess.run([sys.executable, "-c", code.format(name)], capture_output=True, text=True, check=True)
        assert result.stdout.strip() == f"gpn.{name} needs {project}, which is not installed: pip install {name}"


def test_orthogonal_weights_of_pytorch_are_haar_at_every_shape():
    torch = pytest.importorskip("torch")
    from gpn.torch import orthogonal_

    generator = torch.Generator().manual_seed(1)
    square = torch.empty(SIZE, SIZE, dtype=torch.float64)
    assert_haar(np.array([orthogonal_(square, generator=generator).numpy().copy() for _ in range(COUNT)]))
    wide, tall = torch.empty(3, 7, dtype=torch.float64), torch.nn.Parameter(torch.empty(8, 2, dtype=torch.float64))
    entries = np.array([orthogonal_(wide, generator=generator).numpy().copy() for _ in range(1000)])
    assert entries @ entries.transpose(0, 2, 1) == pytest.approx(np.broadcast_to(np.eye(3), (1000, 3, 3)), abs=1e-12)
    assert abs(entries[:, 0, 0].mean()) < 5.5 / math.sqrt(7 * 1000)
    scaled = orthogonal_(tall, 3.0, scaled=True, generator=generator).detach().numpy()
    assert scaled.T @ scaled == pytest.approx(9 * 4 * np.eye(2))
    half = orthogonal_(torch.empty(16, 16, dtype=torch.bfloat16), generator=generator)
    assert half.dtype == torch.bfloat16
    assert abs(float(half.double().square().sum()) - 16) < 0.1
    again = [orthogonal_(torch.empty(4, 4), generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*again)
    with pytest.raises(UsageError, match="2 dimensions"):
        orthogonal_(torch.empty(3))
    for wrong, gain, words in (
        (torch.empty(3, 3, dtype=torch.int64), 1.0, "int64"),
        (torch.empty(3, 3, dtype=torch.complex64), 1.0, "complex64"),
        (np.zeros((3, 3)), 1.0, "ndarray"),
        (torch.empty(3, 3), math.nan, "finite"),
    ):
        with pytest.raises(UsageError, match=words):
            orthogonal_(wrong, gain)


def test_a_delta_orthogonal_convolution_keeps_the_norm_of_every_place():
    torch = pytest.importorskip("torch")
    from gpn.torch import orthogonal_

    generator = torch.Generator().manual_seed(2)
    convolution = torch.nn.Conv2d(4, 4, 3, padding=1, bias=False).double()
    orthogonal_(convolution.weight, generator=generator)
    image = torch.randn(2, 4, 6, 5, dtype=torch.float64, generator=generator)
    assert torch.allclose(convolution(image).norm(dim=1), image.norm(dim=1))
    grouped = torch.nn.Conv1d(6, 6, 5, padding=2, groups=3, bias=False).double()
    orthogonal_(grouped.weight, groups=3, generator=generator)
    line = torch.randn(2, 6, 9, dtype=torch.float64, generator=generator)
    assert torch.allclose(grouped(line).norm(dim=1), line.norm(dim=1))
    for wrong, words in ((torch.empty(4, 4, 2), "odd"), (torch.empty(5, 4, 3), "groups")):
        with pytest.raises(UsageError, match=words):
            orthogonal_(wrong, groups=1 if words == "odd" else 2)


def test_calculate_gain_is_that_of_pytorch_for_its_names_and_ours_for_others():
    torch = pytest.importorskip("torch")
    from gpn.torch import calculate_gain

    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)
    assert calculate_gain("leaky_relu", 0.2, keeps="length") == pytest.approx(math.sqrt(2 / 1.04), rel=1e-14)
    assert calculate_gain("conv2d", keeps="length") == 1
    assert calculate_gain("elu", 2.0) == calculate_gain("elu(2.0)") != calculate_gain("elu")
    assert calculate_gain("selu", keeps="length") == pytest.approx(1, abs=1e-12)
    gelu = calculate_gain("gelu")
    assert calculate_gain(torch.nn.functional.gelu) == pytest.approx(gelu, rel=1e-9)
    assert calculate_gain(torch.nn.GELU(), keeps="gradient") == pytest.approx(calculate_gain("gelu", keeps="gradient"))
    cases = (("sign", "gradient", "jumps"), ("tanh", "norm", "unknown gain"), ("tanhh", None, "tanh"))
    for name, keeps, words in cases:
        with pytest.raises(UsageError, match=words):
            calculate_gain(name, keeps=keeps)


def test_the_lines_to_paste_run_and_give_the_gain():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    layer, report = torch.nn.Conv2d(64, 256, 3), gpn.gain("relu")
    for weights in ("orthogonal", "gaussian"):
        names = {"torch": torch, "jax": jax, "layer": layer}
        exec(report.code("torch", weights=weights), names)
        exec(report.code("jax", weights=weights), names)
        drawn = names["kernel_init"](jax.random.key(0), (576, 256))
        for square in (float(layer.weight.detach().square().mean()), float((drawn**2).mean())):
            assert square == pytest.approx(2 / 576, rel=0.03)  # 6 standard errors of 147456 squares are 0.022


def test_an_exported_module_with_orthogonal_weights_follows_the_fluctuation_law():
    """The spread of gradients over the layers of 150 networks: the share beyond each quantile is the predicted one.

    The exact limits at 1 - 1e-6 of the count allow for the margin of the prediction at this width.
    """
    torch = pytest.importorskip("torch")
    from gpn.torch import orthogonal_

    width, depth, networks, names = 64, 8, 150, {}
    exec(gpn.export("tanh", "torch"), names)
    generator = torch.Generator().manual_seed(4)
    spread = np.array(
        [_spread(torch, names["GPNTanh"](), orthogonal_, width, depth, generator) for _ in range(networks)]
    )
    law = log_ratio_law(gpn.normalize("tanh"), width, depth)
    for probability in (0.5, 0.1):
        epsilon = spread_quantile(law, probability)
        low, high = prediction_margin(law, probability)
        beyond = int((spread >= epsilon).sum())
        assert binom.ppf(1e-6, networks, low) <= beyond <= binom.ppf(1 - 1e-6, networks, high), probability


def _spread(torch, phi, orthogonal_, width, depth, generator):
    """The largest |log ratio| of squared gradient norms of a layer and the top layer, for a random readout."""
    layers = [torch.nn.Linear(width, width, bias=False).double() for _ in range(depth)]
    for layer in layers:
        orthogonal_(layer.weight, generator=generator)
    draw = torch.randn(2, width, dtype=torch.float64, generator=generator)
    x = draw[0] * math.sqrt(width) / draw[0].norm()
    for layer in layers:
        x = phi(layer(x))
    (draw[1] @ x).backward()
    norms = np.array([2 * math.log(float(layer.weight.grad.norm())) for layer in layers])
    return np.abs(norms - norms[-1]).max()


def test_orthogonal_weights_of_jax_are_haar_at_every_shape():
    jax = pytest.importorskip("jax")
    from gpn.jax import delta_orthogonal, orthogonal

    keys = jax.random.split(jax.random.key(0), COUNT)
    draw = jax.jit(jax.vmap(lambda key: orthogonal()(key, (SIZE, SIZE))))
    assert_haar(np.asarray(draw(keys), dtype=np.float64))
    up = np.asarray(orthogonal(3.0, scaled=True)(keys[0], (2, 8)))
    assert up @ up.T == pytest.approx(9 * 4 * np.eye(2), abs=1e-4)
    assert orthogonal()(keys[0], (4, 4), "bfloat16").dtype == "bfloat16"
    kernel = np.asarray(delta_orthogonal()(keys[1], (3, 5, 4, 2)))
    middle = kernel[1, 2]
    assert middle.T @ middle == pytest.approx(np.eye(2), abs=1e-5)
    assert np.count_nonzero(kernel) == np.count_nonzero(middle)
    for initializer, shape in (
        (orthogonal(), (3, 3, 2, 2)),
        (delta_orthogonal(), (2, 4, 4)),
        (delta_orthogonal(), (4, 4)),
    ):
        with pytest.raises(UsageError):
            initializer(keys[0], shape)
