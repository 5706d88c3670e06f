"""Peak memory of large simulations within a budget, each in a process of its own.

    python benchmarks/memory.py
    python benchmarks/memory.py --width 1000000 --depth 200 --memory 1GiB

The peak is that of the whole process (ru_maxrss), interpreter and libraries included; what they take before the
simulation starts is printed beside it. With a smaller budget layers are drawn twice, and the last column, a digest of
the results, does not change.
"""

import argparse
import hashlib
import resource
import subprocess
import sys
import time

import measure  # noqa: F401  (one BLAS thread)

CASES = [
    (1_000_000, 200, "4GiB"),
    (1_000_000, 200, "1GiB"),
    (1_000_000, 200, "256MiB"),
    (100_000, 2000, "4GiB"),
    (100_000, 2000, "1GiB"),
    (100_000, 2000, "64MiB"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--memory")
    options = parser.parse_args()
    if options.width:
        print(one(options.width, options.depth, options.memory))
        return
    print("   width depth   budget before MiB peak MiB  seconds  digest")
    for width, depth, memory in CASES:
        arguments = ["--width", str(width), "--depth", str(depth), "--memory", memory]
        run = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
        print(f"{width:>8} {depth:>5} {memory:>8} {run.stdout.rstrip()}", flush=True)


def one(width: int, depth: int, memory: str) -> str:
    """Run one network, one trial, and describe its peak."""
    import gpn

    phi = gpn.normalize(gpn.activation("tanh"))
    gpn.simulate(phi, 100, 2, 1, seed=0)  # what is compiled on the way
    before, start = peak_mebibytes(), time.process_time()
    result = gpn.simulate(phi, width, depth, 1, seed=0, memory=memory)
    seconds = time.process_time() - start
    digest = hashlib.sha256(result.log_gradient_norms.tobytes()).hexdigest()[:8]
    return f"{before:>10.0f} {peak_mebibytes():>8.0f} {seconds:>8.1f}  {digest}"


def peak_mebibytes() -> float:
    """Peak of this process so far; the unit is KiB on Linux and bytes on macOS."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
