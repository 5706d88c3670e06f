"""Claims about one activation: Gaussian-Poincaré normalization, and what infinite width makes of depth."""

from theory.claims.claim import GPN, WEAK, Claim, letters

_EDGE = {
    "q": "variance of the pre-activations",
    "g": "gain, the factor of the weights",
    r"\sigma_b": "standard deviation of the biases",
}
_BIASED = {
    **_EDGE,
    r"\rho": "correlation of two inputs",
    "u, v": "standard normal variables of correlation rho",
}
ENTRIES = (
    Claim(
        id="gaussian-poincare-inequality",
        kind="theorem",
        title="Gaussian Poincaré inequality",
        words="The variance of a function of a standard normal variable is at most the mean square of its slope; both "
        "are equal for affine functions only.",
        statement=(r"\operatorname{Var} \phi(z) \leq E \phi'(z)^2",),
        symbols=letters(r"\phi", "z"),
        assumptions=(WEAK,),
        rigor="proved",
        reference="J. Nash 1958; H. Chernoff 1981, Annals of Probability 9, 533-535",
        proof="docs/gpn.md#the-inequality",
        function="theory.gaussian.moments:Moments.margin",
        test="tests/theory/normalization/test_poincare.py::test_poincare_inequality_for_random_piecewise_linear_functions",
    ),
    Claim(
        id="gpn",
        kind="definition",
        title="Gaussian-Poincaré normalization (GPN)",
        words="The activation and its slope both have mean square 1 under the standard normal law.",
        statement=(r"E \phi(z)^2 = 1, \qquad E \phi'(z)^2 = 1",),
        symbols=letters(r"\phi", "z"),
        assumptions=(WEAK,),
        rigor="definition",
        reference="Y. Lu, S. Gould, T. Ajanthan 2020, arXiv 2006.12169, definition of GPN",
        function="theory.normalization.conditions:gaussian_poincare",
        test="tests/theory/normalization/test_poincare.py::test_normalized_activations_satisfy_both_conditions",
    ),
    Claim(
        id="gpn-normalization",
        kind="theorem",
        title="Both normalizations of an activation",
        words="For every non-constant activation phi with finite moments there are two GPN functions a phi + b with "
        "a > 0. For an affine phi there is one.",
        statement=(
            r"a = \left(E \phi'(z)^2\right)^{-1/2}, \qquad b_{\pm} = -a E \phi(z) \pm \sqrt{1 - a^2 "
            r"\operatorname{Var} \phi(z)}",
        ),
        symbols=letters(
            r"\phi", "z", a="scale, taken positive; -a gives the mirror images", **{r"b_{\pm}": "the two shifts"}
        ),
        assumptions=(WEAK, "phi is not constant."),
        rigor="proved",
        reference="Y. Lu, S. Gould, T. Ajanthan 2020 (one root); both roots: this project",
        proof="docs/gpn.md#normalization-and-its-two-roots",
        function="theory.normalization.normalize:normalization",
        test="tests/theory/normalization/test_poincare.py::test_normalized_activations_satisfy_both_conditions",
    ),
    Claim(
        id="gpn-mean",
        kind="theorem",
        title="Mean of a normalized activation",
        words="The mean of a GPN activation is 0 only for phi(x) = x and phi(x) = -x.",
        statement=(r"E \phi(z)^2 = 1 = E \phi'(z)^2, \quad E \phi(z) = 0 \quad\Rightarrow\quad \phi(x) = \pm x",),
        symbols=letters(r"\phi", "z"),
        assumptions=(WEAK, GPN),
        rigor="proved",
        proof="docs/gpn.md#the-mean",
        function="theory.normalization.normalize:normalization",
        test="tests/theory/normalization/test_poincare.py::test_affine_functions_have_one_root",
    ),
    Claim(
        id="gpn-hermite",
        kind="theorem",
        title="GPN as a balance of the Hermite spectrum",
        words="An activation is GPN if and only if its Hermite powers sum to 1, both plain and weighted by the "
        "degree. The square of its mean then balances the degrees above 1.",
        statement=(
            r"E \phi(z)^2 = \sum_{k \geq 0} c_k^2, \qquad E \phi'(z)^2 = \sum_{k \geq 1} k c_k^2",
            r"\sum_k c_k^2 = \sum_k k c_k^2 = 1 \quad\Rightarrow\quad c_0^2 = \sum_{k \geq 2} (k-1) c_k^2",
        ),
        symbols=letters(r"\phi", "z", "c_k"),
        assumptions=(WEAK,),
        rigor="proved",
        reference="R. O'Donnell 2014, Analysis of Boolean Functions, chapter 11 (the two sums)",
        proof="docs/gpn.md#hermite-form",
        function="theory.gaussian.hermite:hermite_spectrum",
        test="tests/theory/gaussian/test_hermite.py::test_gpn_is_a_balance_of_the_spectrum",
    ),
    Claim(
        id="jumps-are-excluded",
        kind="theorem",
        title="A function with a jump cannot be normalized",
        words="If smooth functions approach a function with a jump, the mean squares of their slopes tend to "
        "infinity. So the derivative between the jumps must not replace them.",
        statement=(
            r"|\phi(x_0+) - \phi(x_0-)| > 0, \quad E \left(\phi_m - \phi\right)^2 \to 0 \quad\Rightarrow\quad "
            r"E \phi_m'(z)^2 \to \infty",
        ),
        symbols=letters(
            r"\phi",
            "z",
            **{r"\phi_m": "any weakly differentiable functions that converge to phi", "x_0": "where phi jumps"},
        ),
        assumptions=("phi has one-sided limits at x_0 that differ.", "E phi^2 is finite."),
        rigor="proved",
        proof="docs/gpn.md#jumps",
        function="theory.normalization.conditions:gaussian_poincare",
        test="tests/theory/normalization/test_poincare.py::test_facts_of_a_function_with_a_jump",
    ),
    Claim(
        id="length-map",
        kind="definition",
        title="Length map",
        words="The squared length per neuron after a layer of infinite width; GPN makes 1 a fixed point.",
        statement=(r"Q(q) = E \phi(\sqrt{q} z)^2, \qquad Q(1) = 1 \quad \text{for GPN}",),
        symbols=letters("q", r"\phi", "z"),
        assumptions=("E phi(sqrt(q) z)^2 is finite at the q in question.", "Infinite width; no biases."),
        rigor="definition",
        reference="B. Poole, S. Lahiri, M. Raghu, J. Sohl-Dickstein, S. Ganguli 2016",
        function="theory.depth.length_map:length_map",
        test="tests/theory/depth/test_propagation.py::test_length_map_against_simulation",
    ),
    Claim(
        id="length-map-slope",
        kind="theorem",
        title="Slope of the length map",
        words="The slope chi of the length map at 1 is one plus the mean of phi times its second derivative, with "
        "kinks counted as point masses. It is never below -1/2.",
        statement=(
            r"\chi = Q'(1) = E \phi(z) \phi'(z) z = \frac{1}{2} E \phi(z)^2 (z^2 - 1)",
            r"\chi = 1 + E \phi(z) \phi''(z) + \sum_t \phi(t) \left[\phi'(t+) - \phi'(t-)\right] p(t), "
            r"\qquad \chi \geq -\frac{1}{2}",
        ),
        symbols=letters(r"\chi", r"\phi", "z", t="the kinks of phi", p="standard normal density"),
        assumptions=(
            WEAK,
            GPN,
            "E phi(sqrt(q) z)^2 is finite for some q > 1.",
            "For the second line: phi is twice differentiable between finitely many kinks, and E |phi phi''| is "
            "finite.",
        ),
        rigor="proved",
        proof="docs/gpn.md#the-length-map-and-its-slope",
        function="theory.depth.length_map:length_map_slope",
        test="tests/theory/normalization/test_poincare.py::test_chi_with_the_point_masses_of_the_kinks",
    ),
    Claim(
        id="length-stability",
        kind="theorem",
        title="Stability of the squared length in depth",
        words="In infinite width, the squared length returns to 1 from nearby if |chi| < 1, and leaves 1 if |chi| > "
        "1. GPN alone decides neither. Every positively homogeneous GPN activation has chi = 1.",
        statement=(
            r"q_l = Q(q_{l-1}): \qquad |\chi| < r < 1 \quad\Rightarrow\quad |q_l - 1| \leq r^l |q_0 - 1| \quad "
            r"\text{for } q_0 \text{ near } 1",
            r"|\chi| > r > 1 \quad\Rightarrow\quad |q_l - 1| \geq r |q_{l-1} - 1| \quad \text{for } q_{l-1} "
            r"\text{ near } 1",
        ),
        symbols=letters(r"\chi", "q_l", Q="the length map", r="any number between the modulus of the slope and 1"),
        assumptions=(GPN, "E phi(sqrt(q) z)^2 is finite for some q > 1.", "Infinite width; the statement is local."),
        rigor="proved",
        proof="docs/gpn.md#stability-in-depth",
        function="theory.depth.fixed_points:length_dynamics",
        test="tests/theory/depth/test_propagation.py::test_gelu_plus_repels_from_one_to_a_short_length",
    ),
    Claim(
        id="edge-of-chaos",
        kind="theorem",
        title="GPN sits at the edge of chaos",
        words="The correlation map of a GPN activation has slope 1 at correlation 1.",
        statement=(
            r"C(\rho) = E \phi(u) \phi(v) = \sum_k c_k^2 \rho^k, \qquad C(1) = 1, \qquad C'(1) = E \phi'(z)^2 = 1",
            r"C''(1) = E \phi''(z)^2, \quad \text{infinite with a kink}",
        ),
        symbols=letters(
            r"\phi",
            "z",
            "c_k",
            **{r"\rho": "correlation of two inputs", "u, v": "standard normal variables of correlation rho"},
        ),
        assumptions=(WEAK, GPN, "Infinite width."),
        rigor="proved",
        reference="B. Poole et al. 2016 (the map and the term); A. Daniely, R. Frostig, Y. Singer 2016 (the series)",
        proof="docs/gpn.md#edge-of-chaos",
        function="theory.gaussian.hermite:correlation_slopes",
        test="tests/theory/gaussian/test_hermite.py::test_slopes_of_the_correlation_map",
    ),
    Claim(
        id="depth-horizon",
        kind="prediction",
        title="Vanishing or exploding rate of an un-normalized network",
        words="The logarithm of the squared gradient norm changes per layer by the logarithm of the mean squared slope "
        "at the fixed point to which the squared length flows.",
        statement=(
            r"\frac{1}{L} \log \frac{\Vert \partial E/\partial W_1 \Vert^2}{\Vert \partial E/\partial W_L \Vert^2} "
            r"\to \log E \phi'(\sqrt{q_{\ast}} z)^2, \qquad q_{\ast} = Q(q_{\ast})",
        ),
        symbols=letters("L", r"\phi", "z", "W_l", **{r"q_{\ast}": "limit of the squared length in depth"}),
        assumptions=(
            "First the width, then the depth tends to infinity.",
            "The squared length converges to an attracting fixed point at which the mean squared slope is continuous.",
        ),
        rigor="asymptotic prediction",
        reference="S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein 2017",
        proof="docs/gpn.md#depth-horizon",
        function="theory.depth.fixed_points:gradient_rate",
        test="tests/theory/depth/test_propagation.py::test_rates_of_vanishing_and_exploding_networks",
    ),
    Claim(
        id="gain-and-biases",
        kind="prediction",
        title="Gain and biases",
        words="With a gain g of the weights and Gaussian biases, the variance of the pre-activations, the factor of a "
        "squared gradient and the covariance of two inputs follow three maps of one Gaussian variable or two.",
        statement=(
            r"q_{l+1} = g^2 E \phi(\sqrt{q_l} z)^2 + \sigma_b^2, \qquad \chi_g(q) = g^2 E \phi'(\sqrt{q} z)^2",
            r"q_{l+1} \rho_{l+1} = g^2 E \phi(\sqrt{q_l} u) \phi(\sqrt{q_l} v) + \sigma_b^2",
        ),
        symbols=letters(r"\phi", "z", "l", **_BIASED),
        assumptions=(
            "Weights are Haar-uniform orthogonal, or Gaussian of variance 1/n.",
            "Biases are Gaussian; weights and biases are independent.",
            "The width tends to infinity first.",
        ),
        rigor="asymptotic prediction",
        reference="B. Poole et al. 2016; S. Schoenholz et al. 2017",
        proof="docs/gpn.md#gain-and-biases",
        function="theory.initialization.regime:regime",
        test="tests/theory/initialization/test_gains.py::test_regime_is_that_of_sampled_networks",
    ),
    Claim(
        id="edge-with-biases",
        kind="theorem",
        title="The shift b is the bias of the edge of chaos",
        words="For a function of mean 0, weights with the gain a and biases of standard deviation |b| are at the edge "
        "of chaos, with pre-activations of variance 1.",
        statement=(
            r"g^2 = \frac{1}{E \phi'(\sqrt{q} z)^2}, \qquad \sigma_b^2 = q - g^2 E \phi(\sqrt{q} z)^2",
            r"E \phi = 0, \quad q = 1: \qquad g = a, \qquad \sigma_b = |b|",
        ),
        symbols=letters(
            r"\phi", "z", **_EDGE, a="scale of the normalization a phi + b", b="shift of the normalization a phi + b"
        ),
        assumptions=(WEAK, "phi is not constant.", "Infinite width."),
        rigor="proved",
        reference="S. Hayou, A. Doucet, J. Rousseau 2019, algorithm 1 (the curve)",
        proof="docs/gpn.md#gain-and-biases",
        function="theory.initialization.edge:edge_point",
        test="tests/theory/initialization/test_gains.py::"
        "test_the_edge_at_length_one_has_the_constants_of_the_normalization",
    ),
)
