"""README and docs tell the truth: every snippet and command runs as printed, every link leads somewhere."""

import doctest
import importlib.util
import re
import shlex
from pathlib import Path
from pkgutil import resolve_name

import matplotlib as mpl
import numpy as np
import pytest

import gpn
from gpn.cli import program as cli
from tests.docs.documented import PAGES, ROOT, agree, anchors, blocks, links, text_of
from theory.claims.registry import CLAIMS

EACH = pytest.mark.parametrize("page", PAGES)
IN_A_FOLDER = pytest.mark.usefixtures("folder")
OUTSIDE = ("pip ", "pytest", "python -m", "git ", "dask ", "cd ")
ANSWERS = {0, 1, 3, 4}
"""Exit codes that are an answer; 2 and above 4 are a wrong command or a defect."""

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Reader:
    """Somebody who types what a page says, in an empty folder."""

    def __init__(self, page, capsys):
        self.page = page
        self.names = {"__name__": "__main__"}
        self.capsys = capsys

    def follow(self, block):
        where = f"{self.page}:{block.line}"
        needed = block.mark.partition("needs: ")[2].split()
        if not all(map(importlib.util.find_spec, needed)):
            return
        if block.mark.startswith("file: "):
            with open(block.mark.removeprefix("file: "), "w") as file:
                file.write(block.body)
        elif block.language == "python":
            self.python(block.body, where)
        for command, shown in block.commands():
            if not command.startswith(OUTSIDE) and "--scheduler" not in command:  # see test_clusters.py
                self.type(command, shown, where)

    def python(self, code, where):
        if ">>> " not in code:
            exec(compile(code, where, "exec"), self.names)
            return
        runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
        test = doctest.DocTestParser().get_doctest(code, self.names, where, where, 0)
        complaints = []
        runner.run(test, out=complaints.append, clear_globs=False)
        self.names.update(test.globs)
        assert not complaints, "".join(complaints)

    def type(self, command, shown, where):
        if any(f" {name}." in command and not importlib.util.find_spec(name) for name in ("torch", "jax")):
            return
        words = shlex.split(command, comments=True)
        if "|" in words or ">" in words:
            pytest.fail(f"{where}: {command!r} needs a shell")
        assert words[0] == "gpn", f"{where}: {command!r} is not ours: mark its block 'not run'"
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main(words[1:])
        printed = self.capsys.readouterr()
        assert (exit_.value.code or 0) in ANSWERS, f"{where}: $ {command}\n{printed.err}"
        assert shown is None or agree(shown, printed.out), f"{where}: $ {command}\n{printed.out}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the files of data that the pages speak of, and a terminal of 100 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    rng = np.random.default_rng(0)
    np.save("images.npy", rng.standard_normal((200, 64)))
    np.save("labels.npy", rng.integers(0, 10, 200))
    with mpl.rc_context():
        yield


def follow(page, capsys, slow):
    shown = [block for block in blocks(page) if not block.mark.startswith("not run")]
    if slow and not any(block.slow for block in shown):
        pytest.skip("nothing here is slow")
    reader = Reader(page, capsys)
    for block in shown:
        if slow or not block.slow:
            reader.follow(block)


@EACH
@IN_A_FOLDER
def test_what_a_page_shows_happens(page, capsys):
    follow(page, capsys, slow=False)


@pytest.mark.slow
@EACH
@IN_A_FOLDER
def test_what_takes_long_happens_too(page, capsys):
    follow(page, capsys, slow=True)


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"])
def test_links_lead_somewhere(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(str(file.resolve().relative_to(ROOT))), target


@EACH
def test_marks_are_understood(page):
    """A mistyped mark would be a comment, and its block run or not run by accident."""
    kinds = ("slow", "needs: ", "file: ", "not run: ")
    assert all(not block.mark or block.mark.startswith(kinds) for block in blocks(page))
    assert text_of(page).count("\n```") % 2 == 0


@EACH
def test_no_command_hides_in_a_block_that_is_not_run(page):
    """A fence without a language would be shown and never tried."""
    for block in blocks(page):
        typed = [line for line in block.body.splitlines() if line.removeprefix("$ ").startswith("gpn ")]
        assert not typed or block.commands() or block.mark.startswith("not run"), f"{page}:{block.line}: {typed[0]}"


def test_the_citation_and_the_changelog_name_this_version():
    assert f"\nversion: {gpn.__version__}\n" in text_of("CITATION.cff")
    assert f"## [{gpn.__version__}]" in text_of("CHANGELOG.md")


def test_contributing_names_targets_that_exist():
    named = set(re.findall(r"`make (\w+)`", text_of("CONTRIBUTING.md")))
    assert {"quick", "tests", "docs", "lint", "slow"} <= named
    assert all(re.search(rf"^{target}:", text_of("Makefile"), re.MULTILINE) for target in named)


def test_elision_is_not_blind():
    assert agree("a\n...\nc\n", "a\nb\nc\n")
    assert not agree("a\n...\nc\n", "a\nb\n")
    assert not agree("a\nc\n", "a\nb\nc\n")


@pytest.mark.parametrize("name", ["docstrings", "literals"])
def test_extensions_do_what_their_doctests_say(name):
    """The folder of the extensions is not a package, and Sphinx need not be there."""
    failed, tried = doctest.testmod(module_of(f"docs/_extensions/{name}.py"))
    assert (failed, tried > 0) == (0, True)


def test_signatures_name_a_choice_as_its_module_does():
    """A parameter and a result, inside of other types too; a choice without a name stays as it is."""
    named = module_of("docs/_extensions/literals.py").named
    choice = "~typing.Literal['attracting', 'marginal', 'repelling']"
    assert (
        named(f"(slope: float) -> {choice} | None") == "(slope: float) -> ~theory.depth.fixed_points.Stability | None"
    )
    assert named("(x: Literal['no such', 'choice'])") == "(x: Literal['no such', 'choice'])"
    assert named(None) is None


def test_the_page_of_the_commands_is_made_from_them():
    """Every command has a section with its options and an example; nothing in it is written by hand."""
    module = module_of("docs/commands.py")
    page = text_of("docs/commands.md")
    assert page == module.page(), "run: python docs/commands.py > docs/commands.md"
    names = [name for name, _ in module.commands()]
    assert {"gpn check", "gpn verify", "gpn reproduce training"} <= set(names)
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == names
    assert {path.stem for path in module.EXAMPLES.iterdir()} == {name.replace(" ", "-") for name in names}


def test_the_function_of_every_claim_has_a_place_in_the_reference():
    """Sphinx would warn of a missing one, and its warnings are errors; this is known without Sphinx."""
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/reference").glob("*.md"))
    documented = set(re.findall(r"automodule:: (\S+)", pages))
    homes = {claim.id: resolve_name(claim.function).__module__ for claim in CLAIMS.values() if claim.function}
    assert {name: home for name, home in homes.items() if home not in documented} == {}


def test_the_index_leads_to_what_a_newcomer_wants():
    wanted = (
        "check an activation",
        "paste constants",
        "is normalized",
        "read a verdict",
        "cite",
        "report a bug",
        "add an",
    )
    rows = [line for line in text_of("docs/index.md").splitlines() if line.startswith("| ") and "](" in line]
    assert all(any(words in row.split("|")[1] for row in rows) for words in wanted)


def module_of(path):
    """A file of the documentation as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
