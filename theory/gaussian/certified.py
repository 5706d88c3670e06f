"""Certified Gaussian moments of an activation: balls with a proved radius, to any number of digits.

From them follow, again as balls, the normalization constants a and b, the slope chi of the length map, and the
coefficients of the laws of depth (`theory.depth.coefficients`). What cannot be proved is `NotCertified` with the
reason, never a guess. The proofs rest on flint's ball arithmetic and on SymPy's algebra for the derivative; where a
piece begins and ends is proved too (`theory.activations.proofs`).
"""

import itertools
import math
from collections.abc import Collection, Mapping
from types import MappingProxyType

from flint import arb

from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.pieces import Piece
from theory.activations.proofs import discontinuity, place_without_value, unproved_continuity, unproved_switch
from theory.balls.arithmetics import REAL
from theory.balls.core import NotCertifiable, NotCertified, precision
from theory.balls.program import Program, constant_ball, without_floats
from theory.errors import UsageError
from theory.gaussian.certified_integrals import TOO_FAST, Accuracy, Enclosures, Moment, add_piece
from theory.gaussian.moments import CONDITIONS, MOMENTS, Moments
from theory.numerics.arithmetic import is_infinite

_ROUNDS = 4
_MARGIN = 8  # bits beyond the digits asked for
_GUARD = 32  # working bits beyond the accuracy aimed at
_PILOT_BITS = 16


def certified_moments(
    activation: Activation | CallableActivation, digits: int = 30, names: Collection[str] = tuple(MOMENTS)
) -> Moments | NotCertified:
    r"""Enclose Gaussian moments of an activation rigorously.

    .. math:: E\, \phi(z)^i \phi'(z)^j He_k(z), \qquad z \sim N(0, 1)

    by ball arithmetic (Johansson 2017, "Arb") and validated quadrature (Johansson 2018, "Numerical integration in
    arbitrary-precision ball arithmetic") between the exact breakpoints, with the tails bounded by growth envelopes.

    Args:
        activation: phi; nothing can be proved about a Python function.
        digits: significant digits wanted. The working precision is raised (four times at most) until the radii are
            below 10^-digits, relative to the moment if it is seen to differ from 0, else to its natural size
            (E phi^2)^(i/2) (E phi'^2)^(j/2); and until a, b and chi are as precise (b and chi absolutely).
        names: the moments wanted, keys of `MOMENTS`.

    Returns:
        `Moments`, in which single moments may be missing with a reason, or `NotCertified` where nothing can
        be said about any of them (a Python function, a function without a rule, no real value on part of the line).

    Raises:
        UsageError: digits below 1 or an unknown name.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> relu = certified_moments(Activation("relu", sympy.Max(X, 0)), digits=20)
    >>> relu.moment("mean").str(20)
    '[0.39894228040143267794 +/- 5.42e-23]'
    >>> [root.chi.str(5, radius=False) for root in relu.normalizations()]
    ['1.0000', '0.36338']
    """
    if digits < 1 or digits != int(digits):
        raise UsageError(f"digits must be a positive whole number, not {digits}")
    unknown = [name for name in names if name not in MOMENTS]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is not a moment; the moments are {', '.join(MOMENTS)}")
    if not isinstance(activation, Activation):
        return NotCertified("a Python function has no expression about which anything could be proved")
    if activation.undefined:
        return NotCertified(
            f"phi has no real value {place_without_value(activation.expression, activation.undefined[0])}"
        )
    exact = Activation(activation.name, without_floats(activation.expression))
    try:
        doubt = unproved_switch(exact.expression, exact.pieces)
        return _certify(exact, int(digits), list(names)) if doubt is None else NotCertified(doubt)
    except NotCertifiable as reason:
        return NotCertified(str(reason))
    except RecursionError:  # SymPy's
        return NotCertified("the expression is nested too deeply")


def _certify(activation: Activation, digits: int, names: list[str]) -> Moments:
    excluded = _without_slope(activation, names)
    value_size, slope_size = _sizes(activation)
    wanted = math.ceil(digits * math.log2(10)) + 2
    goal = wanted + _MARGIN
    for _ in range(_ROUNDS):
        accuracy = Accuracy(goal, value_size, slope_size)
        enclosures = _enclosures(activation, names, accuracy, excluded)
        moments = _collected(activation, enclosures, accuracy, excluded)
        shortfall = _shortfall(moments, accuracy, wanted)
        if shortfall <= 0 or not moments.balls or enclosures.exhausted:
            break
        goal += min(shortfall, wanted) + _MARGIN
    return moments


def _enclosures(activation: Activation, names: list[str], accuracy: Accuracy, excluded: Collection[str]) -> Enclosures:
    # Without continuity E phi'^2 is computed too: it may be proved to diverge.
    wanted = [MOMENTS[name] for name in names if name not in excluded or name == "slope_second"]
    useless = frozenset(MOMENTS[name] for name in excluded)
    enclosures = Enclosures({moment: arb(0) for moment in wanted}, only_divergence=useless)
    with precision(accuracy.bits + _GUARD):
        # Remote pieces last: a divergence that is proved elsewhere says more than that none of them has an envelope.
        for piece in sorted(activation.pieces, key=lambda piece: piece.kind == "remote"):
            add_piece(piece, enclosures, accuracy)
    return enclosures


def _collected(
    activation: Activation, enclosures: Enclosures, accuracy: Accuracy, excluded: Mapping[str, str]
) -> Moments:
    """The balls that are of use, and the reasons why the others are missing."""
    names = {name: moment for name, moment in MOMENTS.items() if moment in enclosures.sums}
    reasons = {name: enclosures.reasons[moment] for name, moment in names.items() if moment in enclosures.reasons}
    reasons = {**excluded, **reasons}
    balls = {name: enclosures.sums[moment] for name, moment in names.items() if name not in reasons}
    lost = {name: "the enclosure is not finite" for name, ball in balls.items() if not ball.is_finite()}
    lost |= {
        name: TOO_FAST
        for name in balls
        if name not in lost and names[name] in enclosures.exhausted and _is_vague(balls[name], names[name], accuracy)
    }
    return Moments(
        MappingProxyType({name: ball for name, ball in balls.items() if name not in lost}),
        bits=accuracy.bits + _GUARD,
        certified=True,
        reasons=MappingProxyType({**reasons, **lost}),
        divergent=frozenset(name for name, moment in names.items() if moment in enclosures.divergent),
        homogeneous=activation.is_positively_homogeneous,
        affine=activation.is_affine,
    )


def _is_vague(ball: arb, moment: Moment, accuracy: Accuracy) -> bool:
    """Whether not even three digits are known, relative to the natural size of the moment."""
    return bool(ball.rad() > accuracy.tolerance(moment) * arb(2) ** (accuracy.bits - 10))


def _shortfall(moments: Moments, accuracy: Accuracy, wanted: int) -> int:
    """Bits by which the worst of the moments and of a, b, mean and chi misses the accuracy wanted."""
    with precision(64):  # radii and their ratios only
        target = Accuracy(wanted, accuracy.value_size, accuracy.slope_size)
        ratios = [
            ball.rad() / (target.tolerance(MOMENTS[name]) if ball.contains(0) else abs(ball) * arb(2) ** -wanted)
            for name, ball in moments.balls.items()
        ]
        if all(name in moments.balls for name in CONDITIONS):
            roots = moments.normalizations()
            for root in [] if isinstance(roots, NotCertified) else roots:
                radii = (root.a.rad() / root.a, root.b.rad(), root.mean.rad(), root.chi.rad())
                ratios += [radius * arb(2) ** wanted for radius in radii]
        worst = max((ratio.upper() for ratio in ratios), key=_size, default=arb(1))
        return max(0, math.ceil(_size(worst)))


def _size(ratio: arb) -> float:
    """log2 of a positive ratio, for planning only."""
    return float((ratio + arb(2) ** -60).log().mid()) / math.log(2)


def _sizes(activation: Activation) -> tuple[arb, arb]:
    """The root mean squares of phi and phi' to a few bits; they set tolerances and are not part of any proof."""
    with precision(64):
        value, slope = _largest_samples(activation)
        squares = Moment(2, 0), Moment(0, 2)
        enclosures = Enclosures({moment: arb(0) for moment in squares})
        for piece in activation.pieces:
            add_piece(piece, enclosures, Accuracy(_PILOT_BITS, value, slope))
        sizes = [value, slope]
        for index, moment in enumerate(squares):
            size = enclosures.sums[moment].abs_upper().sqrt().mid()
            if moment not in enclosures.reasons and size.is_finite() and size > 0:
                sizes[index] = size
        return sizes[0], sizes[1]


def _largest_samples(activation: Activation) -> tuple[arb, arb]:
    """The largest |phi| and |phi'| on a coarse grid; 1 where only zeros are found."""
    largest = [arb(0), arb(0)]
    points = [arb(k) / 8 + arb(1) / 64 for k in range(-32, 32)]
    for piece in activation.pieces:
        inside = [] if piece.kind == "remote" else _inside(points, piece)
        if not inside:
            continue
        run = Program([piece.value, piece.slope]).bind(REAL)
        for point in inside:
            sizes = [abs(ball.mid()) if ball.is_finite() else arb(0) for ball in run(point)]
            largest = [new if new > old else old for new, old in zip(sizes, largest, strict=True)]
    value, slope = (size if size > 0 else arb(1) for size in largest)
    return value, slope


def _inside(points: list[arb], piece: Piece) -> list[arb]:
    lower, upper = (float(end) if is_infinite(end) else float(constant_ball(end)) for end in (piece.lower, piece.upper))
    return [point for point in points if lower < float(point) < upper]


def _without_slope(activation: Activation, names: list[str]) -> dict[str, str]:
    """Moments with phi', which have no meaning unless phi is proved to be continuous, each with the reason."""
    if not any(MOMENTS[name].slope for name in names):
        return {}
    pairs = zip(activation.pieces, activation.pieces[1:], strict=False)
    reasons = itertools.chain(
        (discontinuity(left, right, "value") for left, right in pairs), map(unproved_continuity, activation.pieces)
    )
    reason = next((reason for reason in reasons if reason is not None), None)
    return {} if reason is None else {name: str(reason) for name in names if MOMENTS[name].slope}
