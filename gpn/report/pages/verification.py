"""The page of a verification: verdict, figures, one table for each claim, the mathematics, how to repeat it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

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
    readable,
    table,
)
from gpn.report.tables.verification import claim_columns, claim_events, engine_columns, header, legend
from gpn.report.words import captions
from gpn.report.words.commands import verify_command
from gpn.report.words.findings import claim_title, report_finding, sharpness
from gpn.report.words.selection import panel_rows
from gpn.report.words.text import plain
from gpn.report.words.verdicts import short_verdict
from theory.claims.counted import CountedClaim
from theory.claims.registry import CLAIMS

if TYPE_CHECKING:
    from gpn.verification.results import Configuration, Row, VerificationReport

_MARKS = {"holds": "good", "violated": "bad", "undecided": "open"}


def verification_page(report: "VerificationReport") -> str:
    """The page that `VerificationReport.to_html` gives."""
    notes = [element("li", readable(note)) for note in report.notes]
    lead = [
        element("p", element("strong", header(report))),
        element("ul", *(element("li", readable(line)) for line in report.summary().splitlines())),
        *([folded(f"Notes ({len(notes)})", element("ul", *notes, class_="soft"))] if notes else []),
    ]
    sections = [
        *([Section("Figures", tuple(_figures(report)))] if report.rows else []),
        Section("Results", tuple(_results(report))),
        Section("What theory says", tuple(claim_parts(entry) for entry in report.claims), folded=True),
        Section("The same numbers again", tuple(_again(report)), folded=True),
    ]
    return document(report_finding(report), (short_verdict(report), _MARKS[str(report.verdict)]), lead, sections)


def _figures(report: "VerificationReport") -> Iterator[Html]:
    """The whole network, or what there is, and the gradients by layer; the rest folded."""
    panels = pictures.panel_pictures(report)
    first = [drawn for drawn, rows in zip(panels, panel_rows(report.rows), strict=False) if _is_whole(rows)]
    shown = first[-1:] or list(panels[:1])
    yield figures([*shown, pictures.gradient_picture(report)], "large")
    others = [drawn for drawn in panels if drawn not in shown]
    caption = element("p", captions.exceedance(report), class_="soft")
    tightness = figures(pictures.tightness_picture(report), "large")
    yield folded("What the marks mean, and all other figures", figures(others), caption, tightness)


def _is_whole(rows: "list[Row]") -> bool:
    return rows[0].claim == CountedClaim.NETWORK


def _results(report: "VerificationReport") -> Iterator[Html]:
    """The whole network; single layers and the engine folded."""
    panels, level = panel_rows(report.rows), report.config.level
    whole = [rows for rows in panels if _is_whole(rows)] or panels[:1]
    others = [rows for rows in panels if rows not in whole]
    for rows in whole:
        yield from _claim_results(rows, level)
    yield folded("What the words mean", element("p", legend(report.rows), class_="soft"))
    if others:
        yield folded("Single layers", *(part for rows in others for part in _claim_results(rows, level)))
    if report.engine:
        words = (
            "Exact laws of any network show whether the engine that made this evidence is right, whatever theory says."
        )
        caption = "The engine: each law, what was seen and its exact value"
        laws = table(engine_columns(level), report.engine, caption, "verdict")
        yield folded("The engine", element("p", words, class_="soft lead"), laws)


def _claim_results(rows: "list[Row]", level: float) -> Iterator[Html]:
    title = claim_title(rows[0].claim, rows[0].depth)
    yield element("h3", title)
    if rows[0].claim in CLAIMS:
        entry = CLAIMS[rows[0].claim]
        yield element("p", readable(f"The probability that {entry.words}:"), class_="lead")
        yield formula(entry.event)
    remarks = [*sharpness(rows), *dict.fromkeys(row.bound_kind for row in rows if row.bound is None)]
    if remarks:
        yield element("p", "; ".join(plain(remark, 500) for remark in remarks) + ".", class_="soft lead")
    caption = f"{title}: each event, what was seen and what theory says"
    yield table(claim_columns(rows, level), claim_events(rows), caption, "verdict")


def _again(report: "VerificationReport") -> Iterator[Html]:
    text = verify_command(report.config)
    yield command(text)
    if text.startswith("gpn.verify"):
        names = "phi, inputs and labels stand for the function and the arrays that were given"
        yield element("p", f"From Python: {names}.", class_="soft")
    yield element("p", "The same seed gives the same bits with any number of workers, and the versions below.")
    yield element("h3", "What was asked for")
    yield facts(_asked(report.config))
    yield element("h3", "Versions")
    yield facts(report.versions.items())


def _asked(config: "Configuration") -> Iterator[tuple[str, str]]:
    yield "activation", plain(config.activation, 1000)
    if config.expression is not None and config.expression != config.activation:
        yield "formula", plain(config.expression, 1000)
    if config.root is not None:
        yield "normalized as a φ + b", f"a = {config.scale!r}, b = {config.shift!r} (root {config.root})"
    yield "widths", _list(config.widths)
    yield "depths", _list(config.depths)
    if config.shape_words:
        yield "shape", config.shape_words
    yield "ε, one layer", _list(config.epsilons)
    yield "ε, whole network", _list(config.deep_epsilons)
    if config.theorem:
        added = ", ".join(f"{width:,} (depth {depth})" for width, depth in config.theorem)
        yield "widths for the theorem", added
    yield "asked", ", ".join(config.claims)
    yield "networks for each row", "enough to decide it" if config.trials is None else f"{config.trials:,}"
    yield "seed", str(config.seed)
    yield "level", f"{config.level:g}, all rows together"
    yield "weights", config.weights
    yield "method", config.method
    yield "inputs", "on the thin shell" if config.inputs is None else plain(config.inputs, 1000)
    yield "readout", config.readout


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
