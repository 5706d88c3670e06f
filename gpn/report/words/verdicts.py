"""What a verification says first: the practitioner's number, then one line for each question that was asked."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gpn.report.words.text import plain, short_number
from gpn.statistics.limits import Verdict
from gpn.verification.results import NEEDED
from theory.claims.counted import GROUPS

if TYPE_CHECKING:
    from gpn.verification.results import DepthSpread, Row, VerificationReport

_NAMES = {"network": "Whole network", "one-layer": "One layer", "lemmas": "Lemmas", "engine": "Engine"}
_LARGEST_LOG = 700.0  # of a ratio that float64 can hold
_LARGEST = {"float16": 65504.0, "float32": 3.4e38, "float64": 1.8e308}
_NOUNS = {"network": "rows", "one-layer": "rows", "lemmas": "rows on Gaussian inputs", "engine": "exact laws"}


def summary(report: "VerificationReport") -> str:
    """The findings of a verification, a line for each; the last one is the verdict on all that was asked."""
    return "\n".join(_lines(report))


def short_verdict(report: "VerificationReport") -> str:
    """The verdict on each question, as a badge shows it.

    >>> from gpn.verification.verify import verify
    >>> short_verdict(verify("relu", 16, 3, 1.5, 50, claims="network"))
    'Whole network: not tested'
    """
    return " · ".join(f"{_NAMES[group]}: {verdict_word(verdict)}" for group, verdict in report.verdicts.items())


def verdict_word(verdict: Verdict) -> str:
    """A verdict on a question; of one that nothing could contradict "not tested"."""
    return "not tested" if verdict is Verdict.VACUOUS else str(verdict)


def theorem_words(report: "VerificationReport") -> str:
    """What was found of the theorem on the whole network, in a few words for a title; empty where it was not asked."""
    rows = _of(report, "network")
    found = _tested(rows)
    if "network" not in report.verdicts:
        return ""
    if not found:
        return "the theorem on the whole network is not tested"
    row = headline_row(found)
    return f"the theorem at depth {row.depth} {_says(row)} (n = {row.width:,}, ε = {row.epsilon:g})"


def headline_row(rows: "Sequence[Row]") -> "Row":
    """The row to report first: a contradiction if there is one, else the deepest and then widest network."""
    rank = {Verdict.VIOLATED: 2, Verdict.HOLDS: 1}
    wrong = any(row.verdict is Verdict.VIOLATED for row in rows)
    return max(rows, key=lambda row: (wrong and rank.get(row.verdict, 0) == 2, row.depth, row.width, row.epsilon))


def untested_parts(report: "VerificationReport") -> Iterator[str]:
    """Yield what was asked and not tested, in words."""
    for group, verdict in report.verdicts.items():
        depths = _untested_depths(report) if group == "network" else []
        if verdict is Verdict.VACUOUS:
            yield _NAMES[group].lower()
        elif depths and verdict is not Verdict.HOLDS:
            yield f"{_NAMES[group].lower()} at depth {', '.join(depths)}"


def _untested_depths(report: "VerificationReport") -> list[str]:
    """The depths at which some tolerance was not tested, with the tolerances where others were."""
    tolerances: dict[int, list[float | None]] = {}
    for depth, epsilon in report.untested(_of(report, "network")):
        tolerances.setdefault(depth, []).append(epsilon)
    asked = 1 if report.config.has_default_epsilons else len(report.config.deep_epsilons)
    return [
        f"{depth} with ε = {', '.join(f'{epsilon:g}' for epsilon in missing)}" if len(missing) < asked else str(depth)
        for depth, missing in sorted(tolerances.items())
    ]


def _lines(report: "VerificationReport") -> Iterator[str]:
    if report.log_lengths:
        yield growth_words(report.log_lengths)
    if report.engine_finding:
        yield report.engine_finding
    yield from _missed_prediction(report)
    if report.spreads and report.spreads[-1].depth > 1:
        yield _practice(report.spreads[-1])
    verdicts = report.verdicts
    if "network" in verdicts:
        yield " ".join(_network(report, verdicts["network"]))
    if "one-layer" in verdicts:
        yield " ".join(_one_layer(report, verdicts["one-layer"]))
    others = [group for group in ("lemmas", "engine") if group in verdicts]
    if others:
        yield " ".join(f"{_NAMES[group]}: {_counted(_of(report, group), group, verdicts[group])}." for group in others)
    missing = " and ".join(untested_parts(report))
    because = f" ({missing} not tested)" if missing else ""
    yield f"Together: {report.verdict}{because}, at level {report.config.level:g} for all rows at once."


def growth_words(log_lengths: "Sequence[float]") -> str:
    """How far signals grow or shrink, and from which layer on a format cannot hold them.

    Args:
        log_lengths: natural logarithms of the squared lengths per neuron q_0, ..., q_L.

    >>> growth_words([0.0, 4.852, 9.704, 14.556, 19.408, 24.26]).split(";")[1]
    ' they overflow float16 from layer 5 on. Rows about ratios of gradients may hold all the same.'
    """
    last, depth = log_lengths[-1], len(log_lengths) - 1
    finite = [log for log in log_lengths if abs(log) < np.inf]
    factor = np.exp((finite[-1] - finite[0]) / max(len(finite) - 1, 1))
    end = f"10^{last / np.log(10):.0f}" if np.isfinite(last) else "0" if last < 0 else "infinity"
    reached = []
    for name, largest in _LARGEST.items():
        beyond = [layer for layer, log in enumerate(log_lengths) if log / 2 > np.log(largest)]
        reached += [f"{name} from layer {beyond[0]} on"] if beyond else []
    over = f"; they overflow {', '.join(reached)}" if reached else ""
    return (
        f"Signals {'grow' if last > 0 else 'shrink'}: squared lengths by a factor {factor:.3g} per "
        f"layer, to {end} after {depth} layers (infinite width){over}. Rows about ratios of gradients may hold all the "
        "same."
    )


def _practice(spread: "DepthSpread") -> str:
    where, networks = f"At width {spread.width} and depth {spread.depth}", f"{spread.trials:,} networks"
    if not spread.quantile_95 < _LARGEST_LOG:
        return f"{where}, gradients vanish or leave the range of float64 in more than 5 % of {networks}."
    return (
        f"{where}, in half of {networks} every layer's squared gradient stays within a factor "
        f"{np.exp(spread.median):.3g} of the top layer's, in 95 % within {np.exp(spread.quantile_95):.3g}."
    )


def _network(report: "VerificationReport", verdict: Verdict) -> Iterator[str]:
    rows = _of(report, "network")
    tested, name = _tested(rows), _NAMES["network"]
    if tested:
        row = headline_row(tested)
        lost = f" ({row.unknown:,} are out of reach of float64)" if row.unknown else ""
        bound = short_number(row.bound or 0.0)
        seen = f"seen in {row.exceedances:,} of {row.trials:,} networks{lost}, bound {bound}"
        others = f"; {_counted(rows, 'network', verdict)}" if len(tested) > 1 else ""
        yield f"{name}: {theorem_words(report)}: {seen}{others}."
    elif verdict is Verdict.HOLDS:
        yield f"{name}: holds, the event is impossible and was not seen."
    else:
        yield f"{name}: the theorem is not tested."
    yield from _not_covered(report, rows)
    predictions = [row.verdict for row in report.rows if row.kind.is_prediction and row.is_tested]
    if predictions:
        missed = predictions.count(Verdict.VIOLATED)
        yield (
            f"Predictions (not theorems): {f'{missed} MISSED' if missed else 'none missed'} of {len(predictions)}, "
            f"{predictions.count(Verdict.HOLDS)} confirmed to within their error of order 1/n."
        )


def _missed_prediction(report: "VerificationReport") -> Iterator[str]:
    """The clearest miss: where the limits lie farthest from the margin."""
    missed = [row for row in report.rows if row.kind.is_prediction and row.verdict is Verdict.VIOLATED]
    if missed:
        row = max(missed, key=_distance)
        yield (
            f"A prediction is MISSED: at width {row.width:,} and depth {row.depth}, ε = {row.epsilon:g}, "
            f"{short_number(row.bound or 0.0)} was predicted, give or take its error of order 1/n; seen in "
            f"{row.exceedances:,} of {row.trials:,} networks."
        )


def _distance(row: "Row") -> float:
    low, high = row.margin_lower or 0.0, 1.0 if row.margin_upper is None else row.margin_upper
    return max(low - row.upper, row.lower - high)


def _not_covered(report: "VerificationReport", rows: "Sequence[Row]") -> Iterator[str]:
    """Depths, and widths at the greatest depth, at which no bound is below 1, and which width would do."""
    if report.silent_at is None:
        return
    depth, _, silent = report.silent_at
    need = (
        "" if report.needs is None else f"n ≥ {report.needs[2]:,} for a bound of {NEEDED:g} at ε = {report.needs[1]:g}"
    )
    if missing := report.untested(rows):
        epsilon = missing[-1][1]
        at = "" if epsilon is None else f", ε = {epsilon:g}"
        absent = [row.bound_kind for row in rows if row.depth == depth and row.bound_kind.startswith("none (deep: ")]
        if absent:
            reason = absent[0].removeprefix("none (deep: ").removesuffix(")")
            yield f"At depth {depth}{at} there is none to test: {plain(reason, 200)}."
            return
        advice = f"it needs {need}" if need else "`gpn width` says which width it needs, if there is one"
        yield f"At depth {depth}{at} it says nothing at width {_widths(silent)}; {advice}."
        return
    yield f"At depth {depth} and width {_widths(silent)} no theorem applies{f' (needs {need})' if need else ''}."


def _widths(widths: Sequence[int]) -> str:
    return f"{widths[0]:,}" if len(widths) == 1 else f"{widths[0]:,} to {widths[-1]:,}"


def _one_layer(report: "VerificationReport", verdict: Verdict) -> Iterator[str]:
    rows = _of(report, "one-layer")
    tested = _tested(rows)
    integrated = sum(row.is_weighted for row in tested)
    how = f" ({integrated} by integration, {len(tested) - integrated} by networks)" if integrated else ""
    yield f"{_NAMES['one-layer']}: {_counted(rows, 'one-layer', verdict)}{how}."
    if usual := report.usual_events:
        yield f"In {usual} rows without a bound the event is seen in most trials: norms do not concentrate."


def _counted(rows: "Sequence[Row]", group: str, verdict: Verdict) -> str:
    """How many rows that could have come out otherwise hold, and how many do not."""
    tested = [row.verdict for row in _tested(rows)]
    if not tested:
        return "holds, every event is certain or impossible" if verdict is Verdict.HOLDS else "not tested"
    words = f"{tested.count(Verdict.HOLDS)} of {len(tested)} {_NOUNS[group]} hold"
    for other in (Verdict.VIOLATED, Verdict.UNDECIDED):
        if other in tested:
            words += f", {tested.count(other)} {other}"
    return words


def _says(row: "Row") -> str:
    return {Verdict.HOLDS: "holds", Verdict.VIOLATED: "is VIOLATED"}.get(row.verdict, "is undecided")


def _of(report: "VerificationReport", group: str) -> "list[Row]":
    assert group in GROUPS
    return [row for row in report.theory_rows if row.group == group]


def _tested(rows: "Sequence[Row]") -> "list[Row]":
    return [row for row in rows if row.is_tested]
