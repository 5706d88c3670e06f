"""Claims about one step: the events that `gpn.verify` counts, and the bounds, exact tails and estimates for them."""

from theory.claims.claim import FRESH, GPN, LIPSCHITZ, MEASURABLE, SLOPE_LIPSCHITZ, UNIFORM, WIDE, Claim, letters
from theory.claims.counted import CountedClaim

_SIDES = "The lower tail has the sign of the deviation reversed."
_TESTED = ("levy", "cramer", "exact")


def _kinds(event: str) -> tuple[tuple[str, str], ...]:
    """Which claims a row of each kind rests on, for an event of one step: of Haar weights, of Gaussian ones."""
    independent = ("gaussian-concentration", "chernoff", f"exact-gaussian-{event.removesuffix('-fixed')}")
    return tuple((kind, f"{kind}-{event}") for kind in _TESTED) + tuple(zip(_TESTED, independent, strict=True))


_EVENTS = (
    Claim(
        id=CountedClaim.FORWARD,
        kind="theorem",
        title="Forward, one layer",
        words="the squared length |x_1|²/n of the signal differs from 1 by ε or more",
        statement=(r"P\left(\left| \frac{|\phi(h)|^2}{n} - 1 \right| \geq \epsilon\right) \to 0, \quad n \to \infty",),
        symbols=letters("n", "h", r"\phi", r"\epsilon"),
        assumptions=(UNIFORM, GPN, "phi is Lipschitz.", "q = 1."),
        rigor="proved",
        reference="Y. Lu, S. Gould, T. Ajanthan 2020 (without constants); J. Martens 2021, arXiv 2104.05878, for the "
        "kernel of one layer, of which this is the case of two equal inputs",
        proof="docs/one-step.md#levy-bounds",
        function="gpn.verification.verify:verify",
        test="tests/gpn/verification/test_verification.py::test_forward_frequencies_follow_the_exact_law_of_relu",
        event=r"P(\pm(|x_1|^2/n - 1) \geq \epsilon)",
        tested_by=_kinds("forward"),
    ),
    Claim(
        id=CountedClaim.BACKWARD_RANDOM,
        kind="theorem",
        title="Backward, one layer, random direction",
        words="|φ'(h)·u|², u a fresh random unit vector, differs from 1 by ε or more",
        statement=(r"P\left(\left| |D u|^2 - 1 \right| \geq \epsilon\right) \to 0, \quad n \to \infty",),
        symbols=letters("n", "h", "D", "u", r"\epsilon"),
        assumptions=(UNIFORM, GPN, FRESH, "phi' is bounded.", "q = 1."),
        rigor="proved",
        proof="docs/one-step.md#levy-bounds",
        function="gpn.verification.verify:verify",
        test="tests/theory/layer/test_concentration.py::test_bounds_hold_in_simulation",
        event=r"P(\pm(|\phi'(h) u|^2 - 1) \geq \epsilon)",
        tested_by=_kinds("backward-random"),
    ),
    Claim(
        id=CountedClaim.BACKWARD_FIXED,
        kind="theorem",
        title="Backward, one layer, fixed direction",
        words="|φ'(h)·y|²/|y|², y a fixed flat vector, differs from 1 by ε or more",
        statement=(r"P\left(\left| \frac{|D y|^2}{|y|^2} - 1 \right| \geq \epsilon\right) \to 0, \quad n \to \infty",),
        symbols=letters("n", "h", "D", r"\epsilon", y="a vector that does not depend on h"),
        assumptions=(
            UNIFORM,
            GPN,
            "phi' is Lipschitz.",
            "y is flat: n max y_i^2 is at most a fixed multiple of |y|^2; the rows take |y_i| equal.",
            "q = 1.",
        ),
        rigor="proved",
        reference="Y. Lu, S. Gould, T. Ajanthan 2020 (without constants)",
        proof="docs/one-step.md#levy-bounds",
        function="gpn.verification.verify:verify",
        test="tests/theory/layer/test_concentration.py::test_bounds_hold_in_simulation",
        event=r"P(\pm(|\phi'(h) y|^2/|y|^2 - 1) \geq \epsilon)",
        tested_by=_kinds("backward-fixed"),
    ),
)


_LEVY = (
    Claim(
        id="concentration-on-the-sphere",
        kind="theorem",
        title="Lévy's inequality",
        words="A Lipschitz function on the sphere is sub-Gaussian around its mean, and its variance is small.",
        statement=(r"P(F \geq E F + t) \leq e^{-(n-1) t^2/(2 c^2)}, \qquad \operatorname{Var} F \leq \frac{c^2}{n-1}",),
        symbols=letters(
            "n", F="a function on the unit sphere of n dimensions", c="its Lipschitz constant", t="positive"
        ),
        assumptions=("The point is uniform on the unit sphere.", "F is c-Lipschitz.", "n >= 2."),
        rigor="proved",
        reference="M. Ledoux 2001, The Concentration of Measure Phenomenon (log-Sobolev constant n-1)",
        proof="docs/one-step.md#concentration-on-the-sphere",
        function="theory.layer.levy:levy",
        test="tests/theory/layer/test_concentration.py::test_bounds_are_their_formulas",
    ),
    Claim(
        id="levy-forward",
        kind="bound",
        title="Lévy bound, forward",
        words="Bound on the probability that the squared length leaves 1 in one layer, from the Lipschitz constant "
        "of phi.",
        statement=(
            r"P(q_1 \geq 1+\epsilon) \leq e^{-(n-1) t^2/(2 K^2 q)}, \qquad t = \sqrt{1+\epsilon} - \sqrt{Q_n(q)} > 0",
            r"P(q_1 \leq 1-\epsilon) \leq e^{-(n-1) t^2/(2 K^2 q)}, \qquad t = \sqrt{Q_n(q) - \frac{K^2 q}{n-1}} - "
            r"\sqrt{1-\epsilon} > 0",
        ),
        symbols=letters("n", "q", "q_l", r"\epsilon", "K", "Q_n(q)"),
        assumptions=(UNIFORM, LIPSCHITZ, "n >= 2."),
        rigor="numerical evaluation of a proved bound",
        reference="Lévy's inequality: M. Ledoux 2001",
        proof="docs/one-step.md#levy-bounds",
        function="theory.layer.levy:levy",
        test="tests/theory/layer/test_concentration.py::test_bounds_hold_in_simulation",
    ),
    Claim(
        id="levy-backward-random",
        kind="bound",
        title="Lévy bound, backward, random direction",
        words="Bound on the probability that one layer changes the squared norm of a fresh direction.",
        statement=(
            r"P(|D u|^2 \geq 1+\epsilon) \leq e^{-(n-1) t^2/(2 c^2)}, \qquad t = \sqrt{1+\epsilon} - \sqrt{S_n(q)} > 0",
            r"P(|D u|^2 \leq 1-\epsilon) \leq e^{-(n-1) t^2/(2 c^2)}, \qquad t = \sqrt{S_n(q) - \frac{c^2}{n-1}} - "
            r"\sqrt{1-\epsilon} > 0",
            r"c^2 = K^2 + K'^2 q",
        ),
        symbols=letters("n", "q", "D", "u", r"\epsilon", "K", "K'", "S_n(q)"),
        assumptions=(UNIFORM, FRESH, LIPSCHITZ, SLOPE_LIPSCHITZ, "n >= 2."),
        rigor="numerical evaluation of a proved bound",
        reference="Lévy's inequality: M. Ledoux 2001",
        proof="docs/one-step.md#levy-bounds",
        function="theory.layer.levy:levy",
        test="tests/theory/layer/test_concentration.py::test_bounds_hold_in_simulation",
    ),
    Claim(
        id="levy-backward-fixed",
        kind="bound",
        title="Lévy bound, backward, fixed direction",
        words="Bound on the probability that one layer changes the squared norm of a fixed vector. A vector with one "
        "nonzero entry does not concentrate.",
        statement=(
            r"P(|D y|^2 \geq (1+\epsilon) |y|^2) \leq e^{-(n-1) t^2/(2 c^2)}, \qquad t = \sqrt{1+\epsilon} - "
            r"\sqrt{S_n(q)} > 0",
            r"P(|D y|^2 \leq (1-\epsilon) |y|^2) \leq e^{-(n-1) t^2/(2 c^2)}, \qquad t = \sqrt{S_n(q) - "
            r"\frac{c^2}{n-1}} - \sqrt{1-\epsilon} > 0",
            r"c^2 = K'^2 \mu q, \qquad \mu = \frac{n \max_i y_i^2}{|y|^2}",
        ),
        symbols=letters(
            "n", "q", "D", r"\epsilon", "K'", "S_n(q)", y="a fixed vector", **{r"\mu": "its flatness, from 1 to n"}
        ),
        assumptions=(UNIFORM, "y does not depend on h.", SLOPE_LIPSCHITZ, "n >= 2."),
        rigor="numerical evaluation of a proved bound",
        reference="the form of Y. Lu, S. Gould, T. Ajanthan 2020; Lévy's inequality: M. Ledoux 2001",
        proof="docs/one-step.md#levy-bounds",
        function="theory.layer.levy:levy",
        test="tests/theory/layer/test_concentration.py::test_a_single_nonzero_entry_does_not_concentrate",
    ),
)


def _function_of(event: str) -> str:
    """The letter of the function whose average over the coordinates is meant."""
    return r"\phi" if event == "forward" else "s"


def _cramer(event: str, title: str, statement: tuple[str, ...], extra: tuple[str, ...] = ()) -> Claim:
    return Claim(
        id=f"cramer-{event}",
        kind="bound",
        title=f"Cramér bound, {title}",
        words="Sharp in the exponent, and free of Lipschitz constants: kinks are allowed.",
        statement=statement,
        symbols=letters("n", "q", "h", _function_of(event), r"\epsilon", r"\lambda"),
        assumptions=(UNIFORM, MEASURABLE, *extra, _SIDES),
        rigor="numerical evaluation of a proved bound",
        reference="H. Cramér 1938 for independent variables; on the sphere: this project",
        proof="docs/one-step.md#cramer-bound",
        function="theory.layer.cramer:cramer",
        test="tests/theory/layer/test_cramer.py::test_the_bound_is_sharp",
    )


_CRAMER = (
    _cramer(
        "forward",
        "forward",
        (
            r"P(q_1 \geq 1+\epsilon) \leq \min_{\lambda \geq 0} e^{-n \lambda (1+\epsilon)} "
            r"E \exp\left(\lambda \sum_i \phi(h_i)^2\right)",
        ),
    ),
    _cramer(
        "backward-random",
        "backward, random direction",
        (
            r"P(|D u|^2 \geq 1+\epsilon) \leq \min_{0 \leq \lambda < \lambda_{\max}} "
            r"E \prod_i \left(1 - 2 \lambda (s(h_i) - 1 - \epsilon)\right)^{-1/2}",
            r"\frac{1}{\lambda_{\max}} = 2 \sup_{|h| \leq \sqrt{nq}} (s(h) - 1 - \epsilon)",
        ),
        (FRESH,),
    ),
    _cramer(
        "backward-fixed",
        "backward, fixed direction",
        (
            r"P\left(\frac{1}{n} \sum_i s(h_i) \geq 1+\epsilon\right) \leq \min_{\lambda \geq 0} "
            r"e^{-n \lambda (1+\epsilon)} E \exp\left(\lambda \sum_i s(h_i)\right)",
        ),
        ("The fixed direction is flat: all |y_i| are equal.",),
    ),
)


def _exact(event: str, title: str, statement: tuple[str, ...], test: str, extra: tuple[str, ...] = ()) -> Claim:
    return Claim(
        id=f"exact-{event}",
        kind="law",
        title=f"Exact tail, {title}",
        words="The probability itself, as a double inversion integral along vertical lines through the real saddle.",
        statement=statement,
        symbols=letters(
            "n",
            "q",
            _function_of(event),
            "z",
            r"\epsilon",
            **{
                r"\lambda, \mu": "complex, with real parts at the saddle",
                "f": "density of chi^2 with n degrees of freedom",
            },
        ),
        assumptions=(UNIFORM, MEASURABLE, *extra, "The event has neither probability 0 nor 1.", _SIDES),
        rigor="exact law",
        proof="docs/one-step.md#exact-tail",
        function="theory.layer.exact:exact_tail",
        test=f"tests/theory/layer/test_exact_tail.py::{test}",
    )


_TAIL = (
    r"P = \frac{1}{f(nq)} \frac{1}{(2 \pi i)^2} \iint e^{n (\Lambda(\lambda, \mu) - \lambda t - \mu q)} "
    r"\frac{d\lambda d\mu}{\lambda}"
)


_EXACT = (
    _exact(
        "forward",
        "forward",
        (
            _TAIL,
            r"t = 1+\epsilon, \qquad \Lambda = \log E\left[e^{\lambda \phi(z)^2 + \mu z^2}; |z| \leq \sqrt{nq}\right]",
        ),
        "test_inversion_is_the_beta_mixture",
    ),
    _exact(
        "backward-random",
        "backward, random direction",
        (
            _TAIL,
            r"t = 0, \qquad \Lambda = \log E\left[\frac{e^{\mu z^2}}{\sqrt{1 - 2 \lambda (s(z) - 1 - \epsilon)}}; "
            r"|z| \leq \sqrt{nq}\right]",
        ),
        "test_simulation",
        (FRESH,),
    ),
    _exact(
        "backward-fixed",
        "backward, fixed direction",
        (_TAIL, r"t = 1+\epsilon, \qquad \Lambda = \log E\left[e^{\lambda s(z) + \mu z^2}; |z| \leq \sqrt{nq}\right]"),
        "test_the_fixed_direction_of_relu_is_binomial",
        ("The fixed direction is flat: all |y_i| are equal.",),
    ),
)


_SADDLEPOINT = Claim(
    id="saddlepoint",
    kind="estimate",
    title="Saddlepoint estimate of a one-step tail",
    words="The Cramér bound divided by the factor that it wastes. It is close to the true probability, but it may "
    "lie above or below it.",
    statement=(
        r"P \approx P_{\lambda} e^{x^2/2} (1 - \Phi(x)), \qquad x = \lambda \sigma \sqrt{n}, \qquad e^{x^2/2} "
        r"(1 - \Phi(x)) \approx \frac{1}{x \sqrt{2 \pi}}",
        r"\sigma^2 = \Lambda_{\lambda\lambda} - \frac{\Lambda_{\lambda\mu}^2}{\Lambda_{\mu\mu}}",
    ),
    symbols=letters(
        "n",
        **{
            r"P_{\lambda}": "the Cramér bound, least at lambda",
            r"\Lambda": "as for the exact tail; subscripts are derivatives at the saddle",
            r"\Phi": "the normal distribution function",
        },
    ),
    assumptions=(UNIFORM, MEASURABLE, WIDE, "phi(z)^2 (or s(z)) is not concentrated on a lattice."),
    rigor="asymptotic prediction",
    reference="H. E. Daniels 1954; R. R. Bahadur, R. Ranga Rao 1960 for independent variables",
    proof="docs/one-step.md#saddlepoint-estimate",
    function="theory.layer.saddle:saddlepoint",
    test="tests/theory/layer/test_saddlepoint.py::test_the_estimate_is_close_at_any_distance",
)


ENTRIES = (*_EVENTS, *_LEVY, *_CRAMER, *_EXACT, _SADDLEPOINT)
