"""The registry of everything that the theory claims, and the page that is made of it.

    python -m theory.claims.registry > docs/claims.md

writes that page; a test compares.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from html import escape
from types import MappingProxyType

from theory.claims import depth as claims_depth
from theory.claims import engine as claims_engine
from theory.claims import laws as claims_laws
from theory.claims import lemmas as claims_lemmas
from theory.claims import normalization as claims_gpn
from theory.claims import tails as claims_one_step
from theory.claims import trainability as claims_trainability
from theory.claims import trials as claims_statistics
from theory.claims.claim import Claim
from theory.errors import UsageError

_CHAPTERS = {
    "Gaussian-Poincaré normalization and infinite width": claims_gpn.ENTRIES,
    "One layer of finite width: exact laws": claims_laws.ENTRIES,
    "One layer of finite width: tails": claims_one_step.ENTRIES,
    "Normal pre-activations: the paper's theorems and lemmas": claims_lemmas.ENTRIES,
    "The whole depth": claims_depth.ENTRIES,
    "Does it train: separation and isometry": claims_trainability.ENTRIES,
    "The networks that a verification draws": claims_engine.ENTRIES,
    "What trials can say": claims_statistics.ENTRIES,
}

_GREEK = {
    "phi": "φ", "epsilon": "ε", "chi": "χ", "lambda": "λ", "kappa": "κ", "rho": "ρ", "alpha": "α", "delta": "δ",
    "sigma": "σ",
}  # fmt: skip
_LETTER = r"(?<![A-Za-zé])([A-Za-zα-ω])"
_SCRIPT = r"(?:\(([^()]*)\)|([A-Za-z0-9α-ω]+))"  # in brackets, which are left out, or a word
_SIGNS = {
    **{rf"(?<![A-Za-z]){name}(?![A-Za-z])": letter for name, letter in _GREEK.items()},
    r"\bsqrt\(": "√(",
    "&lt;=": "≤",
    "&gt;=": "≥",
    r"\bdE/d(?=[A-Za-z])": "∂E/∂",
    rf"{_LETTER}''": r"\1″",
    rf"{_LETTER}'(?![a-z])": r"\1′",
    r"\^2(?!\w)": "²",
    rf"\^{_SCRIPT}": r"<sup>\1\2</sup>",
    rf"(?<![A-Za-z])(He|[A-Za-zα-ω]′?|\|)_{_SCRIPT}": r"\1<sub>\2\3</sub>",
}


def _by_id(entries: Iterable[Claim]) -> Mapping[str, Claim]:
    claims: dict[str, Claim] = {}
    for entry in entries:
        if entry.id in claims:
            raise ValueError(f"two claims have the id {entry.id!r}")
        claims[entry.id] = entry
    return MappingProxyType(claims)


CLAIMS = _by_id(entry for entries in _CHAPTERS.values() for entry in entries)
"""Every claim by its id, in the order of the page."""


def claim(identity: str) -> Claim:
    """A claim by its id.

    Args:
        identity: the id, as in a row of a report and on the page of claims.

    Raises:
        UsageError: an unknown id; the message names the nearest ones.

    >>> claim("gaussian-poincare-inequality").statement[0].replace(chr(92), "")
    "operatorname{Var} phi(z) leq E phi'(z)^2"
    """
    if identity in CLAIMS:
        return CLAIMS[identity]
    near = get_close_matches(str(identity), CLAIMS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "docs/claims.md lists them all"
    raise UsageError(f"no claim has the id {identity!r:.60}; {hint}")


def claims_of_bound(identity: str, kind: str) -> tuple[Claim, ...]:
    """The claims that a row of a report rests on: the theorems behind its kind of bound, none for an unknown kind.

    The deep bound has three forms, for ReLU, for other homogeneous activations and for smooth ones.

    Args:
        identity: the id of a claim that `gpn.verify` counts.
        kind: the kind of the bound, such as "levy".

    Raises:
        UsageError: an unknown id.

    >>> claims_of_bound("forward-one-step", "levy")  # doctest: +ELLIPSIS
    (<Claim levy-forward: ...>, <Claim gaussian-concentration: ...>)
    """
    return tuple(claim(other) for tested, other in claim(identity).tested_by if tested == kind)


def page() -> str:
    """The page of all claims in Markdown, with formulas between double dollar signs."""
    counts = Counter(entry.rigor for entry in CLAIMS.values())
    lines = [
        "# Claims",
        "",
        "Every statement of this project about bidirectionally self-normalizing networks: what it says, what it",
        "assumes, where it is proved, which function computes it, and which test would fail if it were false.",
        "",
        "| rigour | claims |",
        "|---|---|",
        *(f"| {rigor} | {count} |" for rigor, count in counts.most_common()),
        "",
        "This page is generated from `theory/claims/` by `python -m theory.claims > docs/claims.md`.",
        "",
    ]
    for chapter, entries in _CHAPTERS.items():
        lines += [f"* {chapter}", *(f"  * [{entry.title}](#{entry.id})" for entry in entries)]
    for chapter, entries in _CHAPTERS.items():
        lines += ["", f"## {chapter}"]
        for entry in entries:
            lines += ["", *_section(entry)]
    return "\n".join(lines) + "\n"


def _section(entry: Claim) -> list[str]:
    lines = [f'<a id="{entry.id}"></a>', "", f"### {entry.title}", "", f"*{entry.kind.capitalize()}* `{entry.id}`."]
    lines += [_markdown(f"The event: {entry.words}." if entry.event else entry.words)]
    for formula in entry.statement:
        lines += ["", "$$", formula, "$$"]
    lines += ["", "where", "", *(f"* ${letter}$: {_markdown(meaning)}" for letter, meaning in entry.symbols)]
    lines += ["", "Assumes:", "", *(f"* {_markdown(assumption)}" for assumption in entry.assumptions)]
    lines += ["", "Evidence:", ""]
    lines += [f"* {name}: {_linked(name, text)}" for name, text in entry.facts()]
    if entry.tested_by:
        kinds = ", ".join(f"{kind}: [{CLAIMS[other].title}](#{other})" for kind, other in entry.tested_by)
        lines += [f"* Compared by `gpn verify` with {kinds}"]
    return lines


def typeset(text: str) -> str:
    """A sentence as HTML: letters and signs as people write them, all else as it is and escaped.

    >>> typeset("phi'(h_1)^2 <= e_(l-1), |W_l^T|_F^2 and leaky_relu's epsilon >= sqrt(nq).")
    "φ′(h<sub>1</sub>)² ≤ e<sub>l-1</sub>, |W<sub>l</sub><sup>T</sup>|<sub>F</sub>² and leaky_relu's ε ≥ √(nq)."
    """
    text = escape(text, quote=False)
    for pattern, sign in _SIGNS.items():
        text = re.sub(pattern, sign, text)
    return text


def _markdown(text: str) -> str:
    """The same in Markdown, which must not read it as emphasis."""
    return typeset(text).replace("_", r"\_").replace("*", r"\*")


def _linked(name: str, text: str) -> str:
    """A fact with a link, relative to docs/, to where it can be read."""
    match name:
        case "Proof":
            return f"[{text.removeprefix('docs/')}]({text.removeprefix('docs/')})"
        case "Function":
            return f"[`{text}`](../{text.partition(':')[0].replace('.', '/')}.py)"
        case "Test":
            return f"[`{text}`](../{text.partition('::')[0]})"
    return text


if __name__ == "__main__":
    print(page(), end="")
