"""The public names of the package, listed once, and how its objects look in notebooks and in logs."""

import contextlib
import html.parser
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpn
from theory.errors import UsageError
from theory.layer.levy import Bound

ROOT = Path(gpn.__file__).parents[1]
PUBLIC = sorted(set(gpn.__all__) - {"__version__"})


@pytest.mark.parametrize("name", ["theory.py", "theory/__init__.py"])
def test_a_foreign_theory_is_named(tmp_path, name):
    """Python looks into the current folder first, as Jupyter does."""
    foreign = tmp_path / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("x = 1\n")
    command = [sys.executable, "-c", "import gpn; gpn.check"]
    process = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    last = process.stderr.splitlines()[-1]
    assert process.returncode == 1
    assert last.startswith("ImportError: gpn comes with a package named theory")
    assert str(foreign) in last


def test_a_folder_of_that_name_without_python_is_no_hindrance(tmp_path):
    (tmp_path / "theory").mkdir()
    process = subprocess.run(
        [sys.executable, "-c", "import gpn; gpn.check"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert process.returncode == 0


def test_dir_lists_each_public_name_once():
    assert sorted(gpn.__all__) == dir(gpn)
    assert len(set(gpn.__all__)) == len(gpn.__all__)


def test_no_module_has_the_name_of_a_public_function():
    """Importing `gpn.check` as a module would put it in the place of the function `gpn.check`."""
    modules = {path.stem for path in Path(gpn.__file__).parent.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert modules.isdisjoint(gpn.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_what_it_says_and_is_documented(name):
    found = getattr(gpn, name)
    assert found.__name__ == name
    assert len(inspect.getdoc(found)) > 20
    if inspect.isfunction(found):
        assert all(p.annotation is not p.empty for p in inspect.signature(found).parameters.values())


class Stopped(Exception):
    """A long computation that is stopped at its first report of progress, when the activation has been read."""


def _stop(*_):
    raise Stopped


READS_AN_ACTIVATION = {
    "activation": lambda spec: gpn.activation(spec),
    "carried_depth": lambda spec: gpn.carried_depth(spec, 64, 0.5, root="minus"),
    "check": lambda spec: gpn.check(spec, 8),
    "check_report": lambda spec: gpn.check_report(spec, 8, detailed=False),
    "depth_profiles": lambda spec: gpn.depth_profiles(spec),
    "design": lambda spec: gpn.design(spec, 2, curvature=0.1),
    "explore": lambda spec: gpn.report.explorer.model.shape(spec, 0.5),
    "gain": lambda spec: gpn.gain(spec, 8),
    "guaranteed_epsilon": lambda spec: gpn.guaranteed_epsilon(spec, 64, 2, root="minus", progress=_stop),
    "normalize": lambda spec: gpn.normalize(spec, "minus"),
    "required_width": lambda spec: gpn.required_width(spec, 2, 0.5, root="minus", progress=_stop),
    "simulate": lambda spec: gpn.simulate(spec, 4, 2, 3, seed=0),
    "spectrum": lambda spec: gpn.spectrum(spec, 2, 4, 1),
    "train": lambda spec: gpn.train(spec, "digits", depth=2, width=8, epochs=1, root="minus"),
    "verify": lambda spec: gpn.verify(spec, 8, 2, 0.5, 16, root="minus"),
}
"""What each public function does with an activation, where it takes one."""


def test_every_public_function_reads_a_function_by_its_name():
    takes_one = {
        name
        for name in PUBLIC
        if inspect.isfunction(function := getattr(gpn, name))
        and {"spec", "activation", "formula"} & set(inspect.signature(function).parameters)
    }
    assert takes_one == {*READS_AN_ACTIVATION, "export"}
    with pytest.raises(UsageError, match="Python function"):
        gpn.export("numpy:arctan", "numpy")


FUNCTIONS = {name: getattr(gpn, name) for name in PUBLIC if inspect.isfunction(getattr(gpn, name))}
SIGNATURES = {name: inspect.signature(function).parameters for name, function in FUNCTIONS.items()}
OTHER = {"width": "widths", "depth": "depths", "epsilon": "epsilons", "activation": "spec"}
OTHER |= {other: name for name, other in OTHER.items()}
NOT_ASKED = {
    "activation": "it reads one",
    "claim": "",
    "plot_exceedance": "",
    "audit": "",
    "reproduce": "",
    "resume": "",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_rule_says_whether_an_activation_is_normalized(name):
    """What has a root normalizes first, what has none takes the activation as it is; the first line says it."""
    first = inspect.getdoc(FUNCTIONS[name]).splitlines()[0]
    if "root" in SIGNATURES[name]:
        assert SIGNATURES[name]["root"].default == "auto"
        assert "normalized" in first
        assert "`root`" in first
    elif name not in NOT_ASKED:
        assert "as it is" in first


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_parameter_has_one_name_and_one_default(name):
    parameters = SIGNATURES[name]
    assert not {"formula", "phi", "batch_norm", "data", "eps", "policy", "rng"} & set(parameters)
    assert "seed" not in parameters or parameters["seed"].default == 0
    assert "derivative" not in parameters or parameters["derivative"].default is None
    assert "level" not in parameters or parameters["level"].default == 0.99


KINDS = {
    **dict.fromkeys(("width", "widths", "depth", "trials", "seed", "digits", "batch", "workers"), "int"),
    **dict.fromkeys(("epsilon", "epsilons", "probability", "level", "gain", "bias", "residual", "time_limit"), "float"),
    **dict.fromkeys(("root", "weights", "method", "precision", "memory", "executor"), "str"),
    **dict.fromkeys(("spec", "activation", "derivative"), "object"),
    **dict.fromkeys(("simulate", "batch_normalization"), "bool"),
    "progress": "Callable[[float, float, str], None]",
}
"""A type that every parameter of that name takes."""
DEFAULTS_OF_THEIR_OWN = {
    "digits": {15, 30},  # of a table, and of a report
    "width": {None, 128, 256, 1024},  # of training, of a sampled Jacobian, of a prediction
    "depth": {None, 50, (10, 50, 200)},  # `verify` compares depths
    "epsilon": {None, 0.5},
    "spec": {"gelu", "tanh"},
    "batch": {1, 64},  # inputs that are propagated together, and those of one step of training
    "inputs": {None, "digits"},
    "layers": {None, "*"},
}


def test_parameters_of_one_name_agree_in_type_and_default():
    """Walks over every public function; what one name takes and means, it takes and means everywhere."""
    defaults = {}
    for function, parameters in SIGNATURES.items():
        for name, parameter in parameters.items():
            if name in KINDS and (function, name) != ("explore", "spec"):  # the explorer shows a text
                assert KINDS[name] in str(parameter.annotation), (function, name)
            if parameter.default is not parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
                defaults.setdefault(name, set()).add(parameter.default)
    assert {name: values for name, values in defaults.items() if len(values) > 1} == DEFAULTS_OF_THEIR_OWN


@pytest.mark.parametrize(
    ("name", "parameter"),
    [(name, p) for name in FUNCTIONS for p in SIGNATURES[name] if p in OTHER and name not in NOT_ASKED],
)
def test_both_spellings_are_taken_everywhere(name, parameter):
    """Whatever the values: that both are given is seen before anything is computed."""
    with pytest.raises(UsageError, match=f"{parameter} and {OTHER[parameter]} are the same"):
        FUNCTIONS[name](**{parameter: 3, OTHER[parameter]: 3})


def test_several_values_give_the_results_of_every_combination():
    results = gpn.simulate("tanh", widths=[4, 8], depth=np.array([2, 3]), trials=5)
    assert [result.gradient_norms.shape for result in results] == [(5, 2), (5, 3)] * 2
    one = gpn.simulate(spec="tanh", width=8, depths=3, trials=5, seed=0)
    np.testing.assert_array_equal(results[-1].gradient_norms, one.gradient_norms)
    assert [report.value("prediction") for report in gpn.required_width("relu", 2, epsilons=(1.0, 2.0))] == [
        gpn.required_width("relu", 2, epsilon).value("prediction") for epsilon in (1.0, 2.0)
    ]
    report = gpn.verify("relu", width=8, depths=[2], epsilon=1.5, trials=16, claims="one-layer")
    assert [each.depth.depth for each in gpn.check_report("relu", 8, detailed=False, depths=[10, 20])] == [10, 20]
    with pytest.raises(UsageError, match="the width from 2"):
        gpn.explore("relu", widths=[4, 8])  # one widget shows one network
    assert {(row.width, row.epsilon) for row in report.rows if row.claim.startswith("forward")} == {(8, 1.5)}


def test_a_misspelt_argument_is_named():
    with pytest.raises(TypeError, match="depht"):
        gpn.simulate("tanh", 8, depht=2, trials=3)


LONG = {
    "design",
    "depth_profiles",
    "carried_depth",
    "check_report",
}  # they integrate a function without a formula often


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in READS_AN_ACTIVATION]
)
def test_a_function_by_its_name_is_an_activation_everywhere(name):
    importlib.import_module("gpn.report.explorer.model")
    with contextlib.suppress(Stopped):
        READS_AN_ACTIVATION[name]("numpy:arctan")


def test_progress_has_one_signature_everywhere():
    """What is done, the total and words, by whatever takes `progress`: one function can listen to all of them."""
    listeners = {name for name in PUBLIC if "progress" in inspect.signature(getattr(gpn, name)).parameters}
    calls = {
        "verify": lambda listen: gpn.verify("relu", 8, 2, 0.5, 16, progress=listen),
        "resume": None,  # the same run as `verify`
        "probe": None,  # it needs PyTorch or JAX, and has tests of its own
        "required_width": lambda listen: gpn.required_width("tanh", 2, 0.5, progress=listen),
        "carried_depth": lambda listen: gpn.carried_depth("tanh", 64, 0.5, progress=listen),
        "guaranteed_epsilon": lambda listen: gpn.guaranteed_epsilon("tanh", 64, 2, progress=listen),
        "spectrum": lambda listen: gpn.spectrum("tanh", 2, 4, 1, progress=listen),
        "train": lambda listen: gpn.train("tanh", "digits", depth=2, width=8, epochs=1, progress=listen),
    }
    assert listeners == set(calls)
    for call in filter(None, calls.values()):
        told = []

        def listen(done, total, words, told=told):
            told.append((done, total, words))
            if len(told) == 2:
                raise Stopped

        with contextlib.suppress(Stopped):
            call(listen)
        assert told
        assert all(0 <= done <= total or total == 0 for done, total, _ in told)
        assert all(isinstance(words, str) and words for _, _, words in told)


class Reader(html.parser.HTMLParser):
    """Collects the tags and the text of a page, and checks that tags are closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text = [], set(), ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, _attributes):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_check_shows_in_a_notebook_and_in_a_log():
    conditions = gpn.check("gelu", 15)
    page = Reader(conditions._repr_html_())
    assert {"table", "p"} <= page.tags
    for part in ("gelu", "x*normal_cdf(x)", "certified", "minus (recommended)", "1.48111441270835", "stable"):
        assert part in page.text
    assert repr(conditions) == (
        "<Conditions gelu: GPN fails, normalizable yes, a = 1.48111441270835, b = -0.909506401007416>"
    )


def test_a_check_without_normalization_says_why():
    page = Reader(gpn.check("sign", 15)._repr_html_())
    assert "jump" in page.text
    assert "chi" not in page.text
    assert len(repr(gpn.check("sign", 15))) < 100


def test_what_a_user_named_is_escaped():
    hostile = gpn.activation(np.tanh, name="<script>alert(1)</script>")
    page = Reader(gpn.check(hostile, 10)._repr_html_())
    assert "script" not in page.tags
    assert "<script>" in page.text


def test_an_activation_shows_its_formula():
    assert r"\tanh" in gpn.activation("tanh")._repr_latex_()
    assert "tanh(x)" in repr(gpn.activation("tanh"))


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (-20.0, r"$P \le 2.07 \cdot 10^{-9}$ (levy)"),
        (-2000.0, r"$P \le 2.58 \cdot 10^{-869}$ (levy)"),
        (0.0, r"$P \le 1$ (levy)"),
        (-np.inf, r"$P \le 0$ (levy)"),
    ],
)
def test_a_bound_shows_as_an_inequality_rounded_up(log, expected):
    """Expected: mpmath says exp(-20) = 2.0611...e-9 and exp(-2000) = 2.57653...e-869, whatever float64 can hold."""
    assert Bound("levy", log)._repr_latex_() == expected
