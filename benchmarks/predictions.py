"""How far the fluctuation law is off, on the scale of the tolerance: the calibration of the margin of predictions.

For networks of each size the quantiles of the spread max_l |Y_l| are compared with the predicted ones. The relative
difference is of order 1/width, so width times the difference should stay bounded; docs/fluctuation-law.md, section 8.

    python benchmarks/predictions.py [neurons per size, 60000000 by default] [activation ...]
"""

import sys
from collections.abc import Iterator

import numpy as np

import gpn
from gpn.experiment.cells import spread
from gpn.sampling.sampler import sample
from theory.activations.activation import Activation
from theory.depth.fluctuation import log_ratio_law, spread_quantile
from theory.depth.law import LogRatioLaw
from theory.numerics.arithmetic import FloatArray

ACTIVATIONS = ("tanh", "selu", "gelu", "silu", "relu")
WIDTHS, DEPTHS = (48, 96, 192), (3, 10, 40)
PROBABILITIES = (0.9, 0.5, 0.1, 0.01, 0.002)
NEURONS = 60_000_000
BLOCK = 20_000_000


def spreads(activation: Activation, width: int, depth: int, neurons: int) -> FloatArray:
    """max_l |Y_l| of as many networks as so many neurons allow."""
    rng = np.random.Generator(np.random.SFC64([width, depth]))
    left, found = neurons // (width * depth), []
    while left > 0:
        trials = min(left, max(1, BLOCK // (width * depth)))
        found.append(spread(sample(activation, width, depth, trials, rng).log_gradient_norms))
        left -= trials
    return np.concatenate(found)


def shifts(law: LogRatioLaw, seen: FloatArray) -> Iterator[tuple[float, float, float, float]]:
    """Yield p, the predicted quantile, log(seen quantile/predicted) and its standard error."""
    ordered, trials = np.sort(seen), len(seen)
    for p in PROBABILITIES:
        if p * trials < 100:
            continue
        epsilon, noise = spread_quantile(law, p), np.sqrt(p * (1 - p) * trials)
        middle = round((1 - p) * trials)
        low, high = (ordered[int(np.clip(middle + sign * noise, 0, trials - 1))] for sign in (-1, 1))
        yield p, epsilon, float(np.log(ordered[middle] / epsilon)), float(np.log(high / low) / 2)


def main(neurons: int, activations: tuple[str, ...]) -> None:
    """Print width times the shift, with its standard error."""
    print("activation  width  depth  p      epsilon  n shift  error    z^2/L")
    for name in activations:
        phi = gpn.normalize(name)
        for width in WIDTHS:
            for depth in DEPTHS:
                law = log_ratio_law(phi, width, depth)
                if not isinstance(law, LogRatioLaw) or neurons < 1000 * width * depth:
                    continue
                scale = float(law.variance.max())
                for p, epsilon, shift, error in shifts(law, spreads(phi, width, depth, neurons)):
                    columns = f"{name:10s}  {width:5d}  {depth:5d}  {p:<5g}  {epsilon:7.4f}  {width * shift:7.2f}"
                    print(f"{columns}  {width * error:5.2f}  {epsilon**2 / scale / depth:7.3f}", flush=True)


if __name__ == "__main__":
    main(int(float(sys.argv[1])) if len(sys.argv) > 1 else NEURONS, tuple(sys.argv[2:]) or ACTIVATIONS)
