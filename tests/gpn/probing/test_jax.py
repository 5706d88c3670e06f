"""Probes of JAX functions: parity with `jax.grad`, a right network, and faults."""

import importlib

import numpy as np
import pytest

import gpn
from gpn.probing.results import Answer
from theory.errors import UsageError

jax = pytest.importorskip("jax")
jnp, jax_model = jax.numpy, importlib.import_module("gpn.probing.libraries.jax_model")
x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64

A, B = 1.4674135916, 0.3885416701  # of tanh
DEPTH, WIDTH = 4, 48


def normalized_tanh(h):
    return A * jnp.tanh(h) + B


def network(seed, activation=normalized_tanh, bias=0.0):
    """The function and its nested params, Haar matrices and biases."""
    draw = jax.nn.initializers.orthogonal()
    keys = jax.random.split(jax.random.PRNGKey(seed), DEPTH)
    params = {"layers": [{"w": draw(key, (WIDTH, WIDTH)), "b": jnp.full(WIDTH, bias)} for key in keys]}

    def apply(params, x):
        for layer in params["layers"]:
            x = activation(x @ layer["w"] + layer["b"])
        return x

    return apply, params


def test_a_right_network_follows_and_is_normalized():
    report = gpn.probe(network, initializations=2)
    assert (report.follows, report.normalized, report.library) == (Answer.YES, Answer.YES, "JAX")
    assert [(row.layer, row.name) for row in report.rows if row.kind == "linear"][-1] == (4, "layers.3")
    assert {row.weights for row in report.rows if row.kind == "linear"} == {"Haar"}


@pytest.mark.parametrize(
    ("activation", "name"),
    [(jax.nn.gelu, "gelu_tanh"), (jax.nn.silu, "silu"), (lambda h: jnp.where(h > 0, h, 0.01 * h), "leaky_relu")],
)
def test_faults_are_named_in_every_spelling(activation, name):
    report = gpn.probe(lambda seed: network(seed, activation, bias=0.5), initializations=1)
    assert {row.label for row in report.rows if row.kind == "activation"} == {name}
    assert report.found("bias") == report.found("not normalized") == (1, 2, 3, 4)
    assert report.follows is Answer.YES


def branches(params, x):
    """One input at a time through `vmap`, as Equinox does: the matrix stands on the left, and axes are exchanged."""

    def one(x):
        h = params["first"] @ x + params["shift"]
        y = jax.nn.silu(h)
        return params["second"] @ (y + 0.5 * jnp.tanh(params["first"] @ y))

    return jax.vmap(one)(x)


def test_norms_are_those_of_jax():
    """Values and gradients by hand, with a zero added to each: to 1e-10."""
    rng = np.random.default_rng(3)
    with x64(True):
        params = {name: jnp.asarray(rng.standard_normal(shape)) for name, shape in
                  (("first", (6, 6)), ("second", (3, 6)), ("shift", (6,)))}  # fmt: skip
        x = jnp.asarray(rng.standard_normal((4, 6)))
        tape = jax_model.run((branches, params), x, np.random.default_rng(5), 4)
        e = np.random.default_rng(5).standard_normal((4, 3))
        e = jnp.asarray(e / np.linalg.norm(e, axis=1, keepdims=True))

        def error(taps, params):
            h = (x + taps[0]) @ params["first"].T + params["shift"] + taps[1]
            y = jax.nn.silu(h) + taps[2]
            again = y @ params["first"].T + taps[3]
            total = y + 0.5 * jnp.tanh(again) + taps[4]
            return jnp.sum(e * (total @ params["second"].T)), (x, h, y, again, total)

        taps = [jnp.zeros((4, 6))] * 5
        (gradients, by_params), values = jax.grad(error, (0, 1), has_aux=True)(taps, params)
        for value, gradient in zip(values, gradients, strict=True):
            squares, back = np.sum(np.asarray(value) ** 2, 1), np.sum(np.asarray(gradient) ** 2, 1)
            assert any(
                np.allclose(v.squares, squares, rtol=1e-10, atol=0)
                and np.allclose(v.gradient, back, rtol=1e-10, atol=0)
                for v in tape.values
            )
        maps = [operation for operation in tape.operations if operation.kind == "linear"]
        assert [operation.parameter for operation in maps] == ["first", "first", "second"]
        assert np.allclose(maps[0].bias, params["shift"])
        for operation in maps:
            expected = float(jnp.linalg.norm(by_params[operation.parameter]))
            assert operation.weight_gradient == pytest.approx(expected, rel=1e-10)
        pulled = np.sum((np.asarray(gradients[3]) @ np.asarray(params["first"])) ** 2, axis=1)
        assert np.allclose(maps[1].pulled, pulled, rtol=1e-10)


def test_a_convolution_has_the_laws_of_pytorch():
    """The same kernel, input and directions in both: the same numbers."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    kernel, x = rng.standard_normal((8, 2, 3, 3)), rng.standard_normal((3, 4, 7, 7))
    module = torch.nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.tensor(kernel))

    def apply(params, x):
        return jax.lax.conv_general_dilated(x, params["w"], (2, 2), ((1, 1), (1, 1)), feature_group_count=2)

    with x64(True):
        pair = apply, {"w": jnp.asarray(kernel)}
        tapes = [
            jax_model.run(pair, x, np.random.default_rng(2), 3),
            importlib.import_module("gpn.probing.libraries.torch_model").run(module, x, np.random.default_rng(2), 3),
        ]
    one, other = (tape.operations[0] for tape in tapes)
    for name in ("patches", "back_patches", "pulled", "weight_gradient", "core"):
        assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-10)
    assert np.allclose(one.weights.traces, other.weights.traces)
    assert one.groups == other.groups == 2


def test_wrong_use_is_one_sentence():
    with pytest.raises(UsageError, match="returns no array"):
        gpn.probe((lambda params, x: jnp.sum(x @ params), jnp.ones((3, 3))))
    with pytest.raises(UsageError, match="fails on inputs of shape"):
        gpn.probe((lambda params, x: x @ params, jnp.ones((3, 3))), np.ones((2, 4)))
    with pytest.raises(UsageError, match="no matrix"):
        gpn.probe((lambda params, x: x * params, jnp.ones(3)))
