"""What `gpn.torch.Monitor` costs: how much longer a sampled step takes, and what that is with one sample in 50 steps.

    python benchmarks/monitor.py

Processor time of blocks of steps, sampled and plain in turn, so that a slower minute of the machine meets both.
"""

import time
from statistics import median

import torch

from gpn.torch import Monitor

STEPS, BLOCKS, EVERY = 10, 31, 50


def network(width: int, depth: int) -> torch.nn.Sequential:
    """A plain network with tanh."""
    layers = [layer for _ in range(depth) for layer in (torch.nn.Linear(width, width), torch.nn.Tanh())]
    return torch.nn.Sequential(*layers)


def seconds(model: torch.nn.Module, inputs: torch.Tensor, monitor: Monitor | None) -> float:
    """Processor time of one training step, the mean over a block."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    start = time.process_time()
    for _ in range(STEPS):
        model(inputs).square().mean().backward()
        if monitor is not None:
            monitor.step()
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - start) / STEPS


def main() -> None:
    """Print one line for each network."""
    torch.set_num_threads(1)
    for width, depth, batch in ((64, 8, 32), (256, 8, 128), (512, 10, 128)):
        model, inputs = network(width, depth), torch.randn(batch, width)
        plain, slower = [], []
        for _ in range(BLOCKS):
            plain.append(seconds(model, inputs, None))
            monitor = Monitor(model, every=1)
            slower.append(seconds(model, inputs, monitor) / plain[-1] - 1)
            monitor.close()
        print(
            f"width {width}, depth {depth}, batch {batch}: {1e3 * median(plain):.2f} ms per step; a sampled one takes "
            f"{100 * median(slower):.0f} % more, one in {EVERY} {100 * median(slower) / EVERY:.2f} %"
        )


if __name__ == "__main__":
    main()
