"""Activations whose exported code is tested, in every library."""

from theory.activations.catalog import CATALOG

SPECS = [
    *(name for name in CATALOG if name != "hermite"),
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
