"""Claims about the vectors of any network that is studied: exact laws by which `gpn verify` tests itself."""

from enum import StrEnum

from theory.claims.claim import HAAR, RANDOM_READOUT, UNIFORM, Claim, letters


class EngineClaim(StrEnum):
    """The id of a claim by which a verification tests its own engine, as it stands in rows, frames and files.

    >>> f"{EngineClaim.GROWTH}"
    'engine-growth'
    """

    FORWARD = "engine-forward"
    BACKWARD = "engine-backward"
    GRADIENT = "engine-gradient"
    ACTIVATION = "engine-activation"
    PREACTIVATION = "engine-preactivation"
    DIRECTION = "engine-direction"
    GROWTH = "engine-growth"
    SQUARE = "engine-square"
    PAIRS = "engine-pairs"
    HOMOGENEOUS = "engine-homogeneous"


_ANY_READOUT = "The readout is any function of the forward pass and independent noise."
_COIN = "Differences within 1e-9 are ties, which are left out."

ENTRIES = (
    Claim(
        id=EngineClaim.FORWARD,
        kind="law",
        title="The forward pass is that of the network",
        words="The first signal has length sqrt(n); a layer keeps the length and applies phi, up to rounding.",
        statement=(r"|x_0| = \sqrt{n}, \qquad |h_l| = |x_{l-1}|, \qquad |x_l| = |\phi(h_l)|",),
        symbols=letters("h", "x_l", "l", "n", r"\phi"),
        assumptions=(
            HAAR,
            "For other weights the first and the last equality alone.",
            "phi is evaluated apart from the engine.",
        ),
        rigor="exact law",
        proof="docs/engine.md#equalities",
        function="gpn.verification.engine.identities:deviations",
        test="tests/gpn/verification/engine/test_identities.py::test_each_equality_sees_its_error",
    ),
    Claim(
        id=EngineClaim.BACKWARD,
        kind="law",
        title="The backward pass is the transpose of the forward pass",
        words="The two uses of a matrix are tied by an inner product, in every network, up to rounding.",
        statement=(
            r"\langle e_l, x_l \rangle = \langle d_{l+1}, h_{l+1} \rangle, \qquad |e_l| = |d_{l+1}|, \qquad "
            r"d_l = \phi'(h_l) \odot e_l",
        ),
        symbols=letters("h", "x_l", "l", "e_l", "d_l", r"\phi"),
        assumptions=(HAAR, "For other weights the first and the last equality alone."),
        rigor="exact law",
        proof="docs/engine.md#equalities",
        function="gpn.verification.engine.identities:deviations",
        test="tests/gpn/verification/engine/test_identities.py::test_each_equality_sees_its_error",
    ),
    Claim(
        id=EngineClaim.GRADIENT,
        kind="law",
        title="The norm of a gradient is a product of two norms",
        words="The gradient of a weight matrix has rank one. So its norm is that of the backward signal above times "
        "that of the signal below. The norm of the backward signal is a product over the layers above.",
        statement=(
            r"\left|\frac{\partial E}{\partial W_l}\right|_F = |d_l| |x_{l-1}|, \qquad "
            r"|d_l| = |e_L| \prod_{k=l}^{L} \frac{|\phi'(h_k) \odot e_k|}{|e_k|} "
            r"\prod_{k=l}^{L-1} \frac{|e_k|}{|d_{k+1}|}",
        ),
        symbols=letters("h", "x_l", "l", "L", "e_l", "d_l", r"\phi"),
        assumptions=("One input.",),
        rigor="exact law",
        proof="docs/engine.md#equalities",
        function="gpn.verification.engine.identities:deviations",
        test="tests/gpn/verification/engine/test_identities.py::test_each_equality_sees_its_error",
    ),
    Claim(
        id=EngineClaim.ACTIVATION,
        kind="definition",
        title="Values and slopes are those of the formula",
        words="At preactivations that were drawn, phi and phi' in float64 agree with the formula in 30 digits.",
        statement=(r"x_l = \phi(h_l), \qquad \phi' = \frac{d\phi}{dx}",),
        symbols=letters("h", "x_l", "l", "n", r"\phi"),
        assumptions=("phi has a formula.", "h lies away from breakpoints.", "1e-6 of 1 + |phi| counts as rounding."),
        rigor="definition",
        proof="docs/engine.md#equalities",
        function="gpn.verification.engine.identities:formula_deviations",
        test="tests/gpn/verification/engine/test_identities.py::test_the_formula_is_what_is_evaluated",
    ),
    Claim(
        id=EngineClaim.PREACTIVATION,
        kind="law",
        title="A pre-activation inside a network is uniform given the layers below",
        words="Its product with any vector that the layers below determine is positive with probability 1/2, and any "
        "function of it exceeds that of an independent draw with probability 1/2.",
        statement=(
            r"P(\langle h_l, a \rangle > 0 \mid h_1, \ldots, h_{l-1}) = \frac{1}{2}, \qquad "
            r"P(f(h_l) > f(h') \mid h_1, \ldots, h_{l-1}) = \frac{1}{2}",
        ),
        symbols=letters(
            "h",
            "l",
            **{"a": "a vector that depends on the layers below", "f": "a function", "h'": "an independent draw"},
        ),
        assumptions=(UNIFORM, _COIN),
        rigor="exact law",
        proof="docs/engine.md#coins",
        function="gpn.verification.engine.coins:forward_coins",
        test="tests/gpn/verification/engine/test_coins.py::test_coins_of_explicit_matrices_are_fair",
    ),
    Claim(
        id=EngineClaim.DIRECTION,
        kind="law",
        title="A backward direction is uniform across the signal, given the forward pass and the layers above",
        words="Its product with any vector that these determine is positive with probability 1/2, and any function of "
        "it exceeds that of an independent draw with probability 1/2.",
        statement=(
            r"\frac{e_l}{|e_l|} = \alpha_l \frac{x_l}{|x_l|} + \sqrt{1 - \alpha_l^2} v_l, \qquad "
            r"P(\langle v_l, a \rangle > 0 \mid \ldots) = P(f(v_l) > f(v') \mid \ldots) = \frac{1}{2}",
        ),
        symbols=letters(
            "x_l",
            "l",
            "e_l",
            **{
                r"\alpha_l": "cosine between e_l and x_l",
                "a": "a vector that depends on the forward pass and the layers above",
                "f": "a function",
                "v'": "an independent draw from the unit sphere across x_l",
            },
        ),
        assumptions=(HAAR, _ANY_READOUT, _COIN),
        rigor="exact law",
        proof="docs/engine.md#coins",
        function="gpn.verification.engine.coins:backward_coins",
        test="tests/gpn/verification/engine/test_coins.py::test_coins_of_explicit_matrices_are_fair",
    ),
    Claim(
        id=EngineClaim.GROWTH,
        kind="theorem",
        title="The growth of backward signals inside a network has its exact mean",
        words="Given the forward pass and the alignment, the growth of a layer differs from its exact mean by a "
        "martingale difference. The exponential moment of that difference has a bound in closed form.",
        statement=(
            r"E_v B_l = \bar s + \left(\alpha^2 - \frac{1}{n}\right) \frac{n}{n-1} (\tau - \bar s)",
            r"E_v e^{\lambda (B_l - E_v B_l)} \leq \det(M)^{-1/2} e^{b^2 c^T M^{-1} c/2}, \qquad "
            r"P\left(\lambda \sum_l (B_l - E_v B_l) \geq \sum_l \psi_l(\lambda) + \log \frac{1}{\alpha_0}\right) "
            r"\leq \alpha_0",
        ),
        symbols=letters(
            "n",
            "l",
            "s",
            B_l="|d_l|^2/|e_l|^2",
            **{
                r"\alpha": "cosine between e_l and x_l",
                r"\bar s": "mean of s(h_i)",
                r"\tau": "|D x_l|^2/|x_l|^2",
                r"\lambda": "exponent of the Markov inequality, chosen from the forward pass",
                "M": "1 - 2 lambda (1 - alpha^2) A/(n - 1) across x_l, A = D^2 less its mean eigenvalue there",
                "c": "the part of D^2 x_l/|x_l| across x_l",
                "b": "2 lambda alpha (1 - alpha^2)^(1/2)/E R, R^2 chi-squared with n - 1 degrees of freedom",
                r"\psi_l": "logarithm of the right side in layer l",
                r"\alpha_0": "error probability",
            },
        ),
        assumptions=(HAAR, _ANY_READOUT, "n >= 4.", "M is positive."),
        rigor="proved",
        proof="docs/engine.md#growth",
        function="gpn.verification.engine.growth:excess",
        test="tests/gpn/verification/engine/test_growth.py::test_the_moment_bound_holds_and_is_sharp",
    ),
    Claim(
        id=EngineClaim.SQUARE,
        kind="theorem",
        title="The squared length of a layer inside a network has its exact mean",
        words="Given the layers below, the squared length of a layer differs from its exact mean by a martingale "
        "difference. The exponential moment of that difference has a bound in closed form.",
        statement=(
            r"E[q_l \mid q_{l-1}] = Q_n(q_{l-1}) = E \phi(h_1)^2, \qquad |h|^2 = n q_{l-1}",
            r"\log E e^{\lambda (q_l - Q_n)} \leq v \frac{e^{\lambda m} - 1 - \lambda m}{m^2}, \qquad "
            r"v = \frac{4}{n-1} \left(q_{l-1} E \phi(h_1)^2 \phi'(h_1)^2 - (E \phi(h_1) \phi'(h_1) h_1)^2\right)",
        ),
        symbols=letters(
            "n",
            "l",
            "h",
            r"\phi",
            q_l="|x_l|^2/n",
            **{
                "m": "(|phi(0)| + c q^(1/2))^2 - Q_n above, Q_n below; c a Lipschitz constant of phi",
                r"\lambda": "exponent of the Markov inequality, fixed by n and the number of layers; -m for -lambda",
            },
        ),
        assumptions=(
            HAAR,
            "phi is Lipschitz.",
            "n >= 8.",
            "Layers whose input has 1/2 <= q <= 2.",
            "phi is not an isometry.",
        ),
        rigor="proved",
        reference="G. Bennett 1962, JASA 57, 33-45; M. Ledoux 2001",
        proof="docs/engine.md#squared-lengths",
        function="gpn.verification.engine.squares:excess",
        test="tests/gpn/verification/engine/test_squares.py::test_the_moment_bound_holds",
    ),
    Claim(
        id=EngineClaim.PAIRS,
        kind="law",
        title="Networks without and with explicit matrices have one law",
        words="Take a network sampled without matrices and one with explicit matrices. Either has the larger number "
        "with probability 1/2.",
        statement=(r"P(f > f') = \frac{1}{2}",),
        symbols=(
            ("f", "|x_L|, |d_1|, or the largest ratio of gradients, without matrices"),
            ("f'", "the same of an independent network with explicit matrices"),
        ),
        assumptions=(HAAR, _COIN),
        rigor="exact law",
        proof="docs/matrix-free.md#one-input",
        function="gpn.verification.engine.cells:Pairs",
        test="tests/gpn/verification/engine/test_engine_rows.py::test_a_true_engine_holds",
    ),
    Claim(
        id=EngineClaim.HOMOGENEOUS,
        kind="law",
        title="Deep positively homogeneous networks have their exact law",
        words="Take a network and a draw from the exact law of its norms. Either has the larger number with "
        "probability 1/2.",
        statement=(
            r"\frac{|x_l|^2}{|x_{l-1}|^2} = Q = s + (S - s) B, \qquad \frac{|d_l|^2}{|e_l|^2} = Q Y, \qquad "
            r"\rho_l^2 = \frac{\rho_{l+1}^2}{Y}, \qquad P(f > f') = \frac{1}{2}",
        ),
        symbols=(
            ("S, s", "phi'^2 above and below 0"),
            ("B", "share of the active neurons in |h_l|^2, Beta(k/2, (n-k)/2) for k ~ Bin(n, 1/2) of them"),
            ("Y", "growth of a squared gradient downwards, by a Dirichlet variable given B, k and rho_{l+1}"),
            (r"\rho_{l+1}", "cosine between e_l and x_l"),
            ("f", "|x_L|, |d_1|, or the largest ratio of gradients, of a network"),
            ("f'", "the same of a draw from the law"),
        ),
        assumptions=(HAAR, "phi is linear on each side of 0, 0 there, and no isometry.", RANDOM_READOUT, _COIN),
        rigor="exact law",
        proof="docs/relu-deep-law.md#2-what-is-exactly-known",
        function="gpn.verification.engine.homogeneous:exact_norms",
        test="tests/gpn/verification/engine/test_homogeneous.py::test_the_law_is_that_of_dense_networks",
    ),
)
