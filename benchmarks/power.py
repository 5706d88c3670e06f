"""Which errors in the engine does `gpn verify` detect, and at which size?

    python -m benchmarks.power
    python -m benchmarks.power --names qr-signs gaussian --whole

Every error of `benchmarks/mutations.py` is made on purpose while a verification runs: its rows about the engine, at the
sizes and with the share of the level that they have in the default run; with --whole the default run itself. The last
column is the smallest size, of those below, at which the error is detected.
"""

from benchmarks import measure  # noqa: F401  (first, for the number of BLAS threads)

# isort: split
import argparse

import gpn
from benchmarks.mutations import MUTATIONS, Mutation
from gpn.verification.results import VerificationReport

SIZES = ((4, 3), (8, 4), (16, 5), (32, 10), (64, 50))
SHARE = 0.998
"""Level of the rows about the engine alone, so that each has the error that it has beside the others by default."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(MUTATIONS))
    parser.add_argument("--activation", default="tanh")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    print("| error | detected by default | by | smallest size |\n|---|---|---|---|")
    for name in options.names:
        mutation = MUTATIONS[name]
        report = run(mutation, options.activation, options.seed, whole=options.whole)
        smallest = next((s for s in SIZES if detected(run(mutation, options.activation, options.seed, s))), None)
        where = "-" if smallest is None else f"n = {smallest[0]}, L = {smallest[1]}"
        print(f"| {mutation.words} | {'yes' if detected(report) else 'no'} | {by(report)} | {where} |", flush=True)


def run(
    mutation: Mutation, activation: str, seed: int, size: tuple[int, int] | None = None, whole: bool = False
) -> VerificationReport:
    """A verification with the error, at the default size or at another."""
    asked = {} if size is None else {"widths": size[0], "depth": size[1]}
    asked |= {} if whole else {"claims": "engine", "level": SHARE}
    with mutation.applied():
        return gpn.verify(activation, seed=seed, **asked, **mutation.options)


def detected(report: VerificationReport) -> bool:
    """Whether the verdict is violated."""
    return str(report.verdict) == "violated"


def by(report: VerificationReport) -> str:
    """The claims that are violated."""
    rows = (row.claim for row in (*report.rows, *report.engine) if str(row.verdict) == "violated")
    return ", ".join(dict.fromkeys(rows)) or "-"


if __name__ == "__main__":
    main()
