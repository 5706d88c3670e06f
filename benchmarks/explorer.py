"""How long the explorer takes for one move of a slider: processor time of the numbers, the figure and its PNG.

Run: python benchmarks/explorer.py
"""

import time
from collections.abc import Iterator
from dataclasses import replace

from gpn.report.explorer.figure import Panels
from gpn.report.explorer.model import Model, State

FORMULAS = ("gelu", "tanh", "leaky_relu(s)", "elu(alpha)", "x*sigmoid(beta*x)", "tanh(x)+c*x", "sin(w*x)")
START = State(value=0.9)


def moves(formula: str) -> Iterator[tuple[str, State]]:
    """One move of each control, from a state that was shown before."""
    state = replace(START, formula=formula)
    yield "formula", state
    yield "parameter", replace(state, value=0.91)
    yield "width", replace(state, value=0.91, width=1024)
    yield "depth", replace(state, value=0.91, depth=200)
    yield "epsilon", replace(state, value=0.91, epsilon=0.7)
    yield "root", replace(state, value=0.91, root="minus")


def main() -> None:
    """Print milliseconds of processor time, and the slowest move."""
    model, panels = Model(), Panels()
    panels.draw(model(replace(START, formula="relu")))
    panels.png()  # fonts are loaded once
    slowest = 0.0
    print(f"{'formula':20}{'move':12}{'model':>8}{'figure':>8}{'both':>8}")
    for formula in FORMULAS:
        for move, state in moves(formula):
            start = time.process_time()
            view = model(state)
            model.conditions(view)
            middle = time.process_time()
            panels.draw(view)
            panels.png()
            end = time.process_time()
            slowest = max(slowest, end - start)
            print(
                f"{formula:20}{move:12}"
                + "".join(f"{1e3 * t:8.0f}" for t in (middle - start, end - middle, end - start))
            )
    print(f"slowest move {1e3 * slowest:.0f} ms of processor time")


if __name__ == "__main__":
    main()
