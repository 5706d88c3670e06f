"""What the two experiments of the paper show, in words: for titles and tables."""

import math
from typing import TYPE_CHECKING

from gpn.report.words.text import plain
from gpn.reproduction.comparison_grid import RECIPES
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED, GPN, PLAIN

if TYPE_CHECKING:
    from gpn.reproduction.comparison_results import ComparisonReport, Measured
    from gpn.reproduction.gradient_results import GradientReport


NAMES = {
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
}


_LOG10 = math.log(10.0)


def findings(report: "GradientReport") -> list[str]:
    """What the profiles show, a sentence for each treatment, at least one."""
    sentences = []
    spans = _spans(report, GPN)
    if spans:
        reach = 10 ** max(spans)
        sentences.append(
            f"Normalized (GPN), Haar weights: in every layer 90 % of the gradient norms stay within a factor "
            f"{factor(reach)} of 1."
        )
    lost, gained = _extremes(report, PLAIN), _extremes(report, BATCH_NORMALIZED)
    if lost is not None:
        sentences.append(f"As they are, the activations take them to between {power(lost[0])} and {power(lost[1])}.")
    overflow = [display(p.activation) for p in report.networks if p.treatment == PLAIN and p.overflowed == p.trials]
    if overflow:
        sentences.append(f"As it is, {' and '.join(dict.fromkeys(overflow))} overflows float64.")
    if gained is not None:
        sentences.append(f"With batch normalization they reach {power(gained[1])}.")
    return sentences or ["Every network overflows float64."]


def _spans(report: "GradientReport", treatment: str) -> list[float]:
    """For each activation the farthest decade that the 5 % to 95 % band reaches, recommended roots, Haar weights."""
    found = []
    for name in report.activations:
        network = report.find(name, treatment)
        if network is not None:
            quantiles = network.log_quantiles[:, [0, -1]] / _LOG10
            found.append(float(abs(quantiles).max()))
    return [span for span in found if math.isfinite(span)]


def _extremes(report: "GradientReport", treatment: str) -> tuple[float, float] | None:
    """Least and largest median of any layer and activation, as decimal logarithms."""
    networks = [report.find(name, treatment) for name in report.activations]
    medians = [network.log_median / _LOG10 for network in networks if network is not None]
    medians = [median for median in medians if not any(map(math.isnan, median))]
    if not medians:
        return None
    return min(float(m.min()) for m in medians), max(float(m.max()) for m in medians)


def display(name: str) -> str:
    """An activation's name as people write it.

    >>> display("relu"), display("x*tanh(x)")
    ('ReLU', 'x*tanh(x)')
    """
    return NAMES.get(name, plain(name, 24))


def power(decimal: float) -> str:
    """A number given by its decimal logarithm, however large or small.

    >>> power(-300.0), power(0.01), power(-400.5), power(-math.inf)
    ('1e-300', '1.02', '3e-401', '0')
    """
    if not math.isfinite(decimal):
        return "unknown" if math.isnan(decimal) else ("0" if decimal < 0 else "overflow")
    if -2 <= decimal < 3:
        return f"{10**decimal:.3g}"
    exponent = math.floor(decimal + 1e-9)
    digit = round(10 ** (decimal - exponent))
    return f"1e{exponent + 1}" if digit == 10 else f"{digit}e{exponent}"


def factor(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else power(math.log10(value))


def comparison_findings(report: "ComparisonReport") -> list[str]:
    """What the comparison shows at its greatest depth, a sentence for each activation."""
    return [sentence for name in report.activations if (sentence := finding(report, name))]


def finding(report: "ComparisonReport", activation: str) -> str:
    """Orthogonal GPN networks against plain Gaussian ones at the greatest depth, and against themselves when shallow.

    Args:
        report: of the run.
        activation: one of its names.
    """
    shallow, deep = report.depths[0], report.depths[-1]
    gpn, plain_one = report.find(activation, "gpn", deep), report.find(activation, "plain-gaussian", deep)
    if gpn is None:
        return ""
    words = f"{display(activation)}, {deep} layers: GPN, orthogonal {gpn.accuracy:.1%}"
    first = report.find(activation, "gpn", shallow)
    if first is not None and shallow < deep:
        words += f" ({shallow} layers: {first.accuracy:.1%})"
    return words + ("" if plain_one is None else f"; plain, Gaussian {plain_one.accuracy:.1%}") + "."


def network_words(each: "Measured") -> str:
    """The kind of network, with its root: "GPN b+, Haar"."""
    recipe, candidate = RECIPES[each.candidate.recipe], each.candidate
    sign = {"plus": "b+", "minus": "b-", None: ""}[candidate.root]
    words = f"GPN {sign}, " if sign else "plain, "
    words += {"haar": "Haar", "gaussian": "Gauss"}[recipe.weights]
    words += ", BN" if recipe.batch_norm else ""
    return words + (", Adam" if recipe.optimizer == "adam" else "")
