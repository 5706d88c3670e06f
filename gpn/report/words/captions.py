"""Captions of figures, made of the evidence that they show."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from gpn.report.words.findings import number_text
from gpn.report.words.selection import below_panel, panel_rows, tight_rows
from gpn.report.words.text import ROOT_NAMES, ROOT_SIGNS, STABILITY, plain, short_number
from theory.claims.registry import CLAIMS

if TYPE_CHECKING:
    from gpn.probing.results import ProbeReport
    from gpn.verification.results import Profile, Row, VerificationReport
    from theory.balls.decimal import DecimalNumber
    from theory.gaussian.hermite import HermiteSpectrum
    from theory.gaussian.moments import Normalization
    from theory.normalization.conditions import Conditions
    from theory.numerics.quadrature import Estimate


def exceedance(report: "VerificationReport") -> str:
    """What `exceedance_against_width` shows: the trials, the limits, the lines, the seed."""
    sentences = (
        f"{_subject(report)}, seed {report.config.seed}: how often the event of each panel was seen, by width.",
        f"Points: {_trials(report.rows)}, with limits that hold for all rows at once, level {report.config.level:g}.",
        "Lines: upper bounds by kind; dotted: the exact probability for one layer, the prediction for a network.",
    )
    return f"{' '.join(sentences)}{_below(report.rows)}"


def probe(report: "ProbeReport") -> str:
    """What `scales_by_layer` shows."""
    return (
        f"{plain(report.model)}: means over {report.initializations} initializations and {report.samples} inputs. Each "
        f"bar is the law of one step given what arrives at it, all of them together at level {report.level:g}."
    )


def panel(rows: "Sequence[Row]") -> str:
    """What one panel of it shows: the event, the trials, what is cut."""
    event = CLAIMS[rows[0].claim].words if rows[0].claim in CLAIMS else "the event"
    words = f"{event[:1].upper()}{event[1:]}" if event[:2].isalpha() else event
    return f"{words}: {_trials(rows)}.{_below(rows)}"


def gradients(report: "VerificationReport", profiles: "Iterable[Profile]") -> str:
    """What `gradient_by_layer` shows: which networks, which quantiles.

    Args:
        report: what `gpn.verify` returns.
        profiles: those that are drawn.
    """
    shown = list(profiles)
    if not shown:
        return "No gradient norms were kept."
    first = shown[0]
    low, high = 100 * first.probabilities[0], 100 * first.probabilities[-1]
    networks = "; ".join(f"{plain(profile.label, 80)}: {profile.trials:,}" for profile in shown)
    unequal = bool(report.config.layers)
    scale = f"the root of its number of inputs, widest layer {first.width}" if unequal else f"√n, width {first.width}"
    sentences = [
        f"Frobenius norm of the gradient of each weight matrix over {scale}, depth {first.depth}: "
        f"median (thick) and band from the {low:g} % to the {high:g} % quantile. Networks: {networks}.",
    ]
    if any(profile.predicted is not None for profile in shown):
        sentences.append("Dashed black: the same quantiles by the fluctuation law, an asymptotic prediction.")
    return " ".join([*sentences, f"Seed {report.config.seed}."])


def tightness(report: "VerificationReport") -> str:
    """What `bound_tightness` shows: how many bounds, against which truth, and that it is not a simulation."""
    kinds = tight_rows(report)
    rows = [row for of_kind in kinds.values() for row in of_kind]
    if not rows:
        return "No bound below 1 has an event of known probability."
    exact = [row for row in rows if row.kind.truth == "exact"]
    predicted = [row for row in rows if row.kind.truth == "predicted"]
    lies = [f" {_beneath(exact)} the exact probability."] if exact else []
    if predicted:
        words = "what the fluctuation law predicts for the whole network, which is not a theorem"
        lies.append(f" {_beneath(predicted)} {words}.")
    subject = f"{_subject(report)}: {len(rows)} bound{'s' * (len(rows) > 1)} below 1"
    return f"{subject} against the probability of {'their' if len(rows) > 1 else 'its'} event.{''.join(lies)}"


def _beneath(rows: "Sequence[Row]") -> str:
    """How many of the bounds lie below the truth, which none may that is proved."""
    below = sum(1 for row in rows if row.times_truth is not None and row.times_truth < 1)
    return f"{below or 'None'} of {len(rows)} lies below" if below < 2 else f"{below} of {len(rows)} lie below"


def activation_finding(conditions: "Conditions") -> str:
    """Whether an activation is GPN, and which a, b make it so, in two lines."""
    name = plain(conditions.name, 40)
    if conditions.is_gpn == "holds":
        return f"{name} is GPN"
    root = next((root for root in conditions.normalizations if root.recommended), None)
    if root is None:
        outcome = "cannot be normalized" if conditions.normalizable == "no" else "is undecided"
        return f"{name} {outcome}"
    moments = f"E φ² = {_moment(conditions, 'second_moment')}, E φ'² = {_moment(conditions, 'slope_second_moment')}"
    outcome = "is not GPN" if conditions.is_gpn == "fails" else "is GPN or nearly so"
    shift = f"{'−' if root.b < 0 else '+'} {abs(root.b):.3g}"
    return f"{name} {outcome}: {moments};\n{root.a:.3g} φ {shift} is (b{ROOT_SIGNS[root.root]})"


def activation(conditions: "Conditions") -> str:
    """What `activation_and_slope` shows."""
    roots = "; ".join(
        f"b{ROOT_SIGNS[root.root]}: a = {root.a:.6g}, b = {root.b:.6g}, χ = {root.chi:.4g}, {root.stability}"
        for root in conditions.normalizations
    )
    drawn = f" Normalizations a φ + b: {roots}." if roots and conditions.is_gpn != "holds" else ""
    return f"{plain(conditions.name, 80)} (above) and its slope (below). Grey: the density of z ~ N(0, 1).{drawn}"


def length_map(conditions: "Conditions", label: str) -> tuple[str, str]:
    """The finding and the caption of `length_map_cobweb`.

    Args:
        conditions: what `gpn.check` returns of the activation.
        label: "as given" or "b_" and the root.
    """
    root = _root_of(conditions, label)
    name = plain(conditions.name, 40)
    subject = name if label == "as given" else f"{name} with {ROOT_NAMES[label]}"
    finding = f"{subject}: χ = {root.chi:.4g},\n{STABILITY[root.stability].partition(': ')[2]}"
    caption = (
        f"Length map Q(q) = E φ(√q z)² of {subject}, infinite width, logarithmic axes. Stairs follow the squared "
        "length through up to 40 layers. A fixed point is filled if it attracts, half filled if marginal, else empty."
    )
    return finding, caption


def _root_of(conditions: "Conditions", label: str) -> "Normalization[DecimalNumber]":
    """The normalization of a label; that of an activation which is GPN as given has a = 1 and b = 0."""
    named = [root for root in conditions.normalizations if f"b_{root.root}" == label]
    return min(named or conditions.normalizations, key=lambda root: abs(root.a - 1) + abs(root.b))


def spectrum_finding(name: str, label: str, spectrum: "HermiteSpectrum") -> str:
    """The balance of the squared mean and the degrees above 1, in two lines."""
    subject = plain(name, 40) if label == "as given" else f"{plain(name, 40)} with {ROOT_NAMES[label]}"
    mean, above = spectrum.powers[0], spectrum.gpn_balance.value + spectrum.powers[0]
    return f"{subject}: the mean's c₀² = {mean:.4g} pays\nfor the degrees above 1, Σ (k − 1) cₖ² = {above:.4g}"


def spectrum(spectrum: "HermiteSpectrum") -> str:
    """What `hermite_spectrum` shows, and what the degrees that are not computed hold."""
    value, slope = tail_words(spectrum.value_tail), tail_words(spectrum.slope_tail)
    return (
        f"Squared Hermite coefficients of the normalized activation; powers below 1e-12 are left out. The sums run to "
        f"degree {spectrum.order}; higher degrees hold {value} of E φ² and {slope} of E φ'², by which the two sides "
        "of the title differ."
    )


def tail_words(tail: "Estimate") -> str:
    """Share of the degrees left out; its upper end where it cannot be distinguished from 0."""
    if tail.value > tail.error:
        return short_number(tail.value)
    return f"less than {short_number(max(tail.value, 0.0) + tail.error, 2)}"


def _moment(conditions: "Conditions", name: str) -> str:
    """Three digits; by how much it misses 1 where these would hide it."""
    number = getattr(conditions, name)
    if number is None:
        return number_text(conditions, name)
    short, miss = f"{number:.3g}", float(Fraction(number.digits) - 1)
    return short if short != "1" or miss == 0 else f"1 {'−' if miss < 0 else '+'} {abs(miss):.1g}"


def _subject(report: "VerificationReport") -> str:
    config = report.config
    name = plain(config.activation, 80)
    return f"{name if config.root is None else f'GPN {name}'}, {config.weights.capitalize()} weights"


def _below(rows: "Sequence[Row]") -> str:
    """What lies below the panels, in a sentence, or nothing."""
    below = [hidden for panel in panel_rows(rows) for hidden in below_panel(panel)]
    if not below:
        return ""
    least, width = min(below)
    at = f"{short_number(least)} at width {width}"
    return f" Below the panel: {at}." if len(below) == 1 else f" Below the panel: {len(below)} values, the least {at}."


def _trials(rows: "Sequence[Row]") -> str:
    counts = sorted({row.trials for row in rows})
    sampled = len({row.event for row in rows if row.is_weighted})
    numbers = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    words = f"frequencies among {numbers} random networks"
    return f"{words}; {sampled} rare events by importance sampling" if sampled else words
