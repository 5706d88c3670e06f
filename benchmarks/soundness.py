"""A campaign of random formulas: whole reports of `gpn check` against a second reader, and the time of each.

    python benchmarks/soundness.py --count 1000 --seed 5 [--workers 2] [--limit 60] [--out FILE.csv]

Each formula runs in a process of its own budget; what takes longer than the limit is ended and counted. A row says
what was found wrong (nothing, for a sound report): a moment outside its ball, a jump that is not reported, a supremum
below a slope that is taken, one more than 0.1 % above it, or an internal contradiction. The second reader
(`tests/oracles/second_reader.py`) shares no code with `theory`.
"""

import argparse
import csv
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.oracles.random_formulas import Formulas, Singular
from tests.oracles.second_reader import jumps, largest_slope, reference
from theory.activations.specification import activation
from theory.errors import SpecificationError
from theory.normalization.conditions import Conditions, gaussian_poincare

NAMES = ("mean", "second_moment", "slope_second_moment")


def faults(text: str, report: Conditions) -> list[str]:
    """What the second reader holds against a report."""
    wrong = []
    values, errors, scales = reference(text)
    steps = [point for point, size in jumps(text) if size > 1e-4]
    missed = [x for x in steps if not any(abs(float_of(place) - x) < 1e-6 for place in report.jumps)]
    if missed and report.normalizable != "undecided":
        wrong.append(f"jump at {missed[0]} not reported")
    for name, value, error, scale in zip(NAMES, values, errors, scales, strict=False):
        shown = getattr(report, name)
        if shown is None or not np.isfinite(value) or (steps and name.startswith("slope")):
            continue
        slack = float(report.error or 0) + 100 * error + 1e-9 * scale
        if abs(float(shown) - value) > slack:
            wrong.append(f"{name} {shown} is {value:.9g}")
    if report.lipschitz is not None and not steps:
        slope = largest_slope(text)
        if slope > report.lipschitz * (1 + 1e-6):
            wrong.append(f"sup |phi'| {report.lipschitz:.9g} is at least {slope:.9g}")
        elif slope < report.lipschitz * (1 - 1e-3):
            wrong.append(f"loose: sup |phi'| {report.lipschitz:.9g} is {slope:.9g}")
    return wrong


def float_of(place: str) -> float:
    import sympy

    return float(sympy.sympify(place))


def examine(text: str) -> tuple[str, str, float]:
    """(outcome, faults, seconds of the report) of one formula."""
    start = time.process_time()
    try:
        report = gaussian_poincare(activation(text), 30)
    except SpecificationError as error:
        return "refused", str(error)[:200], time.process_time() - start
    except TimeoutError:
        return "too slow", "", time.process_time() - start
    except Exception as error:
        return "crash", f"{type(error).__name__}: {error}"[:200], time.process_time() - start
    seconds = time.process_time() - start
    outcome = "certified" if report.certified else "not certified"
    try:
        found = "; ".join(faults(text, report))
    except Exception as error:
        found = f"oracle: {error}"[:120]
    return outcome, found, seconds


def limited(task: tuple[str, float]) -> tuple[str, Any]:
    text, limit = task

    def stop(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        return text, examine(text)
    except TimeoutError:
        return text, ("too slow", "", limit)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def formulas(seed: int, count: int) -> list[str]:
    """Half of the formulas with switches, half with poles and removable factors."""
    texts = []
    for kind in (Formulas(seed), Singular(seed + 1)):
        texts += [kind.formula(kind.random.choice((1, 2, 2, 3))) for _ in range(count // 2)]
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of processor time for one formula")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    tasks = [(text, asked.limit) for text in formulas(asked.seed, asked.count)]
    with multiprocessing.get_context("spawn").Pool(asked.workers, maxtasksperchild=50) as pool:
        rows = [(text, *found) for text, found in pool.imap_unordered(limited, tasks)]
    if asked.out:
        with asked.out.open("w", newline="") as file:
            csv.writer(file).writerows([("formula", "outcome", "faults", "seconds"), *rows])
    seconds = np.sort([row[3] for row in rows])
    print(dict(Counter(row[1] for row in rows)))
    print("seconds: median, 90 %, 99 %, 99.9 %, most:", *np.round(np.quantile(seconds, [0.5, 0.9, 0.99, 0.999, 1]), 2))
    for text, outcome, found, spent in sorted(rows, key=lambda row: (not row[2], -row[3])):
        if (found and outcome != "refused") or outcome in ("crash", "too slow") or spent > 5:
            print(f"{outcome:14} {spent:7.2f} s  {text}   {found}")


if __name__ == "__main__":
    main()
