"""Certified moments contain independent high-precision values; what cannot be proved is said with its reason."""

import mpmath
import pytest
import sympy
from flint import acb, arb, ctx, fmpq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theory.activations import catalog
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.proofs import discontinuity
from theory.activations.specification import activation as specified
from theory.balls.core import NotCertified, precision
from theory.balls.decimal import digits_of
from theory.depth.coefficients import certified_coefficients
from theory.errors import UsageError
from theory.gaussian.certified import certified_moments
from theory.gaussian.moments import CONDITIONS, MOMENTS, Moments
from theory.numerics.arithmetic import X, compile_expressions, constant_value
from theory.numerics.special import normal_cdf, sigmoid, softplus

R = sympy.Rational


def exact(value: mpmath.mpf) -> arb:
    sign, mantissa, exponent, _ = value._mpf_
    return arb(((-1) ** sign * int(mantissa), exponent))


def encloses(ball: arb, value: mpmath.mpf, digits: int) -> bool:
    """Whether a ball overlaps a value that is right to so many digits."""
    with precision(4 * digits + 200):
        centre = exact(value)
        return bool(ball.overlaps(centre + arb(0, arb(10) ** -digits) * (1 + abs(centre))))


def certify(expression, digits=30, names=CONDITIONS) -> Moments:
    found = certified_moments(Activation("phi", sympy.sympify(expression)), digits, names)
    assert isinstance(found, Moments), found
    return found


def radius_is_below(ball: arb, digits: int) -> bool:
    return bool(ball.rad() < arb(10) ** -digits * (1 + abs(ball)))


# ---- an independent reference: mpmath's quadrature, panel by panel


def reference(activation, moment, digits, reach=None, method="gauss-legendre", parts=1):
    """E phi^i phi'^j He_k by mpmath, on panels of length 1/parts between the breakpoints."""
    with mpmath.workdps(digits + 15):
        end = reach or mpmath.ceil(mpmath.sqrt(2 * mpmath.log(10) * (digits + 10))) + 1
        total = mpmath.mpf(0)
        for piece in activation.pieces:
            lower = -end if piece.lower == -sympy.oo else constant_value(piece.lower, digits + 15)
            upper = end if piece.upper == sympy.oo else constant_value(piece.upper, digits + 15)
            run = compile_expressions([piece.value, piece.slope], "mpmath")

            def integrand(z, run=run):
                value, slope = run(z)
                hermite = {0: 1, 2: z * z - 1, 4: z**4 - 6 * z * z + 3}[moment.hermite]
                return value**moment.value * slope**moment.slope * hermite * mpmath.exp(-z * z / 2)

            ends = int(mpmath.floor(parts * lower)), int(mpmath.ceil(parts * upper))
            inner = [mpmath.mpf(k) / parts for k in range(*ends)]
            edges = [lower, *(x for x in inner if lower < x < upper), upper]
            total += mpmath.quad(integrand, edges, method=method)
        return total / mpmath.sqrt(2 * mpmath.pi)


# ---- the table of published constants

TABLE = {
    "tanh": ("1.4674135916", "0.3885416701", "-0.3885416701", "0.391465", "0.391465"),
    "relu": ("1.4142135624", "0", "-1.1283791671", "1", "0.363380"),
    "leaky_relu": ("1.4141428570", "0", "-1.1170395248", "1", "0.376111"),
    "elu": ("1.2234285576", "0.0742203457", "-0.4669912501", "0.883839", "0.710639"),
    "selu": ("0.9660257770", "0.2584457355", "-0.2584457355", "0.774729", "0.686014"),
    "gelu": ("1.4811144127", "0.0738770773", "-0.9095064010", "1.11349", "0.497184"),
    "gelu_tanh": ("1.4811680581", "0.0738805534", "-0.9093736490", "1.113727", "0.497416"),
    "quick_gelu": ("1.4914592268", "0.0674837859", "-0.9096528019", "1.108483", "0.503436"),
    "silu": ("1.6233202580", "0.0828853948", "-0.7537093884", "1.14655", "0.670077"),
}


@pytest.mark.parametrize("name", TABLE)
def test_reference_constants(name):
    found = certified_moments(catalog.build(name), 30, CONDITIONS)
    plus, minus = found.normalizations()
    computed = (plus.a, plus.b, minus.b, plus.chi, minus.chi)
    for ball, text in zip(computed, TABLE[name], strict=True):
        decimals = len(text.partition(".")[2])
        assert abs(ball - arb(fmpq(*map(int, sympy.Rational(text).as_numer_denom())))) < arb(10) ** -decimals * fmpq(
            51, 100
        )
        assert radius_is_below(ball, 30)


def closed_forms():
    half, pi, e = R(1, 2), sympy.pi, sympy.E
    relu_mean = 1 / sympy.sqrt(2 * pi)
    return {
        "erf": {"second": 2 / pi * sympy.asin(R(2, 3)), "slope_second": 4 / (pi * sympy.sqrt(5)), "mean": 0},
        "gelu": {
            "second": R(1, 3) + 1 / (2 * sympy.sqrt(3) * pi),
            "slope_second": R(1, 3) + 2 / (3 * sympy.sqrt(3) * pi),
            "mean": 1 / (2 * sympy.sqrt(pi)),
        },
        "sin": {"second": (1 - e**-2) / 2, "slope_second": (1 + e**-2) / 2, "slope_fourth": (3 + 4 / e**2 + e**-8) / 8},
        "arctan": {"slope_second": half},
        "relu": {"mean": relu_mean, "second": half, "slope_second": half, "third": 2 * relu_mean, "fourth": R(3, 2)},
        "selu": {"mean": 0, "second": 1},
        "gaussian": {"mean": 1 / sympy.sqrt(2), "second": 1 / sympy.sqrt(3), "slope_second": 1 / sympy.sqrt(27)},
        "identity": {"fourth": 3, "second_slope_second": 1, "second_quartic": 0, "second_tilt": 2},
        "relu_squared": {"second": R(3, 2), "slope_second": 2},
    }


@pytest.mark.parametrize("name", closed_forms())
def test_closed_forms_to_fifty_digits(name):
    found = certified_moments(catalog.build(name), 50)
    for moment, form in closed_forms()[name].items():
        ball = found.balls[moment]
        assert encloses(ball, constant_value(sympy.sympify(form), 70), 65), moment
        assert radius_is_below(ball, 50)


def test_the_second_moment_of_the_slope_of_softplus_is_that_of_the_sigmoid():
    slope = certified_moments(catalog.build("softplus"), 40, ["slope_second"]).balls["slope_second"]
    value = certified_moments(catalog.build("sigmoid"), 40, ["second"]).balls["second"]
    assert slope.overlaps(value)
    assert radius_is_below(slope, 40)


@pytest.mark.parametrize("name", ["tanh", "elu", "silu", "softsign", "gelu_tanh", "selu"])
def test_all_moments_against_quadrature(name):
    phi = catalog.build(name)
    found = certified_moments(phi, 25)
    assert set(found.balls) == set(MOMENTS)
    for key in ("second", "second_tilt", "value_slope_second", "slope_quartic"):
        assert encloses(found.balls[key], reference(phi, MOMENTS[key], 25), 24), key


# ---- the torture set

TORTURE = {
    "kink off the grid": (sympy.Abs(X - R("1.3")), {"second": R("2.69"), "slope_second": 1}),
    "narrow bump": (
        sympy.exp(-((X - 2) ** 2) * 500000),
        {
            "mean": sympy.exp(-2 / (1 + R(1, 10**6))) / sympy.sqrt(1 + 10**6),
            "second": sympy.exp(-2 / (1 + R(1, 2 * 10**6))) / sympy.sqrt(1 + 2 * 10**6),
        },
    ),
    "fast oscillation": (
        sympy.sin(50 * X),
        {"second": (1 - sympy.exp(-5000)) / 2, "slope_second": 1250 * (1 + sympy.exp(-5000))},
    ),
    "near-affine": (
        X + R(1, 10**9) * sympy.sin(X),
        {"slope_second": 1 + 2 * R(1, 10**9) * sympy.exp(R(-1, 2)) + R(1, 10**18) * (1 + sympy.exp(-2)) / 2},
    ),
    "exponential": (sympy.exp(X), {"mean": sympy.exp(R(1, 2)), "second": sympy.exp(2), "fourth": sympy.exp(8)}),
    "exponential of a square": (sympy.exp(X**2 / 5), {"mean": sympy.sqrt(R(5, 3)), "second": sympy.sqrt(5)}),
    "far exponential": (sympy.exp(50 * X), {"second": sympy.exp(5000), "fourth": sympy.exp(20000)}),
    "power below one": (
        sympy.Abs(X) ** R(3, 4),
        {
            "second": 2 ** R(3, 4) * sympy.gamma(R(5, 4)) / sympy.sqrt(sympy.pi),
            "slope_second": R(9, 16) * 2 ** R(-1, 4) * sympy.gamma(R(1, 4)) / sympy.sqrt(sympy.pi),
        },
    ),
    "steep": (sympy.Abs(X) ** R(3, 2), {"second": 4 / sympy.sqrt(2 * sympy.pi)}),
    "irrational kink": (sympy.Abs(X**2 - 2), {"second": 3, "slope_second": 4}),
    "algebraic kink": (sympy.Abs(X**3 - X - 1), {"second": 11}),
    "tiny": (R(1, 10**40) * sympy.tanh(X), {"mean": 0}),
    "offset": (10**30 + X**3, {"mean": 10**30, "slope_second": 27}),
    "constant": (sympy.Integer(3), {"mean": 3, "second": 9, "slope_second": 0}),
}


@pytest.mark.parametrize("name", TORTURE)
def test_torture_with_closed_forms(name):
    expression, forms = TORTURE[name]
    found = certify(expression, 40, [*CONDITIONS, "fourth"])
    for moment, form in forms.items():
        value = constant_value(sympy.sympify(form), 80)
        assert encloses(found.balls[moment], value, 60), moment
        assert radius_is_below(found.balls[moment], 39)


QUADRATURE = {
    "sin(x)/x": (sympy.sin(X) / X, {}),
    "expm1(x)/x": ((sympy.exp(X) - 1) / X, {}),
    "x/expm1(x)": (X / (sympy.exp(X) - 1), {}),
    "mish": (X * sympy.tanh(softplus(X)), {}),
    "nested": (
        sympy.Piecewise(
            (sympy.Abs(X) - 1, X < 0), (sympy.Piecewise((X**2 - 1, X < 2), (3 * sympy.tanh(X - 2) + 3, True)), True)
        ),
        {},
    ),
    "steep transition": (sympy.tanh(20 * X - 7), {"parts": 8}),
    "Runge": (1 / (1 + 25 * X**2), {"parts": 4}),
    "double exponential": (sympy.exp(-sympy.exp(X)), {}),
    "chirp": (X * sympy.sin(X**2), {"parts": 4}),
    "exponential switch": (sympy.Max(sympy.exp(X) - 2, 0), {"reach": 30}),
    "x log|x|": (X * sympy.log(sympy.Abs(X)), {}),
    "shifted power": (sympy.Abs(X - sympy.sqrt(2)) ** R(3, 4), {}),
    "log cosh": (sympy.log(sympy.cosh(X)), {}),
}


@pytest.mark.parametrize("name", QUADRATURE)
def test_torture_against_quadrature(name):
    """mpmath is right to 60 digits where the integrand is analytic up to the breakpoints, else to fewer."""
    expression, options = QUADRATURE[name]
    phi = Activation(name, expression)
    singular = name in ("x log|x|", "shifted power")
    digits = 12 if singular else 60
    found = certified_moments(phi, 30, CONDITIONS)
    for key in ("mean", "second") if singular else ("second", "slope_second"):
        method = "tanh-sinh" if singular else "gauss-legendre"
        value = reference(phi, MOMENTS[key], 20 if singular else 60, method=method, **options)
        assert encloses(found.balls[key], value, digits), key
        assert radius_is_below(found.balls[key], 30)


@pytest.mark.parametrize(
    ("expression", "names", "reason"),
    [
        (sympy.exp(X**2 / 4), ("second", "slope_second"), "diverges at x = -oo"),
        (sympy.exp(X**2 / 5), ("fourth", "slope_fourth"), "diverges at x = -oo"),
        (sympy.sqrt(sympy.Abs(X)), ("slope_second",), "diverges at x = 0"),
        (sympy.Abs(X) ** R(3, 4), ("slope_fourth",), "diverges at x = 0"),
        (1 / X, ("second",), "diverges at x = 0"),
        (sympy.sign(X), ("slope_second", "slope_tilt"), "phi jumps at x = 0"),
        (sympy.Piecewise((X, X < 0), (X + R(1, 10**60), True)), ("slope_second",), "phi jumps at x = 0"),
        (sympy.log(sympy.Abs(X)), ("slope_second",), "diverges at x = 0"),
        (1 / sympy.cos(X), ("mean", "second"), "diverges at x = -9*pi/2"),
        (sympy.tan(X), ("mean", "second"), "diverges at x = -9*pi/2"),
    ],
)
def test_what_has_no_value_has_a_reason(expression, names, reason):
    found = certify(expression, 20, tuple(MOMENTS))
    for name in names:
        assert name not in found.balls
        assert reason in found.reasons[name]
        assert (name in found.divergent) is reason.startswith("diverges")
        assert reason in found.moment(name).reason


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        (sympy.sqrt(X), "no real value on (-oo, 0)"),
        (sympy.log(X), "no real value on (-oo, 0)"),
        (sympy.Piecewise((X, X < 0), (X, X > 1)), "no real value on (0, 1)"),
        (sympy.gamma(X), "gamma has no rigorous rule"),
    ],
)
def test_what_cannot_be_certified_at_all(expression, reason):
    found = certified_moments(Activation("phi", expression), 20)
    assert isinstance(found, NotCertified)
    assert reason in found.reason
    assert not found


def test_a_pole_inside_a_piece_is_not_integrated_over():
    expression = sympy.Piecewise((1 / sympy.cos(X), sympy.Abs(X) < 3), (0, True))
    found = certify(expression, 15, ["second"])
    assert found.reasons["second"] == "E phi^2 diverges at x = -pi/2"


def test_a_python_function_is_not_certified():
    assert not certified_moments(CallableActivation("cube", lambda x: x**3))


# ---- traps of ball arithmetic that were met in practice


def test_plain_abs_in_the_integrand_gives_a_tight_ball_without_the_truth():
    """Why every piece has its own analytic formula: the obvious program is wrong."""
    naive_integrands = (
        lambda z, _: acb(abs(z - arb(fmpq(13, 10)))) * (-z * z / 2).exp(),
        lambda z, _: ((z - arb(fmpq(13, 10))) ** 2).sqrt() * (-z * z / 2).exp(),
    )
    truth = certify(sympy.Abs(X - R("1.3")), 30).balls["mean"]
    assert encloses(
        truth,
        constant_value(
            sympy.sqrt(2 / sympy.pi) * sympy.exp(R("-0.845")) + R("1.3") * sympy.erf(R("1.3") / sympy.sqrt(2)), 50
        ),
        45,
    )
    for integrand in naive_integrands:
        with precision(64):
            wrong = acb.integral(integrand, -12, 12).real / (2 * arb.pi()).sqrt()
        assert wrong.rad() < 1e-6
        assert not wrong.overlaps(truth)


def test_a_float_in_the_expression_counts_as_the_binary_number_it_is():
    found = certify(0.1 * X, 40).balls["second"]
    with precision(300):
        assert found.contains(fmpq(*(0.1).as_integer_ratio()) ** 2)
        assert not found.contains(fmpq(1, 100))


def test_floats_stay_exact_through_differentiation():
    """SymPy would round 0.1*0.3 in the slope of 0.1*tanh(0.3*x)."""
    ratios = [R(*number.as_integer_ratio()) for number in (0.1, 0.3)]
    rounded_text = certify(0.1 * sympy.tanh(0.3 * X), 40).balls["slope_second"]
    exact_text = certify(ratios[0] * sympy.tanh(ratios[1] * X), 40).balls["slope_second"]
    assert rounded_text.overlaps(exact_text)
    assert rounded_text.rad() < 1e-40


def test_a_function_that_is_complex_far_out_is_not_certified():
    """asin(x/1000) is real wherever the normal density matters, and yet not on the whole line."""
    found = certified_moments(Activation("phi", sympy.asin(X / 1000)), 15)
    assert isinstance(found, NotCertified)
    assert found.reason == "phi has no real value on (-oo, -1000)"


def test_an_envelope_may_begin_far_out():
    expression = sympy.Piecewise((0, X < 60), (sympy.sqrt(X - 50) - sympy.sqrt(10), True))
    found = certify(expression, 20)
    assert 0 < found.balls["second"] < arb(10) ** -700


def test_mixing_with_mpmath_numbers_is_never_silent():
    """flint drops the radius when an mpf meets a ball, so no mpf may reach one: the balls here are only flint's."""
    found = certify(sympy.tanh(X), 20)
    assert all(type(ball) is arb for ball in found.balls.values())


# ---- derived numbers


def test_homogeneous_activations_have_an_exact_root():
    plus, minus = certified_moments(catalog.build("leaky_relu"), 20, CONDITIONS).normalizations()
    assert plus.b.is_zero()
    assert plus.chi == 1
    assert minus.chi < 1


def test_affine_activations_have_margin_zero():
    found = certify(3 * X - 7)
    assert found.margin().is_zero()
    (root,) = found.normalizations()
    assert root.a.overlaps(arb(fmpq(1, 3)))


def test_the_margin_of_a_nearly_affine_activation_is_resolved():
    """1 - a^2 Var phi is about 1e-18 here, and b about 1e-9: both to 30 digits."""
    found = certify(X + R(1, 10**9) * sympy.sin(X))
    assert 0 < found.margin() < 1e-18
    plus, _ = found.normalizations()
    assert digits_of(plus.b, 20).startswith("3.678794409483121")
    assert plus.b.rad() < 1e-30


def test_a_constant_has_no_roots():
    roots = certify(sympy.Integer(3)).normalizations()
    assert isinstance(roots, NotCertified)
    assert "constant" in roots.reason


def finite_sum(fluctuation, chi, depth):
    """n Var of log(|dE/dW_1|^2/|dE/dW_L|^2) by iterating the linear recursion term by term."""
    weights = [0.0] * (depth + 1)  # of xi_l in the sum of the kappa eta_{l-1} minus eta_{L-1}
    kappa = float(fluctuation.kappa)
    for start in range(1, depth):
        response = sum(kappa * chi ** (layer - 1 - start) for layer in range(start + 1, depth))
        weights[start] = response - chi ** (depth - 1 - start)
    forward, backward, mixed = map(
        float, (fluctuation.length_noise, fluctuation.backward_noise, fluctuation.noise_covariance)
    )
    return sum(weights[k] ** 2 * forward + backward + 2 * weights[k] * mixed for k in range(1, depth))


@pytest.mark.parametrize(("name", "index", "expected"), [("tanh", 0, 195.95), ("selu", 0, 112.62), ("gelu", 1, 317.54)])
def test_fluctuation_coefficients(name, index, expected):
    """The variance of the log ratio of gradient norms over 100 layers, computed independently."""
    found = certified_moments(catalog.build(name), 20)
    root = found.normalizations()[index]
    fluctuation = certified_coefficients(found, root)
    assert finite_sum(fluctuation, float(root.chi), 100) == pytest.approx(expected, abs=0.006)
    if name == "tanh":
        stationary = fluctuation.length_noise / (1 - root.chi * root.chi)
        assert float(stationary) == pytest.approx(0.7775, abs=1e-4)
        # E q_1 - 1 = -Q_2/n + O(1/n^2), with Q_1024 = 1.00036035293834
        assert float(fluctuation.length_curvature) == pytest.approx(-0.00036035293834 * 1024, rel=2e-3)


def test_fluctuation_of_relu_in_closed_form():
    """Homogeneous phi with b = 0: Var phi^2 = 5, Var s = 1, E phi^2 s = 2, chi = 1, kappa = 0."""
    found = certified_moments(catalog.build("relu"), 20)
    law = certified_coefficients(found, found.normalizations()[0]).by_symbol()
    for symbol, value in {"kappa": 0, "c": 1, "sf": 3, "sb": 3, "cx": 1}.items():
        ball = law[symbol]
        assert ball.contains(value)
        assert ball.rad() < 1e-20


@pytest.mark.parametrize(
    ("name", "root"), [("tanh", "plus"), ("gelu", "minus"), pytest.param("selu", "plus", marks=pytest.mark.slow)]
)
def test_depth_coefficients_against_their_definitions(name, root):
    """Each coefficient by mpmath from the normalized function itself, not from raw moments."""
    certified = certified_moments(catalog.build(name), 20)
    law = certified_coefficients(certified, next(r for r in certified.normalizations() if r.root == root))
    moments = certified_moments(catalog.build(name), 30, CONDITIONS)
    chosen = next(r for r in moments.normalizations() if r.root == root)
    with mpmath.workdps(40):
        a, b = (mpmath.mpf(ball.mid().str(38, radius=False)) for ball in (chosen.a, chosen.b))

        def mean(integrand):
            total = mpmath.mpf(0)
            for piece in catalog.build(name).pieces:
                run = compile_expressions([piece.value, piece.slope], "mpmath")
                low, high = max(piece.lower, -14), min(piece.upper, 14)
                edges = [mpmath.mpf(k) for k in range(int(low), int(high) + 1)]

                def weighted(z, run=run):
                    value, slope = run(z)
                    return integrand(z, (a * value + b) ** 2, (a * slope) ** 2) * mpmath.npdf(z)

                total += mpmath.quad(weighted, edges)
            return total

        two, four = (lambda z: (z * z - 1) / 2), (lambda z: (z**4 - 6 * z * z + 3) / 4)
        chi, kappa = mean(lambda z, f, _: f * two(z)), mean(lambda z, _, s: s * two(z))
        c = mean(lambda _, f, s: f * s) - 1
        expected = {
            "chi": chi,
            "kappa": kappa,
            "c": c,
            "sf": mean(lambda _z, f, _s: f * f) - 1 - 2 * chi**2,
            "sb": 3 * (mean(lambda _z, _f, s: s * s) - 1) - 2 * kappa**2,
            "cx": c - 2 * chi * kappa,
            "Q2": mean(lambda z, f, _: f * four(z)),
            "S2": mean(lambda z, _, s: s * four(z)),
        }
    for key, ball in law.by_symbol().items():
        assert encloses(ball, expected[key], 18), key
        assert radius_is_below(ball, 17), key


def test_fluctuation_needs_all_moments():
    found = certify(sympy.exp(X**2 / 5), 15, tuple(MOMENTS))
    outcome = certified_coefficients(found, found.normalizations()[0])
    assert isinstance(outcome, NotCertified)
    assert "diverges" in outcome.reason


# ---- digits, settings, misuse


@pytest.mark.parametrize("digits", [1, 15, 120])
def test_the_radius_keeps_what_digits_promise(digits):
    found = certified_moments(catalog.build("silu"), digits)
    for ball in found.balls.values():
        assert ball.rad() < 3 * arb(10) ** -digits  # all moments of silu are of size 1
    for root in found.normalizations():
        assert all(radius_is_below(ball, digits) for ball in (root.a, root.b, root.chi))


def test_a_thousand_digits_of_relu():
    found = certified_moments(catalog.build("relu"), 1000, CONDITIONS)
    plus, _ = found.normalizations()
    with mpmath.workdps(1010):
        root_two = mpmath.nstr(mpmath.sqrt(2), 1000)
    assert digits_of(plus.a, 1000) == root_two


@pytest.mark.slow
def test_a_thousand_digits_of_tanh():
    found = certified_moments(catalog.build("tanh"), 1000, ["second"]).balls["second"]
    again = certified_moments(catalog.build("tanh"), 1020, ["second"]).balls["second"]
    assert found.rad() < arb(10) ** -1000
    assert found.contains(again)


def test_higher_precision_refines_lower():
    for name in ("tanh", "elu", "softsign"):
        coarse = certified_moments(catalog.build(name), 15)
        fine = certified_moments(catalog.build(name), 45)
        for key, ball in fine.balls.items():
            assert coarse.balls[key].overlaps(ball)


def test_settings_are_left_alone():
    before = ctx.prec, ctx.dps, ctx.cap, mpmath.mp.prec
    certify(sympy.sin(X) / X, 20)
    certified_moments(Activation("phi", sympy.tan(X)))
    assert (ctx.prec, ctx.dps, ctx.cap, mpmath.mp.prec) == before


def test_misuse_is_an_error():
    with pytest.raises(UsageError, match="digits"):
        certified_moments(catalog.build("tanh"), 0)
    with pytest.raises(UsageError, match="not a moment"):
        certified_moments(catalog.build("tanh"), 20, ["fifth"])


def test_continuity_is_proved_not_sampled():
    left, right = Activation("cubic", sympy.Abs(X**3 - X - 1)).pieces
    assert discontinuity(left, right, "value") is None
    assert discontinuity(left, right, "slope").proved


# ---- soundness as a property

CENTRES = st.fractions(min_value=-2, max_value=2, max_denominator=5).map(lambda f: R(f.numerator, f.denominator))
WRAPPERS = st.sampled_from(
    [
        sympy.tanh,
        sympy.erf,
        sympy.sin,
        sympy.cos,
        sympy.atan,
        sympy.asinh,
        sigmoid,
        softplus,
        normal_cdf,
        lambda e: sympy.exp(-(e**2)),
        lambda e: sympy.exp(sympy.tanh(e)),
        lambda e: 1 / (1 + e**2),
        lambda e: sympy.sqrt(1 + e**2),
        lambda e: sympy.log(2 + sympy.cos(e)),
        lambda e: 1 - sympy.tanh(e) ** 2,
    ]
)
KINKS = st.sampled_from([lambda e: sympy.Abs(e), lambda e: sympy.Max(e, 0), lambda e: sympy.Min(e, R(1, 3))])
LINES = st.builds(lambda c, k: k * (X - c), CENTRES, st.sampled_from([R(1, 2), 1, -1, R(3, 2)]))
SMOOTH = st.recursive(
    LINES,
    lambda inner: st.one_of(
        st.builds(lambda f, e: f(e), WRAPPERS, inner),
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: a * b, inner, inner),
    ),
    max_leaves=3,
)
GRAMMAR = st.one_of(
    SMOOTH,
    st.builds(lambda kink, line, smooth: kink(line) * smooth + smooth, KINKS, LINES, SMOOTH),
    st.builds(lambda f, kink, line: f(kink(line)), WRAPPERS, KINKS, LINES),
)


def assert_sound(expression):
    phi = Activation("phi", expression)
    found = certified_moments(phi, 15, ["mean", "second", "slope_second"])
    if isinstance(found, NotCertified):
        return False
    for name in found.balls:
        value = reference(phi, MOMENTS[name], 15)
        assert encloses(found.balls[name], value, 13), (name, expression)
    return set(found.balls) == {"mean", "second", "slope_second"}


@given(GRAMMAR)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_expressions_are_enclosed(expression):
    assert_sound(expression)


@pytest.mark.slow
@given(GRAMMAR)
@settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_thousands_of_random_expressions_are_enclosed(expression):
    assert_sound(expression)


def test_most_of_the_grammar_is_certified():
    """Refusing everything would be sound too; one composition of each function must be certified in full."""
    for wrapper in (sympy.atan, softplus, lambda e: sympy.log(2 + sympy.cos(e))):
        assert assert_sound(wrapper(sympy.Max(X - R(1, 3), 0)) + wrapper(X / 2) * X)


def test_specifications_can_be_certified():
    found = certified_moments(specified("1.4674*tanh(x)+0.3885"), 20, CONDITIONS)
    assert abs(found.balls["second"] - 1) < 1e-4
    assert not found.balls["second"].contains(1)


def test_moments_of_functions_that_are_flat_at_an_essential_singularity():
    """E exp(-a/z^2) = exp(-s), s = sqrt(2 a). Three derivatives give E exp(-2/z^2)/z^6
    = (1/s^3 + 3/s^4 + 3/s^5)/e^2.
    """
    moments = certified_moments(specified("exp(-1/x**2)*sign(x)"), 25, ["second", "slope_second"])
    assert isinstance(moments, Moments)
    with precision(200):
        assert moments.moment("second").overlaps(arb(-2).exp())
        assert moments.moment("slope_second").overlaps(arb(-2).exp() * 13 / 8)
    assert moments.moment("slope_second").rad() < 1e-25


def test_moments_of_an_arc_tangent_at_its_pole():
    """atan(1/x) = sign(x) pi/2 - atan(x)."""
    moved = "sign(x)*pi/2 - atan(x)"
    found, expected = (certified_moments(specified(text), 25, ["second"]) for text in ("atan(1/x)", moved))
    assert isinstance(found, Moments)
    assert isinstance(expected, Moments)
    assert found.moment("second").overlaps(expected.moment("second"))
    report = certified_moments(specified("atan(-1/(x - 1)**4)"), 20, ["slope_second"])
    assert isinstance(report, Moments)  # no jump: both sides tend to -pi/2
    assert report.moment("slope_second") > 0
