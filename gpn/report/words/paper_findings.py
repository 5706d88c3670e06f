"""What the two experiments of the paper show, in words: for titles and tables."""

import math
from typing import TYPE_CHECKING

import numpy as np

from gpn.report.words.text import plain
from gpn.reproduction.comparison_grid import LINEAR, RECIPES
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED, GPN, PLAIN

if TYPE_CHECKING:
    from gpn.reproduction.comparison_results import ComparisonReport, Measured
    from gpn.reproduction.gradient_results import GradientReport, NetworkGradients
    from gpn.reproduction.table_1_results import TableReport

NAMES = {"relu": "ReLU", "leaky_relu": "leaky ReLU", "elu": "ELU", "selu": "SELU", "gelu": "GELU"}
_LOG10 = math.log(10.0)


def findings(report: "GradientReport") -> list[str]:
    """Findings of the profiles, a sentence for each treatment, at least one."""
    sentences = []
    bands = [network.log_quantiles[:, [0, -1]] / _LOG10 for network in _networks(report, GPN)]
    reaches = [float(abs(band).max()) for band in bands if np.isfinite(band).all()]
    if reaches:
        sentences.append(
            f"Normalized (GPN), Haar weights: in every layer 90 % of the gradient norms stay within a factor "
            f"{factor(10 ** max(reaches))} of 1."
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


def _extremes(report: "GradientReport", treatment: str) -> tuple[float, float] | None:
    """Least and largest median of any layer and activation, as decimal logarithms."""
    medians = [network.log_median / _LOG10 for network in _networks(report, treatment)]
    medians = [median for median in medians if not np.isnan(median).any()]
    return (float(np.min(medians)), float(np.max(medians))) if medians else None


def _networks(report: "GradientReport", treatment: str) -> "list[NetworkGradients]":
    """One network for each activation, with its recommended root and Haar weights."""
    networks = [report.find(name, treatment) for name in report.activations]
    return [network for network in networks if network is not None]


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
    """A factor with three digits, however large."""
    return f"{value:.3g}" if value < 1000 else power(math.log10(value))


def comparison_findings(report: "ComparisonReport") -> list[str]:
    """Findings of the comparison at its greatest depth, a sentence for each activation."""
    return [sentence for name in report.activations if (sentence := finding(report, name))]


def finding(report: "ComparisonReport", activation: str) -> str:
    """Orthogonal GPN networks against plain Gaussian ones at the greatest depth, and against shallow ones."""
    shallow, deep = report.depths[0], report.depths[-1]
    gpn, plain_one = report.find(activation, "gpn", deep), report.find(activation, "plain-gaussian", deep)
    if gpn is None:
        return ""
    words = f"{display(activation)}, {deep} layers: GPN, orthogonal {gpn.accuracy:.1%}"
    first = report.find(activation, "gpn", shallow)
    if first is not None and shallow < deep:
        words += f" ({shallow} layers: {first.accuracy:.1%})"
    return words + ("" if plain_one is None else f"; plain, Gaussian {plain_one.accuracy:.1%}") + "."


def network_words(measured: "Measured") -> str:
    """The kind of network, with its root: "GPN b+, Haar"."""
    recipe, root = RECIPES[measured.candidate.recipe], measured.candidate.root
    if measured.candidate.recipe == LINEAR:
        return "linear, Haar"
    words = ["plain" if root is None else f"GPN {'b+' if root == 'plus' else 'b-'}"]
    words.append({"haar": "Haar", "gaussian": "Gauss"}[recipe.weights])
    return ", ".join(words + ["BN"] * recipe.batch_normalization + ["Adam"] * (recipe.optimizer == "adam"))


def table_1_finding(report: "TableReport") -> str:
    """How many activations reach which accuracy, as they are, normalized and with batch normalization.

    Args:
        report: the reproduction of Table 1.
    """
    parts = []
    for treatment, words in ((PLAIN, "as they are"), (GPN, "normalized"), (BATCH_NORMALIZED, "with batch norm")):
        found = [report.find(name, treatment).test_accuracy for name in report.activations]
        known = [accuracy for accuracy in found if accuracy is not None]
        reach = f"{min(known):.0f} to {max(known):.0f} %" if known else "none finished"
        parts.append(f"{words} {reach}")
    count = len(report.activations)
    return f"Test accuracy of {count} activation{'s' * (count != 1)}: {', '.join(parts)}."
