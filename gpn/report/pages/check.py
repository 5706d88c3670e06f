"""The page of a check: verdict, moments, both roots, figures, depth, the mathematics, how to repeat it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from gpn.experiment.versions import versions
from gpn.report.pages import pictures
from gpn.report.pages.claims import claim_parts
from gpn.report.pages.page import (
    Html,
    Section,
    command,
    document,
    element,
    facts,
    figures,
    folded,
    formula,
    join,
    readable,
    table,
)
from gpn.report.tables.check import (
    DEPTH_COLUMNS,
    DRIFT_COLUMNS,
    ROOT_COLUMNS,
    SPECTRUM_COLUMNS,
    depth_notes,
    spectrum_records,
)
from gpn.report.tables.columns import Column, significant
from gpn.report.words.captions import tail_words
from gpn.report.words.commands import after_check, check_command
from gpn.report.words.findings import MOMENT_LABELS, check_verdict, error_text, number_text
from gpn.report.words.text import GIVEN_UP, plain, supremum_text
from theory.activations.activation import Activation
from theory.claims.registry import claim

if TYPE_CHECKING:
    from gpn.checking.results import CheckReport
    from theory.balls.decimal import DecimalNumber
    from theory.gaussian.closed_form import ClosedForm
    from theory.gaussian.hermite import HermiteSpectrum
    from theory.gaussian.moments import Normalization
    from theory.normalization.conditions import Conditions

_LETTERS = {
    "mean": r"E \phi",
    "second_moment": r"E \phi^2",
    "slope_second_moment": r"E \phi'^2",
    "mean_hermite": r"E \phi (z^2 - 1)",
    "square_hermite": r"E \phi^2 (z^2 - 1)",
    "a": "a",
    "b_plus": "b_+",
    "b_minus": "b_-",
    "chi_plus": r"\chi_+",
    "chi_minus": r"\chi_-",
}
_LONGEST_FORMULA = 1500  # characters of LaTeX
_MOST_DEGREES = 25


def check_page(report: "CheckReport") -> str:
    """The page that `CheckReport.to_html` gives."""
    conditions, details = report.conditions, report.details
    sections = [Section("Moments", tuple(_moments(conditions)))]
    if conditions.normalizations:
        sections.append(Section("Normalization", tuple(_roots(report))))
    sections.append(Section("Figures", tuple(_figures(report))))
    if details is not None:
        depth = table(DEPTH_COLUMNS, details.depth, "What depth does to lengths, gradients and correlations")
        notes = element("p", depth_notes(details.depth), class_="soft")
        sections.append(Section("In depth", (depth, notes), folded=True))
        if details.closed_form is not None:
            sections.append(Section("Exactly", tuple(_exact(details.closed_form)), folded=True))
        sections.append(Section("Hermite spectrum", tuple(_spectrum(details.spectrum)), folded=True))
    theory = tuple(claim_parts(claim(identity)) for identity in _claims(conditions))
    sections += [
        Section("What theory says", theory, folded=True),
        Section("The same numbers again", tuple(_again(report)), folded=True),
    ]
    title = f"Is {plain(conditions.name, 80)} Gaussian-Poincaré normalized?"
    return document(title, _mark(conditions), list(_lead(report)), sections)


def _claims(conditions: "Conditions") -> Iterator[str]:
    """The statements that apply to this activation."""
    yield "gpn"
    if conditions.jumps:
        yield "jumps-are-excluded"
    if conditions.is_gpn != "holds":
        yield "gpn-normalization"
    if conditions.normalizable == "yes":
        yield from ("gpn-hermite", "length-map", "length-map-slope", "length-stability")


def _figures(report: "CheckReport") -> Iterator[Html]:
    """The activation, and the map of its length with the recommended root; the others folded."""
    drawn = list(pictures.of_check(report))
    wanted = next((f"length-map-{root.root}" for root in report.conditions.normalizations if root.recommended), None)
    shown = [one for one in drawn if one.name in ("activation", "length-map", wanted)]
    yield figures(shown, "large")
    if len(drawn) > len(shown):
        yield folded("More figures", figures([one for one in drawn if one not in shown], "large"))


def conditions_summary(conditions: "Conditions") -> Html:
    """The moments and the normalizations, as a notebook shows them."""
    formula = "" if conditions.expression in (None, conditions.name) else f", φ(x) = {conditions.expression}"
    proof = "certified" if conditions.certified else f"not certified: {conditions.uncertified or 'no moments'}"
    moments = [(label, number_text(conditions, name)) for name, label in MOMENT_LABELS.items()]
    roots = [
        (
            f"{root.root}{' (recommended)' if root.recommended else ''}",
            *(number.digits for number in (root.a, root.b, root.chi)),
            root.stability,
        )
        for root in conditions.normalizations
    ]
    frames = [pd.DataFrame(moments, columns=["moment", proof])]
    frames += [pd.DataFrame(roots, columns=["root", "a", "b", "chi", "in depth"])] * bool(roots)
    with pd.option_context("display.max_colwidth", None):
        tables = [Html(frame.to_html(index=False)) for frame in frames]
    head = f"{conditions.name}{formula}: GPN {conditions.is_gpn}; normalizable: {conditions.normalizable}."
    return join([element("p", plain(head, 1000)), element("p", plain(conditions.reason, 1000)), *tables])


def _mark(conditions: "Conditions") -> tuple[str, str]:
    """The verdict in a word or two, and its class."""
    if conditions.is_gpn == "holds":
        return "GPN", "good"
    if conditions.normalizable == "no":
        return "cannot be normalized", "bad"
    settled = conditions.is_gpn == "fails" and conditions.normalizable == "yes"
    return "not GPN, but normalizable" if settled else "undecided", "open"


def _lead(report: "CheckReport") -> Iterator[Html]:
    if isinstance(report.phi, Activation) and len(report.phi.latex) <= _LONGEST_FORMULA:
        yield formula(rf"\phi(x) = {report.phi.latex}")
    elif report.conditions.expression is not None:
        yield command(f"φ(x) = {plain(report.conditions.expression, 5000)}")
    yield element("p", element("strong", readable(f"{str(check_verdict(report.conditions)).rstrip('.:')}.")))
    if report.conditions.normalizable == "yes":
        yield element("p", readable(f"{plain(report.conditions.reason, 1000).rstrip('.')}."))
    step = None if report.spec is None else after_check(report.conditions, report.spec, report.derivative)
    if step is not None:
        yield element("p", "Next: ", element("code", step.removeprefix("Next: ")))


def _moments(conditions: "Conditions") -> Iterator[Html]:
    yield facts((label.replace("'", "′"), number_text(conditions, name)) for name, label in MOMENT_LABELS.items())
    error = "the error is not known"
    if conditions.error is not None:
        how = "certified by ball arithmetic" if conditions.certified else "estimated"
        error = f"absolute error {error_text(conditions.error)}, {how}"
    yield element("p", f"z ~ N(0, 1); {error}.", class_="soft")
    if conditions.uncertified:
        yield element("p", f"Not certified: {plain(conditions.uncertified, 1000)}.", class_="soft")
    regularity = {
        "sup |φ′|": supremum_text(conditions.lipschitz, conditions.lipschitz_kind).removeprefix("= "),
        "sup |φ″|": supremum_text(conditions.slope_lipschitz, conditions.slope_lipschitz_kind).removeprefix("= "),
    }
    for name, places, proved in (
        ("kinks", conditions.kinks, conditions.kinks_proved),
        ("jumps", conditions.jumps, conditions.jumps_proved),
    ):
        none = ("none" if proved else "none found") if conditions.breaks_known else "not known"
        regularity[name] = ", ".join(plain(place, 60) for place in places) or none
    if conditions.located:
        regularity["found"] = plain(conditions.located, 500)
    if conditions.given_up:
        regularity[GIVEN_UP.lower()] = ", ".join(conditions.given_up)
    yield folded("Slopes, kinks and jumps", facts(regularity.items()))


def _roots(report: "CheckReport") -> Iterator[Html]:
    roots = report.conditions.normalizations
    yield element("p", "a φ + b is Gaussian-Poincaré normalized with a > 0 and")
    accurate: list[Column[Normalization[DecimalNumber]]] = [
        Column("mean", lambda root: significant(root.mean, 10)),
        Column("χ = Q′(1)", lambda root: significant(root.chi, 10)),
    ]
    yield table((*ROOT_COLUMNS[:3], *accurate, *ROOT_COLUMNS[4:]), roots, "Normalizations of the activation")
    digits = facts((f"{name}, {root.root}", getattr(root, name).digits) for root in roots for name in "ab")
    yield folded("To all digits that were asked for", digits)
    if any(root.stability == "unstable" for root in roots):
        words = "layer by layer the squared length moves away from 1, whatever the width."
        yield element("p", f"Unstable in depth means |χ| > 1: {words}")
    if report.drift:
        yield element("p", "Nearly GPN: in mean field, from unit length at the input, this amounts to")
        yield table(DRIFT_COLUMNS, report.drift, "What the miss costs over depth")


def _exact(closed_form: "ClosedForm") -> Iterator[Html]:
    from sympy import latex

    for name, expression in closed_form.expressions().items():
        written = str(latex(expression))
        letter = _LETTERS.get(name, rf"\text{{{name.replace('_', ' ')}}}")
        readable_length = len(written) <= _LONGEST_FORMULA
        yield formula(f"{letter} = {written}") if readable_length else command(f"{name} = {expression}")


def _spectrum(spectrum: "HermiteSpectrum") -> Iterator[Html]:
    yield element("p", "Of the activation as given:")
    records = spectrum_records(spectrum, _MOST_DEGREES)
    yield table(SPECTRUM_COLUMNS, records, "Hermite coefficients of the activation as given")
    value, slope = tail_words(spectrum.value_tail), tail_words(spectrum.slope_tail)
    yield element("p", f"The degrees above {spectrum.order} hold {value} of E φ² and {slope} of E φ′².", class_="soft")


def _again(report: "CheckReport") -> Iterator[Html]:
    yield command(check_command(report))
    if report.spec is None:
        yield element("p", "From Python: phi stands for the activation that was given.", class_="soft")
    yield element("p", "Nothing here is random.")
    yield element("h3", "Versions")
    yield facts(versions().items())
