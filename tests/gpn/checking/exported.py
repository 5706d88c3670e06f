"""Activations whose exported code is tested, in every library."""

from theory.activations.catalog import CATALOG

WITH_JUMPS = {"sign", "step", "hardshrink", "threshold"}
"""Of the catalog: no a and b normalize these."""

NORMALIZABLE = [
    *(name for name in CATALOG if name not in {"hermite", *WITH_JUMPS}),
    "hermite(5)",
    "leaky_relu(0.2)",
    "elu(alpha=1.5)",
    "softplus(beta=2)",
    "x*sigmoid(1.3*x)",
    "tanh(x) + sin(3*x)/10",
    "where(x > 1, sqrt(x), x/2 + 1/2)",
    "exp(-abs(x))",
    "normal_pdf(x)**2*x",
]
