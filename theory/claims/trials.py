"""Claims about what trials can say: exact limits, verdicts, tests, and how many trials a verdict needs."""

from theory.claims.claim import Claim, letters

_TRIALS = (
    "The trials are independent and all have the same probability of the event; layers of one network are not trials."
)


ENTRIES = (
    Claim(
        id="clopper-pearson",
        kind="theorem",
        title="Exact confidence limits of a counted probability",
        words="Whatever the true probability, the upper limit lies below it, and the lower limit above it, with "
        "probability at most alpha each.",
        statement=(
            r"\overline{p}: P(X \leq k) = \alpha, \qquad \underline{p}: P(X \geq k) = \alpha, \qquad X \sim "
            r"\operatorname{Bin}(N, p)",
            r"k = 0: \quad \overline{p} = 1 - \alpha^{1/N}, \qquad k = N: \quad \underline{p} = \alpha^{1/N}",
        ),
        symbols=letters("N", "k", r"\alpha"),
        assumptions=(_TRIALS, "0 < alpha <= 1/2."),
        rigor="proved",
        reference="C. J. Clopper, E. S. Pearson 1934, Biometrika 26, 404-413",
        proof="docs/statistics.md#exact-limits",
        function="gpn.statistics.limits:upper_limit",
        test="tests/gpn/statistics/test_statistics.py::test_exact_coverage_by_summing_the_binomial",
    ),
    Claim(
        id="anytime-limits",
        kind="theorem",
        title="Limits of a counted probability that hold at every number of trials at once",
        words="A run may stop at any time: the probability that the upper limit ever lies below the true "
        "probability, at any number of trials, is at most alpha.",
        statement=(
            r"M_n(p) = \int_0^1 a u^{a-1} \frac{u^k}{(1 - (1-u) p)^n} du, \qquad a = \frac{1}{2}",
            r"\overline{p}_n = \sup \left\lbrace p : M_n(p) < \frac{1}{\alpha} \right\rbrace, \qquad "
            r"P(\overline{p}_n < p \text{ for some } n) \leq \alpha",
        ),
        symbols=letters(
            r"\alpha",
            n="number of trials so far",
            k="how many of them showed the event",
            p="a probability of the event",
            u="odds ratio of a smaller probability to p",
            a="the density of u is a u^(a-1)",
        ),
        assumptions=(_TRIALS, "0 < alpha <= 1/2."),
        rigor="proved",
        reference="J. Ville 1939; H. Robbins 1970, Ann. Math. Statist. 41, 1397-1409; S. R. Howard, A. Ramdas, "
        "J. McAuliffe, J. Sekhon 2021, Ann. Statist. 49, 1055-1080; with the odds ratio derived for this project",
        proof="docs/sequential.md#the-evidence-against-a-probability",
        function="gpn.statistics.sequential:upper_limit",
        test="tests/gpn/statistics/test_sequential.py::test_exact_error_of_the_whole_run_by_enumeration",
    ),
    Claim(
        id="bonferroni",
        kind="theorem",
        title="All verdicts of a report are right together",
        words="With one-sided limits of error alpha/m in each of m rows, some row is wrong with probability at most "
        "alpha, whatever the dependence between rows.",
        statement=(
            r"\text{holds}: \overline{p} \leq b, \qquad \text{violated}: \underline{p} > b, \qquad P(\text{some row "
            r"wrong}) \leq \sum_{i=1}^{m} \frac{\alpha}{m} = \alpha",
        ),
        symbols=letters(r"\alpha", b="the bound of a row", m="number of rows of the report"),
        assumptions=(
            _TRIALS,
            "Each row has exact limits of error alpha/m; rows may share trials.",
            "Rows and numbers of trials are fixed before the trials are seen.",
        ),
        rigor="proved",
        reference="O. J. Dunn 1961, JASA 56, 52-64",
        proof="docs/statistics.md#one-direction-suffices",
        function="gpn.statistics.limits:row_alpha",
        test="tests/gpn/statistics/test_statistics.py::test_the_probability_of_a_wrong_row_is_within_its_share_exactly",
    ),
    Claim(
        id="exact-test",
        kind="theorem",
        title="Exact two-sided test of a known probability",
        words="A probability that theory gives exactly lies outside of the two exact limits with probability at most "
        "twice their error.",
        statement=(r"P(p < \underline{p} \quad \text{or} \quad p > \overline{p}) \leq 2 \alpha",),
        symbols=letters(r"\alpha", p="the exact probability"),
        assumptions=(_TRIALS, "p is exact: with many trials, any error of it is detected."),
        rigor="proved",
        reference="C. J. Clopper, E. S. Pearson 1934, Biometrika 26, 404-413",
        proof="docs/statistics.md#exact-laws",
        function="gpn.statistics.limits:equals",
        test="tests/gpn/statistics/test_statistics.py::"
        "test_an_exact_law_is_contradicted_with_its_error_probability_at_most",
    ),
    Claim(
        id="equivalence-test",
        kind="theorem",
        title="Equivalence test of a prediction",
        words="A prediction with an error of its own is confirmed if both limits lie within its margin.",
        statement=(
            r"\text{equivalent}: \quad \underline{p} \geq m, \quad \overline{p} \leq M",
            r"P(\text{equivalent}) \leq \alpha \quad \text{whenever} \quad p > M \quad \text{or} \quad p < m",
        ),
        symbols=letters(r"\alpha", p="the true probability", m="the lower end of the margin", M="the upper end"),
        assumptions=(_TRIALS, "The limits have error alpha each; the margin is fixed before the trials are seen."),
        rigor="proved",
        reference="D. J. Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680",
        proof="docs/statistics.md#predictions",
        function="gpn.statistics.limits:within",
        test="tests/gpn/statistics/test_statistics.py::test_a_prediction_off_by_more_than_the_factor_is_rarely_called_equivalent",
    ),
    Claim(
        id="trials-to-decide",
        kind="theorem",
        title="How many trials a verdict needs",
        words="If none of N trials shows the event, they confirm the bound b. Fewer trials can never do so.",
        statement=(r"N = \left\lceil \frac{\log \alpha}{\log (1-b)} \right\rceil",),
        symbols=letters("N", r"\alpha", b="the bound, above 0 and below 1"),
        assumptions=(_TRIALS,),
        rigor="proved",
        proof="docs/statistics.md#planning",
        function="gpn.statistics.sample_size:trials_to_decide",
        test="tests/gpn/statistics/test_statistics.py::test_the_smallest_number_of_trials_that_can_decide",
    ),
    Claim(
        id="trials-with-power",
        kind="theorem",
        title="How many trials a verdict should have",
        words="The smallest number of trials with which the verdict holds with a wanted probability, from exact "
        "binomial "
        "probabilities.",
        statement=(
            r"\min\left\lbrace N : P(\overline{p}(X, N) \leq b) \geq 1 - \beta \right\rbrace, \qquad X \sim "
            r"\operatorname{Bin}(N, p)",
        ),
        symbols=letters(
            "N", b="the bound", p="the true or predicted probability", **{r"1 - \beta": "the wanted power"}
        ),
        assumptions=(_TRIALS, "p < b."),
        rigor="proved",
        proof="docs/statistics.md#planning",
        function="gpn.statistics.sample_size:trials_with_power",
        test="tests/gpn/statistics/test_statistics.py::test_the_first_number_of_trials_with_power_by_brute_force",
    ),
)
