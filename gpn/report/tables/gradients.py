"""What a person reads of the experiment on gradient profiles."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpn.report.words.paper_findings import _LOG10, display, factor, findings, power
from gpn.report.words.terminal import new_table
from gpn.report.words.text import plain
from gpn.reproduction import gradient_rates
from gpn.reproduction.gradient_settings import GPN

if TYPE_CHECKING:
    from gpn.reproduction.gradient_results import GradientReport, NetworkGradients, Rate


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
    parts: list[RenderableType] = [
        Text(head, style="bold"),
        Text(" ".join(findings(report))),
        Text(),
        _rates(report),
        Text(),
    ]
    parts += [Text(line, style="dim") for line in rates]
    parts += [Text(), Text(title, style="bold"), _bottoms(report), Text(), Text(band, style="dim")]
    if report.growth:
        title = (
            "Batch normalization, Haar weights: growth of log |dE/dW_l|^2 per layer, from layer L to 1 (the largest L "
            f"with {level} intervals); factor: median of |dE/dW_1| / |dE/dW_L| there"
        )
        parts += [Text(), Text(title, style="bold"), _growth(report)]
    parts += [Text(), *(Text(f"- {plain(note, 1000)}", style="dim") for note in _all_notes(report))]
    return Group(*parts)


def _rates(report: "GradientReport") -> Table:
    headers = ("network", "weights", "at q*", "here", "measured rate", "verdict")
    table = new_table(headers, right=("at q*", "here"), words=("network",))
    for rate in report.networks:
        table.add_row(
            _network(rate),
            rate.weights.capitalize(),
            _at_fixed_point(rate),
            _signed(rate.predicted),
            _measured(rate),
            Text(rate.verdict, style=_STYLES.get(rate.verdict, "")),
        )
    return table


def _bottoms(report: "GradientReport") -> Table:
    headers = ("network", "weights", "5 %", "median", "95 %", "in band")
    table = new_table(headers, right=headers[2:], words=("network",))
    for network in report.networks:
        low, _, middle, _, high = network.log_quantiles[0] / _LOG10
        coverage = "-" if network.coverage is None else f"{100 * network.coverage:.0f} %"
        table.add_row(_network(network), network.weights.capitalize(), *map(power, (low, middle, high)), coverage)
    return table


def _network(rate: "Rate") -> str:
    name = display(rate.activation)
    return f"GPN {name} b{'₊' if rate.root == 'plus' else '₋'}" if rate.treatment == GPN else f"{name} {rate.treatment}"


def _at_fixed_point(rate: "Rate") -> str:
    if rate.below is not None and rate.above is not None:
        return f"{rate.below:+.2f}, {rate.above:+.2f}"
    return _signed(rate.fixed_point)


def _measured(rate: "Rate") -> str:
    if rate.measured is None or rate.lower is None or rate.upper is None:
        return "-"
    return f"{rate.measured:+.4f} ± {(rate.upper - rate.lower) / 2:.4f}"


def _signed(value: float | None) -> str:
    """
    >>> _signed(0.0691), _signed(-1e-17), _signed(None)
    ('+0.0691', '0', '-')
    """
    if value is None:
        return "-"
    return "0" if abs(value) < 5e-5 else f"{value:+.4f}"


def _growth(report: "GradientReport") -> Table:
    *others, deepest = sorted({row.depth for row in report.growth})
    headers = ("network", "k", "k to inf.", "at k", *(f"L = {depth}" for depth in others), f"L = {deepest}", "factor")
    table = new_table(headers, right=(*headers[1:-2], headers[-1]))
    for name in dict.fromkeys(row.activation for row in report.growth):
        for batch in sorted({row.batch for row in report.growth}):
            rows = {r.depth: r for r in report.growth if (r.activation, r.batch) == (name, batch)}
            last = rows[deepest]
            table.add_row(
                display(name),
                str(batch),
                _signed(last.large_batch),
                _signed(last.predicted),
                *(_signed(rows[depth].measured) for depth in others),
                f"{last.measured:+.4f} ± {(last.upper - last.lower) / 2:.4f}",
                factor(last.factor),
            )
    return table


def _losses(network: "NetworkGradients") -> Iterable[tuple[int, str]]:
    return (
        (network.vanished, "networks have gradients that vanished to 0 in float64"),
        (network.overflowed, "networks overflowed, their gradients are unknown"),
    )


def _all_notes(report: "GradientReport") -> Iterable[str]:
    yield from report.notes
    for network in report.networks:
        lost = [f"{n} of {network.trials} {w}" for n, w in _losses(network) if n]
        if lost:
            kind = f"{_network(network)}, {network.weights.capitalize()} weights"
            yield f"{kind}: {' and '.join(lost)}; no rate is given."
    reasons: dict[str, list[str]] = {}
    for network in report.networks:
        if network.treatment == GPN and network.weights == "haar" and network.no_prediction:
            reasons.setdefault(network.no_prediction, []).append(_network(network))
    for reason, networks in reasons.items():
        yield f"No predicted band for {', '.join(networks)}: {reason}."
