"""Tables of the experiment on gradient profiles in the terminal."""

from collections.abc import Iterable
from functools import partial
from math import log
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.paper_findings import display, factor, findings, power
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import TableCell, plain
from gpn.reproduction import gradient_rates
from gpn.reproduction.gradient_results import PROBABILITIES
from gpn.reproduction.gradient_settings import GPN

if TYPE_CHECKING:
    from gpn.reproduction.gradient_results import GradientReport, Growth, NetworkGradients, Rate

_STYLES = {
    gradient_rates.AGREES: "green",
    gradient_rates.ON_THE_WAY: "green",
    gradient_rates.DIFFERS: "bold red",
    gradient_rates.UNDECIDED: "yellow",
    gradient_rates.NO_RATE: "red",
    gradient_rates.LOST: "bold red",
}


def gradients(report: "GradientReport") -> RenderableType:
    """The whole report: what is measured, rates, growth under batch normalization, notes."""
    settings = report.settings
    level = f"{100 * settings.level:g} %"
    head = (
        f"Gradient norms by layer at initialization: width n = {settings.width}, depth L = {settings.depth}; "
        f"{settings.trials} networks of each kind ({settings.batch_trials} with batch normalization of "
        f"{settings.batch} inputs)"
    )
    first, last = gradient_rates.window(settings.depth)
    rates = (
        f"rate: growth of log |dE/dh_l|^2 per layer downwards, from layer {last} to {first} (batch norm: of log "
        f"|dE/dW_l|^2), with {level} intervals.",
        "at q*: mean field at the fixed point of the length map; here: in these layers, on the way there. For batch "
        "norm: batch to infinity, and with what the size of the batch adds.",
        "agrees: the interval lies within 5/n (batch norm: + 5/k^2) of both; on the way: of what is predicted here "
        "only; unstable: there is no single rate.",
    )
    title = "|dE/dW_1|_F / sqrt(n) (batch norm: sqrt(n k)): 1 if all norms are preserved"
    band = "in band: share of networks in the 90 % band that the fluctuation law predicts (GPN, Haar weights)."
    growth_title = (
        "Batch normalization, Haar weights: growth of log |dE/dW_l|^2 per layer, from layer L to 1 (the largest L "
        f"with {level} intervals); factor: median of |dE/dW_1| / |dE/dW_L| there"
    )
    return paragraphs(
        [Text(head, style="bold"), Text(" ".join(findings(report)))],
        [terminal_table(_RATES, report.networks)],
        [Text(line, style="dim") for line in rates],
        [Text(title, style="bold"), terminal_table(_BOTTOMS, report.networks)],
        [Text(band, style="dim")],
        [Text(growth_title, style="bold"), _growth(report)] if report.growth else [],
        [Text(f"- {plain(note, 1000)}", style="dim") for note in _all_notes(report)],
    )


_RATES: "tuple[Column[Rate], ...]" = (
    Column("network", lambda rate: _network(rate), wraps=True),
    Column("weights", lambda rate: rate.weights.capitalize()),
    Column("at q*", lambda rate: _at_fixed_point(rate), right=True),
    Column("here", lambda rate: _signed(rate.predicted), right=True),
    Column("measured rate", lambda rate: _measured(rate)),
    Column("verdict", lambda rate: TableCell(rate.verdict, rate.verdict, _STYLES.get(rate.verdict, ""))),
)
_BOTTOMS: "tuple[Column[NetworkGradients], ...]" = (
    Column("network", lambda network: _network(network), wraps=True),
    Column("weights", lambda network: network.weights.capitalize()),
    Column("5 %", lambda network: _bottom(network, 0.05), right=True),
    Column("median", lambda network: _bottom(network, 0.5), right=True),
    Column("95 %", lambda network: _bottom(network, 0.95), right=True),
    Column("in band", lambda network: _coverage(network), right=True),
)


def _bottom(network: "NetworkGradients", probability: float) -> str:
    """A quantile of the gradient norm of layer 1."""
    return power(network.log_quantiles[0, PROBABILITIES.index(probability)] / log(10))


def _coverage(network: "NetworkGradients") -> str:
    return "-" if network.coverage is None else f"{100 * network.coverage:.0f} %"


def _network(rate: "Rate") -> str:
    name = display(rate.activation)
    return f"GPN {name} b{'₊' if rate.root == 'plus' else '₋'}" if rate.treatment == GPN else f"{name} {rate.treatment}"


def _at_fixed_point(rate: "Rate") -> str:
    if rate.below is not None and rate.above is not None:
        return f"{rate.below:+.2f}, {rate.above:+.2f}"
    return _signed(rate.fixed_point)


def _measured(rate: "Rate | Growth") -> str:
    if rate.measured is None or rate.lower is None or rate.upper is None:
        return "-"
    return f"{rate.measured:+.4f} ± {(rate.upper - rate.lower) / 2:.4f}"


def _signed(value: float | None) -> str:
    """A rate with its sign.

    >>> _signed(0.0691), _signed(-1e-17), _signed(None)
    ('+0.0691', '0', '-')
    """
    if value is None:
        return "-"
    return "0" if abs(value) < 5e-5 else f"{value:+.4f}"


def _growth(report: "GradientReport") -> Table:
    *others, deepest = sorted({row.depth for row in report.growth})
    networks = dict.fromkeys((row.activation, row.batch) for row in report.growth)
    names = list(dict.fromkeys(name for name, _ in networks))
    items = [
        {row.depth: row for row in report.growth if (row.activation, row.batch) == network}
        for network in sorted(networks, key=lambda network: (names.index(network[0]), network[1]))
    ]

    def growth_at(depth: int, rows: "dict[int, Growth]") -> str:
        return _signed(rows[depth].measured)

    columns: list[Column[dict[int, Growth]]] = [
        Column("network", lambda rows: display(rows[deepest].activation)),
        Column("k", lambda rows: str(rows[deepest].batch), right=True),
        Column("k to inf.", lambda rows: _signed(rows[deepest].large_batch), right=True),
        Column("at k", lambda rows: _signed(rows[deepest].predicted), right=True),
        *(Column(f"L = {depth}", partial(growth_at, depth), right=True) for depth in others),
        Column(f"L = {deepest}", lambda rows: _measured(rows[deepest])),
        Column("factor", lambda rows: factor(rows[deepest].factor), right=True),
    ]
    return terminal_table(columns, items)


def _all_notes(report: "GradientReport") -> Iterable[str]:
    yield from report.notes
    reasons: dict[str, list[str]] = {}
    for network in report.networks:
        losses = (
            (network.vanished, "networks have gradients that vanished to 0 in float64"),
            (network.overflowed, "networks overflowed, their gradients are unknown"),
        )
        lost = [f"{count} of {network.trials} {words}" for count, words in losses if count]
        if lost:
            kind = f"{_network(network)}, {network.weights.capitalize()} weights"
            yield f"{kind}: {' and '.join(lost)}; no rate is given."
        if network.treatment == GPN and network.weights == "haar" and network.no_prediction:
            reasons.setdefault(network.no_prediction, []).append(_network(network))
    for reason, networks in reasons.items():
        yield f"No predicted band for {', '.join(networks)}: {reason}."
