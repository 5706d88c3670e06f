"""Evaluation into given arrays: the same bits as evaluation into fresh ones, for everything that can be recorded."""

import numpy as np
import pytest

from theory.activations import catalog
from theory.activations.specification import activation
from theory.numerics.inplace import Branch, Evaluator, Program

POINTS = np.concatenate(
    [
        np.random.default_rng(0).standard_normal(2000),
        [0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 6.0, 1e-310, 700.0, -700.0, 1e300, -1e300, np.inf, -np.inf, np.nan],
    ]
)
FORMULAS = [
    "exp(x)", "x", "2", "tanh(x)**3 - x", "x*sigmoid(x) + sigmoid(x)",
    "sin(x)*cos(x)/(1 + x**2)", "sqrt(1 + x**2) - x",
    "max(x, 0)*tanh(x)", "max(0, min(x, 1))**2", "abs(x - 1) + abs(x + 1)", "1/(1 + exp(-3*x))",
    "log(1 + exp(x))*erf(x)",
    "x**2*(x**2 + exp(-x**2)) + exp(-x**2)/(2 + x**2)",
]  # fmt: skip


def same_bits(phi):
    value, slope, alone = (np.full_like(POINTS, 7.0) for _ in range(3))
    before = POINTS.copy()
    with np.errstate(all="ignore"):
        phi.value_and_slope_into(POINTS, value, slope)
        phi.value_into(POINTS, alone)
    wanted = phi.value_and_slope(POINTS)
    np.testing.assert_array_equal(POINTS, before)
    for found, right in ((value, wanted[0]), (slope, wanted[1]), (alone, phi.value(POINTS))):
        np.testing.assert_array_equal(found, right)
        np.testing.assert_array_equal(np.signbit(found[found == 0.0]), np.signbit(right[right == 0.0]))


@pytest.mark.parametrize("name", sorted(catalog.names()))
def test_every_catalog_activation_has_the_same_bits_in_place(name):
    phi = catalog.build(name)
    same_bits(phi)
    same_bits(phi.affine(1.25, -0.3))
    assert phi._evaluator is not None or name == "hermite"  # which sums a recurrence of arrays


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_have_the_same_bits_in_place(formula):
    phi = activation(formula)
    same_bits(phi)
    assert phi._evaluator is not None


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [np.where(x > 0, x, 0.0)],
        lambda x: [x if x > 0 else 2.0 * x],
        lambda x: [np.asarray(x)],
        lambda x: [np.add.reduce(x)],
        lambda x: [x[::-1]],
        lambda x: [x.sum()],
        lambda x: [np.multiply(x, x, where=False)],
        lambda x: [x + 1j],
        lambda x: [x + np.ones(3)],
        lambda x: [np.isfinite(x)],
        lambda x: [np.modf(x)[0]],
        lambda _: ["no number"],
        lambda x: [x, x],
    ],
)
def test_what_is_more_than_ufuncs_is_not_recorded(function):
    with pytest.raises((TypeError, AttributeError)):
        Program(function, 1)


def test_results_do_not_overwrite_what_is_still_needed():
    """Random programs of sums and products, against plain evaluation: exact, for the calls are the same."""
    rng = np.random.default_rng(1)
    x = rng.uniform(0.5, 1.5, 5)
    for _ in range(300):
        plan = [(bool(rng.integers(2)), *rng.integers(i + 1, size=2)) for i in range(int(rng.integers(1, 12)))]
        chosen = rng.integers(len(plan) + 1, size=int(rng.integers(1, 4)))

        def function(x, plan=plan, chosen=chosen):
            values = [x]
            for adds, i, j in plan:
                values.append(values[i] + values[j] if adds else values[i] * values[j])
            return [values[k] for k in chosen]

        results = [np.empty(5) for _ in chosen]
        Program(function, len(chosen))(x, results)
        np.testing.assert_array_equal(results, function(x))


def test_few_arrays_are_used():
    """tanh and its slope need no array beside the two results."""
    phi = catalog.build("tanh").affine(1.5, 0.3)
    calls = []

    def counted(x):
        calls.append(x)
        return phi._functions[0].function(x)

    assert len(Program(counted, 2)._scratch) == 0
    assert len(calls) == 1  # recorded once, never called again


def test_branches_join_as_they_should():
    pieces = [lambda x: [-1.0 * x, -1.0], lambda _: [0.0, 0.0], lambda x: [x * x, 2.0 * x]]
    evaluate = Evaluator([Branch(Program(piece, 2), None) for piece in pieces], [-1.0, 2.0])
    x = np.array([-3.0, -1.0, -0.5, 2.0, 2.5, np.nan])
    value, slope = np.empty(6), np.empty(6)
    evaluate(x, [value, slope])
    np.testing.assert_array_equal(value, [3.0, 1.0, 0.0, 0.0, 6.25, np.nan])
    np.testing.assert_array_equal(slope, [-1.0, -1.0, 0.0, 0.0, 5.0, np.nan])
