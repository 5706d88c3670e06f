"""The old style does not come back: phrases that had to be read twice, each with what we write now."""

import re

import pytest

from tests.docs.documented import PAGES, ROOT

PHRASES = {
    r"goes on (with|where|by|until)": "resumes, continues",
    r"go on (with|where|by|until)": "resume, continue",
    r"went on (with|where|by|until)": "resumed, continued",
    r"gone on with": "resumed",
    r"(is|are) told (apart|first|in|which|by|as)": "is reported, is distinguished",
    r"is no case of its own": "needs no special case",
    r"which (is|are) no (theorem|proof|bound)s?": "which is not a",
    r"no theorems\b": "not theorems",
    r"is no theorem\b": "is not a theorem",
    r"what is said of": "the caption, the description",
    r"[Ww]hat a person reads": "the table of",
    r"what fails is shown": "the table shows what fails",
    r"\blest\b": "so that nothing",
    r"\b(is|was|are|were) looked at": "is checked, is compared",
    r"\bhindrance\b": "obstacle",
    r"\bstumbles?\b": "fails",
    r"for want of": "because ... is missing",
    r"and the like\b": "name them, or: and similar",
    r"do the like\b": "do so too",
    r"\banew\b": "again",
    r"whatever somebody": "whatever",
    r"that are none of": "that are not",
    r"a name that is none": "an unknown name",
    r"nobody (computes|answers|says|reads)": "name who: no worker, no user",
    r"somebody (else )?(has|made|who)": "name who: a user, another process",
    r"is its own (master|judge)": "decides alone",
    r"there is no telling": "it is not known",
    r"does its work": "works",
    r"stand(s)? in (for|its) place of": "replaces",
    r"to be had\b": "available",
    r"\b[Ss]eldom\b": "rarely, less and less often",
    r"in the place of": "instead of, in place of",
    r"(?<!here )is no (proof|matter|error|cheating|continuation|case)\b": "is not a",
    r"come to (its|an) end": "is finished",
    r"\bwill do\b": "is enough, works",
    r"another matter": "name the difference",
    r"as the theory has it": "as theory says",
    r"says? nothing of\b": "does not cover",
    r"nothing is at stake": "name what is compared",
    r"had one known": "if it were known",
    r"is the quicker one": "is quicker",
    r"what is left of": "the rest of",
    r"\bspeaks? of\b": "covers, is about",
    r"(came|comes?|becomes?) of (it|them)\b": "the result",
    r"\bshall\b": "may, must, will",
    r"\bmerely\b": "only",
    r"\bspares (the|it|its)\b": "saves, makes unnecessary",
    r"\bkept apart\b": "held out, distinguished",
    r"what it is worth": "how far it helps, whether it holds",
    r"\bis of no\b": "has no",
    r"were it (false|true|not)\b": "if it were",
    r"\b(thereof|therein|hereby|whence|upon which)\b": "name it",
    r"\bin vain\b": "without result",
    r"nothing but\b": "only",
    r"counted apart": "counted separately",
    r"as (many|much) as decide": "enough to decide",
    r"\bbeforehand\b": "in advance, before",
    r"\bas yet\b": "so far, still",
    r"no such thing": "something else",
}
FILES = (
    *PAGES,
    "CONTRIBUTING.md",
    *(str(path.relative_to(ROOT)) for room in ("gpn", "theory") for path in (ROOT / room).rglob("*.py")),
)


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_of_the_old_style_is_gone(phrase):
    """CONTRIBUTING.md shows some of them, as examples of what not to write."""
    examples = (ROOT / "CONTRIBUTING.md").read_text().partition("## How we write")[0]
    texts = {file: (ROOT / file).read_text() if file != "CONTRIBUTING.md" else examples for file in FILES}
    seen = [
        f"{file}:{text.count(chr(10), 0, found.start()) + 1}: {found[0]!r}; rather: {PHRASES[phrase]}"
        for file, text in texts.items()
        for found in re.finditer(phrase, text)
    ]
    assert not seen, "\n".join(seen)
