"""The controls of the explorer, which make a state of the model.

They need ipywidgets: `pip install 'gpn-theory[notebooks]'`.
"""

from importlib import import_module
from typing import Any

from gpn.engine.arguments import vocabulary
from gpn.report.explorer import text as explorer_text
from gpn.report.explorer.figure import Panels
from gpn.report.explorer.model import WIDTHS, Model, State, certificate
from theory.activations.catalog import CATALOG
from theory.errors import UsageError

_FAMILIES = ("leaky_relu(s)", "elu(alpha)", "x*sigmoid(beta*x)", "tanh(x)+c*x", "sin(w*x)")
_ROOTS = (("root: auto", "auto"), ("b₊", "plus"), ("b₋", "minus"))
_DEEPEST = 200
_STEPS = 200  # of the slider of the parameter
_SLIDER = {"style": {"description_width": "90px"}, "layout": {"width": "380px"}}
_BUTTONS = {"style": {"button_width": "100px"}, "layout": {"width": "380px"}}


class Explorer:
    """The controls, the figure and the numbers, as one widget.

    Args:
        state: where the controls stand first.
        limits: ends of the slider of the parameter.
    """

    def __init__(self, state: State, limits: tuple[float, float] = (0.0, 2.0)) -> None:
        self._widgets = ipywidgets()
        self._model, self._panels = Model(), Panels()
        self._name_activation(state, limits)
        self._name_network(state)
        rows = (
            (self.formula, self.parameter),
            (self.width, self.depth, self.epsilon),
            (self.root, self.certify),
        )
        answers = (self.message, self.image, self.summary, self.certified)
        self.box = self._widgets.VBox([*map(self._widgets.HBox, rows), *answers])
        for control in (self.formula, self.value, *rows[1], self.root):
            control.observe(lambda _: self._move(), names="value")
        for end in (self.low, self.high):
            end.observe(lambda _: self._rescale(), names="value")
        self.certify.on_click(lambda _: self._certify())
        self._move()

    def _name_activation(self, state: State, limits: tuple[float, float]) -> None:
        """The controls of the formula and its parameter."""
        widgets, (low, high) = self._widgets, limits
        self.formula = widgets.Combobox(
            value=state.formula,
            options=(*CATALOG, *_FAMILIES),
            ensure_option=False,
            continuous_update=False,
            description="φ(x)",
            placeholder="a name or a formula, such as x*sigmoid(beta*x)",
            **_SLIDER,
        )
        self.value = widgets.FloatSlider(
            value=state.value, min=low, max=high, step=(high - low) / _STEPS, readout_format=".3f", **_SLIDER
        )
        self.low = widgets.FloatText(value=low, description="from", layout={"width": "150px"})
        self.high = widgets.FloatText(value=high, description="to", layout={"width": "150px"})
        self.parameter = widgets.HBox([self.value, self.low, self.high])

    def _name_network(self, state: State) -> None:
        """The controls of the network, and what shows the answers."""
        widgets, deepest = self._widgets, max(_DEEPEST, state.depth)
        self.width = widgets.SelectionSlider(
            options=sorted({*WIDTHS, state.width}), value=state.width, description="width n", **_SLIDER
        )
        self.depth = widgets.IntSlider(value=state.depth, min=2, max=deepest, description="depth L", **_SLIDER)
        self.epsilon = widgets.FloatSlider(
            value=state.epsilon, min=0.05, max=2.0, step=0.05, description="tolerance ε", **_SLIDER
        )
        self.root = widgets.ToggleButtons(options=_ROOTS, value=state.root, **_BUTTONS)
        self.certify = widgets.Button(
            description="Certify (seconds)", tooltip="certified digits, exact and proved probabilities"
        )
        self.message, self.summary, self.certified = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.image = widgets.Image(format="png", layout={"max_width": "100%"})

    @property
    def state(self) -> State:
        """The state that the controls show."""
        value = round(float(self.value.value), 10)
        return State(self.formula.value, value, self.width.value, self.depth.value, self.epsilon.value, self.root.value)

    def _move(self) -> None:
        """Show the present state, or say why it cannot be shown beside the last one that could."""
        self.certified.value = ""
        view = self._guarded(lambda: self._model(self.state))
        if view is None:
            return
        self.parameter.layout.display = "none" if view.shape.parameter is None else ""
        self.value.description = view.shape.parameter or ""
        self._panels.draw(view)
        self.image.value = self._panels.png()
        self.summary.value = explorer_text.summary(view)

    def _rescale(self) -> None:
        low, high = self.low.value, self.high.value
        if not low < high:
            words = f"the slider goes from a number to a larger one, not {low:g} to {high:g}"
            self.message.value = explorer_text.complaint(words)
            return
        self.message.value = ""
        self.value.min, self.value.max = min(low, self.value.max), high  # never min above max in between
        self.value.min = low
        self.value.step = (high - low) / _STEPS

    def _certify(self) -> None:
        view = self._guarded(lambda: self._model(self.state))
        if view is None:
            return
        self.certified.value = "computing ..."
        proved = self._guarded(lambda: certificate(view))
        self.certified.value = "" if proved is None else explorer_text.certified(proved, view)

    def _guarded(self, compute: Any) -> Any:
        """The result; None with a message where there is none, since a trace would land in a log that is not shown."""
        words, result = "", None
        try:
            result = compute()
        except UsageError as error:
            words = str(error)
        except Exception as error:
            words = f"this cannot be computed ({type(error).__name__}: {error})"
        self.message.value = explorer_text.complaint(words) if words else ""
        return result

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)


def ipywidgets() -> Any:
    """The library of widgets, imported when it is needed.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module("ipywidgets")
    except ModuleNotFoundError:
        raise UsageError("the explorer needs ipywidgets; install with: pip install 'gpn-theory[notebooks]'") from None


@vocabulary()
def explore(
    spec: str = "gelu",
    *,
    value: float = 0.5,
    limits: tuple[float, float] = (0.0, 2.0),
    width: int = 256,
    depth: int = 50,
    epsilon: float = 0.5,
    root: str = "auto",
) -> Explorer:
    """Explore an activation in Jupyter, normalized first (`root`): length map, gradients and bounds follow the sliders.

    Args:
        spec: a name or a formula in x, with at most one free parameter, such as "elu(alpha)".
        value, limits: the first value and the range of the parameter.
        width, depth, epsilon: n, L and the tolerance; they and all else can be moved afterwards.
        root: "auto", "plus" or "minus".

    Raises:
        UsageError: ipywidgets is missing, or a root, a number or limits that the controls cannot show. A formula that
            cannot be read is reported in the widget.
    """
    if not limits[0] <= value <= limits[1] or not limits[0] < limits[1]:
        raise UsageError(f"the value {value:g} must lie within the limits, not {limits}; try limits=(0, 2)")
    if not (2 <= depth and 0.05 <= epsilon <= 2 and 2 <= width <= 10**7):
        raise UsageError("the depth and the width are at least 2, epsilon is from 0.05 to 2")
    if root not in dict(_ROOTS).values():
        raise UsageError(f"the root is auto, plus or minus, not {root!r:.40}")
    return Explorer(State(spec, value, width, depth, epsilon, root), limits)
