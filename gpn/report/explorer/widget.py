"""The controls of the explorer, which make a state of the model.

They need ipywidgets: `pip install 'gpn-theory[notebooks]'`.
"""

import os
from importlib import import_module
from typing import Any

import numpy as np

from gpn.engine.arguments import vocabulary
from gpn.report.explorer import text as explorer_text
from gpn.report.explorer.address import from_query
from gpn.report.explorer.figure import Panels
from gpn.report.explorer.model import WIDTHS, Model, State
from gpn.report.explorer.requested import adapted, certificate
from theory.activations.catalog import CATALOG
from theory.errors import UsageError

_FAMILIES = ("leaky_relu(s)", "elu(alpha)", "x*sigmoid(beta*x)", "tanh(x)+c*x", "sin(w*x)")
_ROOTS = (("root: auto", "auto"), ("b₊", "plus"), ("b₋", "minus"))
_DEEPEST = 200
_FARTHEST = 1e6  # of a parameter in an address
_STEPS = 200  # of the slider of the parameter
_FOLLOW = """new MutationObserver(() => {
  const link = document.querySelector("a.gpn-view");
  if (link && link.href !== location.href) history.replaceState(null, "", link.href);
}).observe(document, {childList: true, subtree: true});"""  # the address of the page follows the link to the view
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
            (self.root, self.adapt, self.take, self.certify, self.address),
        )
        answers = (self.message, self.image, self.conditions, self.adapted, self.summary, self.certified)
        self.box = self._widgets.VBox([*map(self._widgets.HBox, rows), *answers])
        for control in (self.formula, self.value, *rows[1], self.root):
            control.observe(lambda _: self._move(), names="value")
        for end in (self.low, self.high):
            end.observe(lambda _: self._rescale(), names="value")
        self.certify.on_click(lambda _: self._certify())
        self.adapt.on_click(lambda _: self._adapt())
        self.take.on_click(lambda _: self._take())
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
        self.adapt = widgets.Button(
            description="Adapt to this depth", tooltip="what gpn design chooses for this depth; takes seconds"
        )
        self.take = widgets.Button(description="Show this member", layout={"display": "none"})
        self.message, self.summary, self.certified = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.conditions, self.adapted, self.address = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._member = ""  # the formula of the adapted member
        self.image = widgets.Image(format="png", layout={"max_width": "100%"})

    @property
    def state(self) -> State:
        """The state that the controls show."""
        value, epsilon = (round(float(slider.value), 10) for slider in (self.value, self.epsilon))
        return State(self.formula.value, value, self.width.value, self.depth.value, epsilon, self.root.value)

    def _move(self) -> None:
        """Show the present state, or say why it cannot be shown beside the last one that could."""
        self.certified.value = self.adapted.value = ""
        self.take.layout.display = "none"
        view = self._guarded(lambda: self._model(self.state))
        if view is None:
            return
        self.parameter.layout.display = "none" if view.shape.parameter is None else ""
        self.value.description = view.shape.parameter or ""
        self._panels.draw(view)
        self.image.value = self._panels.png()
        self.summary.value = explorer_text.summary(view)
        self.address.value = explorer_text.address(view.state, page=on_a_page())
        found = self._guarded(lambda: self._model.conditions(view))
        self.conditions.value = "" if found is None else explorer_text.conditions(found)

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

    def _adapt(self) -> None:
        view = self._guarded(lambda: self._model(self.state))
        if view is None:
            return
        self.adapted.value = "computing, some seconds ..."
        report = self._guarded(lambda: adapted(view))
        self.adapted.value = "" if report is None else explorer_text.designed(report)
        self._member = "" if report is None else report.spec
        self.take.layout.display = "none" if report is None else ""

    def _take(self) -> None:
        self.formula.value = self._member

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


def on_a_page() -> bool:
    """Whether this kernel belongs to a page of its own, which Voilà serves."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


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

    On a page of its own (`gpn explore`) the address of the page says where the controls stand, if it holds a state.

    Raises:
        UsageError: ipywidgets is missing, or a root, a number or limits that the controls cannot show. A formula that
            cannot be read is reported in the widget.
    """
    start = State(spec, value, width, depth, epsilon, root)
    if not limits[0] <= value <= limits[1] or not limits[0] < limits[1]:
        raise UsageError(f"the value {value:g} must lie within the limits, not {limits}; try limits=(0, 2)")
    _check(start)
    return _at_address(os.environ.get("QUERY_STRING", ""), start, limits) if on_a_page() else Explorer(start, limits)


def _check(state: State) -> None:
    one = all(np.ndim(number) == 0 for number in (state.depth, state.epsilon, state.width))
    if not (one and 2 <= state.depth <= 4096 and 0.05 <= state.epsilon <= 2 and 2 <= state.width <= 10**7):
        raise UsageError("the depth is from 2 to 4096, the width from 2, epsilon from 0.05 to 2")
    if state.root not in dict(_ROOTS).values():
        raise UsageError(f"the root is auto, plus or minus, not {state.root!r:.40}")


def _at_address(query: str, start: State, limits: tuple[float, float]) -> Explorer:
    """The explorer as the address of its page says; where it says nothing that can be shown, as it starts."""
    ipython = import_module("IPython.display")
    ipython.display(ipython.HTML(f"<script>{_FOLLOW}</script>"))
    try:
        state = from_query(query, start)
        _check(state)
        if not abs(state.value) <= _FARTHEST:
            raise UsageError(f"the address says parameter={state.value:g}; write a number from -1e6 to 1e6")
    except UsageError as error:
        explorer = Explorer(start, limits)
        explorer.message.value = explorer_text.complaint(str(error))
        return explorer
    return Explorer(state, (min(limits[0], state.value), max(limits[1], state.value)))
