"""Claims about normal pre-activations: the paper's theorems on norms, as stated, and the lemmas that they rest on."""

from theory.claims.claim import GPN, HAAR, MEASURABLE, Claim, letters
from theory.claims.counted import CountedClaim

_PAPER = "Y. Lu, S. Gould, T. Ajanthan 2020, arXiv 2006.12169"
_TESTS = "tests/theory/layer/test_independent.py"
_NORMAL = (
    "z ~ N(0, I) in n dimensions, as W x is for x ~ N(0, I) and any orthogonal W, and for |x|^2 = n and independent "
    "entries N(0, 1/n) of W."
)
_FLAT = "y does not depend on z and is flat: all |y_i| are equal."
_PROOF = "docs/one-step.md#gaussian-inputs"
_COORDINATES = "docs/one-step.md#coordinates-and-the-normal-law"
_SHELL = "|x|^2 = n, and W is Haar-uniform."


_TESTED = dict.fromkeys(("gaussian-forward", "gaussian-backward"), "test_the_exact_tail_is_a_chi_squared_law") | {
    "gaussian-backward-random": "test_a_random_direction_weights_the_slopes_of_relu"
}


def _rests_on(name: str) -> tuple[tuple[str, str], ...]:
    return ("levy", "gaussian-concentration"), ("cramer", "chernoff"), ("exact", f"exact-{name}")


def _exact(name: str, title: str, term: str, **more: str) -> Claim:
    return Claim(
        id=f"exact-{name}",
        kind="law",
        title=f"Exact tail, {title}",
        words="The probability itself, as an inversion integral along a vertical line through the real saddle.",
        statement=(
            rf"P\left(\sum_i {term} \geq 0\right) = \frac{{1}}{{2 \pi i}} \int "
            rf"\left(E e^{{\lambda {term.replace('_i', '')}}}\right)^n \frac{{d\lambda}}{{\lambda}}",
        ),
        symbols=letters("n", "z", r"\lambda", t="1 + epsilon; the lower tail has the signs reversed", **more),
        assumptions=(_NORMAL, MEASURABLE),
        rigor="exact law",
        reference="inversion of a Laplace transform; H. E. Daniels 1954 for the contour",
        proof=_PROOF,
        function="theory.layer.independent:independent_tail",
        test=f"{_TESTS}::{_TESTED[name]}",
    )


ENTRIES = (
    Claim(
        id="forward-norm-preservation",
        kind="theorem",
        title="Forward norm preservation, as the paper states it",
        words="A layer maps a thin shell into a thin shell.",
        statement=(
            r"P\left(\left| \frac{|x|^2}{n} - 1 \right| \geq \epsilon\right) \to 0 \quad \text{for all } "
            r"\epsilon > 0",
            r"\text{implies} \quad P\left(\left| \frac{|\phi(W x)|^2}{n} - 1 \right| \geq \epsilon\right) \to 0",
        ),
        symbols=letters("n", r"\phi", r"\epsilon", x="a random input, independent of W", W="weight matrix"),
        assumptions=(GPN, HAAR, "phi is Lipschitz."),
        rigor="proved",
        reference=f"{_PAPER}, the theorem on forward norm preservation",
        proof=_PROOF,
        function="theory.normalization.lipschitz:missing_hypotheses",
        test=f"{_TESTS}::test_hypotheses_of_the_paper",
    ),
    Claim(
        id="backward-norm-preservation",
        kind="theorem",
        title="Backward norm preservation, as the paper states it",
        words="A layer preserves the norm of a fixed flat vector backward.",
        statement=(r"P\left(\left| \frac{|D y|^2}{n} - \frac{|y|^2}{n} \right| \geq \epsilon\right) \to 0",),
        symbols=letters("n", "D", r"\epsilon", y="a fixed vector"),
        assumptions=(GPN, HAAR, "phi and phi' are Lipschitz.", "max |y_i| is bounded as n grows.", _SHELL),
        rigor="proved",
        reference=f"{_PAPER}, the theorem on backward norm preservation",
        proof=_PROOF,
        function="theory.normalization.lipschitz:missing_hypotheses",
        test=f"{_TESTS}::test_hypotheses_of_the_paper",
    ),
    Claim(
        id=CountedClaim.GAUSSIAN_FORWARD,
        kind="theorem",
        title="Forward, Gaussian input",
        words="|φ(Wx)|²/n, x ~ N(0, I), differs from 1 by ε or more",
        statement=(r"P\left(\left| \frac{|\phi(z)|^2}{n} - 1 \right| \geq \epsilon\right) \to 0, \quad n \to \infty",),
        symbols=letters("n", r"\phi", r"\epsilon", z="the pre-activations W x"),
        assumptions=(_NORMAL, GPN),
        rigor="proved",
        reference=f"{_PAPER}, the lemma on f(z)",
        proof=_PROOF,
        function="gpn.verification.verify:verify",
        test=f"{_TESTS}::test_verify_counts_what_theory_gives",
        event=r"P(\pm(|\phi(z)|^2/n - 1) \geq \epsilon)",
        tested_by=_rests_on("gaussian-forward"),
    ),
    Claim(
        id=CountedClaim.GAUSSIAN_BACKWARD,
        kind="theorem",
        title="Backward, Gaussian input",
        words="|φ'(Wx)·y|²/|y|², x ~ N(0, I), y a fixed flat vector, differs from 1 by ε or more",
        statement=(
            r"P\left(\left| \frac{|\phi'(z) \cdot y|^2}{|y|^2} - 1 \right| \geq \epsilon\right) \to 0, "
            r"\quad n \to \infty",
        ),
        symbols=letters(
            "n", r"\phi", r"\epsilon", z="the pre-activations W x", y="a vector, multiplied entry by entry"
        ),
        assumptions=(_NORMAL, GPN, _FLAT),
        rigor="proved",
        reference=f"{_PAPER}, the lemma on f(z) times a flat vector",
        proof=_PROOF,
        function="gpn.verification.verify:verify",
        test=f"{_TESTS}::test_verify_counts_what_theory_gives",
        event=r"P(\pm(|\phi'(z) y|^2/|y|^2 - 1) \geq \epsilon)",
        tested_by=_rests_on("gaussian-backward"),
    ),
    Claim(
        id=CountedClaim.COORDINATES,
        kind="theorem",
        title="Coordinates of W x near N(0, I)",
        words="the squared length of k = ⌈εn⌉ coordinates of Wx, |x|² = n, lies where they are denser than N(0, I)",
        statement=(
            r"P(h_{1..k} \in A) \leq P(z_{1..k} \in A) + \frac{2(k+3)}{n-k-3}",
            r"A = \left\lbrace p_h > p_z \right\rbrace",
        ),
        symbols=letters("n", "h", k="number of coordinates", z="standard normal", A="where the density of h is larger"),
        assumptions=(_SHELL, "1 <= k <= n - 4."),
        rigor="proved",
        reference="P. Diaconis, D. Freedman 1987, Ann. Inst. H. Poincaré Probab. Statist. 23, 397-423",
        proof=_COORDINATES,
        function="theory.layer.independent:shell_probabilities",
        test=f"{_TESTS}::test_verify_counts_what_theory_gives",
        event=r"P(h_{1..k} \in A)",
        tested_by=(("diaconis-freedman", "diaconis-freedman"), ("exact", "distance-to-normal")),
    ),
    Claim(
        id="gaussian-concentration",
        kind="bound",
        title="Gaussian concentration of the norms",
        words="A Lipschitz function of z is sub-Gaussian around its mean, and its variance is small.",
        statement=(
            r"P(F^2 \geq 1+\epsilon) \leq e^{-t^2/(2 c^2)}, \qquad t = \sqrt{1+\epsilon} - \sqrt{E F^2} > 0",
            r"P(F^2 \leq 1-\epsilon) \leq e^{-t^2/(2 c^2)}, \qquad t = \sqrt{E F^2 - c^2} - \sqrt{1-\epsilon} > 0",
        ),
        symbols=letters(
            "n",
            r"\epsilon",
            F="|phi(z)|/sqrt(n), or |phi'(z) y|/|y|",
            c="K/sqrt(n), with the Lipschitz constant K of phi, or of phi'; for a random y, K'^2/n + K^2/(n-1) is c^2",
        ),
        assumptions=(_NORMAL, "phi, or phi' and then y is flat or random, is Lipschitz on the line."),
        rigor="numerical evaluation of a proved bound",
        reference="C. Borell 1975; V. Sudakov, B. Tsirelson 1974; the variance: J. Nash 1958",
        proof=_PROOF,
        function="theory.layer.independent:gaussian_concentration",
        test=f"{_TESTS}::test_bounds_lie_above_the_exact_tail",
    ),
    Claim(
        id="chernoff",
        kind="bound",
        title="Cramér bound for independent terms",
        words="Sharp in the exponent, and free of Lipschitz constants.",
        statement=(r"P\left(\sum_i G_i \geq 0\right) \leq \min_{\lambda \geq 0} \left(E e^{\lambda G}\right)^n",),
        symbols=letters(
            "n",
            r"\lambda",
            G="phi(z)^2 - t, phi'(z)^2 - t, or (phi'(z)^2 - t) w^2 for a random direction w/|w|, w ~ N(0, I)",
            t="1 + epsilon; the lower tail has the signs reversed",
        ),
        assumptions=(_NORMAL, MEASURABLE),
        rigor="numerical evaluation of a proved bound",
        reference="H. Cramér 1938; H. Chernoff 1952",
        proof=_PROOF,
        function="theory.layer.independent:chernoff",
        test=f"{_TESTS}::test_bounds_lie_above_the_exact_tail",
    ),
    _exact("gaussian-forward", "forward, Gaussian input", r"(\phi(z_i)^2 - t)"),
    _exact("gaussian-backward", "backward, Gaussian input", r"(\phi'(z_i)^2 - t)"),
    _exact(
        "gaussian-backward-random",
        "backward, Gaussian weights, random direction",
        r"(\phi'(z_i)^2 - t) w_i^2",
        w="N(0, I); the direction is w/|w|",
    ),
    Claim(
        id="diaconis-freedman",
        kind="theorem",
        title="k coordinates of W x are nearly independent normal numbers",
        words="The total variation distance is of the order k/n.",
        statement=(r"\sup_A |P(h_{1..k} \in A) - P(z_{1..k} \in A)| \leq \frac{2(k+3)}{n-k-3}",),
        symbols=letters("n", "h", k="number of coordinates", z="standard normal"),
        assumptions=(_SHELL, "1 <= k <= n - 4."),
        rigor="proved",
        reference="P. Diaconis, D. Freedman 1987, Ann. Inst. H. Poincaré Probab. Statist. 23, 397-423",
        proof=_COORDINATES,
        function="theory.layer.independent:normal_distance_bound",
        test=f"{_TESTS}::test_the_distance_lies_below_the_bound",
    ),
    Claim(
        id="distance-to-normal",
        kind="law",
        title="Exact distance of k coordinates of W x from N(0, I)",
        words="Both densities depend on the squared length alone, and one exceeds the other between two lengths.",
        statement=(
            r"\sup_A |P(h_{1..k} \in A) - P(z_{1..k} \in A)| = P(a < n B < b) - P(a < \chi^2_k < b), \qquad "
            r"B \sim \operatorname{Beta}\left(\frac{k}{2}, \frac{n-k}{2}\right)",
        ),
        symbols=letters(
            "n", "h", k="number of coordinates", z="standard normal", **{"a, b": "where the densities are equal"}
        ),
        assumptions=(_SHELL, "1 <= k <= n - 4."),
        rigor="exact law",
        proof=_COORDINATES,
        function="theory.layer.independent:distance_to_normal",
        test=f"{_TESTS}::test_the_distance_is_the_integral_of_the_densities",
    ),
)
