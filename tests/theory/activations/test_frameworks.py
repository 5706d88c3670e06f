"""PyTorch and JAX functions as activations: their numbers, their autodiff, and what is left alone."""

import re
import sys
import warnings

import numpy as np
import pytest

import gpn
from theory.activations.specification import activation, load
from theory.errors import SpecificationError, UsageError
from theory.normalization.conditions import gaussian_poincare

POINTS = np.concatenate([np.linspace(-6, 6, 241) + 0.013, [-30.0, 30.0]])


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def jax():
    return pytest.importorskip("jax")


def assert_is(phi, formula, rtol=1e-12):
    exact = activation(formula)
    np.testing.assert_allclose(phi.value(POINTS), exact.value(POINTS), rtol=rtol, atol=1e-13)
    np.testing.assert_allclose(phi.slope(POINTS), exact.slope(POINTS), rtol=rtol, atol=1e-13)


def assert_same_report(facts, formula):
    exact = gaussian_poincare(activation(formula), 20)
    assert (facts.is_gpn, facts.normalizable, facts.certified) == (exact.is_gpn, "yes", False)
    for name in ("mean", "second_moment", "slope_second_moment"):
        assert float(getattr(facts, name)) == pytest.approx(float(getattr(exact, name)), rel=1e-12, abs=1e-12)
    assert float(facts.error) < 1e-12


# ---------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize(
    ("module", "formula"),
    [
        ("GELU", "gelu"),
        ("SiLU", "silu"),
        ("Tanh", "tanh"),
        ("ReLU", "relu"),
        ("SELU", "selu"),
        ("ELU", "elu"),
        ("Mish", "mish"),
        ("Sigmoid", "sigmoid"),
        ("Hardtanh", "hard_tanh"),
        ("ReLU6", "relu6"),
        ("LeakyReLU", "leaky_relu(0.01)"),
    ],
)
def test_modules_of_torch_agree_with_the_catalog(torch, module, formula):
    instance = getattr(torch.nn, module)()
    phi = gpn.activation(instance)
    assert phi.name == module
    assert_is(phi, formula)


SPELLINGS = {  # formula: its names in torch.nn, torch.nn.functional and jax.nn
    "celu": ("CELU", "celu", "celu"),
    "elu": ("ELU", "elu", "elu"),
    "gelu": ("GELU", "gelu", None),
    "gelu_tanh": (None, None, "gelu"),
    "hard_sigmoid": ("Hardsigmoid", "hardsigmoid", "hard_sigmoid"),
    "hard_swish": ("Hardswish", "hardswish", "hard_swish"),
    "hard_tanh": ("Hardtanh", "hardtanh", "hard_tanh"),
    "leaky_relu(0.01)": ("LeakyReLU", "leaky_relu", "leaky_relu"),
    "leaky_relu(0.25)": ("PReLU", None, None),
    "log_sigmoid": ("LogSigmoid", "logsigmoid", "log_sigmoid"),
    "mish": ("Mish", "mish", "mish"),
    "relu": ("ReLU", "relu", "relu"),
    "relu6": ("ReLU6", "relu6", "relu6"),
    "selu": ("SELU", "selu", "selu"),
    "sigmoid": ("Sigmoid", "sigmoid", "sigmoid"),
    "silu": ("SiLU", "silu", "silu"),
    "softplus": ("Softplus", "softplus", "softplus"),
    "softsign": ("Softsign", "softsign", "soft_sign"),
    "x-tanh(x)": ("Tanhshrink", "tanhshrink", None),
    "tanh": ("Tanh", "tanh", "tanh"),
    "(x+sqrt(x**2+4))/2": (None, None, "squareplus"),
    "identity": ("Identity", None, "identity"),
    "softshrink": ("Softshrink", "softshrink", None),
}


def assert_same_verdict(facts, formula):
    """The verdict of the formula, its kinks, and its numbers within the stated error."""
    exact = gaussian_poincare(activation(formula), 20)
    assert (facts.is_gpn, facts.normalizable, facts.jumps) == (exact.is_gpn, exact.normalizable, ())
    assert len(facts.kinks) == len(exact.kinks)
    for name in ("mean", "second_moment", "slope_second_moment"):
        text, number = getattr(facts, name).digits, getattr(exact, name)
        printed = 10.0 ** -len(text.partition(".")[2])
        assert abs(float(text) - number) <= float(facts.error) + printed + 1e-15 * abs(number), name


@pytest.mark.parametrize(
    ("home", "name", "formula"),
    [
        (home, name, formula)
        for formula, names in SPELLINGS.items()
        for home, name in zip(("torch.nn", "torch.nn.functional", "jax.nn"), names, strict=True)
        if name
    ],
)
def test_every_spelling_of_a_library_has_the_verdict_of_the_formula(home, name, formula):
    function = getattr(pytest.importorskip(home), name)
    facts = gpn.check(function() if isinstance(function, type) else function)
    assert_same_verdict(facts, formula)
    assert float(facts.error) < (1e-7 if name in ("Hardsigmoid", "hardsigmoid") else 1e-12)


@pytest.mark.parametrize(
    ("home", "name", "formula"),
    [
        (home, names[place], formula)
        for formula, names in SPELLINGS.items()
        for place, home in ((1, "torch.nn.functional"), (2, "jax.nn"))
        if names[place] and formula != "x-tanh(x)"  # which float32 cancels away at 0: undecided
    ],
)
def test_single_precision_has_the_same_verdict_and_the_digits_it_has(home, name, formula):
    function, exact = getattr(pytest.importorskip(home), name), gaussian_poincare(activation(formula), 20)

    def single(x):
        return function(x.astype("float32") if home == "jax.nn" else x.float())

    facts = gpn.check(single)
    assert (facts.normalizable, facts.jumps) == (exact.normalizable, ())
    assert facts.is_gpn in (exact.is_gpn, "undecided")  # of the identity 1e-12 cannot be told
    assert facts.error < 1e-4
    for moment in ("mean", "second_moment", "slope_second_moment"):
        assert abs(getattr(facts, moment) - getattr(exact, moment)) <= facts.error, moment


def test_further_spellings_have_the_verdict_of_the_formula(torch):
    assert_same_verdict(gpn.check(torch.nn.GELU(approximate="tanh")), "gelu_tanh")
    assert_same_verdict(gpn.check(torch.special.ndtr), "normal_cdf(x)")
    assert_same_verdict(gpn.check(lambda x: 0.5 * x * (1 + torch.special.erf(x / 2**0.5))), "gelu")
    assert_same_verdict(gpn.check(lambda x: torch.log(1 + torch.exp(x))), "softplus")


def test_a_derivative_in_single_precision_is_told_in_the_error(torch):
    facts = gpn.check(torch.nn.Hardsigmoid())  # its slope is the float32 number nearest to 1/6
    assert float(facts.error) > 1e-9


@pytest.mark.parametrize("name", ["silu", "gelu", "softplus"])
def test_functions_of_torch_are_recognised(torch, name):
    assert_is(gpn.activation(getattr(torch.nn.functional, name)), name, rtol=1e-8 if name == "softplus" else 1e-12)


def test_a_function_of_the_users_own_is_recognised(torch):
    def phi(x):
        return x * torch.sigmoid(1.5 * x)

    assert_is(gpn.activation(phi), "x*sigmoid(3*x/2)")
    assert_is(gpn.activation(torch.tanh, name="mine"), "tanh")
    assert_same_report(gpn.check(phi), "x*sigmoid(3*x/2)")


def test_parameters_count_as_they_are_and_the_module_is_left_alone(torch):
    module = torch.nn.PReLU(init=0.1).train()
    phi = gpn.activation(module)
    assert_is(phi, f"leaky_relu({float(np.float32(0.1))!r})")
    assert gpn.check(phi).kinks == ("0",)
    assert module.weight.dtype is torch.float32
    assert module.weight.requires_grad
    assert module.weight.grad is None
    assert module.training
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32


def test_what_is_no_activation_is_refused_in_one_sentence(torch):
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.GELU())
    for spec, words in (
        (network, "weight matrices"),
        (torch.nn.GELU, "a class"),
        (torch.zeros(3, requires_grad=True), "Tensor"),
    ):
        with pytest.raises(SpecificationError, match=re.escape(words)):
            gpn.activation(spec)
    assert gpn.check(torch.nn.Sequential(torch.nn.GELU())).looks_like == "gelu"


@pytest.mark.parametrize("spec", ["gelu", np.tanh])
def test_a_tensor_with_a_gradient_is_refused_with_the_export_to_use(torch, spec):
    with pytest.raises(UsageError, match=re.escape("gpn.export(phi, 'torch')")):
        gpn.activation(spec)(torch.zeros(3, requires_grad=True))


def test_jumps_of_torch_functions_are_found(torch):
    facts = gpn.check(torch.nn.Hardshrink())
    assert facts.jumps == ("-0.5", "0.5")
    assert facts.normalizable == "undecided"


def test_a_function_that_autograd_does_not_reach_is_differenced(torch):
    phi = gpn.activation(lambda x: torch.tanh(x.detach()))
    assert phi.derivative is None
    np.testing.assert_allclose(phi.slope(POINTS), 1 / np.cosh(POINTS) ** 2, atol=1e-10)


def test_a_gradient_that_is_not_the_slope_is_refused(torch):
    def straight_through(x):
        return x + (torch.tanh(x) - x).detach()

    with pytest.raises(SpecificationError, match=r"automatic differentiation .*match"):
        gpn.check(straight_through)
    assert gpn.check(straight_through, derivative=lambda x: 1 / np.cosh(x) ** 2).normalizable == "yes"
    assert gpn.check(straight_through, derivative=lambda x: 1 - torch.tanh(x) ** 2).normalizable == "yes"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda torch: torch.nn.Softmax(dim=-1), "own x"),
        (lambda torch: torch.nn.LayerNorm(60), "."),
        (lambda torch: torch.nn.RReLU(), "eval"),
        (lambda torch: torch.nn.Linear(3, 3), "weight matrices"),
        (lambda torch: torch.nn.GLU(), "shape"),
    ],
)
def test_modules_that_are_no_activations_are_refused(torch, make, message):
    with pytest.raises(SpecificationError, match=message) as refused:
        gpn.check(make(torch))
    assert "\n" not in str(refused.value)


def test_a_random_module_in_evaluation_is_an_activation(torch):
    assert gpn.check(torch.nn.RReLU(0.1, 0.3).eval()).kinks == ("0",)


@pytest.mark.usefixtures("torch")
def test_numpy_functions_stay_so_beside_torch():
    for function in (np.tanh, lambda x: x**3 - x):
        phi = gpn.activation(function)
        assert phi.function is function
        assert phi.derivative is None
    assert gpn.activation("tanh").expression is not None


@pytest.mark.usefixtures("torch")
def test_torch_by_its_name():
    assert_is(gpn.activation("torch.nn.functional:silu"), "silu")
    with pytest.raises(SpecificationError, match=r"is a class; .* phi = GELU\(\)"):
        gpn.activation("torch.nn:GELU")


# ---------------------------------------------------------------------------------------------- JAX


@pytest.mark.parametrize("name", ["silu", "tanh", "elu", "selu", "relu6"])
def test_functions_of_jax_are_recognised(jax, name):
    assert_is(gpn.activation(getattr(jax.nn, name)), name)


def test_a_jax_function_of_the_users_own(jax):
    def phi(x):
        return x * jax.nn.sigmoid(1.5 * x)

    assert_same_report(gpn.check(phi), "x*sigmoid(3*x/2)")
    assert_is(gpn.activation(jax.jit(phi), name="mine"), "x*sigmoid(3*x/2)")
    assert_is(gpn.activation(lambda x: jax.nn.gelu(x, approximate=False)), "gelu", rtol=1e-10)


def test_the_settings_of_jax_are_left_alone(jax):
    gpn.check(jax.nn.silu)
    assert jax.numpy.ones(2).dtype == np.float32
    assert not jax.config.jax_enable_x64


def test_jax_functions_that_are_no_activations_are_refused(jax):
    with pytest.raises(SpecificationError, match="own x"):
        gpn.check(jax.nn.softmax)
    with pytest.raises(SpecificationError, match="elementwise"):
        gpn.check(lambda x: jax.numpy.sum(x))

    @jax.custom_jvp
    def clipped(x):
        return jax.numpy.tanh(x)

    clipped.defjvp(lambda primals, tangents: (jax.numpy.tanh(primals[0]), tangents[0]))
    with pytest.raises(SpecificationError, match=r"automatic differentiation .*match"):
        gpn.check(clipped)


# ------------------------------------------------------------------------------------------ references


def test_a_reference_is_the_same_as_the_function(tmp_path, monkeypatch):
    (tmp_path / "own_activation.py").write_text("import numpy as np\ndef phi(x): return np.tanh(x)\nslope = np.cos\n")
    monkeypatch.chdir(tmp_path)
    facts = gpn.check("own_activation:phi", derivative=lambda x: 1 / np.cosh(x) ** 2)
    assert facts == gpn.check(gpn.activation("own_activation:phi", derivative=lambda x: 1 / np.cosh(x) ** 2))
    assert facts.name == "phi"
    assert gpn.normalize("own_activation:phi").name == "GPN phi"
    with pytest.raises(SpecificationError, match="not match"):
        gpn.check("own_activation:phi", derivative="own_activation:slope")


def test_importing_leaves_the_path_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    (tmp_path / "own_other.py").write_text("def phi(x): return x**3\n")
    before = list(sys.path)
    assert load("own_other:phi")(2) == 8
    assert sys.path == before


def test_a_reference_may_name_a_sympy_expression():
    assert gpn.activation("sympy:tanh").expression == activation("tanh").expression
    assert gpn.check("sympy:erf", 10).certified


def test_no_warnings_are_raised_on_the_way(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gpn.check(torch.nn.Tanh())


# ------------------------------------------------------------------------------------------ arguments


def test_tensors_and_arrays_without_a_gradient_give_numpy_arrays(torch, jax):
    phi = gpn.activation("gelu")
    for points in (torch.tensor([0.5, -1.0]), torch.tensor([0.5, -1.0], dtype=torch.float64), jax.numpy.ones(2)):
        assert isinstance(phi(points), np.ndarray)
        np.testing.assert_allclose(phi(points), phi(np.asarray(points, dtype=np.float64)), rtol=1e-7)


def test_tensors_of_few_bits_are_read_and_what_holds_no_real_numbers_is_refused(torch, jax):
    few = [torch.tensor([0.5, -1.0], dtype=getattr(torch, name)) for name in ("bfloat16", "float16", "float8_e4m3fn")]
    few += [jax.numpy.asarray([0.5, -1.0], dtype=name) for name in ("bfloat16", "float16")]
    for phi in (gpn.activation("gelu"), gpn.normalize("gelu"), gpn.activation(torch.nn.functional.gelu)):
        exact = phi(np.array([0.5, -1.0]))
        for points in few:
            for found in (phi(points), phi.value_and_slope(points)[0]):
                np.testing.assert_allclose(np.asarray(found, dtype=np.float64), exact, rtol=1e-3)
        for wrong in (few[0].to(torch.complex64), few[0].float().to_sparse(), torch.ones(2, device="meta"), "a", [1j]):
            with pytest.raises(UsageError, match="real numbers") as refused:
                phi(wrong)
            assert "\n" not in str(refused.value)


def test_what_would_lose_a_gradient_is_refused_with_the_export_to_use(torch, jax):
    phi = gpn.activation("gelu")
    with pytest.raises(UsageError, match=r"export\(phi, 'torch'\)"):
        phi(torch.ones(2, requires_grad=True))
    for transformed in (jax.grad, jax.jit, jax.vmap):
        with pytest.raises(UsageError, match=r"export\(phi, 'jax'\)"):
            transformed(lambda x: phi(x).sum())(jax.numpy.ones(2))
