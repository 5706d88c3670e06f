"""What a check, a verification and a required width show, in words: for titles, tables and pages."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from gpn.report.words.selection import median_column, positive_or_nan, tight_rows
from gpn.report.words.text import plain, short_number
from gpn.report.words.verdicts import theorem_words, untested_parts
from gpn.verification.kinds import EXACT, kind_of
from theory.claims.counted import CountedClaim
from theory.claims.registry import CLAIMS

if TYPE_CHECKING:
    from gpn.verification.results import Profile, Row, VerificationReport
    from gpn.verification.width_results import WidthReport
    from theory.balls.decimal import DecimalNumber
    from theory.normalization.conditions import Conditions


def check_verdict(conditions: "Conditions") -> Text:
    """The outcome of a check in one sentence, with the reason where there is one."""
    name, reason = plain(conditions.name), plain(conditions.reason, 1000).rstrip(".")
    looks = conditions.expression is None  # values of a Python function prove nothing
    if conditions.is_gpn == "holds":
        return Text(f"{name} {'looks' if looks else 'is'} Gaussian-Poincaré normalized (GPN).", style="bold green")
    if conditions.normalizable == "no":
        return Text(f"{name} cannot be normalized: {reason}.", style="bold red")
    if conditions.normalizable == "yes" and conditions.is_gpn == "fails":
        words = "does not look GPN, but a φ + b looks so" if looks else "is not GPN, but a φ + b is"
        return Text(f"{name} {words}:", style="bold yellow")
    return Text(f"{name} is undecided: {reason}.", style="bold yellow")


MOMENT_LABELS = {
    "mean": "E φ(z)",
    "variance": "Var φ(z)",
    "second_moment": "E φ(z)²",
    "slope_second_moment": "E φ'(z)²",
}
"""The moments of a check, as they are called in tables and pages."""


def number_text(conditions: "Conditions", name: str) -> str:
    """The digits of a moment; where there are none, whether it has no finite value or is not known."""
    number = getattr(conditions, name)
    return conditions.missing[name].partition(":")[0] if number is None else plain(number.digits, 2000)


def error_text(error: "DecimalNumber") -> str:
    """An error bound in words.

    >>> from theory.balls.decimal import DecimalNumber
    >>> error_text(DecimalNumber("5.20e-400")), error_text(DecimalNumber("0"))
    ('below 5.20e-400', '0')
    """
    return error.digits if error.digits == "0" else f"below {error.digits}"


def gradient_finding(profiles: "list[Profile]") -> str:
    """How far the gradient norms of the claim lie from those of the top layer, in words."""
    claims = [profile for profile in profiles if profile.role == "claim"]
    if not claims:
        return "Gradient norm by layer"
    claim = claims[0]
    band = positive_or_nan(claim.gradient_norms)
    top = band[-1, median_column(claim)]
    if not np.isfinite(band).all():
        return f"{claim.label}: gradients vanish or leave the range of float64"
    factor = float(np.max(np.maximum(band / top, top / band)))
    share = 100 * (claim.probabilities[-1] - claim.probabilities[0])
    return (
        f"{claim.label}: in each of {claim.depth} layers {share:.0f} % of the\n"
        f"gradient norms are within a factor {short_number(factor)} of the top layer's median"
    )


def claim_title(claim: str, depth: int) -> str:
    """The short title of a claim; a claim about many layers names the depth.

    >>> claim_title("deep-gradient-ratio", 50)
    'Whole network, depth 50'
    """
    title = CLAIMS[claim].title if claim in CLAIMS else plain(claim)
    return f"{title}, depth {depth}" if claim == CountedClaim.NETWORK else title


def kind_name(kind: str) -> str:
    """What a kind of row is called in tables and figures.

    >>> kind_name("levy"), kind_name("my kind")
    ('Lévy bound', 'my kind')
    """
    return plain(kind_of(kind).title, 30)


def claim_finding(rows: "Sequence[Row]") -> str:
    """What the rows of one claim show, in a few words."""
    bounds = [row for row in rows if row.kind.is_bound]
    counts = Counter(str(row.verdict.value) for row in bounds)
    wrong = sum(str(row.verdict.value) == "violated" for row in rows if row.kind is EXACT)
    if wrong:
        return f"the exact law is contradicted in {wrong} cases"
    if counts["violated"]:
        return f"violated: {counts['violated']} of {len(bounds)} bounds"
    if all(row.bound is None for row in bounds):
        return "no bound to test against: observed only"
    parts = [f"{counts['holds']} of {len(bounds)} bounds hold{'s' * (counts['holds'] == 1)}"]
    parts += [f"{counts['undecided']} undecided"] if counts["undecided"] else []
    parts += [f"{counts['vacuous']} say{'s' * (counts['vacuous'] == 1)} nothing"] if counts["vacuous"] else []
    if len(bounds) == 1:
        return "the bound says nothing" if counts["vacuous"] else "the bound holds" if counts["holds"] else "undecided"
    if counts["vacuous"] == len(bounds):
        return "the bounds say nothing"
    return ", ".join(parts)


def report_finding(report: "VerificationReport") -> str:
    """The finding of a verification in one line, for a title."""
    config = report.config
    subject = plain(config.activation, 40) if config.root is None else f"GPN {plain(config.activation, 40)}"
    if report.departures:
        return f"{subject}: the engine departs from the exact law in {len(report.departures)} rows"
    rows = report.theory_rows
    counts = Counter(str(row.verdict.value) for row in rows)
    if counts["violated"]:
        return f"{subject}: theory is contradicted in {counts['violated']} of {len(rows)} rows"
    theorem = theorem_words(report)
    others = [row for row in rows if row.group != "network" and row.is_tested]
    held = sum(str(row.verdict) == "holds" for row in others)
    words = [theorem, *(f"{part} not tested" for part in untested_parts(report) if "depth" in part)] if theorem else []
    if others:
        words.append(f"{held} of {len(others)} rows about one layer{' and the engine' * _has_engine(rows)} hold")
    return f"{subject}: {'; '.join(words) or 'nothing is tested'}"


def _has_engine(rows: "Sequence[Row]") -> bool:
    return any(row.group == "engine" for row in rows)


def sharpness(rows: "Sequence[Row]") -> list[str]:
    """For each kind of bound, for which of the tested events it says something, and how far above the truth it lies."""
    sentences = []
    for kind in dict.fromkeys(row.bound_kind for row in rows if row.bound is not None):
        if not kind_of(kind).is_bound:
            continue
        bounds = [row for row in rows if row.bound_kind == kind and row.bound is not None]
        useful = [row for row in bounds if row.bound is not None and row.bound < 1]
        ratios = [row.times_truth for row in useful if row.times_truth is not None]
        if not useful:
            sentences.append(f"{kind_name(kind)}: says nothing at these widths")
            continue
        words = f"{kind_name(kind)}: {_where_below_one(useful, len(bounds))}"
        if ratios:
            low, high = times(min(ratios)), times(max(ratios))
            truth = kind_of(kind).truth
            words += f"; {low if low == high else f'{low} to {high}'} times the {truth} probability"
        sentences.append(words)
    return sentences


def _where_below_one(useful: "Sequence[Row]", count: int) -> str:
    """For how many of the tested events a bound is below 1, and at which of their widths and tolerances."""
    if len(useful) == count:
        return f"below 1 for {'each of ' * (count > 1)}{count} event{'s' * (count > 1)}"
    widths = ", ".join(str(width) for width in sorted({row.width for row in useful}))
    tolerances = ", ".join(f"{epsilon:g}" for epsilon in sorted({row.epsilon for row in useful}))
    return f"below 1 for {len(useful)} of {count} events (width {widths}; ε {tolerances})"


def times(ratio: float) -> str:
    """A ratio with two digits."""
    return f"{ratio:.2g}" if ratio < 100 else short_number(ratio, 2)


def tightness_finding(report: "VerificationReport") -> str:
    """How many times the truth the bounds are, in one line for each kind."""
    lines = []
    for kind, rows in tight_rows(report).items():
        ratios = [row.times_truth for row in rows if row.times_truth is not None]
        low, high = times(min(ratios)), times(max(ratios))
        truth = "truth" if kind_of(kind).truth == "exact" else "prediction"
        lines.append(f"{kind_name(kind)}: {low if low == high else f'{low} to {high}'} times the {truth}")
    return "\n".join(lines) or "No bound below 1 whose event has a known probability"


UNKNOWN_NAMES = {"width": "least width", "depth": "largest depth", "epsilon": "least ε"}


def width_finding(report: "WidthReport") -> str:
    """What the methods ask for of the whole network, in one line for a title."""
    known = [r for r in report.requirements if r.scope == "whole network" and r.value is not None]
    parts = [f"{kind_of(r.kind).method} {value_text(report.unknown, r.value or 0.0)}" for r in known]
    answer = ", ".join(parts) or "none by any method"
    return f"{plain(report.activation, 40)}, {UNKNOWN_NAMES[report.unknown]}: {answer}"


def value_text(unknown: str, value: float) -> str:
    """A width or a depth as a whole number, epsilon with three digits."""
    return short_number(value) if unknown == "epsilon" else f"{value:,.0f}"
