"""What a gain keeps and where it leads, and what a number is, in sentences."""

from typing import TYPE_CHECKING

import numpy as np

from gpn.report.words.text import plain, short_number

if TYPE_CHECKING:
    from gpn.probing.constants import Explanation
    from gpn.probing.gain import GainReport, GainRow
    from theory.initialization.regime import End

ENSEMBLES = (
    "Orthogonal and Gaussian weights of one gain share all of this at infinite width. At width n they differ: an "
    "orthogonal matrix keeps |Wx| exactly, a Gaussian one multiplies |Wx|² by a random factor of relative variance "
    "2/n, and the singular values of the Jacobian spread further in depth."
)
"""Where the two ensembles differ and where not."""


def gain_finding(report: "GainReport") -> str:
    """Which gains there are, and whether one of them keeps both norms."""
    name, reason = plain(report.activation), plain(report.gains.reason, 1000)
    length, gradient = report.row("length"), report.row("gradient")
    if length.gain is None:
        return f"{name} has no gain that keeps the length: {reason}."
    if gradient.gain is None:
        return f"{name}: the gain {length.gain:.6g} keeps the length; none keeps gradients: {reason}."
    repels = (
        f" (but 1 repels: from there {_leads(length)}, by chance of the weights)"
        if length.at_one == "repelling"
        else ""
    )
    if report.keeps_both:
        return (
            f"{name}: the gain {length.gain:.6g} keeps both the length of a signal and the norm of gradients{repels}."
        )
    here = "while q is 1" if repels else "in every layer"
    change = "grow" if length.chi is not None and length.chi > 1 else "shrink"
    return (
        f"{name}: the gain {length.gain:.6g} keeps the length{repels}, and squared gradients then {change} by the "
        f"factor {short_number(length.chi, 4)} {here}. The gain {gradient.gain:.6g} keeps gradients at q = 1, "
        f"but {_leads(gradient)}. No gain keeps both; a*phi + b does."
    )


def _leads(row: "GainRow") -> str:
    if row.regime is None:
        return "where depth leads is not known"
    return f"depth leads to {' or to '.join('q = ' * bool(np.isfinite(end.q)) + _limit(end.q) for end in row.ends)}"


def _limit(q: float) -> str:
    return short_number(q) if np.isfinite(q) else "infinity"


def ends_text(row: "GainRow") -> str:
    """Each variance to which depth leads."""
    return " or ".join(short_number(end.q, 4) for end in row.ends) or "-"


def slopes_text(row: "GainRow") -> str:
    """The factor of squared gradients at each of them; where q grows beyond, that at the largest q."""

    def shown(end: "End") -> str:
        number = short_number(end.chi, 4) if np.isfinite(end.chi) else "beyond 1e308"
        return f"{number} (at q = {short_number(end.chi_q, 1)})" if end.q > end.chi_q else number

    return " or ".join(map(shown, row.ends)) or "-"


def edge_text(row: "GainRow") -> str:
    """The biases that bring a gain to the edge of chaos, and whether the length is repelled there."""
    if row.regime is None:
        return "-"
    points = (short_number(point.bias, 4) + " (q repels)" * (point.stability == "repelling") for point in row.edge)
    return ", ".join(points) or "none"


def explanation_finding(found: "Explanation") -> str:
    """How much of the number is explained, and how much of that is chance."""
    number, count = plain(found.number), len(found.matches)
    if not count and not found.near and not found.published:
        return f"{number}: none of {found.searched} constants shares even three digits with it."
    if not count:
        return f"{number}: none of {found.searched} constants rounds to it{'; the nearest ones:' * bool(found.near)}"
    rounds = "rounds" if count == 1 else "round"
    return (
        f"{number}: {count} of {found.searched} constants {rounds} to it; {short_number(found.by_chance)} would do so "
        f"by chance, for any number of {found.digits} digits."
    )
