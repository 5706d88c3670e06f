"""Claims about one layer of finite width: exact laws of its signals, and how to sample them without a matrix."""

from theory.claims.claim import FRESH, GPN, HAAR, MEASURABLE, RANDOM_READOUT, UNIFORM, WIDE, Claim, letters

ENTRIES = (
    Claim(
        id="uniform-preactivation",
        kind="law",
        title="A pre-activation is uniform on a sphere",
        words="Given the layer's input, the pre-activation is uniform on the sphere of the input's length. So the "
        "squared lengths of the layers form a Markov chain.",
        statement=(
            r"h = |x| \frac{g}{|g|}, \qquad g \sim N(0, I_n)",
            r"h_1 = \sqrt{nq} t, \qquad w_n(t) = \frac{\Gamma(n/2)}{\sqrt{\pi} \Gamma((n-1)/2)} (1-t^2)^{(n-3)/2}",
        ),
        symbols=letters(
            "n", "h", "q", x="input of the layer", t="a coordinate of a uniform unit vector, of density w_n"
        ),
        assumptions=(HAAR, "x is independent of W and not zero.", "n >= 2."),
        rigor="exact law",
        reference="Archimedes for n = 3; J. C. Maxwell; E. Borel 1914",
        proof="docs/one-step.md#the-uniform-law",
        function="theory.layer.sphere:sphere_expectations",
        test="tests/theory/layer/test_sphere.py::test_agrees_with_the_literal_density",
    ),
    Claim(
        id="rotated-map",
        kind="law",
        title="The length after a matrix of any singular values",
        words="If the right singular vectors of W are uniformly random, the squared length after it is a weighted "
        "sum of squared coordinates of a uniform unit vector. For a Haar matrix it does not vary.",
        statement=(
            r"\frac{|W x|^2}{|x|^2} = \sum_i a_i u_i^2, \qquad E = \bar a",
            r"Var = \frac{2}{n+2} \overline{(a - \bar a)^2}, \qquad "
            r"E\left(\frac{|W x|^2}{|x|^2} - \bar a\right)^3 = \frac{8 \overline{(a - \bar a)^3}}{(n+2)(n+4)}",
        ),
        symbols=letters(
            n="columns of W", a="eigenvalues of W^T W, zeros included; the bar is their mean", u="uniform unit vector"
        ),
        assumptions=("The right singular vectors of W are Haar and independent of x, which is not zero.",),
        rigor="exact law",
        proof="docs/own-network.md#a-linear-map",
        function="gpn.probing.prediction:rotated_map",
        test="tests/gpn/probing/test_prediction.py::test_a_map_with_any_singular_values",
    ),
    Claim(
        id="matrix-free-one-input",
        kind="theorem",
        title="A Haar matrix used once forward and once backward need not be drawn",
        words="Given the forward pass, the backward signal is one fixed direction along x plus a uniform vector in "
        "its orthogonal complement. This is exact in law, jointly over all layers, at a cost of O(n) for each.",
        statement=(
            r"W^T d = \alpha x + v, \qquad \alpha = \frac{\langle d, h \rangle}{|h|^2}",
            r"v \sim \operatorname{Unif}\left(v \perp x, \quad |v|^2 = |d|^2 - \alpha^2 |h|^2\right)",
        ),
        symbols=letters("h", x="input of the layer", d="backward signal at h", **{r"\alpha": "share of d along h"}),
        assumptions=(
            HAAR,
            "x is independent of W and not zero (for x = 0: h = 0, and W^T d is uniform on the sphere of radius |d|).",
            "d depends on W through h only.",
        ),
        rigor="exact law",
        reference="the method: M. Bayati, A. Montanari 2011; S. Rangan, P. Schniter, A. Fletcher 2019",
        proof="docs/matrix-free.md#one-input",
        function="gpn.sampling.sampler:sample",
        test="tests/gpn/sampling/test_sampler.py::test_same_law_as_explicit_matrices",
    ),
    Claim(
        id="matrix-free-batch",
        kind="theorem",
        title="The same for k inputs at once",
        words="For a batch, the pre-activations are a uniform frame times a triangular factor. The backward signals "
        "are a fixed part in the span of the inputs plus a uniform frame in its complement. The cost is O(n k^2) for "
        "each layer.",
        statement=(
            r"X = Q R, \qquad W X = U R, \qquad U \sim \operatorname{Haar-Stiefel}(n, k)",
            r"W^T D = Q U^T D + P R_D, \qquad R_D^T R_D = D^T (I - U U^T) D",
            r"P \sim \operatorname{Haar-Stiefel}\left(\operatorname{span}(Q)^{\perp}\right)",
        ),
        symbols=letters(
            "n",
            k="number of inputs, at most n",
            X="the inputs, n x k",
            D="the backward signals, n x k",
            Q="n x k with orthonormal columns whose span contains that of X",
            R_D="any factor of the Gram matrix with at most n - k rows",
        ),
        assumptions=(HAAR, "X is independent of W; its rank may be below k.", "D depends on W through U only."),
        rigor="exact law",
        reference="the method: S. Rangan, P. Schniter, A. Fletcher 2019",
        proof="docs/matrix-free.md#several-inputs",
        function="gpn.sampling.batch_sampler:sample_batch",
        test="tests/gpn/sampling/test_batch_sampler.py::test_same_law_as_explicit_matrices",
    ),
    Claim(
        id="matrix-free-rectangular",
        kind="theorem",
        title="The same for semi-orthogonal matrices",
        words="A semi-orthogonal matrix is a part of a square one: coordinates that are not seen enter by their "
        "squared length alone.",
        statement=(
            r"h = |x| \frac{g}{\sqrt{|g|^2 + \chi^2_{N-n'}}}, \qquad \alpha = \frac{\langle d, h \rangle}{|x|^2}",
            r"W^T d = \alpha x + \sqrt{|d|^2 - \alpha^2 |x|^2} \frac{g_{\perp}}{\sqrt{|g_{\perp}|^2 + \chi^2_{N-n}}}",
        ),
        symbols=letters(
            "h",
            x="input of the layer, of n entries",
            d="backward signal at h, of n' entries",
            g="standard normal, of n' entries forward and of n backward",
            N="the larger of n and n'",
            **{r"g_{\perp}": "its part orthogonal to x"},
        ),
        assumptions=(
            "W is a uniform n' x n matrix with orthonormal rows or columns.",
            "x is independent of W and not zero.",
            "d depends on W through h only.",
        ),
        rigor="exact law",
        proof="docs/matrix-free.md#layers-of-unequal-widths-and-gains",
        function="gpn.sampling.laws:Haar",
        test="tests/gpn/sampling/test_shapes.py::test_same_law_as_explicit_matrices",
    ),
    Claim(
        id="matrix-free-bias",
        kind="theorem",
        title="A Gaussian bias need not be drawn",
        words="Given the pre-activation, what the backward pass needs of W x is one number, of a known law.",
        statement=(
            r"|h| t = r + \sigma z, \qquad |h|^2 = (r + \sigma z)^2 + \sigma^2 \chi^2_{n-1}, \qquad r = |W x|",
            r"\langle d, W x \rangle = r t \langle d, \hat h \rangle + r \sqrt{1 - t^2} \sqrt{|d|^2 - \langle d, "
            r"\hat h \rangle^2} \frac{z'}{\sqrt{z'^2 + \chi^2_{n-2}}}",
        ),
        symbols=letters(
            "n",
            h="W x + b",
            x="input of the layer",
            d="backward signal at h",
            t="cosine of the angle between W x and h",
            z="standard normal, like z'",
            **{r"\sigma": "standard deviation of the entries of b"},
        ),
        assumptions=(HAAR, "b is Gaussian and independent of W and x.", "d depends on W and b through h only."),
        rigor="exact law",
        proof="docs/matrix-free.md#a-gaussian-bias",
        function="gpn.sampling.laws:Biased",
        test="tests/gpn/sampling/test_shapes.py::test_same_law_as_explicit_matrices",
    ),
    Claim(
        id="matrix-free-branches",
        kind="theorem",
        title="The same with residual branches",
        words="Each matrix is still used once forward and once transposed, so that the networks are drawn exactly.",
        statement=(
            r"x_l = x_{l-1} + \alpha \phi(h_l), \qquad d_l = \alpha \phi'(h_l) \odot e_l, \qquad e_{l-1} = e_l + W_l^T "
            r"d_l",
        ),
        symbols=letters("x_l", "d_l", "e_l", "W_l", r"\phi", **{r"\alpha": "the factor of the branch"}),
        assumptions=(HAAR, "e_L depends on the matrices through the forward pass only."),
        rigor="exact law",
        proof="docs/matrix-free.md#residual-branches",
        function="gpn.sampling.residual:backward",
        test="tests/gpn/sampling/test_shapes.py::test_same_law_as_explicit_matrices",
    ),
    Claim(
        id="mean-squared-length",
        kind="law",
        title="Mean squared length after one layer of finite width",
        words="At squared length 1 it differs from 1 by the fourth Hermite coefficient of phi^2 over 4n, to first "
        "order.",
        statement=(
            r"Q_n(q) = E q_1 = \int \phi(\sqrt{nq} t)^2 w_n(t) dt",
            r"Q_n(1) = 1 - \frac{E \phi(z)^2 He_4(z)}{4n} + O(n^{-2})",
        ),
        symbols=letters("n", "q", "q_l", r"\phi", "z", w_n="density of one coordinate of a uniform unit vector"),
        assumptions=(UNIFORM, "For the second line: GPN, and phi grows no faster than a power."),
        rigor="exact law",
        proof="docs/one-step.md#mean-and-its-expansion",
        function="theory.layer.sphere:mean_squared_length",
        test="tests/theory/layer/test_sphere.py::test_first_order_in_one_over_the_width",
    ),
    Claim(
        id="mean-backward-ratio",
        kind="law",
        title="Mean factor of one layer for a backward signal",
        words="The mean of the squared factor is the mean squared slope at finite width, for a fresh random direction "
        "and for any fixed one.",
        statement=(
            r"S_n(q) = E |D u|^2 = \frac{E |D y|^2}{|y|^2} = \int \phi'(\sqrt{nq} t)^2 w_n(t) dt",
            r"S_n(1) = 1 - \frac{E \phi'(z)^2 He_4(z)}{4n} + O(n^{-2})",
        ),
        symbols=letters("n", "q", "D", "u", "z", y="a fixed vector", w_n="density of one coordinate"),
        assumptions=(UNIFORM, FRESH, "For the second line: GPN, and phi' grows no faster than a power."),
        rigor="exact law",
        proof="docs/one-step.md#mean-and-its-expansion",
        function="theory.layer.sphere:mean_squared_slope",
        test="tests/theory/layer/test_sphere.py::test_reference_values_for_tanh",
    ),
    Claim(
        id="squared-length-variance",
        kind="law",
        title="Variance of the squared length after one layer",
        words="The formula is exact at every width. For GPN ReLU it gives 3/(n+2).",
        statement=(
            r"\operatorname{Var} q_1 = \frac{1}{n} E f(h_1)^2 + \left(1 - \frac{1}{n}\right) E f(h_1) f(h_2) - "
            r"Q_n(q)^2, \qquad f = \phi^2",
        ),
        symbols=letters("n", "h", "q_l", r"\phi", "Q_n(q)"),
        assumptions=(UNIFORM,),
        rigor="exact law",
        proof="docs/one-step.md#variance-of-the-squared-length",
        function="theory.layer.pairs:squared_length_variance",
        test="tests/gpn/sampling/test_matrix_free.py::test_variances_of_one_layer",
    ),
    Claim(
        id="backward-ratio-variance",
        kind="law",
        title="Variance of the factor of one layer for a fresh backward direction",
        words="The formula is exact at every width, for a direction that is independent of the layer.",
        statement=(r"\operatorname{Var} B = \frac{3 E s(h_1)^2 + (n-1) E s(h_1) s(h_2)}{n+2} - S_n(q)^2",),
        symbols=letters("n", "h", "s", "B", "S_n(q)"),
        assumptions=(UNIFORM, FRESH),
        rigor="exact law",
        proof="docs/one-step.md#variance-of-the-backward-ratio",
        function="theory.layer.pairs:backward_ratio_variance",
        test="tests/gpn/sampling/test_matrix_free.py::test_variances_of_one_layer",
    ),
    Claim(
        id="backward-ratio-given-alignment",
        kind="law",
        title="Mean factor of a layer inside a network",
        words="Given the forward pass and the cosine between the backward and the forward signal, the mean factor of a "
        "layer is the mean squared slope plus a term for that cosine.",
        statement=(
            r"E_v B = \bar s + \left(\alpha^2 - \frac{1}{n}\right) \frac{n}{n-1} (\tau - \bar s), \qquad "
            r"\bar s = \frac{1}{n} \sum_i s(h_i), \qquad \tau = |D \hat x|^2",
        ),
        symbols=letters(
            "n",
            "h",
            "s",
            "B",
            **{
                r"\alpha": "cosine between e_l and x_l",
                r"\hat x": "unit vector along x_l",
                "v": "the uniform rest of e_l",
            },
        ),
        assumptions=(HAAR, "n >= 2.", "The readout is any function of the forward pass and independent noise."),
        rigor="exact law",
        proof="docs/one-step.md#the-direction-inside-a-network",
        function="theory.depth.alignment:conditional_growth",
        test="tests/gpn/sampling/test_matrix_free.py::test_mean_factor_given_the_alignment",
    ),
    Claim(
        id="alignment",
        kind="prediction",
        title="Alignment of backward and forward signals",
        words="Backward signals keep a small component along the forward ones. Its mean square, times n, obeys a "
        "linear recursion down the layers.",
        statement=(
            r"A_l = n E \alpha_l^2, \qquad A_L = 1, \qquad A_l = \chi^2 A_{l+1} + 1 + 2 \kappa - \chi^2",
            r"E\left[B_l \mid q_{l-1} = 1\right] = S_n(1) + (A_l - 1) \frac{c}{n} + \ldots, \qquad c = E \phi(z)^2 "
            r"s(z) - 1",
        ),
        symbols=letters(
            "n", "L", "q_l", "s", "S_n(q)", r"\chi", r"\kappa", **{r"\alpha_l": "cosine between e_l and x_l"}
        ),
        assumptions=(HAAR, GPN, RANDOM_READOUT, WIDE),
        rigor="asymptotic prediction",
        proof="docs/one-step.md#the-direction-inside-a-network",
        function="theory.depth.alignment:alignments",
        test="tests/gpn/sampling/test_sampler.py::test_the_part_along_x_matters_under_a_random_readout_too",
    ),
    Claim(
        id="gaussians-conditioned-on-a-sphere",
        kind="theorem",
        title="Products over the coordinates of a uniform point",
        words="The mean of a product over the coordinates of a uniform point on a sphere is the density of a sum of "
        "independent variables at one point. One Fourier inversion finds it.",
        statement=(
            r"E \exp\left(\sum_i \psi(h_i)\right) = \frac{e^{n (\Lambda(\mu) - \mu q)} \tilde f(nq)}{f(nq)}, \qquad "
            r"\Lambda(\mu) = \log E\left[e^{\psi(z) + \mu z^2}; |z| \leq \sqrt{nq}\right]",
        ),
        symbols=letters(
            "n",
            "q",
            "h",
            "z",
            **{
                r"\psi": "any function bounded above on the interval",
                r"\mu": "any real number: the value does not depend on it",
                "f": "density of chi^2 with n degrees of freedom",
                r"\tilde f": "density of the sum of z_i^2 under the tilted law",
            },
        ),
        assumptions=(UNIFORM, MEASURABLE, "n >= 3."),
        rigor="numerical evaluation of a proved bound",
        reference="H. E. Daniels 1954 (inversion along a tilted line)",
        proof="docs/one-step.md#gaussians-conditioned-on-a-sphere",
        function="theory.layer.conditioning:log_sphere_mean",
        test="tests/theory/layer/test_conditioning.py::test_relu_is_a_mixture_of_kummer_functions",
    ),
)
