"""Claims about what decides whether a deep network trains: separation and isometry."""

from theory.claims.claim import GPN, HAAR, Claim, letters

_INFINITE = "The width is infinite: averages over the neurons are expectations."
_FREE = "The layers are asymptotically free: width to infinity at fixed depth."
_TESTS = "tests/theory/trainability"

ENTRIES = (
    Claim(
        id="separation-without-kinks",
        kind="prediction",
        title="Loss of separation without kinks",
        words="The correlation of two inputs goes to 1, and its distance from 1 falls like the inverse of the depth.",
        statement=(
            r"\delta_{l+1} = \delta_l - \frac{1}{2} C''(1) \delta_l^2 + O(\delta_l^3), \qquad \delta_l = 1 - \rho_l",
            r"\frac{1}{\delta_L} = \frac{1}{\delta_0} + \frac{1}{2} C''(1) L (1 + o(1)), \qquad C''(1) = E \phi''(z)^2",
        ),
        symbols=letters("L", r"\phi", "z", **{r"\rho_l": "cosine of the angle between the two signals after layer l"}),
        assumptions=(_INFINITE, GPN, "phi'' is continuous; its derivative has a finite second moment too."),
        rigor="asymptotic prediction",
        reference="after B. Poole et al. 2016; S. Schoenholz et al. 2017",
        proof="docs/trainability.md#1-separation",
        function="theory.trainability.separation:separation",
        test=f"{_TESTS}/test_separation.py::test_smooth_separation_falls_like_the_inverse_of_curvature_times_depth",
    ),
    Claim(
        id="separation-with-kinks",
        kind="prediction",
        title="Loss of separation with kinks",
        words="Where the slope of the activation has steps, the correlation goes to 1 faster: its distance from 1 "
        "falls like the inverse square of the depth.",
        statement=(
            r"C'(\rho) = 1 - K \sqrt{\delta/\pi} (1 + o(1)), \qquad K = \sum_k J_k^2 p(t_k)",
            r"\delta_L = \frac{9 \pi}{K^2 L^2} (1 + o(1))",
        ),
        symbols=letters(
            "L",
            **{
                r"\delta": "1 minus the cosine of the angle between the two signals",
                "J_k, t_k": "steps of phi' and where they are",
                "p": "density of the standard normal law",
            },
        ),
        assumptions=(_INFINITE, GPN, "phi' has finitely many steps and a bounded derivative between them."),
        rigor="asymptotic prediction",
        reference="for ReLU: S. Hayou, A. Doucet, J. Rousseau 2019",
        proof="docs/trainability.md#1-separation",
        function="theory.trainability.separation:kink_constant",
        test=f"{_TESTS}/test_separation.py::test_kinked_separation_falls_like_the_inverse_square_of_depth",
    ),
    Claim(
        id="tangent-kernel-limit",
        kind="prediction",
        title="The tangent kernel forgets its inputs",
        words="The neural tangent kernel of two inputs over that of one input tends to 1/3 without kinks and to 1/4 "
        "with kinks, whatever the inputs.",
        statement=(
            r"\frac{\Theta_L(x, x')}{\Theta_L(x, x)} = \frac{1}{L} \sum_{l=1}^{L} \rho_{l-1} "
            r"\prod_{k=l}^{L} C'(\rho_{k-1})",
        ),
        symbols=letters(
            "L",
            "l",
            **{
                r"\Theta_L": "tangent kernel of the hidden layers for a fixed readout",
                r"\rho_l": "cosine of the angle between the two signals after layer l",
                "C": "correlation map",
            },
        ),
        assumptions=(_INFINITE, GPN, "No biases are trained.", "phi is as in one of the two laws of separation."),
        rigor="asymptotic prediction",
        reference="after A. Jacot, F. Gabriel, C. Hongler 2018; W. Huang, W. Du, R. Y. D. Xu 2021",
        proof="docs/trainability.md#2-the-tangent-kernel",
        function="theory.trainability.tangent_kernel:tangent_kernel_ratio",
        test=f"{_TESTS}/test_separation.py::test_the_tangent_kernel_forgets_its_inputs",
    ),
    Claim(
        id="jacobian-spectrum",
        kind="prediction",
        title="Singular values of the Jacobian",
        words="The squared singular values of the Jacobian have the mean 1 and a variance that grows with the depth, "
        "so that only a share of the directions of a gradient survives.",
        statement=(
            r"\nu = \mu \boxtimes \cdots \boxtimes \mu, \qquad S_{\nu} = S_{\mu}^L, \qquad \mu = "
            r"\operatorname{law} \phi'(z)^2",
            r"\sigma^2 = L (E \phi'(z)^4 - 1), \qquad \frac{(\operatorname{tr} J J^T)^2}{\operatorname{tr} (J J^T)^2} "
            r"\to \frac{n}{1 + \sigma^2}",
        ),
        symbols=letters(
            "n",
            "L",
            r"\phi",
            "z",
            **{
                "J": "derivative of x_L by x_0",
                r"\nu": "limit law of the squared singular values",
                "S": "S-transform of a law",
            },
        ),
        assumptions=(HAAR, GPN, _FREE),
        rigor="asymptotic prediction",
        reference="J. Pennington, S. Schoenholz, S. Ganguli 2017; B. Collins, T. Hayase 2022",
        proof="docs/trainability.md#3-isometry",
        function="theory.trainability.isometry:jacobian_spectrum",
        test=f"{_TESTS}/test_isometry.py::test_random_matrix_products_have_the_moments_and_the_distribution",
    ),
    Claim(
        id="finite-width-spectrum",
        kind="prediction",
        title="Variance of the squared singular values at finite width",
        words="A recursion gives the mean of tr (J J^T)^2 at every width, exactly if the slopes do not depend on the "
        "weights.",
        statement=(
            r"a_l = \frac{m_2 (b + 2a) + n a - b}{n + 2}, \qquad b_l = b + (m_2 - 1) \frac{b + 2a}{n + 2}",
            r"a_0 = n, \qquad b_0 = n^2, \qquad \sigma_n^2 = n a_L/b_L - 1",
        ),
        symbols=letters(
            "n",
            "L",
            **{
                "a_l, b_l": "E tr (J J^T)^2 and E (tr J J^T)^2 after l layers; a, b those of the layer before",
                "m_2": "E phi'(z)^4",
            },
        ),
        assumptions=(HAAR, GPN, "The phi'(h_i) are independent of each other and of the weights: wrong by order 1/n."),
        rigor="asymptotic prediction",
        proof="docs/trainability.md#3-isometry",
        function="theory.trainability.isometry:finite_width_variance",
        test=f"{_TESTS}/test_isometry.py::test_the_variance_at_finite_width_is_the_mean_over_independent_layers",
    ),
    Claim(
        id="tangent-kernel-size",
        kind="prediction",
        title="How much a step of gradient descent changes the logits",
        words="The tangent kernel of the logits has a mean eigenvalue that grows like width times depth, and a largest "
        "one that is larger by up to the number of classes where the Jacobian has lost its directions.",
        statement=(
            r"\frac{1}{K} \operatorname{tr} \Theta \approx n (L + 1) s, \qquad "
            r"\lambda_{\max}(\Theta) \approx n (L + 1) s \sigma",
            r"s = \frac{1}{L + 1} (q_L + \sum_{l=1}^{L} q_{l-1} g_l)",
        ),
        symbols=letters(
            "n",
            "L",
            "l",
            **{
                "K": "number of classes",
                r"\Theta": "tangent kernel of the logits for one input",
                "q_l": "squared length per neuron after layer l",
                "g_l": "mean squared gradient of a logit by the pre-activations of layer l",
                r"\sigma": "spread: K tr M^2 / (tr M)^2 for M = J J^T, J the Jacobian of the logits",
            },
        ),
        assumptions=(HAAR, "The width is large.", "The readout has orthonormal rows in random directions."),
        rigor="asymptotic prediction",
        proof="docs/training.md#the-learning-rate",
        function="theory.trainability.step_size:step_size",
        test=f"{_TESTS}/test_step_size.py::test_drawn_networks_have_the_size_and_the_spread",
    ),
)
