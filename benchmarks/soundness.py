"""A campaign of random formulas: whole reports of `gpn check` against a second reader, and the time of each.

    python benchmarks/soundness.py --count 1000 --seed 5 6 [--workers 2] [--time-limit 20] [--out FILE.csv]

A formula has the budget of processor time that `gpn check` gives it, after which parts of the report are given up. A
row says what was found wrong (nothing, for a sound report): a moment outside its ball, a jump that is not reported, a
supremum below a slope that is taken, one more than 0.1 % above it that is not called a bound, or an internal
contradiction. The second reader (`tests/oracles/second_reader.py`) shares no code with `theory`.
"""

import argparse
import csv
import multiprocessing
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from gpn.checking.check import TIME_LIMIT
from tests.oracles.random_formulas import Formulas, Singular
from tests.oracles.second_reader import jumps, largest_slope, reference
from theory.activations.specification import read_activation
from theory.errors import SpecificationError
from theory.normalization.conditions import Conditions, gaussian_poincare
from theory.numerics.budget import Budget

SLOW = 5.0  # seconds that 99.9 % of the formulas are to stay within
BEYOND = 1e-40  # the second reader ends at |x| = 14
NAMES = ("mean", "second_moment", "slope_second_moment")


def faults(text: str, report: Conditions) -> list[str]:
    """What the second reader holds against a report."""
    wrong = []
    values, errors, scales = reference(text)
    steps = [point for point, size in jumps(text) if size > 1e-4]
    missed = [x for x in steps if not any(abs(float_of(place) - x) < 1e-6 for place in report.jumps)]
    if missed and report.normalizable != "undecided" and report.breaks_known:
        wrong.append(f"jump at {missed[0]} not reported")
    for name, value, error, scale in zip(NAMES, values, errors, scales, strict=False):
        shown = getattr(report, name)
        if shown is None or not np.isfinite(value) or (steps and name.startswith("slope")):
            continue
        slack = float(report.error or 0) + 100 * error + 1e-9 * scale + BEYOND
        if abs(float(shown) - value) > slack:
            wrong.append(f"{name} {shown} is {value:.9g}")
    if report.lipschitz is not None and not steps:
        slope = largest_slope(text)
        if slope > report.lipschitz * (1 + 1e-6):
            wrong.append(f"sup |phi'| {report.lipschitz:.9g} is at least {slope:.9g}")
        elif slope < report.lipschitz * (1 - 1e-3) and report.lipschitz_kind != "upper bound":
            wrong.append(f"loose: sup |phi'| {report.lipschitz:.9g} is {slope:.9g}")
    return wrong


def float_of(place: str) -> float:
    import sympy

    return float(sympy.sympify(place))


def examine(task: tuple[str, float]) -> tuple[str, str, str, float]:
    """(formula, outcome, faults, seconds of the report) of one formula."""
    text, limit = task
    start = time.process_time()
    budget = Budget(limit)
    try:
        report = gaussian_poincare(read_activation(budget, text), 30, budget=budget)
    except SpecificationError as error:
        return text, "refused", str(error)[:200], time.process_time() - start
    except Exception as error:
        return text, "crash", f"{type(error).__name__}: {error}"[:200], time.process_time() - start
    seconds = time.process_time() - start
    outcome = "certified" if report.certified else "not certified"
    try:
        found = "; ".join(faults(text, report))
    except Exception as error:
        found = f"oracle: {error}"[:120]
    return text, f"{outcome}, {report.normalizable}", found, seconds


def formulas(seed: int, count: int) -> list[str]:
    """Half of the formulas with switches, half with poles and removable factors."""
    texts = []
    for kind in (Formulas(seed), Singular(seed + 1)):
        texts += [kind.formula(kind.random.choice((1, 2, 2, 3))) for _ in range(count // 2)]
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="formulas of each seed")
    parser.add_argument("--seed", type=int, default=[5], nargs="+")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT, help="processor time for one formula")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    tasks = [(text, asked.time_limit) for seed in asked.seed for text in formulas(seed, asked.count)]
    rows = []
    with (
        multiprocessing.get_context("spawn").Pool(asked.workers, maxtasksperchild=50) as pool,
        open(asked.out or os.devnull, "w", newline="") as file,
    ):
        csv.writer(file).writerow(("formula", "outcome", "faults", "seconds"))
        for row in pool.imap_unordered(examine, tasks):
            rows.append(row)
            csv.writer(file).writerow(row)
            file.flush()
            print(f"{len(rows)} of {len(tasks)}", end="\r", file=sys.stderr)
    summarize(rows)


def summarize(rows: list[tuple[str, str, str, float]]) -> None:
    """Print the outcomes, the distribution of the times, and every row that wants a look."""
    outcomes = Counter(row[1] for row in rows)
    print(f"{len(rows)} formulas; refused {100 * outcomes['refused'] / len(rows):.1f} %")
    print(*(f"{count:6} {outcome}" for outcome, count in outcomes.most_common()), sep="\n")
    seconds = np.array([row[3] for row in rows])
    print("seconds: median, 90 %, 99 %, 99.9 %, most:", *np.round(np.quantile(seconds, [0.5, 0.9, 0.99, 0.999, 1]), 2))
    print(f"within {SLOW:g} s: {100 * np.mean(seconds <= SLOW):.2f} %")
    for text, outcome, found, spent in sorted(rows, key=lambda row: (not row[2], -row[3])):
        if found or spent > SLOW:
            print(f"{outcome:20} {spent:7.2f} s  {text}   {found}")


if __name__ == "__main__":
    main()
