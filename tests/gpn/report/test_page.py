"""The report pages: self-contained, escaped, the same bytes every time, true to the rows; also in a browser."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import gpn
from gpn.checking.results import check_report
from gpn.cli import program as cli
from gpn.report.pages import claims
from gpn.report.pages.claims import claim_parts
from gpn.report.pages.numbers import numbers_page
from gpn.report.pages.page import Section, document, element, formula, join, readable, table
from gpn.report.tables.columns import Column
from gpn.report.words import commands
from gpn.report.words.text import TableCell, printable
from theory.claims.registry import CLAIMS

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\x1b[31m\ud800</style>{{x}}"
VOID = {"meta", "link", "path", "use", "br"}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0"]
browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


class Reader(HTMLParser):
    """Collects elements, checks that they nest, and keeps the text of what a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID or (self.open and self.open[-1] == tag):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def report():
    return gpn.verify("relu", widths=(16, 32), depth=3, epsilons=(0.5, 1.5), trials=300, seed=3)


@pytest.fixture(scope="module")
def hostile(report):
    config = replace(report.config, activation=HOSTILE, expression=HOSTILE, spec=HOSTILE, inputs=HOSTILE)
    rows = tuple(replace(row, activation=HOSTILE) for row in report.rows)
    profiles = tuple(replace(profile, label=HOSTILE) for profile in report.profiles)
    return replace(report, config=config, rows=rows, profiles=profiles, notes=(HOSTILE,), versions={HOSTILE: HOSTILE})


@pytest.fixture(scope="module")
def hostile_page(hostile):
    return hostile.to_html()


@pytest.fixture(scope="module")
def checked():
    return check_report("gelu", 20)


@pytest.fixture(scope="module")
def pages(report, checked):
    return {"verify": report.to_html(), "check": checked.to_html(), "jump": check_report("sign").to_html()}


# ---------------------------------------------------------------------------------------------- what a page is made of


@pytest.mark.parametrize("name", ["verify", "check", "jump"])
def test_pages_nest_and_load_nothing_from_elsewhere(pages, name):
    page = pages[name]
    reader = Reader(page)
    for tag, attributes in reader.elements:
        assert tag not in {"iframe", "object", "embed", "base", "img"}
        for attribute in ("src", "href", "xlink:href", "data", "action"):
            assert attributes.get(attribute, "#").startswith(("#", "data:,")), (tag, attributes)
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)
    identities = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    used = [a[key][1:] for _, a in reader.elements for key in ("href", "xlink:href") if a.get(key, "").startswith("#")]
    assert set(used) | set(re.findall(r"url\(#([^)]+)\)", page)) <= set(identities)


def test_the_same_report_gives_the_same_bytes(report, pages, checked):
    assert report.to_html() == pages["verify"]
    assert checked.to_html() == pages["check"]


def test_what_a_user_typed_is_text_and_never_markup(hostile, hostile_page, report):
    hostile_page.encode("utf-8")
    reader = Reader(hostile_page)
    assert _outside_drawings(reader) == _outside_drawings(Reader(_with_same_shape(report, hostile)))
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert len(reader.named("script")) == 1
    assert "<script>alert(1)</script>" in "".join(reader.words)
    assert "\x1b" not in hostile_page


def _outside_drawings(reader):
    return [tag for tag, _ in reader.elements if tag not in {"path", "use", "g", "defs"}]


def _with_same_shape(report, hostile):
    """The page of a harmless name in the same places as the hostile one."""
    named = replace(hostile.config, activation="name", expression="name", spec="name", inputs="name")
    profiles = report.profiles
    return replace(hostile, config=named, profiles=profiles, notes=("note",), versions={"name": "1"}).to_html()


def test_a_hostile_formula_is_refused_and_a_hostile_module_shown_as_text(tmp_path, monkeypatch):
    (tmp_path / "odd.py").write_text("import numpy as np\ndef phi(x):\n    return np.tanh(x)\n")
    monkeypatch.chdir(tmp_path)
    found = replace(check_report("odd:phi", detailed=False), spec=HOSTILE, derivative=HOSTILE)
    reader = Reader(found.to_html())
    assert len(reader.named("script")) == 1
    assert "onerror" not in {name for _, attributes in reader.elements for name in attributes}


def test_elements_escape_children_and_attributes_and_keep_html():
    made = element("p", HOSTILE, element("b", "<"), title=HOSTILE)
    reader = Reader(made)
    assert [tag for tag, _ in reader.elements] == ["p", "b"]
    assert reader.named("p")[0]["title"] == printable(HOSTILE)
    assert "".join(reader.words) == printable(HOSTILE) + "<"
    assert join(["<i>", element("i", "x")]) == "&lt;i&gt;<i>x</i>"


# ---------------------------------------------------------------------------------------------- mathematics


def test_every_statement_of_the_registry_is_mathml():
    for claim in CLAIMS.values():
        letters = [formula(letter, display=False) for letter, _ in claim.symbols]
        shown = [claim_parts(claim), *letters, *([formula(claim.event)] if claim.event else [])]
        text = "".join(shown)
        assert "<code>" not in text, claim.id
        assert text.count("<math") == len(claim.statement) + 2 * len(letters) + bool(claim.event), claim.id
        assert "\\" not in text, claim.id
        Reader(text)


@pytest.mark.parametrize("latex", [r"\text{<script>alert(1)</script>}", r"\frac{", r"\href{javascript:x}{y}", "$$", ""])
def test_what_is_no_mathematics_is_shown_as_it_was_written(latex):
    made = formula(latex)
    reader = Reader(made)
    assert not reader.named("script")
    assert not any("href" in attributes for _, attributes in reader.elements)


def test_a_proof_is_a_link_once_the_repository_has_an_address(monkeypatch):
    entry = CLAIMS["gaussian-poincare-inequality"]
    assert "<a " not in claim_parts(entry)
    monkeypatch.setattr(claims, "repository", lambda: "https://github.com/me/gpn")
    page, _, section = entry.proof.partition("#")
    assert f'<a href="https://github.com/me/gpn/blob/main/{page}#{section}">{entry.proof}</a>' in claim_parts(entry)


def test_the_statements_of_a_check_apply_to_its_activation(pages):
    named = {name: set(re.findall(r"<summary><b>([^<]*)</b>", pages[name])) for name in ("check", "jump")}
    assert CLAIMS["length-stability"].title in named["check"]
    assert CLAIMS["jumps-are-excluded"].title not in named["check"]
    assert named["jump"] >= {CLAIMS["gpn"].title, CLAIMS["jumps-are-excluded"].title}
    assert CLAIMS["length-stability"].title not in named["jump"]


def test_sentences_of_the_registry_become_readable():
    assert readable("|h| <= sqrt(nq), E phi'^2, rho^4, alphabet") == "|h| ≤ √(nq), E φ′², ρ<sup>4</sup>, alphabet"


# ---------------------------------------------------------------------------------------------- true to the evidence


def test_the_tables_hold_every_event_with_its_numbers(report, pages):
    reader = Reader(pages["verify"])
    words = "".join(reader.words)
    assert sum("data-key" in a for a in reader.named("td")) > 4 * len({row.event for row in report.rows})
    for row in report.rows:
        if row.method == "counting":
            assert f"{row.exceedances:,} of {row.trials:,}" in words
    assert all(line in words for line in report.summary().splitlines())
    for claim in report.claims:
        assert claim.title in words
    for name, number in report.versions.items():
        assert name in words
        assert number in words
    assert "seed" in words


def test_the_page_of_a_check_holds_the_digits_and_both_roots(checked, pages):
    words = "".join(Reader(pages["check"]).words)
    conditions = checked.conditions
    assert conditions.second_moment.digits in words
    for root in conditions.normalizations:
        assert root.a.digits in words
        assert root.b.digits in words
    assert "gpn check gelu --digits 20 --verbose" in words


@pytest.mark.parametrize("spec", ["sign", "exp(x**2/2)", "3", "1.4674*tanh(x)+0.3885"])
def test_every_outcome_has_a_page_and_files(spec, tmp_path):
    found = check_report(spec, 10, detailed=False)
    written = [path.name for path in found.save(tmp_path / "out")]
    assert {"check.json", "check.html", "activation.png"} <= set(written)
    assert sorted(written) == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert json.loads((tmp_path / "out" / "check.json").read_text())["is_gpn"] == found.conditions.is_gpn


def test_the_mark_is_undecided_without_a_proof(checked, pages):
    conditions = replace(checked.conditions, is_gpn="undecided", reason="too blunt")
    words = Reader(replace(checked, conditions=conditions, details=None).to_html()).words
    assert "undecided" in words
    assert "not GPN, but normalizable" not in words
    assert "not GPN, but normalizable" in Reader(pages["check"]).words


def test_functions_have_a_page():
    found = check_report(np.arctan, detailed=False)
    assert "gpn.check_report(phi, digits=30)" in found.to_html()
    assert found.plot().axes


def test_a_notebook_shows_the_verdict_and_the_roots(checked):
    shown = checked._repr_html_()
    assert "gelu is not GPN" in shown
    assert checked.conditions.normalizations[1].b.digits in shown
    named = replace(checked, conditions=replace(checked.conditions, name=HOSTILE))
    assert not Reader(named._repr_html_()).named("script")
    assert check_report("sign", 10)._repr_html_().startswith("<p>sign cannot be normalized")


# ---------------------------------------------------------------------------------------------- the command


def test_the_command_on_the_page_gives_the_same_numbers(report, pages, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = commands.verify_command(report.config)
    assert command in Reader(pages["verify"]).words
    with pytest.raises(SystemExit):
        cli.main([*command.split()[1:], "--json"])
    again = json.loads(capsys.readouterr().out)
    assert again == json.loads(json.dumps(report.to_dict()))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"spec": "-tanh(x)"}, ["--root", "auto", "--", "'-tanh(x)'"]),
        ({"spec": "a; rm -rf /"}, ["'a; rm -rf /'"]),
        ({"root": None}, ["--raw"]),
        ({"until": "decided", "cap": 5000}, ["--until", "decided", "--cap", "5000"]),
        ({"spec": "m:phi", "derivative": "m:d"}, ["m:phi", "--derivative", "m:d"]),
        ({"inputs": "digits", "readout": "loss, 10 classes"}, ["--inputs", "digits"]),
        ({"spec": None}, ["gpn.verify(phi,", "epsilons=(0.5,", "root='auto')"]),
        ({"inputs": "array"}, ["gpn.verify('relu',", "inputs=inputs)"]),
        ({"inputs": "x.npz", "readout": "loss, 3 classes"}, ["--inputs", "x.npz"]),
        ({"inputs": "x.npz", "labels": "array"}, ["inputs='x.npz',", "labels=labels)"]),
        ({"inputs": "x.npy", "labels": "y.npy"}, ["--inputs", "x.npy", "--labels", "y.npy"]),
        ({"spec": None, "inputs": "x.npy", "labels": "array"}, ["inputs='x.npy',", "labels=labels)"]),
    ],
)
def test_commands_name_what_differs(report, changes, expected):
    command = commands.verify_command(replace(report.config, **changes))
    assert all(f" {word}" in f" {command}" for word in expected), command


def test_default_tolerances_are_not_named(report):
    config = replace(report.config, epsilons=(0.1, 0.2), deep_epsilons=(0.5, 1.0))
    assert "epsilon" not in commands.verify_command(config)


def test_check_writes_its_files_into_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "3", "--digits", "10", "--out", "here"])
    assert ended.value.code == 4
    captured = capsys.readouterr()
    assert "check.json" in captured.out
    assert (tmp_path / "here" / "check.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(SystemExit):
        cli.main(["check", "sign", "--digits", "10", "--out", "here", "--json"])
    captured = capsys.readouterr()
    assert "details" not in json.loads(captured.out)
    assert "to here" in captured.err


# ---------------------------------------------------------------------------------------------- in a browser


def chromium(folder, page):
    """Load a page; gives the resulting document and what the browser logged."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": str(folder)})
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def probed(page, script):
    """The page with a script of the test at its end."""
    return page.replace("</body>", f"<script>{script}</script></body>")


FITTING = """
  addEventListener("load", () => {
    const out = document.documentElement, cut = [], heights = [], height = out.scrollHeight;
    const link = [...document.querySelectorAll("nav a")].pop();
    link.addEventListener("click", (event) => event.preventDefault());
    link.click();
    const opens = document.getElementById(link.hash.slice(1)).querySelector("details").open;
    for (const folded of document.querySelectorAll("details")) folded.open = true;
    for (const node of document.querySelectorAll("svg, p, h1, h2, h3, dd, figcaption"))
      if (node.getBoundingClientRect().right > innerWidth + 1) cut.push(node.textContent.slice(0, 60));
    for (const node of document.querySelectorAll("math")) heights.push(node.getBoundingClientRect().height);
    const found = {
      wide: out.scrollWidth - out.clientWidth, cut, flat: heights.filter((height) => height < 1).length,
      loaded: performance.getEntriesByType("resource").length, formulas: heights.length, height, opens,
    };
    parent.document.documentElement.setAttribute(`data-at-${innerWidth}`, JSON.stringify(found));
  });
"""


@browser
@pytest.mark.parametrize("name", ["verify", "check", "jump"])
def test_pages_load_without_an_error_and_fit_a_phone(pages, tmp_path, name):
    """In frames of both widths, since the window of a headless browser is never narrower than 500.

    A large window shows the page in two screens; the list of contents unfolds what it names.
    """
    frame = escape(probed(pages[name], FITTING))
    frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{frame}"></iframe>' for width in (390, 1280))
    made, logged = chromium(tmp_path, f'<!DOCTYPE html><meta charset="utf-8">{frames}')
    assert logged == []
    seen = Reader(re.sub(r"<iframe.*</iframe>", "", made, flags=re.DOTALL)).named("html")[0]
    for width in (390, 1280):
        found = json.loads(seen[f"data-at-{width}"])
        assert found.pop("formulas") > 5
        assert found.pop("height") <= 1600 or width < 1280  # two screens of 800
        assert found == {"wide": 0, "cut": [], "flat": 0, "loaded": 0, "opens": True}, width


SORTING = """
  const table = document.querySelector("table");
  const button = table.querySelectorAll("th button")[COLUMN];
  button.focus();
  const log = [document.activeElement === button];
  for (const turn of [1, 2]) {
    document.activeElement.click();
    log.push([...table.querySelectorAll("th")].map((head) => head.getAttribute("aria-sort")));
    log.push([...table.tBodies[0].rows].map((row) => row.cells[COLUMN].dataset.key));
  }
  document.documentElement.setAttribute("data-log", JSON.stringify(log));
"""


def sorted_by(folder, page, column):
    made, logged = chromium(folder, probed(page, SORTING.replace("COLUMN", str(column))))
    assert logged == []
    return json.loads(Reader(made).named("html")[0]["data-log"])


@browser
def test_a_heading_sorts_and_sorts_back(tmp_path, pages):
    focused, first, up, second, down = sorted_by(tmp_path, pages["verify"], 3)
    assert focused
    assert first.count("none") == second.count("none") == len(first) - 1
    assert (first[3], second[3]) == ("ascending", "descending")
    assert all(float(one) <= float(two) for one, two in pairwise(up))
    assert [float(key) for key in down] == sorted(map(float, up), reverse=True)


@browser
def test_missing_cells_stay_last_and_infinity_is_a_number(tmp_path):
    keys = [2.0, None, float("inf"), -1e-300, 1e300, float("nan")]
    made = table([Column("n", lambda key: TableCell("x", key))], keys, "numbers")
    page = document("t", ("v", "good"), [], [Section("s", (made,))])
    _, _, up, _, down = sorted_by(tmp_path, page, 0)
    assert up == ["-1e-300", "2.0", "1e+300", "Infinity", "", ""]
    assert down == ["Infinity", "1e+300", "2.0", "-1e-300", "", ""]


@browser
def test_words_sort_by_letters(tmp_path):
    made = table([Column("word", str)], ("b", "<a>", "c", "1"), "words")
    page = document("t", ("v", "good"), [], [Section("s", (made,))])
    assert sorted_by(tmp_path, page, 0)[2] == ["1", "<a>", "b", "c"]


@browser
def test_hostile_names_run_nothing(tmp_path, hostile_page):
    probe = "document.documentElement.setAttribute('data-images', document.images.length);"
    made, logged = chromium(tmp_path, probed(hostile_page, probe))
    assert logged == []
    assert Reader(made).named("html")[0]["data-images"] == "0"


def test_a_table_of_numbers_is_headed_by_words():
    page = numbers_page("Found.", (), {"runs": pd.DataFrame({"log10_gradient": [1.5], "learning_rate": [0.1]})})
    assert re.findall(r'<button type="button">(.*?)</button>', page) == ["log₁₀ gradient", "learning rate"]
