"""What a probe found, in a paragraph, and the model with its scales line by line."""

from collections.abc import Sequence
from math import isfinite, log, prod
from typing import TYPE_CHECKING

from gpn.probing.findings import WITHIN, in_a_row, numbers
from gpn.probing.results import Answer
from gpn.report.words.text import plain, short_number

if TYPE_CHECKING:
    from gpn.probing.results import PartRow, ProbeReport

_INDENT = "  "
_BROAD = 34  # columns of what a part is


def probe_paragraph(report: "ProbeReport") -> str:
    """The finding in words: does it follow, is it normalized, and what to change."""
    sentences = [_follows(report), _normalized(report), *(finding.text for finding in report.findings)]
    return plain(" ".join(sentence for sentence in sentences if sentence), 4000)


def probe_finding(report: "ProbeReport") -> str:
    """The finding in a line."""
    return plain(f"{report.model}: {_follows(report)} {_normalized(report)}", 300)


def _follows(report: "ProbeReport") -> str:
    told = f"{report.comparisons} squared norms in {report.initializations} initialization"
    told += f"{'s' * (report.initializations > 1)}, level {report.level:g}"
    if report.follows is Answer.UNDECIDED:
        return "Theory covers no part of this model; --source and to_frame() show what was measured."
    if report.follows is Answer.YES:
        return f"The model follows the theory of itself ({told})."
    wrong = {row.layer for row in report.rows if row.follows is Answer.NO and row.layer}
    right = {row.layer for row in report.rows if row.follows is Answer.YES and row.layer} - wrong
    if not wrong:
        return f"The model departs from the theory of itself ({told})."
    departs = f"{_with_verb(wrong, 'depart')} from"
    if not right:
        return f"{_capital(departs)} the theory of the model itself ({told})."
    return f"{_capital(_with_verb(right, 'follow'))} the theory of the model itself, {departs} it ({told})."


def _normalized(report: "ProbeReport") -> str:
    if report.normalized is Answer.YES:
        if any(finding.kind == "stream" for finding in report.findings):
            return "Its residual stream, as measured, keeps squared lengths and gradients: it is normalized."
        if report.follows is Answer.NO:
            return "By that theory, which it does not follow, every layer would keep squared lengths and gradients."
        return "By that theory every layer that it knows keeps squared lengths and gradients: it is normalized."
    if report.normalized is Answer.UNDECIDED:
        return "Whether it is normalized is undecided: of no layer theory knows both directions."
    lost = {*report.found("not normalized"), *report.found("drift")}
    kept = (
        {row.layer for row in report.rows if row.kind == "activation" and row.layer}
        - lost
        - set(report.found("branch"))
    )
    if not kept or not lost:
        return "It is not normalized."
    runs = in_a_row(kept)
    changes = [_in_all(report, run) for run in runs]
    keeping = {layer for run, change in zip(runs, changes, strict=True) if not change for layer in run}
    told = [f"{_with_verb(keeping, 'keep')} norms within a factor of {WITHIN:g}"] if keeping else []
    lost_words = f"{numbers(lost)} do{'es' * (len(lost) == 1)} not{'' if keeping else ' keep norms'}"
    return f"It is not normalized: {', '.join([*told, *filter(None, changes), lost_words])}."


def _in_all(report: "ProbeReport", run: Sequence[int]) -> str:
    """What layers that theory calls normalized one by one do to squared norms all together; empty where they keep them.

    Measured from what enters the first to what leaves the last (gradients from the output of the last back to the
    pre-activations of the first), beside the product of the factors of theory.
    """
    parts = [row for pair in layer_rows(report) for row in pair if row is not None and row.layer in run]
    if len(run) < 2 or not parts:
        return ""
    measured = _ratio(parts[-1].length, parts[0].length_in), _ratio(parts[0].gradient, parts[-1].gradient)
    predicted = prod(row.forward_factor for row in parts), prod(row.backward_factor for row in parts[1:])
    words = []
    for name, seen, expected in zip(("lengths", "gradients"), measured, predicted, strict=True):
        if any(value > 0 and abs(log(value)) > log(WITHIN) for value in (seen, expected) if isfinite(value)):
            words.append(f"squared {name} by {short_number(seen)} (predicted {short_number(expected)})")
    return f"{numbers(run)} together change {' and '.join(words)}" if words else ""


def _ratio(above: float, below: float) -> float:
    return above / below if below else float("nan")


def _with_verb(layers: set[int], verb: str) -> str:
    return f"{numbers(layers)} {verb}{'s' * (len(layers) == 1)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def annotated_source(report: "ProbeReport") -> str:
    """The model as it ran: modules as headings, parts with the scale of signals and of gradients behind them."""
    lines = [f"{'':{_BROAD}}  {'|x|²/n':>10}  {'|dE/dx|²':>10}"]
    before: tuple[str, ...] = ()
    for row in report.rows:
        path = tuple(row.name.split(".")) if row.name else ()
        shared = next(
            (i for i, pair in enumerate(zip(before, path, strict=False)) if pair[0] != pair[1]),
            min(len(before), len(path)),
        )
        lines += [f"{_INDENT * depth}{path[depth]}:" for depth in range(shared, len(path) - 1)]
        before = path
        depth = max(len(path) - 1, 0)
        name = f"{path[-1]}: " if path else ""
        text = f"{_INDENT * depth}{name}{part_words(row)}"
        scales = f"{short_number(row.length):>10}  {short_number(row.gradient):>10}"
        lines.append(f"{text:{_BROAD}}  {scales}  {_mark(row)}".rstrip())
    return "\n".join(lines)


def part_words(row: "PartRow") -> str:
    """What a part is.

    >>> from types import SimpleNamespace
    >>> part_words(SimpleNamespace(kind="linear", width_in=3, width=4, weights="Haar", label="linear"))
    'linear 3 to 4'
    """
    if row.kind in ("linear", "convolution"):
        return f"{row.kind} {row.width_in} to {row.width}"
    return row.label if row.kind in ("activation", "other") else f"{row.kind} ({row.label})"


def _mark(row: "PartRow") -> str:
    if row.nonfinite:
        return "not finite"
    return {Answer.YES: "", Answer.NO: "departs", Answer.UNDECIDED: "no theory"}[row.follows]


def layer_rows(report: "ProbeReport") -> "Sequence[tuple[PartRow, PartRow | None]]":
    """Each linear map or convolution with the activation after it."""
    after = {row.layer: row for row in report.rows if row.kind == "activation" and row.layer}
    return [(row, after.get(row.layer)) for row in report.rows if row.kind in ("linear", "convolution")]
