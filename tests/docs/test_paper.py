"""The paper has the form of its journal, and its numbers are those that commands print on tested pages."""

import re

import pytest

from tests.docs.documented import ROOT, text_of

PAPER = "paper/paper.md"
TRACED = {
    "1.4915": "docs/guides/audit.md",
    "1.48111": "docs/tutorial.md",
    "within 44 layers": "docs/guides/audit.md",
    "2.3": "docs/tutorial.md",
    "3,561": "docs/guides/width.md",
    "1,869": "docs/guides/width.md",
    "13.8 ns": "docs/speed.md",
    "76 µs": "docs/speed.md",
    "1.6 GiB": "docs/speed.md",
    "0.0161": "docs/commands.md",
    "0.668": "docs/commands.md",
    "95.0": "docs/reproduce-training.md",
    "13.6": "docs/reproduce-training.md",
}
"""Figures of the paper, and a page where a tested command or a kept table shows them."""


def test_the_paper_has_the_sections_and_the_length_of_its_journal():
    text = text_of(PAPER)
    headings = re.findall(r"^# (.*)$", text, re.MULTILINE)
    assert headings[-8:] == [
        "Summary",
        "Statement of need",
        "State of the field",
        "Software design",
        "Research impact statement",
        "AI usage disclosure",
        "Acknowledgements",
        "References",
    ]
    assert 750 <= len(text.partition("# Summary")[2].split()) <= 1750


def test_the_paper_cites_what_its_bibliography_holds():
    cited = set(re.findall(r"@(\w+\d{4})\b", text_of(PAPER)))
    assert cited == set(re.findall(r"^@\w+\{(\w+),", text_of("paper/paper.bib"), re.MULTILINE))


@pytest.mark.parametrize("figure", TRACED)
def test_a_figure_of_the_paper_is_that_of_a_tested_page(figure):
    """A page that changes, such as by a sharper bound, fails here until the paper follows."""
    shown = re.search(r"\d[\d.,]*\d", figure)[0]
    assert figure in " ".join(text_of(PAPER).split())
    assert shown in text_of(TRACED[figure])


def test_the_authors_are_the_same_everywhere():
    """The first author, as CITATION.cff has it: a name, or a family name."""
    name = re.search(r"^authors:\n  - (?:family-)?names?: (.*)$", text_of("CITATION.cff"), re.MULTILINE)[1].strip('"')
    assert all(name in text_of(file) for file in ("pyproject.toml", PAPER, "docs/help.md"))


def test_the_workflow_runs_the_script_of_ci_with_every_python_of_the_classifiers():
    """What is on trial there is no classifier."""
    [workflow] = (ROOT / ".github" / "workflows").glob("*.yml")
    text, project = workflow.read_text(encoding="utf-8"), text_of("pyproject.toml")
    listed = re.search(r"python: \[(.*)\]", text)[1].replace('"', "").split(", ")
    assert re.findall(r"Programming Language :: Python :: (3\.\d+)", project) == listed
    trial = re.findall(r'os: (\w+)-latest, python: "([\d.]+)", trial: true', text)
    assert all(python not in listed or system.title() not in project for system, python in trial)
    assert {"- run: .ci/run", "- run: .ci/minimum"} <= {line.strip() for line in text.splitlines()}
