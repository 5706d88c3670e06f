"""Gaussian moments of the pieces on which an activation is a polynomial, in closed form."""

import sympy
from flint import arb, arb_poly

from theory.activations.pieces import Piece
from theory.balls.arithmetics import REAL
from theory.balls.functions import normal_cdf, normal_pdf
from theory.balls.program import Program, constant_ball
from theory.numerics.arithmetic import X, is_infinite

_SHORT = 40  # operations of the longest slope in which a hidden polynomial is sought


def _end(point: sympy.Expr) -> arb:
    if is_infinite(point):
        return arb.pos_inf() if point == sympy.oo else arb.neg_inf()
    return constant_ball(point)


def polynomials(piece: Piece) -> tuple[arb_poly, arb_poly, arb_poly] | None:
    """z, phi and phi' as polynomials with balls as coefficients, None if phi is not a polynomial.

    The formula of phi may hide it, as that of atan(tan(x)) does, unlike its slope.
    """
    if piece.value.is_polynomial(X):
        value = _polynomial(piece.value)
        return arb_poly([0, 1]), value, value.derivative()
    if is_infinite(piece.lower) or is_infinite(piece.upper) or piece.slope.count_ops() > _SHORT:
        return None
    slope = sympy.cancel(piece.slope)
    if not slope.is_polynomial(X):
        return None
    middle = ((constant_ball(piece.lower) + constant_ball(piece.upper)) / 2).mid()
    (known,) = Program([piece.value]).bind(REAL)(middle)
    value = _polynomial(slope).integral()
    return arb_poly([0, 1]), value - value(middle) + known, _polynomial(slope)


def _polynomial(expression: sympy.Expr) -> arb_poly:
    return arb_poly([constant_ball(coefficient) for coefficient in sympy.Poly(expression, X).all_coeffs()[::-1]])


def polynomial_moment(polynomial: arb_poly | int, piece: Piece) -> arb:
    r"""Integral of a polynomial against the normal density p over a piece [a, b].

    .. math:: M_0 = \Phi(b) - \Phi(a), \quad M_1 = p(a) - p(b), \quad
        M_n = a^{n-1} p(a) - b^{n-1} p(b) + (n-1) M_{n-2}
    """
    coefficients = arb_poly(polynomial).coeffs()
    lower, upper = _end(piece.lower), _end(piece.upper)
    # An infinite end has density 0, and 0 times any finite number is what the recursion needs there.
    low, high = (end if end.is_finite() else arb(0) for end in (lower, upper))
    powers = [_density(end) for end in (lower, upper)]  # a^(n-1) p(a) and b^(n-1) p(b) for n = 1
    moments = [_upper_probability(lower) - _upper_probability(upper), powers[0] - powers[1]]
    for n in range(2, len(coefficients)):
        powers = [powers[0] * low, powers[1] * high]
        moments.append(powers[0] - powers[1] + (n - 1) * moments[n - 2])
    return sum((c * m for c, m in zip(coefficients, moments, strict=False)), arb(0))


def _density(z: arb) -> arb:
    density: arb = normal_pdf(z) if z.is_finite() else arb(0)
    return density


def _upper_probability(z: arb) -> arb:
    if not z.is_finite():
        return arb(0) if z > 0 else arb(1)
    probability: arb = normal_cdf(-z)
    return probability
