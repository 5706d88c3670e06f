"""Compare what two checkouts print: the JSON of a list of commands, and digests of simulations at fixed seeds.

    python benchmarks/same_outputs.py OLD_CHECKOUT NEW_CHECKOUT [--only WORD]

A step that only moves code must leave every line the same. Versions of the project's own sources are left out of
the comparison, since they change with each edit. Exits with 1 if anything differs.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

COMMANDS = [
    "check gelu --json",
    "check tanh --json",
    "check relu --verbose --json",
    "check silu --verbose --json",
    "check x*sigmoid(1.3*x) --json",
    "check numpy:arctan --json",
    "check exp(x**2) --json",
    "check leaky_relu(0.1) --digits 50 --json",
    "check abs(x)-0.3 --json",
    "normalize gelu --json",
    "normalize silu --emit torch",
    "normalize elu --emit jax",
    "normalize selu --emit numpy",
    "normalize selu --emit latex",
    "audit --json",
    "family elu(alpha) --values 0.5,1 --json",
    "activations --json",
    "width tanh --depth 5 --epsilon 1 --json",
    "width relu --depth 50 --epsilon 0.5 --json",
    "verify tanh --width 16,64 --depth 8 --epsilon 0.3,1 --trials 400 --seed 3 --json",
    "verify relu --width 32 --depth 5 --epsilon 0.5 --trials 300 --seed 1 --json",
    "verify gelu --width 64 --depth 3 --epsilon 0.5 --trials 200 --raw --weights gaussian --json",
    "verify selu --width 32 --depth 3 --epsilon 0.5 --trials 200 --workers 2 --json",
    "train tanh --depth 4 --width 16 --epochs 2 --json",
    "reproduce gradients --activations tanh,relu --depth 10 --width 32 --trials 40 --batches 8 --json",
]

DIGESTS = """
import hashlib, gpn
for activation, width, depth, options in [
    ("tanh", 64, 10, {}), ("relu", 1000, 5, {}), ("gelu", 33, 7, {"weights": "gaussian"}),
    ("selu", 16, 4, {"method": "dense"}), ("silu", 128, 6, {"batch": 4}), ("erf", 50, 3, {"readout": "aligned"}),
]:
    run = gpn.simulate(activation, width, depth, 50, seed=7, **options)
    arrays = (run.squared_lengths, run.signal_norms, run.gradient_norms)
    print(activation, hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""


def printed(checkout: Path, arguments: list[str]) -> str:
    """Standard output and exit code of Python with these arguments, importing from the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment, check=False
        )
    return comparable(done.stdout) + f"\nexit code {done.returncode}"


def comparable(text: str) -> str:
    """The text without what differs between two runs of the same code: times, and digests of the sources."""
    try:
        found = json.loads(text)
    except ValueError:
        return re.sub(r'"(seconds|sources)": [^,}]+', "", text)
    return json.dumps(without_times(found), indent=1)


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in {"seconds", "sources", "versions", "time"}}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--only", default="", help="compare the commands that contain this word")
    asked = parser.parse_args()
    checkouts = [asked.old.resolve(), asked.new.resolve()]
    different = 0
    for command in [*COMMANDS, "digests of simulations"]:
        if asked.only not in command:
            continue
        arguments = ["-c", DIGESTS] if command.startswith("digests") else ["-m", "gpn", *shlex.split(command)]
        old, new = (printed(checkout, arguments) for checkout in checkouts)
        different += old != new
        print("same     " if old == new else "DIFFERENT", command, flush=True)
        if old != new:
            pairs = zip(old.splitlines(), new.splitlines(), strict=False)
            print(*[f"    {a}\n    {b}" for a, b in pairs if a != b][:5], sep="\n")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
