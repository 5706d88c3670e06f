"""Claims about the whole depth: how far gradients of different layers drift apart."""

from theory.claim import GPN, HAAR, RANDOM_READOUT, SHELL, Claim, letters

_INPUT = "The input is not 0; its length does not matter."
_DEEP_EVENT = r"P\left(\max_l |\log G_l| \geq \epsilon\right)"

_EVENT = Claim(
    id="deep-gradient-ratio",
    kind="theorem",
    title="Whole network",
    words="in some layer |∂E/∂W_l|² is e^ε times larger or smaller than in the top layer, or more",
    statement=(
        rf"{_DEEP_EVENT} \to 0, \quad n \to \infty",
        r"G_l = \frac{\Vert \partial E/\partial W_l \Vert^2}{\Vert \partial E/\partial W_L \Vert^2}, \qquad "
        r"\left\Vert \frac{\partial E}{\partial W_l} \right\Vert = |d_l| |x_{l-1}|",
    ),
    symbols=letters("n", "L", "l", "W_l", "d_l", "x_l", r"\epsilon"),
    assumptions=(HAAR, GPN, SHELL, RANDOM_READOUT, "phi is Lipschitz.", "The depth is fixed."),
    rigor="proved",
    reference="after Y. Lu, S. Gould, T. Ajanthan 2020",
    proof="docs/one-step.md#a-network-of-fixed-depth",
    function="gpn.verification:verify",
    test="tests/test_verification.py::test_gradients_concentrate_only_when_normalized",
    event=r"P(\max_l |\log(\Vert\nabla_l\Vert^2/\Vert\nabla_L\Vert^2)| \geq \epsilon)",
    tested_by=(
        ("deep", "relu-deep-bound"),
        ("deep", "homogeneous-deep-bound"),
    ),
)

_BOUNDS = (
    Claim(
        id="relu-deep-law",
        kind="law",
        title="Exact law of all gradients of a ReLU network",
        words="The gradient ratios of all layers follow a random recursion of two numbers per layer, exactly.",
        statement=(
            r"G_L = 1, \qquad G_l = X_l G_{l+1} + \rho_L^2 C_l, \qquad \rho_L^2 \sim \operatorname{Beta}"
            r"\left(\frac{1}{2}, \frac{n-1}{2}\right)",
            r"X = \frac{B'}{B}, \qquad C = \frac{1 - B'}{B}, \qquad k \sim "
            r"\operatorname{Bin}\left(n, \frac{1}{2}\right)",
            r"B \sim \operatorname{Beta}\left(\frac{k}{2}, \frac{n-k}{2}\right), \qquad B' \sim \operatorname{Beta}"
            r"\left(\frac{k-1}{2}, \frac{n-k}{2}\right)",
        ),
        symbols=letters("n", "L", "l", "G_l", r"\rho_l", k="number of active neurons of a layer"),
        assumptions=(
            HAAR,
            _INPUT,
            RANDOM_READOUT,
            "phi(x) is a positive multiple of max(x, 0).",
            "Every layer has an active neuron; B = B' = 1 where all are active, B' = 0 where one is.",
            "Given k, B and B' are independent; the layers are independent of each other and of the readout.",
        ),
        rigor="exact law",
        proof="docs/relu-deep-law.md#2-what-is-exactly-known",
        function="gpn.homogeneous_law:sample_relu_ratios",
        test="tests/test_relu_law.py::test_the_affine_recursion_of_relu_is_the_general_chain_without_the_lower_slope",
    ),
    Claim(
        id="relu-deep-bound",
        kind="bound",
        title="Deep bound for ReLU",
        words="The gradients of all layers stay within a factor e^epsilon of the top one, from finite sums of Gamma "
        "ratios alone. A layer in which no neuron is active counts as leaving.",
        statement=(
            rf"{_DEEP_EVENT} \leq (L-1) P(k < k_0 \text{{ or }} k > n - k_0) + 2^{{-n}} + P(\rho_L^2 > r_J) + "
            r"\sum_{j=1}^J P(r_{j-1} < \rho_L^2 \leq r_j) \min(1, U_j + V_j)",
            r"U_j = \min_{\lambda \geq 1} \left(\frac{x^{L-1} (1 - r_{j-1}) + r_j c \sum_{i=0}^{L-2} x^i}"
            r"{e^{\epsilon} - r_j}\right)^{\lambda}, \qquad x = \max(1, E X^{\lambda})^{1/\lambda}, \qquad c = "
            r"(E C^{\lambda})^{1/\lambda}",
            r"V_j = \min_{\lambda \geq 1} e^{-\lambda \epsilon} \max(1, E X^{-\lambda})^{L-1}",
        ),
        symbols=letters(
            "n",
            "L",
            "l",
            "G_l",
            r"\epsilon",
            r"\rho_l",
            **{"X, C, k": "as in the exact law; means on k_0 <= k <= n - k_0", "r_j": "any 0 = r_0 < ... < r_J <= 1"},
        ),
        assumptions=(
            HAAR,
            _INPUT,
            RANDOM_READOUT,
            "phi(x) is a positive multiple of max(x, 0).",
            "k_0 >= 3, and 2 lambda below k_0 - 1.",
        ),
        rigor="numerical evaluation of a proved bound",
        proof="docs/relu-deep-law.md#3-the-deep-bound",
        function="theory.homogeneous:relu_deep_bound",
        test="tests/test_homogeneous.py::test_the_bound_is_above_the_exact_law",
    ),
    Claim(
        id="homogeneous-deep-bound",
        kind="bound",
        title="Deep bound for positively homogeneous activations",
        words="For leaky ReLU and its relatives the gradients of all layers stay within a factor e^epsilon of the top "
        "one, from the moments of one Beta variable.",
        statement=(
            r"\langle e_l, x_l \rangle = \langle e_L, x_L \rangle, \qquad G_l = \frac{\rho_L^2}{\rho_l^2}",
            r"x^{\lambda} = \max\left(1, M_0 + \eta \frac{D}{y_0} M_1\right), \qquad \eta = "
            r"\frac{2 (\lambda - 1) r}{e^{-\alpha} - r}",
            r"M_0 = E Q^{-\lambda} (w_+ F^{\lambda} + w_- F'^{\lambda}), \qquad M_1 = E Q^{-\lambda} w_+ w_- "
            r"|F'^{\lambda} - F^{\lambda}|",
        ),
        symbols=letters(
            "G_l",
            "e_l",
            "x_l",
            **{
                r"\rho_l": "cosine of the angle between d_l and h_l",
                "x": "growth per layer, which takes the place of that of the bound for ReLU; r = r_j",
                r"\alpha": "the level below whose passing is the event down, from 0 to epsilon",
                "D": "difference of the squared slopes; the other letters are those of the proof",
            },
        ),
        assumptions=(
            HAAR,
            _INPUT,
            RANDOM_READOUT,
            "phi(x) = p x for x > 0 and m x for x < 0, with different squared slopes, neither of them 0.",
            "The conditions (8) and (11) of the proof; where they fail the bound is 1.",
        ),
        rigor="numerical evaluation of a proved bound",
        proof="docs/relu-deep-law.md#3-the-deep-bound",
        function="theory.homogeneous:deep_bound",
        test="tests/test_homogeneous.py::test_the_bound_is_above_the_exact_law",
    ),
)

ENTRIES = (_EVENT, *_BOUNDS)
