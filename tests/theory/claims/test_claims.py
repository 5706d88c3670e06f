"""The registry of claims: everything it names exists, its formulas can be typeset, its page is current."""

import ast
import pkgutil
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
from matplotlib.mathtext import MathTextParser

import gpn
from gpn.report.plots import exceedance as plot_exceedance
from gpn.report.words import findings
from gpn.statistics.limits import Verdict
from gpn.verification.results import Row, VerificationReport
from tests.root import ROOT
from theory.claims import registry as claims
from theory.claims.claim import LETTERS, Claim, letters
from theory.claims.counted import CountedClaim
from theory.claims.registry import CLAIMS
from theory.errors import UsageError

EVENTS = tuple(CountedClaim)
PAGES = ("gpn.md", "matrix-free.md", "one-step.md", "statistics.md", "sequential.md", "claims.md", "index.md")
EACH = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
COMPUTED = ("law", "bound", "prediction", "estimate")
WITHOUT_A_FUNCTION = {"matrix-free-batch"}


@cache
def names_of_tests(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@cache
def anchors(page):
    """Where GitHub lets a link into a page land: explicit anchors, and headings in lower case with hyphens."""
    text = (ROOT / page).read_text()
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.quick
def test_the_page_is_current():
    assert (ROOT / "docs/claims.md").read_text() == claims.page(), (
        "run: python -m theory.claims.registry > docs/claims.md"
    )


@EACH
def test_an_id_is_lower_case_words(claim):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", claim.id)
    assert CLAIMS[claim.id] is claim


def test_no_id_is_given_twice():
    with pytest.raises(ValueError, match="gpn"):
        claims._by_id([CLAIMS["gpn"], CLAIMS["gpn"]])


@EACH
def test_what_a_claim_says_is_complete(claim):
    assert claim.title
    assert claim.words
    assert claim.statement
    assert claim.symbols
    assert claim.assumptions
    assert claim.reference or claim.proof
    assert claim.test
    assert claim.function or claim.id in WITHOUT_A_FUNCTION
    assert all(sentence.endswith(".") for sentence in claim.assumptions)


@EACH
def test_rigor_fits_the_kind(claim):
    fitting = {
        "definition": {"definition"},
        "theorem": {"proved", "exact law", "numerical evaluation of a proved bound"},
        "law": {"exact law"},
        "bound": {"proved", "numerical evaluation of a proved bound"},
        "prediction": {"asymptotic prediction"},
        "estimate": {"asymptotic prediction"},
    }
    assert claim.rigor in fitting[claim.kind]


@EACH
def test_the_function_exists(claim):
    if claim.function:
        found = pkgutil.resolve_name(claim.function)
        assert callable(found) or isinstance(found, property)


@EACH
def test_the_test_exists(claim):
    file, _, name = claim.test.partition("::")
    assert name in names_of_tests(ROOT / file)


@EACH
def test_the_proof_exists(claim):
    if claim.proof:
        page, _, anchor = claim.proof.partition("#")
        assert (ROOT / page).is_file()
        assert not anchor or anchor in anchors(page)


@EACH
def test_formulas_can_be_typeset(claim):
    """By matplotlib for figures, and on GitHub, whose Markdown eats a backslash before punctuation."""
    parser = MathTextParser("path")
    for formula in (*claim.statement, *(letter for letter, _ in claim.symbols), *filter(None, [claim.event])):
        parser.parse(f"${formula}$")
        assert formula.count("{") == formula.count("}")
        assert not re.search(r"\\[^A-Za-z]", formula)


@EACH
def test_letters_of_a_claim_occur_in_it(claim):
    """A letter that is explained but never used would be a relic."""
    formulas = " ".join(claim.statement)
    assumed = " ".join(claim.assumptions)
    for letter, _ in claim.symbols:
        for part in letter.split(", "):
            bare = part.replace("(q)", "").replace("_l", "")
            assert bare in formulas or bare in assumed, letter


def test_verified_events_and_their_bounds_are_claims():
    for identity in EVENTS:
        event = CLAIMS[identity]
        assert event.event.startswith("P")
        for kind, other in event.tested_by:
            assert CLAIMS[other] in claims.claims_of_bound(identity, kind)
        assert claims.claims_of_bound(identity, "none (no bound)") == ()
    assert [identity for identity in CLAIMS if CLAIMS[identity].event] == list(EVENTS)
    for identity, name in zip(EVENTS[:3], ("forward", "backward-random", "backward-fixed"), strict=True):
        found = [entry.id for entry in claims.claims_of_bound(identity, "levy")]
        assert found == [f"levy-{name}", "gaussian-concentration"]


def row(claim, kind):
    return Row(claim, "tanh", 64, 1, 0.2, "upper", 100, 0, 0.0, 0.0, 0.1, kind, 0.5, None, Verdict.HOLDS)


def test_a_verdict_knows_its_claims():
    found = [claim.id for claim in row("forward-one-step", "levy").claims]
    assert found == ["forward-one-step", "levy-forward", "gaussian-concentration"]
    assert len(row("deep-gradient-ratio", "deep").claims) == 6
    assert [claim.id for claim in row("forward-one-step", "none (kinks)").claims] == ["forward-one-step"]


def test_tables_and_figures_speak_from_the_registry():
    for identity in EVENTS:
        assert findings.claim_title(identity, 7).startswith(CLAIMS[identity].title)
        report = VerificationReport(None, (row(identity, "levy"),), (), (), (), {})
        (axes,) = plot_exceedance.exceedance_panel(report, identity, 1).axes
        assert axes.get_ylabel() == f"${CLAIMS[identity].event}$"


def test_the_error_for_an_unknown_claim_names_the_nearest():
    assert asdict(gpn.claim("forward-one-step")) == asdict(CLAIMS["forward-one-step"])
    with pytest.raises(UsageError, match="'levy-forward'"):
        gpn.claim("levi-forward")
    with pytest.raises(UsageError, match=r"docs/claims\.md"):
        gpn.claim("123")


def test_a_claim_shows_itself():
    claim = gpn.claim("levy-forward")
    assert claim._repr_latex_().count("$$") == 4
    html = claim._repr_html_()
    assert all(text in html for text in (claim.title, claim.id, claim.function, claim.test, "Assumes", r"\epsilon"))
    assert "<= sqrt" not in html  # escaped
    assert repr(claim) == ("<Claim levy-forward: Lévy bound, forward (bound, numerical evaluation of a proved bound)>")


def test_a_letter_without_a_meaning_is_an_error():
    assert letters("n") == (("n", LETTERS["n"]),)
    with pytest.raises(KeyError):
        letters("unheard of")


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_tests_functions_and_pages_that_exist(page):
    text = (ROOT / "docs" / page).read_text()
    known = {name for file in (ROOT / "tests").rglob("test_*.py") for name in (*names_of_tests(file), file.stem)}
    assert set(re.findall(r"\btest_\w+", text)) <= known
    for file, name in re.findall(r"(tests/[\w/]*test_\w+\.py)::(test_\w+)", text):
        assert name in names_of_tests(ROOT / file)
    for name in re.findall(r"`((?:theory|gpn)(?:\.\w+)+:[\w.]+)`", text):
        pkgutil.resolve_name(name)
    for target, anchor in re.findall(r"\]\(([\w./-]*\.md)?(?:#([\w-]+))?\)", text):
        path = (ROOT / "docs" / target).resolve().relative_to(ROOT) if target else Path("docs", page)
        assert (ROOT / path).is_file()
        assert not anchor or anchor in anchors(path)


@pytest.mark.parametrize("page", PAGES)
def test_formulas_of_pages_survive_markdown(page):
    """Displayed formulas stand between lines of two dollar signs, the others on one line, without eaten backslashes."""
    text = re.sub(r"`[^`\n]*`", "", (ROOT / "docs" / page).read_text())
    parts = re.split(r"^\$\$$", text, flags=re.MULTILINE)
    assert len(parts) % 2 == 1
    inline = [formula for prose in parts[::2] for formula in re.findall(r"\$([^$\n]*)\$", prose)]
    assert all(line.count("$") % 2 == 0 for prose in parts[::2] for line in prose.splitlines())
    for formula in (*parts[1::2], *inline):
        assert formula.count("{") == formula.count("}")
        assert formula.count(r"\left") - formula.count(r"\leftarrow") - len(re.findall(r"\\left[a-z]", formula)) == len(
            re.findall(r"\\right(?![a-z])", formula)
        )
        assert not re.search(r"\\[^A-Za-z\n]", formula), formula
        assert "<" not in re.sub(r"< ", "", formula), formula


def test_a_claim_is_a_value():
    claim = CLAIMS["gpn"]
    assert isinstance(claim, Claim)
    assert hash(claim) == hash(CLAIMS["gpn"])
    with pytest.raises(AttributeError):
        claim.title = "other"
