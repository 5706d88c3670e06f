"""The scale a and shift b that make an activation Gaussian-Poincaré normalized, and the activation a phi + b."""

from typing import Literal

from flint import arb

from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.balls.core import precision
from theory.errors import UsageError, unknown
from theory.gaussian.moments import Normalization, recommend
from theory.normalization.evidence import decide, default_tolerance, gather_evidence, known_normalizations, working_bits

Root = Literal["auto", "plus", "minus", "stable"]
POLICIES = ("auto", "plus", "minus", "stable")


def normalization(activation: Activation | CallableActivation, root: str = "auto") -> Normalization[float]:
    r"""The scale and shift that make an activation Gaussian-Poincaré normalized, in float64.

    .. math:: a = (E\phi'^2)^{-1/2}, \qquad b_\pm = -a E\phi \pm \sqrt{1 - a^2 Var\phi}

    (Lu, Gould, Ajanthan 2020.) For an `Activation` a and b are correctly rounded: the digits are raised until
    the error no longer reaches the boundary between two floats.

    Args:
        activation: phi, not constant, without jumps, with finite moments.
        root: "auto" takes b_plus unless its fixed point q = 1 of the length map is unstable (|chi| > 1), then
            b_minus; "plus"; "minus"; "stable" takes the smaller |chi|.

    Raises:
        UsageError: an unknown policy, or an activation that has no normalization, with the reason.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> tanh = normalization(Activation("tanh", sympy.tanh(X)))
    >>> f"{tanh.root} {tanh.a:.10f} {tanh.b:.10f} {tanh.chi:.6f} {tanh.stability}"
    'plus 1.4674135916 0.3885416701 0.391465 stable'
    """
    if root not in POLICIES:
        raise unknown("root", root, POLICIES)
    for digits in (20, 40, 80):
        evidence = gather_evidence(activation, digits)
        obstacle, moments = evidence.obstacle, evidence.moments
        with precision(working_bits(digits)):
            _, normalizable, reason = decide(obstacle, moments, default_tolerance(activation))
            if moments is None or normalizable != "yes":
                has_none = "has no normalization" if normalizable == "no" else "may have no normalization"
                raise UsageError(
                    f"{activation.name} {has_none}: {reason}; it takes a continuous phi, not "
                    "constant, with finite E phi^2 and E phi'^2"
                )
            roots = known_normalizations(moments)
            chosen = recommend(roots, root)
            if isinstance(activation, CallableActivation) or all(map(_rounds_uniquely, (chosen.a, chosen.b))):
                break
    return chosen.converted(_nearest)


def _rounds_uniquely(ball: arb) -> bool:
    return ball.contains(0) or float(ball.lower()) == float(ball.upper())


def _nearest(ball: arb) -> float:
    return 0.0 if ball.contains(0) else float(ball.mid())


def normalize(activation: Activation | CallableActivation, root: str = "auto") -> Activation | CallableActivation:
    """The Gaussian-Poincaré normalized activation a phi + b, with the exact decimals of the floats a and b.

    Args:
        activation: phi, see `normalization`.
        root: "auto", "plus", "minus" or "stable".

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> normalize(Activation("relu", sympy.Max(X, 0))).name
    'GPN relu'
    """
    chosen = normalization(activation, root)
    return activation.affine(chosen.a, chosen.b, f"GPN {activation.name}")
