"""Which activations train at which depth: accuracy against separation and effective rank, and a predictor.

    python -m benchmarks.trainability run --inputs mnist/ --out docs/trainability-study.csv
    python -m benchmarks.trainability run --inputs mnist/ --group after --activations arctan mish --out ...
    python -m benchmarks.trainability show docs/trainability-study.csv --image docs/images/trainability.png

`run` trains GPN networks of width 64 with the default learning rate of `gpn train`, one after the other, and appends a
line for each to a CSV file; what is there already is not trained again. `show` prints how often the predictor is right
and draws the figure. The predictor was fixed after the activations of the group "before" and before those of "after";
that it looks at the length too was fixed after these, and before those of the group "length".
"""

from benchmarks import measure  # noqa: F401  (first, for the number of BLAS threads)

# isort: split
import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gpn
from gpn.checking.depth_conditions import depth_conditions
from gpn.data.datasets import Dataset, load_dataset
from theory.trainability.lengths import RUNAWAY, length_growth

SEPARATION, RANK = 0.1, 0.05
"""The predictor: a network trains if 1 - rho_L and the effective rank over n are at least these."""

SHARE = 0.9
"""A network trains if it reaches this share of the accuracy of GPN tanh with ten layers on the same samples."""

BEFORE = (
    "tanh", "relu", "gelu", "selu", "silu", "softplus", "sin", "elu", "identity", "leaky_relu(0.8)", "leaky_relu(0.3)",
    "tanh(0.5*x)", "tanh(0.25*x)", "tanh(0.1*x)", "x+0.1*relu(x)", "x+0.2*gelu(x)", "erf(0.5*x)", "softsign(0.3*x)",
    "sin(0.2*x)", "x*sigmoid(0.3*x)",
)  # fmt: skip
AFTER = (
    "arctan", "arctan(0.3*x)", "mish", "x+0.5*tanh(x)", "x+0.3*sin(2*x)", "leaky_relu(0.6)", "asinh", "asinh(0.5*x)",
    "gelu(0.3*x)", "x+0.1*abs(x)", "erf(0.3*x)", "x+0.4*softplus(x)",
)  # fmt: skip
LENGTH = (
    "x*sigmoid(0.15*x)", "softplus(0.5*x)", "gelu(0.15*x)", "mish(0.3*x)", "x+0.1*x**2", "x+softplus(x)",
    "x+2*softplus(x)", "x+x*sigmoid(0.3*x)", "elu(0.3*x)",
)  # fmt: skip
GROUPS = {"before": BEFORE, "after": AFTER, "length": LENGTH}
_KEY = ["data", "activation", "depth", "seed"]
_LOOKS = {10: ("#000000", "*"), 50: ("#56B4E9", "o"), 200: ("#0072B2", "s"), 1000: ("#D55E00", "^")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run")
    command.set_defaults(run=run)
    command.add_argument("--inputs", required=True)
    command.add_argument("--name", help="of the data in the file")
    command.add_argument("--group", choices=GROUPS, default="before")
    command.add_argument("--activations", nargs="+")
    command.add_argument("--depths", type=int, nargs="+", default=[50, 200])
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--samples", type=int, default=3000)
    command.add_argument("--tests", type=int, default=1000)
    command.add_argument("--epochs", type=int, default=6)
    command.add_argument("--out", type=Path, required=True)
    command = commands.add_parser("show")
    command.set_defaults(run=show)
    command.add_argument("csv", type=Path)
    command.add_argument("--image", type=Path)
    options = parser.parse_args()
    options.run(options)


def run(options: argparse.Namespace) -> None:
    """Train what is not yet in the file."""
    data = chosen(load_dataset(options.inputs), options.samples, options.tests)
    name = options.name or Path(options.inputs).name
    done = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame(columns=_KEY)
    known = set(done[_KEY].itertuples(index=False, name=None))
    wanted = [("tanh", 10)]
    specs = options.activations or GROUPS[options.group]
    wanted += [(spec, depth) for depth in options.depths for spec in specs]
    for spec, depth in wanted:
        if (name, spec, depth, options.seed) not in known:
            row = trained(spec, depth, data, options) | {"data": name, "group": options.group}
            pd.DataFrame([row]).to_csv(options.out, mode="a", header=not options.out.exists(), index=False)
            print(f"{name}, {spec}, {depth} layers: {row['test_accuracy']}", flush=True)


def trained(spec: str, depth: int, data: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """One network: what theory says of it, and what came of it."""
    size = {"depth": depth, "width": 64, "epochs": options.epochs, "seed": options.seed, "precision": "float32"}
    report = gpn.train(spec, data, **size, records=2)
    phi = gpn.normalize(spec)
    conditions = depth_conditions(phi, depth)
    return {
        "data": "",
        "activation": spec,
        "depth": depth,
        "seed": options.seed,
        "group": "",
        "learning_rate": report.config.learning_rate,
        "outcome": report.outcome,
        "train_accuracy": report.epochs[-1].train_accuracy if report.epochs else np.nan,
        "test_accuracy": np.nan if report.test_accuracy is None else report.test_accuracy,
        "chi": conditions.length.value,
        "separation": conditions.separation.value,
        "rank": conditions.isometry.value,
        "growth": length_growth(phi, depth),
    }


def chosen(data: Dataset, samples: int, tests: int) -> Dataset:
    """So many samples to train on and to test, always the same ones."""
    parts = []
    for x, y, size in ((data.x_train, data.y_train, samples), (data.x_test, data.y_test, tests)):
        order = np.sort(np.random.default_rng(2).permutation(len(x))[:size])
        parts += [x[order], y[order]]
    return Dataset(*parts, data.classes, data.name)


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Whether each network trains and whether that was predicted; networks of ten layers set the measure."""
    shallow = frame[frame.depth == 10].groupby("data").test_accuracy.mean()
    deep = frame[frame.depth > 10].copy()
    deep["relative"] = deep.test_accuracy.fillna(0.1) / deep.data.map(shallow)
    deep["trains"] = deep.relative >= SHARE
    deep["predicted"] = (deep.separation >= SEPARATION) & (deep["rank"] >= RANK)
    deep["with_length"] = deep.predicted & (deep.growth <= RUNAWAY)
    return deep


def show(options: argparse.Namespace) -> None:
    """Print how often the predictor is right, and draw accuracy against both numbers."""
    frame = judged(pd.read_csv(options.csv))
    print("\n".join(lines(frame)))
    if options.image is not None:
        figure(frame).savefig(options.image, dpi=150)


def lines(frame: pd.DataFrame) -> Iterator[str]:
    """A table by group, data and depth, and every miss of the predictor that looks at the length too."""
    yield "| group | data | layers | networks | train | predicted to train | right | right with the length |"
    yield "|---|---|---|---|---|---|---|---|"
    for (group, data, depth), part in frame.groupby(["group", "data", "depth"], sort=True):
        right, longer = (int((part.trains == part[column]).sum()) for column in ("predicted", "with_length"))
        counts = f"{len(part)} | {int(part.trains.sum())} | {int(part.predicted.sum())} | {right} | {longer}"
        yield f"| {group} | {data} | {depth} | {counts} |"
    for miss in frame[frame.trains != frame.with_length].itertuples():
        accuracy = "diverged" if np.isnan(miss.test_accuracy) else f"{miss.test_accuracy:.3f}"
        yield (
            f"missed: {miss.activation}, {miss.data}, {miss.depth} layers: accuracy {accuracy}, separation "
            f"{miss.separation:.3f}, rank {miss.rank:.3f}"
        )


def figure(frame: pd.DataFrame) -> Any:
    """Accuracy relative to ten layers against effective rank and separation, where no lengths run away."""
    from matplotlib.figure import Figure

    frame = frame[frame.growth <= RUNAWAY].assign(later=frame.group != "before")
    drawing = Figure(figsize=(9.0, 4.0), layout="constrained")
    panels = drawing.subplots(1, 2, sharey=True)
    limits = (("rank", RANK, "effective rank / n"), ("separation", SEPARATION, r"separation $1-\rho_L$"))
    for axes, (column, limit, words) in zip(panels, limits, strict=True):
        for (later, data, depth), part in frame.groupby(["later", "data", "depth"]):
            colour, marker = _LOOKS[depth]
            look = {"color": colour, "marker": marker, "markersize": 5.5, "linestyle": ""}
            look["fillstyle"] = "none" if later else "full"
            label = f"{data}, {depth} layers{', chosen after' if later else ''}"
            alpha = 0.9 if data == sorted(frame.data.unique())[-1] else 0.45
            axes.plot(part[column], part.relative, label=label, alpha=alpha, **look)
        axes.axvline(limit, color="#666666", linestyle="--", linewidth=1)
        axes.axhline(SHARE, color="#666666", linestyle=":", linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel(words)
        axes.grid(alpha=0.2)
    panels[0].set_ylabel("accuracy / that of 10 layers")
    panels[1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    drawing.suptitle("A GPN network trains if both numbers are large enough", fontsize=11, fontweight="bold")
    return drawing


if __name__ == "__main__":
    main()
