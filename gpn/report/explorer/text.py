"""What the explorer says in words and numbers beside its figure, as HTML; all that a user typed is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from gpn.report.explorer.address import call, query
from gpn.report.explorer.model import Root, State, View
from gpn.report.words.findings import MOMENT_LABELS, number_text
from gpn.report.words.text import ROOT_SIGNS, STABILITY, plain, short_number
from gpn.report.words.trainability import design_finding
from theory.activations.activation import Activation
from theory.layer.levy import Bound

if TYPE_CHECKING:
    from gpn.checking.depth_conditions import DepthConditions
    from gpn.checking.designing import DesignReport
    from gpn.report.explorer.requested import Certificate
_LIGHTS = {"kept": "#1a7f37", "weak": "#9a6700", "not known": "#9a6700", "lost": "#b42318"}
_EVENTS = (
    "Leaving the tolerance ε: in one layer, the squared length per neuron leaves 1 ± ε; in the whole network, the "
    "squared gradient norm of some layer differs from the top layer's by more than a factor exp(ε)."
)


def summary(view: View) -> str:
    """The moments and both roots in float64."""
    shape, numbers = view.shape, view.shape.numbers
    head = f"<b>{_said(shape.phi.name)}</b>"
    if isinstance(shape.phi, Activation):
        head += f": φ(x) = <code>{_said(str(shape.phi.expression))}</code>"
    if numbers.reason:
        return f"<div>{head}<br>cannot be normalized: {_said(numbers.reason)}</div>"
    moments = (
        f"E φ = {numbers.mean:.8g}, E φ² = {numbers.second_moment:.8g}, E φ'² = {numbers.slope_second_moment:.8g} "
        f"(float64, error below {short_number(max(numbers.error, 1e-16), 2)})"
    )
    rows = [_root_row(root, chosen=root is view.root) for root in shape.roots]
    table = _table(("root", "a", "b", "χ = Q'(1)", "in depth"), rows)
    return f"<div>{head}<br>{_said(moments)}</div>{table}<div>{_said(_EVENTS)}</div>"


def certified(certificate: "Certificate", view: View) -> str:
    """The certified digits, and what is proved or exact at the width that is shown.

    Args:
        certificate: from `gpn.report.explorer.requested.certificate`.
        view: what is shown.
    """
    conditions = certificate.conditions
    how = "certified" if conditions.certified else f"not certified: {conditions.uncertified}"
    rows = [(label, number_text(conditions, name)) for name, label in MOMENT_LABELS.items()]
    for root in conditions.normalizations:
        sign = ROOT_SIGNS[root.root]
        rows += [("a", root.a.digits), (f"b{sign}", root.b.digits), (f"χ{sign}", root.chi.digits)]
    parts = [f"<div><b>Digits, {_said(how)}</b></div>", _table(("", "value"), rows)]
    state = view.state
    if certificate.tails:
        tails = []
        for tail in certificate.tails:
            exact = short_number(tail.exact.probability) if tail.exact.available else f"none ({tail.exact.reason})"
            event = "q ≥ 1 + ε" if tail.side == "upper" else "q ≤ 1 − ε"
            tails.append((event, exact, _bound(tail.cramer), _bound(tail.levy)))
        parts.append(f"<div><b>One layer, n = {state.width}, ε = {state.epsilon:g}</b></div>")
        parts.append(_table(("event", "exact", "Cramér's bound", "Lévy's bound"), tails))
    whole = ((certificate.predicted, "prediction"), (certificate.deep, "deep bound, numerical,"))
    said = [f"{kind} {_bound(bound)}" for bound, kind in whole if bound is not None]
    if said:
        words = f"Whole network, n = {state.width}, L = {state.depth}, ε = {state.epsilon:g}: {'; '.join(said)}."
        parts.append(f"<div>{_said(words)}</div>")
    return "".join(parts)


def conditions(found: "DepthConditions", *, title: str = "Depth") -> str:
    """The four conditions of depth, each with its light.

    Args:
        found: the conditions.
        title: whose they are.
    """
    head = f"<div><b>{_said(title)}: the four conditions at L = {found.depth}</b></div>"
    lights = {light: f'<b style="color:{colour}">{light}</b>' for light, colour in _LIGHTS.items()}
    rows = ((one.name, _Html(lights[one.light]), short_number(one.value), one.words) for one in found.all())
    return head + _table(("condition", "", "value", "what it is"), rows)


def designed(report: "DesignReport") -> str:
    """The adapted member: its constants and its conditions.

    Args:
        report: from `gpn.design`.
    """
    constants = f"a = {report.a:.10g}, b = {report.b:.10g} (root {report.activation.root})"
    head = f"<div><b>{_said(design_finding(report))}</b><br>{_said(constants)}</div>"
    return head + conditions(report.conditions, title=plain(report.spec, 60))


def address(state: State, *, page: bool) -> str:
    """How the present view is sent or made again: a link on a page of its own, a line of Python in a notebook.

    Args:
        state: what is shown.
        page: whether the explorer is a page of its own, whose address holds the state.
    """
    if page:
        link = f'class="gpn-view" style="text-decoration:underline" href="?{escape(query(state))}"'
        return f"<a {link}>Link to this view</a>"
    return f"<div>This view: <code>{_said(call(state))}</code></div>"


def complaint(words: str) -> str:
    """A message in place of a trace."""
    return f'<div role="alert" style="color:#a40000"><b>{_said(words)}</b></div>'


def _bound(bound: Bound) -> str:
    """A probability, or why there is none."""
    missing = bound.kind.startswith("none") or bound.reason
    return f"none ({bound.reason})" if missing else short_number(bound.probability)


def _root_row(root: Root, *, chosen: bool) -> tuple[str, ...]:
    name = f"{root.name}, in the network" if chosen else root.name
    return name, f"{root.a:.10g}", f"{root.b:.10g}", f"{root.chi:.6g}", STABILITY[root.stability]


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th style="text-align:left;padding-right:1.5em">{_said(header)}</th>' for header in headers)
    cells = ("".join(f'<td style="padding-right:1.5em">{_cell(cell)}</td>' for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<table style="border-spacing:0;margin:0.3em 0"><tr>{head}</tr>{body}</table>'


class _Html(str):
    """Text that is HTML already."""


def _cell(text: str) -> str:
    return text if isinstance(text, _Html) else _said(text)


def _said(text: str) -> str:
    return escape(plain(text, 600))
