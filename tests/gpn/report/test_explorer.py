"""The explorer: its numbers are those of the library, its figure is made once, its widgets never show a trace."""

import ast
import html
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

import gpn
from gpn.checking.depth_conditions import depth_conditions
from gpn.cli import explore as cli_explore
from gpn.cli import program as cli
from gpn.report.explorer import requested, widget
from gpn.report.explorer import text as explorer_text
from gpn.report.explorer.address import from_query, query
from gpn.report.explorer.figure import Panels
from gpn.report.explorer.model import (
    PROBABILITIES,
    STARTS,
    WIDTHS,
    Model,
    State,
    chosen,
    family_of,
    sampled_bands,
    shape,
)
from gpn.report.explorer.requested import certificate
from tests.root import ROOT
from theory.activations.specification import activation
from theory.bounds.network import predicted, predicted_norms, predicted_range
from theory.depth.coefficients import depth_coefficients
from theory.depth.fixed_points import length_dynamics
from theory.depth.length_map import length_map
from theory.errors import SpecificationError, UsageError
from theory.layer.levy import layer_constants, levy
from theory.normalization.normalize import normalization

FORMULAS = [("gelu", 0.0), ("tanh", 0.0), ("leaky_relu(s)", 0.2), ("elu(alpha)", 1.3), ("x*sigmoid(b*x)", 0.7)]


@pytest.fixture(scope="module")
def model():
    return Model()


# ---------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(("formula", "value"), FORMULAS)
@pytest.mark.parametrize("policy", ["auto", "plus", "minus"])
def test_the_roots_are_those_of_the_certified_normalization(formula, value, policy):
    seen = shape(formula, value)
    root, certified = chosen(seen, policy), normalization(seen.phi, policy)
    assert root.name == certified.root
    np.testing.assert_allclose(
        [root.a, root.b, root.chi], [certified.a, certified.b, certified.chi], rtol=1e-12, atol=1e-12
    )
    assert root.stability == certified.stability


@pytest.mark.parametrize(("formula", "value"), FORMULAS)
def test_the_length_map_and_its_fixed_points_are_those_of_the_normalized_activation(formula, value):
    for root in shape(formula, value).roots:
        exact = [length_map(root.phi, q).value for q in root.lengths]
        np.testing.assert_allclose(root.mapped, exact, rtol=1e-12)
        fine = length_dynamics(root.phi)
        assert root.continuum == fine.continuum
        inside = [(p.q, p.stability) for p in fine.fixed_points if root.lengths[0] < p.q < root.lengths[-1]]
        seen = [(p.q, p.stability) for p in root.fixed_points if p.q > 0]
        assert [s for _, s in seen] == [s for _, s in inside]
        np.testing.assert_allclose([q for q, _ in seen], [q for q, _ in inside], rtol=1e-9)


@pytest.mark.parametrize(("formula", "value"), FORMULAS)
def test_the_path_through_the_layers_is_the_iterated_length_map(formula, value):
    for root in shape(formula, value).roots:
        for start in STARTS:
            path, q = root.path(start, 12), start
            for layer in range(13):
                assert path[layer] == pytest.approx(q, rel=1e-4)
                q = length_map(root.phi, q).value


def test_a_length_is_reported_to_return_only_if_it_does():
    """Also where 1 attracts but another fixed point lies between it and a start."""
    for formula, value in FORMULAS:
        for root in shape(formula, value).roots:
            ends = [root.path(start, 600)[-1] for start in STARTS]
            assert root.returns == bool(np.allclose(ends, 1, atol=1e-3)), (formula, root.name)
    [stable] = [root for root in shape("gelu", 0.0).roots if root.returns]
    blocked = replace(stable, fixed_points=(*stable.fixed_points, replace(stable.fixed_points[0], q=1.05)))
    assert not blocked.returns


@pytest.mark.parametrize(("formula", "value"), FORMULAS)
def test_the_prediction_lies_in_its_quick_range(formula, value):
    phi = chosen(shape(formula, value), "auto").phi
    coefficients = depth_coefficients(phi)
    told = 0
    for width, depth, epsilon in ((128, 10, 0.5), (512, 10, 0.5), (512, 30, 1.0), (128, 3, 0.3)):
        low, high = predicted_range(coefficients, width, depth, epsilon)
        exact = predicted(phi, width, depth, epsilon)
        assert np.isnan(low) == (exact.kind == "none")
        if exact.kind != "none":
            told += 1
            assert low * (1 - 1e-3) - 1e-7 <= exact.probability <= high * (1 + 1e-3) + 1e-6
            assert high <= 1
            assert high <= max(1e-6, (depth - 1) * low * (1 + 1e-6))  # a sum of as many terms, the largest of them low
    assert told >= 3


def test_two_layers_have_no_range_but_a_number():
    """At depth 2 one ratio is all there is: both ends are its probability, from a table for leaky ReLU."""
    for formula, value in FORMULAS:
        phi = chosen(shape(formula, value), "auto").phi
        low, high = predicted_range(depth_coefficients(phi), 256, 2, 0.2)
        assert low == high
        assert low == pytest.approx(predicted(phi, 256, 2, 0.2).probability, rel=0.02)


def test_bands_and_bounds_are_those_of_the_library(model):
    view = model(State("elu(alpha)", 1.3, width=300, depth=7, epsilon=0.4))
    np.testing.assert_allclose(view.bands, predicted_norms(view.root.phi, 300, 7, PROBABILITIES), rtol=1e-12)
    for width, bound in zip(WIDTHS, view.bounded, strict=True):
        constants = layer_constants(view.root.phi, width)
        own = sum(levy("forward-one-step", constants, 0.4, side).probability for side in ("upper", "lower"))
        assert bound == pytest.approx(min(own, 1.0), rel=1e-6)


def test_bounds_with_the_constants_of_the_widest_layer_are_no_smaller_for_a_steep_activation(model):
    view = model(State("x+x**2/20", width=256, epsilon=0.5))
    for width, bound in zip(WIDTHS, view.bounded, strict=True):
        constants = layer_constants(view.root.phi, width)
        own = sum(levy("forward-one-step", constants, 0.5, side).probability for side in ("upper", "lower"))
        assert bound >= min(own, 1.0) * (1 - 1e-9)


def test_moving_width_depth_and_tolerance_does_not_compute_the_activation_again(model):
    state = State("tanh(x)+c*x", 0.3)
    first = model(state)
    for moved in (replace(state, width=512), replace(state, depth=9), replace(state, epsilon=1.0)):
        assert model(moved).shape is first.shape


@pytest.mark.parametrize(("formula", "reason"), [("sign(x)", "jumps"), ("exp(x**2)", "diverges"), ("3", "constant")])
def test_what_cannot_be_normalized_is_a_view_with_a_reason(model, formula, reason):
    view = model(State(formula))
    assert view.root is None
    assert view.bands is None
    assert reason in view.shape.numbers.reason
    assert reason in explorer_text.summary(view)
    assert np.isnan(view.predicted).all()


@pytest.mark.parametrize(
    ("formula", "words"),
    [("x*(", "cannot read"), ("foo(x)", "unknown function"), ("a*x+b*tanh(x)", "choose one"), ("", "empty")],
)
def test_formulas_that_cannot_be_read_say_why(formula, words):
    with pytest.raises(SpecificationError, match=words):
        family_of(formula)


@pytest.mark.parametrize(
    "changes",
    [{"width": 1}, {"depth": 0}, {"epsilon": 0.0}, {"epsilon": np.nan}, {"root": "both"}, {"value": np.inf}],
)
def test_states_out_of_range_are_refused(model, changes):
    with pytest.raises(UsageError):
        model(replace(State("tanh"), **changes))


def test_the_certificate_has_certified_digits_and_exact_tails(model):
    view = model(State("leaky_relu(s)", 0.2, width=64, depth=10, epsilon=0.5))
    found = certificate(view)
    assert found.conditions.certified
    assert found.conditions.second_moment.digits.startswith("0.52")
    upper, lower = found.tails
    assert upper.exact.probability <= upper.cramer.probability <= upper.levy.probability
    assert lower.side == "lower"
    assert found.predicted.probability == pytest.approx(predicted(view.root.phi, 64, 10, 0.5).probability)
    text = explorer_text.certified(found, view)
    assert "certified" in text
    assert "none (" in text or "deep bound, numerical" in text


def test_the_gradient_panel_is_never_empty_at_the_defaults(model):
    """Where the law says nothing, networks are sampled; where it speaks, the sample agrees with it."""
    silent = model(State("gelu", root="plus"))
    assert (silent.sampled, "unstable" in silent.bands_reason) == (156, True)
    spread = silent.bands[:, 2] / silent.bands[:, 0]
    assert spread[0] > spread[-1] > 1
    assert model(State("sign(x)")).sampled == 0  # it jumps: there is no gradient
    assert model(State("gelu", width=16384, depth=200, root="plus")).bands is None  # too many neurons
    law = model(State("tanh", width=512, depth=20))
    sampled, networks = sampled_bands(law.root, 512, 20)
    assert (law.sampled, networks) == (0, 195)
    # The median of 195 networks: 4.5 standard errors of it, 1.25/sqrt(195) of a deviation; false alarm 1e-4.
    deviation = np.log(law.bands[:, 2] / law.bands[:, 1]) / 1.645
    assert (
        np.abs(np.log(sampled[:, 1] / law.bands[:, 1])) < 4.5 * 1.25 / np.sqrt(networks) * deviation + 1 / 512
    ).all()


def test_the_conditions_of_depth_are_those_of_check(model):
    view = model(State("tanh", depth=200))
    found = model.conditions(view)
    alone = depth_conditions(gpn.normalize("tanh"), 200, width=256)
    for one, other in zip(found.all(), alone.all(), strict=True):
        assert (one.name, one.light) == (other.name, other.light)
        assert one.value == pytest.approx(other.value, rel=1e-6)
    text = explorer_text.conditions(found)
    assert text.count(">kept</b>") == text.count(">lost</b>") == 2
    assert model.conditions(model(State("sign(x)"))) is None


# ---------------------------------------------------------------------------------------------- address


def test_an_address_holds_the_whole_state():
    """Each field, with every letter that has a meaning in an address."""
    for state in (State(), State("a&b=c#+%x ²", -1.25, 300, 7, 0.35, "minus")):
        address = explorer_text.address(state, page=True)
        query = html.unescape(address.split('href="?')[1].split('"')[0])
        assert from_query(query, State("other", 9.0, 9, 9, 0.9, "plus")) == state
        line = html.unescape(explorer_text.address(state, page=False).split("<code>")[1].split("</code>")[0])
        arguments = ast.parse(line, mode="eval").body
        assert ast.literal_eval(arguments.args[0]) == " ".join(state.formula.split())
        assert {word.arg: ast.literal_eval(word.value) for word in arguments.keywords} == {
            name: value for name, value in asdict(state).items() if name != "formula"
        }
    assert from_query("", State()) == from_query("token=x&voila-theme=dark", State()) == State()
    with pytest.raises(UsageError, match="width=wide"):
        from_query("width=wide", State())


# ---------------------------------------------------------------------------------------------- figure


def test_the_figure_is_made_once_and_shows_the_view(model):
    panels = Panels()
    artists = [id(artist) for axes in panels.figure.axes for artist in axes.get_children()]
    pictures = []
    for formula, value in (*FORMULAS, ("sign(x)", 0.0), ("1/x", 0.0), ("x", 0.0)):
        view = model(State(formula, value))
        panels.draw(view)
        pictures.append(panels.png())
        assert [id(artist) for axes in panels.figure.axes for artist in axes.get_children()] == artists
    assert len(set(pictures)) == len(pictures)
    panels.draw(model(State(*FORMULAS[0])))
    assert panels.png() == pictures[0]  # nothing of other views is left
    assert imread(io.BytesIO(pictures[0])).shape[2] == 4


def test_titles_fit_their_panels_and_the_curves_are_the_functions(model):
    panels = Panels()
    view = model(State("gelu"))
    panels.draw(view)
    panels.png()
    value = panels.figure.axes[0]
    given, plus = value.get_lines()[:2]
    np.testing.assert_allclose(given.get_ydata(), activation("gelu").value(given.get_xdata()))
    np.testing.assert_allclose(plus.get_ydata(), view.shape.roots[0].phi.value(plus.get_xdata()), atol=1e-12)
    renderer = FigureCanvasAgg(panels.figure).get_renderer()
    for state in (
        State("gelu"),
        State("gelu", root="plus"),  # sampled
        State("leaky_relu(s)", 0.05, depth=200, width=16384),
        State("sin(3*x)", width=16),
    ):
        panels.draw(model(state))
        for axes in panels.figure.axes:
            room = axes.get_window_extent(renderer).width * 1.15
            assert axes.title.get_window_extent(renderer).width <= room
            assert axes._left_title.get_window_extent(renderer).width <= room, axes._left_title.get_text()


# ---------------------------------------------------------------------------------------------- widgets


@pytest.fixture
def explorer(model, monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr(widget, "Model", lambda: model)  # which remembers what other tests saw
    return widget.explore("gelu")


def test_every_control_moves_the_picture(explorer):
    pictures = [explorer.image.value]
    for control, value in (
        (explorer.formula, "elu(alpha)"),
        (explorer.value, 1.2),
        (explorer.width, 1024),
        (explorer.depth, 20),
        (explorer.epsilon, 1.0),
        (explorer.root, "minus"),
    ):
        control.value = value
        pictures.append(explorer.image.value)
        assert explorer.message.value == ""
    assert len(set(pictures)) == len(pictures)
    assert explorer.state == State("elu(alpha)", 1.2, 1024, 20, 1.0, "minus")
    assert "minus, in the network" in explorer.summary.value


def test_the_slider_is_there_for_families_only_and_follows_its_ends(explorer):
    assert explorer.parameter.layout.display == "none"
    explorer.formula.value = "leaky_relu(s)"
    assert explorer.parameter.layout.display != "none"
    assert explorer.value.description == "s"
    explorer.high.value = 10.0
    explorer.low.value = 5.0
    assert (explorer.value.min, explorer.value.max, explorer.value.value) == (5.0, 10.0, 5.0)
    explorer.high.value = 1.0
    assert "larger" in explorer.message.value
    explorer.low.value = -3.0
    assert (explorer.value.min, explorer.value.max) == (-3.0, 1.0)


@pytest.mark.parametrize("formula", ["x*(", "", "foo(x)", "<b>x</b>", "a*x+b", "__import__('os')", "x" * 5000])
def test_a_bad_formula_is_a_message_beside_the_last_picture(explorer, formula):
    before = explorer.image.value
    explorer.formula.value = formula
    assert 'role="alert"' in explorer.message.value
    assert "Traceback" not in explorer.message.value
    assert "<b>x" not in explorer.message.value
    assert explorer.image.value == before
    assert explorer.parameter.layout.display == "none"  # as for gelu
    explorer.certify.click()
    assert explorer.certified.value == ""
    explorer.formula.value = "relu"
    assert explorer.message.value == ""
    assert explorer.image.value != before


def test_an_error_of_ours_is_a_message_too(explorer, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("<division>")

    monkeypatch.setattr(explorer, "_model", broken)
    explorer.width.value = 64
    assert "ZeroDivisionError: &lt;division&gt;" in explorer.message.value


def test_certified_numbers_come_on_demand_and_leave_with_the_next_move(explorer):
    explorer.width.value, explorer.depth.value = 64, 5
    assert explorer.certified.value == ""
    explorer.certify.click()
    assert "0.4252" in explorer.certified.value
    explorer.depth.value = 6
    assert explorer.certified.value == ""


def test_a_page_of_its_own_starts_where_its_address_says(explorer, monkeypatch):
    shown = []
    stub = SimpleNamespace(display=shown.append, HTML=str)
    monkeypatch.setattr(widget, "import_module", lambda name: stub if "IPython" in name else import_module(name))
    assert "gpn.explore(&#x27;gelu&#x27;" in explorer.address.value  # in a notebook
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5.13")
    state = State("x+c*tanh(x)", 7.0, 300, 12, 0.35, "minus")
    monkeypatch.setenv("QUERY_STRING", query(state))
    page = widget.explore("gelu")
    assert page.state == state
    assert page.high.value == 7.0
    assert html.escape(query(state)) in page.address.value
    assert "replaceState" in shown[0]
    page.formula.value = "tanh"
    assert "formula=tanh" in page.address.value
    stand_in = SimpleNamespace(message=SimpleNamespace(value=""))
    monkeypatch.setattr(widget, "Explorer", lambda state, _: shown.append(state) or stand_in)
    for wrong in ("width=wide", "width=1", "root=both", "tolerance=nan", "parameter=inf", "depth=999999"):
        stand_in.message.value = ""
        monkeypatch.setenv("QUERY_STRING", wrong)
        widget.explore("gelu")
        assert shown[-1] == State("gelu")
        assert 'role="alert"' in stand_in.message.value


def test_the_adapted_member_is_that_of_design_and_can_be_shown(explorer, model, monkeypatch):
    """`gpn.design` takes seconds, so a stand-in answers; families that do not keep the depth ask it a second time."""
    asked = []
    conditions = model.conditions(model(State("tanh")))
    designed = SimpleNamespace(spec="relu", a=1.25, b=-0.5, conditions=conditions, chosen=SimpleNamespace(depth=50))
    designed.activation = SimpleNamespace(root="minus")

    def design(spec, depth, root):
        asked.append((spec, depth, root))
        if spec == "elu(alpha)":
            raise UsageError("no member keeps <this> depth")
        return designed

    monkeypatch.setattr(requested, "design", design)
    assert explorer.take.layout.display == "none"
    explorer.adapt.click()
    assert asked == [("gelu", 50, "auto")]
    assert "a = 1.25, b = -0.5 (root minus)" in explorer.adapted.value
    assert "relu: the four conditions at L = 50" in explorer.adapted.value
    assert explorer.take.layout.display == ""
    explorer.take.click()
    assert explorer.formula.value == "relu"
    assert (explorer.adapted.value, explorer.take.layout.display) == ("", "none")
    view = model(State("elu(alpha)", 1.3))
    assert requested.adapted(view) is designed
    assert asked[-1][0] is view.shape.phi
    monkeypatch.setattr(requested, "design", lambda *_, **__: design("elu(alpha)", 50, "auto"))
    explorer.adapt.click()
    assert "&lt;this&gt;" in explorer.message.value
    assert (explorer.adapted.value, explorer.take.layout.display) == ("", "none")


def test_the_explorer_shows_itself_in_jupyter_and_refuses_what_its_controls_cannot_show(explorer):
    from gpn.report.explorer.widget import explore

    assert "application/vnd.jupyter.widget-view+json" in str(explorer._repr_mimebundle_())
    for wrong in ({"limits": (1.0, 0.0)}, {"value": 3.0}, {"depth": 1}, {"epsilon": 9.0}, {"root": "both"}):
        with pytest.raises(UsageError):
            explore("gelu", **wrong)
    assert "cannot read" in explore("x*(").message.value


def test_without_ipywidgets_the_explorer_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(UsageError, match="pip install"):
        gpn.explore("gelu")


def test_the_numbers_live_in_a_kernel():
    """The very notebook of the command, run by Jupyter, shows a widget."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipywidgets")
    notebook = nbformat.reads(json.dumps(cli_explore.notebook("elu(alpha)")), as_version=4)
    done = nbclient.NotebookClient(notebook, timeout=120).execute()
    [output] = done.cells[1].outputs
    assert "application/vnd.jupyter.widget-view+json" in output["data"]


# ---------------------------------------------------------------------------------------------- command


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(["explore", *arguments])
    return ended.value.code, capsys.readouterr().err


def test_without_jupyter_the_command_says_how_to_install_it(capsys, monkeypatch):
    for there in ([], ["ipywidgets"]):
        monkeypatch.setattr(cli_explore, "find_spec", lambda name, there=there: name if name in there else None)
        code, error = run(capsys)
        assert code == 2
        assert error.count("\n") == 1
        assert "pip install 'gpn-theory[notebooks]'" in error


@pytest.fixture
def jupyter(monkeypatch):
    """Stands in for the server: notes what it is asked to open."""
    opened = []
    monkeypatch.setattr(cli_explore, "find_spec", lambda name: name)

    class Process:
        def __init__(self, command, cwd):
            opened.append((command, json.loads((cwd / command[-1]).read_text())))

        def wait(self, _timeout=None):
            return 0

        def terminate(self):
            pass

    monkeypatch.setattr(cli_explore.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cli_explore.subprocess, "Popen", Process)
    return opened


def test_the_command_opens_a_notebook_with_the_explorer(capsys, jupyter, tmp_path):
    saved = tmp_path / "mine.ipynb"
    assert run(capsys, "elu(alpha)", "--save", str(saved), "--no-browser")[0] == 0
    [(command, notebook)] = jupyter
    assert command[1:] == ["-m", "voila", "--no-browser", "mine.ipynb"]
    assert "Shift" not in str(notebook)
    assert "".join(notebook["cells"][1]["source"]).endswith("explore('elu(alpha)')")
    code, error = run(capsys, "--save", str(saved))
    assert (code, len(jupyter)) == (2, 1)
    assert "exists" in error


def test_options_go_to_jupyter(capsys, jupyter, monkeypatch):
    for arguments, options in [
        (["gelu", "--", "--port", "8899"], ["--port", "8899"]),
        (["--", "--ip", "0.0.0.0"], ["--Voila.ip", "0.0.0.0"]),
        (["--", "--ip=0.0.0.0", "--allow-root"], ["--Voila.ip=0.0.0.0"]),
        (["gelu", "--lab", "--", "--ip", "0.0.0.0"], ["--ip", "0.0.0.0"]),
        (["--", "-x", "--port=1"], ["--port=1"]),
    ]:
        assert run(capsys, *arguments)[0] == 0
        assert jupyter[-1][0][3:-1] == options
    assert "explore('-x')" in "".join(jupyter[-1][1]["cells"][1]["source"])
    assert run(capsys, "x", "*", "tanh(x)")[0] == 2
    monkeypatch.setattr(cli_explore.os, "geteuid", lambda: 0)
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for lab, name, options in (([], "Voilà", []), (["--lab"], "JupyterLab", ["--allow-root"])):
        code, error = run(capsys, "gelu", *lab)  # as in a container
        assert (code, jupyter[-1][0][3:-1]) == (0, [*options, "--no-browser"])
        assert f"open the address that {name} prints" in error


def test_without_voila_the_notebook_opens_in_jupyterlab_with_a_hint(capsys, jupyter, monkeypatch):
    monkeypatch.setattr(cli_explore, "find_spec", lambda name: None if name == "voila" else name)
    code, error = run(capsys, "gelu")
    assert (code, jupyter[-1][0][2]) == (0, "jupyterlab")
    assert error.splitlines()[0].endswith("install with: pip install 'gpn-theory[notebooks]'")
    assert "Shift+Enter" in str(jupyter[-1][1])


SERVER = """
import os, pathlib, time
pathlib.Path(os.environ["TOLD"]).write_text(f"{os.getpid()} {os.getcwd()}")
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_neither_server_nor_folder(tmp_path, number):
    pytest.importorskip("ipywidgets")
    (tmp_path / "voila").mkdir()
    (tmp_path / "voila" / "__init__.py").touch()
    (tmp_path / "voila" / "__main__.py").write_text(SERVER)
    told, place = tmp_path / "told", os.pathsep.join([str(tmp_path), str(ROOT)])
    with subprocess.Popen(
        [sys.executable, "-X", "utf8", "-m", "gpn", "explore"],
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": place, "TOLD": str(told)},
        stderr=subprocess.PIPE,
    ) as process:
        while not (told.exists() and told.read_text().count(" ")):
            assert process.poll() is None
            time.sleep(0.05)
        server, folder = told.read_text().split(" ", 1)
        assert Path(folder).is_dir()
        process.send_signal(number)
        _, error = process.communicate()
    assert process.returncode == 143
    assert error.splitlines()[-1] == "gpn: terminated, and Voilà with it"
    assert not Path(folder).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(server), 0)


def test_without_save_nothing_is_left(capsys, jupyter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_explore.tempfile, "tempdir", str(tmp_path))
    assert run(capsys)[0] == 0
    assert len(jupyter) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["x*("], ["--save", "here.txt"], ["--save", "missing/folder/a.ipynb"]])
def test_wrong_use_opens_nothing(capsys, jupyter, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, error = run(capsys, *arguments)
    assert (code, error.count("\n"), jupyter) == (2, 1, [])


def test_the_notebook_of_the_command_is_valid():
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(cli_explore.notebook("x*sigmoid(beta*x)"))
    with_quotes = cli_explore.notebook('it\'s "x"')["cells"][1]["source"]
    compile("".join(with_quotes), "cell", "exec")
