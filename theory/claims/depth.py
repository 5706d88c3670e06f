"""Claims about the whole depth: how far gradients of different layers drift apart."""

from theory.claims.claim import GPN, HAAR, MEASURABLE, RANDOM_READOUT, SHELL, WIDE, Claim, letters
from theory.claims.counted import CountedClaim

_PROPORTIONAL = "Width and depth tend to infinity with L/n fixed."
_STABLE = "|chi| < 1."
_INPUT = "The input is not 0; its length does not matter."
_RATIO = r"\log \frac{\Vert \partial E/\partial W_1 \Vert^2}{\Vert \partial E/\partial W_L \Vert^2}"
_DEEP_EVENT = r"P\left(\max_l |\log G_l| \geq \epsilon\right)"


_EVENT = Claim(
    id=CountedClaim.NETWORK,
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
    function="gpn.verification.verify:verify",
    test="tests/gpn/verification/test_verification.py::test_gradients_concentrate_only_when_normalized",
    event=r"P(\max_l |\log(\Vert\nabla_l\Vert^2/\Vert\nabla_L\Vert^2)| \geq \epsilon)",
    tested_by=(
        ("deep", "deep-bound"),
        ("deep", "gaussian-deep-bound"),
        ("deep", "rectangular-deep-bound"),
        ("deep", "relu-deep-bound"),
        ("deep", "homogeneous-deep-bound"),
        ("prediction", "fluctuation-law"),
    ),
)


_FLUCTUATIONS = (
    Claim(
        id="fluctuation-law",
        kind="prediction",
        title="Fluctuation law of the gradients",
        words="In each layer the squared length follows a linear recursion, and the backward norm takes an "
        "independent step. Both have variance of order 1/n. So the log ratio of gradients is normal, with a variance "
        "proportional to L/n.",
        statement=(
            r"\eta_l = q_l - 1 = \chi \eta_{l-1} + \xi_l, \qquad \log \frac{|d_l|^2}{|e_l|^2} = \kappa \eta_{l-1} + "
            r"\nu_l",
            r"n \operatorname{Var} \xi = s_f = \operatorname{Var} \phi(z)^2 - 2 \chi^2, \qquad n \operatorname{Var} "
            r"\nu = s_b = 3 \operatorname{Var} s(z) - 2 \kappa^2",
            r"n \operatorname{Cov}(\xi, \nu) = c_x = E \phi(z)^2 s(z) - 1 - 2 \chi \kappa",
            rf"{_RATIO} = \sum_{{l=1}}^{{L-1}} (\kappa \eta_{{l-1}} + \nu_l) + \eta_0 - \eta_{{L-1}}",
            r"\frac{n}{L} \operatorname{Var} \to v = s_b + \frac{2 \kappa}{1-\chi} c_x + \left(\frac{\kappa}{1-\chi}"
            r"\right)^2 s_f",
        ),
        symbols=letters("n", "L", "l", "q_l", r"\phi", "z", "s", r"\chi", r"\kappa", "e_l", "d_l", "W_l"),
        assumptions=(HAAR, GPN, SHELL, RANDOM_READOUT, _STABLE, _PROPORTIONAL, "E phi^4 and E phi'^4 are finite."),
        rigor="asymptotic prediction",
        proof="docs/fluctuation-law.md#3-stable-activations-chi--1",
        function="theory.depth.fluctuation:log_ratio_law",
        test="tests/theory/depth/test_fluctuation.py::test_variances_and_covariances_against_the_recursion_run_literally",
    ),
    Claim(
        id="fluctuation-mean",
        kind="prediction",
        title="Mean of the log ratio of gradients",
        words="The log ratio has a mean of the same order L/n as its variance.",
        statement=(
            rf"n E {_RATIO} = \sum_{{l=1}}^{{L-1}} \left[\kappa m_{{l-1}} + S_2 \left(\frac{{\sigma_{{l-1}}^2}}{{2}} "
            rf"- 1"
            r"\right) + (A_l - 1) c - \frac{\kappa^2 \sigma_{l-1}^2 + s_b}{2}\right] - m_{L-1} + "
            r"\frac{\sigma_{L-1}^2}{2}",
            r"\sigma_l^2 = \chi^2 \sigma_{l-1}^2 + s_f, \qquad m_l = \chi m_{l-1} + Q_2 \left(\frac{\sigma_{l-1}^2}{2} "
            r"- 1\right), \qquad \sigma_0 = m_0 = 0",
            r"Q_2 = \frac{E \phi(z)^2 He_4(z)}{4}, \qquad S_2 = \frac{E s(z) He_4(z)}{4}, \qquad c = E \phi(z)^2 s(z) "
            r"- 1",
        ),
        symbols=letters("n", "L", r"\phi", "z", "s", r"\chi", r"\kappa", A_l="alignment, see its claim"),
        assumptions=(HAAR, GPN, SHELL, RANDOM_READOUT, _STABLE, _PROPORTIONAL, "E phi^4 and E phi'^4 are finite."),
        rigor="asymptotic prediction",
        proof="docs/fluctuation-law.md#3-stable-activations-chi--1",
        function="theory.depth.fluctuation:log_ratio_law",
        test="tests/theory/depth/test_fluctuation.py::test_means_against_the_nonlinear_recursion",
    ),
    Claim(
        id="fluctuation-law-of-shapes",
        kind="prediction",
        title="Fluctuation law of layers that differ",
        words="Where widths, gains, biases and activations differ, each layer responds linearly at the variance of its "
        "own pre-activations; so the logarithms of the gradient norms are jointly normal.",
        statement=(
            r"\delta_l = a_l (\eta_{l-1} + \beta_l) + b_l, \qquad \eta_l = \chi_l \delta_l + \xi_l",
            r"\log \frac{|d_l|^2}{|e_l|^2} = \log m_l + \kappa_l \delta_l + \nu_l, \qquad \log "
            r"\frac{|e_{l-1}|^2}{|d_l|^2} = \log F_l + \gamma_l",
        ),
        symbols=letters(
            "d_l",
            "e_l",
            **{r"\delta_l": "relative deviation of the squared length of h_l", r"\eta_l": "that of x_l"},
            a_l="share of W x in the variance of h_l",
            m_l="E of the squared slope at that variance",
            F_l="E |W_l|_F^2 / n_l",
        ),
        assumptions=(
            "The matrices are semi-orthogonal and uniform, or Gaussian, times a gain; biases are Gaussian.",
            SHELL,
            RANDOM_READOUT,
            WIDE,
            "There are no residual branches.",
        ),
        rigor="asymptotic prediction",
        proof="docs/fluctuation-law.md#9-layers-that-differ",
        function="theory.initialization.shaped:shaped_law",
        test="tests/theory/initialization/test_shaped.py::test_law_against_networks",
    ),
    Claim(
        id="homogeneous-diffusion",
        kind="prediction",
        title="Diffusion limit of homogeneous activations",
        words="For a positively homogeneous activation, the log ratio of gradients does not grow without end. It "
        "follows a diffusion whose variance saturates.",
        statement=(
            r"dy = (\zeta e^{-y} - 1) d\tau + 2 dW, \qquad \zeta \sim \chi_1^2, \qquad \tau = \operatorname{Var} s(z) "
            r"\frac{L}{n}",
            r"\operatorname{Var} y = 4 \tau - 2 \tau^2 + \ldots, \qquad \operatorname{Var} y \to \pi^2 \quad (\tau \to "
            r"\infty)",
        ),
        symbols=letters("n", "L", "s", "z", y="log ratio of squared gradient norms", W="a Brownian motion"),
        assumptions=(HAAR, "phi is positively homogeneous and GPN, so chi = 1.", RANDOM_READOUT, _PROPORTIONAL),
        rigor="asymptotic prediction",
        proof="docs/fluctuation-law.md#4-homogeneous-activations",
        function="theory.depth.fluctuation:log_ratio_law",
        test="tests/theory/depth/test_fluctuation_homogeneous.py::test_law_against_the_walk",
    ),
    Claim(
        id="prediction-margin",
        kind="prediction",
        title="The error of a predicted crossing probability",
        words="The standard deviation behind a predicted probability is right up to a relative error that shrinks "
        "like 1/width. The constant of that error is calibrated by simulation.",
        statement=(
            r"z_{\pm} = z e^{\pm \delta}, \qquad P(\max_{t \leq 1} |W_t| \geq z) = p, \qquad "
            r"\delta = \frac{\omega}{2 n} (1 + z^2)",
        ),
        symbols=letters(
            "n",
            p="predicted probability that gradients leave the tolerance",
            W="a Brownian motion",
            **{r"\omega": "n times the larger of the variances of a backward factor and of a squared length"},
        ),
        assumptions=(HAAR, "phi is GPN.", RANDOM_READOUT, "The constant 1/2 was measured for five activations."),
        rigor="asymptotic prediction",
        proof="docs/fluctuation-law.md#8-what-a-prediction-allows-for",
        function="theory.depth.fluctuation:prediction_margin",
        test="tests/theory/depth/test_margin.py::test_true_networks_are_not_missed",
    ),
    Claim(
        id="aligned-readout",
        kind="prediction",
        title="Aligned readout",
        words="If the backward signal starts along the forward one, layers near the top multiply its squared norm by "
        "more than 1 until the alignment has decayed.",
        statement=(
            r"B_l = 1 + c \alpha_l^2, \qquad \alpha_L = 1, \qquad \alpha_{l-1}^2 = \frac{\chi^2 \alpha_l^2}{B_l}, "
            r"\qquad c = E \phi(z)^2 s(z) - 1",
            r"\phi \text{ homogeneous}: \quad |e_0|^2 = (1 + \operatorname{Var} s(z) L) |e_L|^2",
        ),
        symbols=letters("L", "l", r"\phi", "z", "s", r"\chi", "B", **{r"\alpha_l": "cosine between e_l and x_l"}),
        assumptions=(HAAR, GPN, "e_L = x_L.", WIDE),
        rigor="asymptotic prediction",
        proof="docs/fluctuation-law.md#6-an-aligned-readout",
        function="theory.depth.fluctuation:aligned_profile",
        test="tests/theory/depth/test_fluctuation.py::test_aligned_readout_grows_by_51_over_50_layers_of_relu",
    ),
)


_BOUNDS = (
    Claim(
        id="deep-bound",
        kind="bound",
        title="Deep bound",
        words="The gradients of all layers stay within a factor e^epsilon of the top one, with a probability that is "
        "bounded at a width of the order L/epsilon^2.",
        statement=(
            rf"{_DEEP_EVENT} \leq P(\text{{bad}}) + \sum_{{\pm}} \min_\lambda e^{{-\lambda \epsilon}} "
            r"T_\pm \left[f_{L-1}(1) + g_{L-1}(1)\right]",
            r"f_{L-1}(1) + g_{L-1}(1) \geq E\left[\max_{l < L} X_l; \text{good}\right]",
        ),
        symbols=letters(
            "n",
            "L",
            "l",
            "G_l",
            r"\epsilon",
            r"\lambda",
            X_l="product of the forward factors of the layers l, ..., L-1",
            **{r"T_\pm": "what the alignment at the top costs, 1 or little more"},
        ),
        assumptions=(
            HAAR,
            SHELL,
            RANDOM_READOUT,
            MEASURABLE,
            "phi is locally Lipschitz and phi' bounded on |h|^2 <= n (1 + delta).",
            "n >= 4; GPN is not used, but without it the bound says nothing.",
        ),
        rigor="numerical evaluation of a proved bound",
        proof="docs/deep-bound.md#the-theorem",
        function="theory.bounds.deep:deep_bound",
        test="tests/theory/bounds/test_deep_bound.py::test_the_bound_lies_above_the_simulated_exceedance",
    ),
    Claim(
        id="gaussian-deep-bound",
        kind="bound",
        title="Deep bound for Gaussian weights",
        words="The gradients of all layers stay within a factor e^epsilon of the top one, with a probability that is "
        "bounded at a width of the order L/epsilon^2. Every mean is an n-th power of an integral over one neuron.",
        statement=(
            rf"{_DEEP_EVENT} \leq P(\text{{bad}}) + \sum_{{\pm}} \min_\lambda e^{{-\lambda \epsilon}} "
            r"T_\pm \left[f_{L-1}(1) + g_{L-1}(1)\right]",
            r"\frac{|d_l|^2}{|d_{l+1}|^2} = Y_l, \qquad E\left[e^{-t Y_l}\right] \leq e^{t a_l/n} "
            r"\prod_{i=1}^n \left(1 + \frac{2 t s_i}{n}\right)^{-1/2}",
        ),
        symbols=letters(
            "n",
            "L",
            "l",
            "G_l",
            "d_l",
            "s",
            r"\epsilon",
            r"\lambda",
            a_l="mean of s with the weights phi^2, over the neurons of layer l",
            **{
                r"T_\pm": "what the alignment at the top costs, 1 or little more",
                "f_{L-1}, g_{L-1}": "functions of Lemma E, of the squared length of the input",
                "E": "given the forward pass and the layers above, whatever their alignment",
            },
        ),
        assumptions=(
            "Every weight matrix is n x n with independent entries N(0, 1/n); the layers are independent.",
            "A chain of unequal widths has the bound of its narrowest layer, with changes that the proof names.",
            SHELL,
            RANDOM_READOUT,
            MEASURABLE,
            "phi is Lipschitz.",
            "n >= 4; GPN is not used, but without it the bound says nothing.",
        ),
        rigor="numerical evaluation of a proved bound",
        proof="docs/gaussian-deep-bound.md#the-theorem",
        function="theory.bounds.deep:deep_bound",
        test="tests/theory/bounds/gaussian/test_gaussian_bound.py::test_the_bound_lies_above_the_simulated_exceedance",
    ),
    Claim(
        id="rectangular-deep-bound",
        kind="bound",
        title="Deep bound for semi-orthogonal layers of unequal widths",
        words="The gradients of all layers stay within a factor e^epsilon of the top one where widths differ.",
        statement=(
            rf"{_DEEP_EVENT} \leq P(\text{{bad}}) + \sum_{{\pm}} \min_\lambda e^{{-\lambda \epsilon}} "
            r"T_\pm \left[f_{L-1}(1) + g_{L-1}(1)\right]",
        ),
        symbols=letters(
            "L",
            "l",
            r"\epsilon",
            r"\lambda",
            G_l="squared gradient of W_l over n_{l-1}, over that of W_L over n_{L-1}",
            n_l="width of layer l",
            **{
                r"T_\pm": "what the alignment at the top costs, 1 or little more",
                "f_{L-1}, g_{L-1}": "functions of Lemma E, of the squared length of the input",
            },
        ),
        assumptions=(
            "W_l: orthonormal rows or columns, uniform, times max(1, n_l/n_{l-1})^{1/2}; the layers are independent.",
            SHELL,
            RANDOM_READOUT,
            MEASURABLE,
            "phi is locally Lipschitz and phi' bounded where pre-activations may lie.",
            "Every n_l with l > 0 is at least 4; GPN is not used, but without it the bound says nothing.",
        ),
        rigor="numerical evaluation of a proved bound",
        proof="docs/rectangular-deep-bound.md#the-theorem",
        function="theory.bounds.rectangular.bound:chain_bound",
        test="tests/theory/bounds/rectangular/test_rectangular_bound.py"
        "::test_the_bound_lies_above_the_simulated_exceedance",
    ),
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
        function="tests.oracles.homogeneous_law:sample_relu_ratios",
        test="tests/gpn/sampling/test_relu_law.py::test_the_affine_recursion_of_relu_is_the_general_chain_without_the_lower_slope",
    ),
    Claim(
        id="relu-deep-bound",
        kind="bound",
        title="Deep bound for ReLU",
        words="The gradients of all layers stay within a factor e^epsilon of the top one. The bound needs only "
        "finite sums of Gamma ratios. A layer in which no neuron is active counts as leaving.",
        statement=(
            rf"{_DEEP_EVENT} \leq (L-1) P(k < k_0 \text{{ or }} k > n - k_0) + 2^{{-n}} + P(\rho_L^2 > r_J) + "
            r"\sum_{j=1}^J P(r_{j-1} < \rho_L^2 \leq r_j) \min(1, U_j + V_j)",
            r"U_j = \min_{\lambda \geq 1} \left(\frac{x^{L-1} (1 - r_{j-1}) + r_j c \sum_{i=0}^{L-2} x^i}"
            r"{e^{\epsilon} - r_j}\right)^{\lambda}, \qquad x = \max(1, E X^{\lambda})^{1/\lambda}, \qquad c = "
            r"\left(E \left(\frac{1-B}{B}\right)^{\lambda}\right)^{1/\lambda}",
            r"V_j = \min_{\lambda \geq 1} e^{-\lambda \epsilon} \max(1, E X^{-\lambda})^{L-1}",
        ),
        symbols=letters(
            "n",
            "L",
            "l",
            "G_l",
            r"\epsilon",
            r"\rho_l",
            **{"X, B, k": "as in the exact law; means on k_0 <= k <= n - k_0", "r_j": "any 0 = r_0 < ... < r_J <= 1"},
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
        function="theory.bounds.homogeneous:deep_bound",
        test="tests/theory/bounds/test_homogeneous.py::test_the_bound_is_above_the_exact_law",
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
        function="theory.bounds.homogeneous:deep_bound",
        test="tests/theory/bounds/test_homogeneous.py::test_the_bound_is_above_the_exact_law",
    ),
)


ENTRIES = (_EVENT, *_FLUCTUATIONS, *_BOUNDS)
