"""How often `gpn.probe` names a departure in a network that has none: six kinds of right networks.

    python benchmarks/probe.py

Each network is probed with one input and with four. The smallest probability of a report, times the number of its
comparisons, is at most 0.1 in at most a tenth of them if the laws are right. Two minutes.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

import gpn
from gpn.probing.results import ProbeReport

NETWORKS, LEVELS = 150, (0.9, 0.99)


class NormalizedTanh(nn.Module):
    """a tanh + b."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.4674135916 * torch.tanh(x) + 0.3885416701


def network(
    widths: Sequence[int],
    activation: type[nn.Module],
    draw: Callable[[torch.Tensor], object] | None = None,
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    """A plain network; without `draw` its weights and biases are PyTorch's default."""
    parts: list[nn.Module] = []
    for columns, rows in pairwise(widths):
        linear = nn.Linear(columns, rows, dtype=dtype)
        if draw is not None:
            draw(linear.weight)
            nn.init.zeros_(linear.bias)
        parts += [linear, activation()]
    return nn.Sequential(*parts[:-1])


def he(weight: torch.Tensor) -> object:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


KINDS: dict[str, Callable[[], nn.Module]] = {
    "Haar, normalized tanh, width 64": lambda: network([64] * 9, NormalizedTanh, nn.init.orthogonal_, torch.float64),
    "He, ReLU, width 32": lambda: network([32] * 7, nn.ReLU, he),
    "PyTorch's default, GELU, width 100": lambda: network([100] * 6, nn.GELU),
    "Haar times sqrt 2, ReLU, width 16": lambda: network([16] * 7, nn.ReLU, lambda w: nn.init.orthogonal_(w, 2**0.5)),
    "Haar, normalized tanh, width 64, 40 layers": lambda: network([64] * 41, NormalizedTanh, nn.init.orthogonal_),
    "Glorot uniform, tanh, widths 10 to 128": lambda: network([64, 32, 128, 48, 10], nn.Tanh, nn.init.xavier_uniform_),
}


def smallest(report: ProbeReport) -> float:
    """The smallest probability of a report, times the number of its comparisons."""
    judged = (*(side for row in report.rows for side in (row.forward, row.backward)), *report.sums)
    sides = (side for side in judged if side is not None)
    return (report.comparisons + 2) * min(side.probability for side in sides if side.probability == side.probability)


def main() -> None:
    """Print one line for each kind of network."""
    for name, build in KINDS.items():
        first = next(module for module in build().modules() if isinstance(module, nn.Linear)).in_features
        for samples in (1, 4):
            rng = np.random.default_rng(samples)
            found = []
            for seed in range(NETWORKS):
                x = rng.standard_normal((samples, first))
                x *= np.sqrt(first) / np.linalg.norm(x, axis=1, keepdims=True)
                found.append(smallest(gpn.probe(build, x, initializations=3, seed=seed)))
            shares = ", ".join(f"{np.mean(np.array(found) < 1 - level):.3f} at level {level}" for level in LEVELS)
            print(f"{name}, inputs {samples}: departures in {shares} of {NETWORKS}", flush=True)


if __name__ == "__main__":
    main()
