"""Speed of the matrix-free sampler, as ratios measured in one run.

    python benchmarks/sampler.py
    python benchmarks/sampler.py --repeats 20 --widths 1024 4096 --parts floor profile

Six parts. generators: which of NumPy's is the fastest. floor: how far is the sampler from the time that NumPy takes
to draw two standard normals per neuron, layer and trial with the same generator. profile: where the time goes. cores:
what a second core brings. scaling: time per neuron and layer from narrow to wide, beside explicit Haar matrices.
shapes: what gains, biases, branches and unequal widths cost, over square layers.

Times are processor times (of `cores`, by the clock on the wall). The two sides of a ratio are timed in turns, so that
other work on the machine touches both alike; a ratio is the median over neighbouring timings, beside its quartiles.
"""

from measure import alternate, median, ratio  # first, for the number of BLAS threads

# isort: split
import argparse
import multiprocessing
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

import gpn
from gpn.engine.norms import row_dots
from gpn.engine.shape import Shape
from gpn.sampling.normals import fill_normals
from gpn.sampling.sampler import BLOCK_NEURONS, sample

GENERATORS = {
    "SFC64": np.random.SFC64,
    "PCG64DXSM": np.random.PCG64DXSM,
    "PCG64": np.random.PCG64,
    "Philox": np.random.Philox,
}
DENSE_WIDTHS = (100, 1000)
FLOOR_NUMBERS = 2**15  # normals in one call: they stay in the cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 1024, 4096, 16384, 100_000])
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--neurons", type=int, default=2**20, help="neurons per layer, over all trials of a run")
    parser.add_argument("--generator", choices=GENERATORS, default="SFC64")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {options.repeats} repeats, {options.generator}")
    activations = {name: gpn.normalize(gpn.activation(name)) for name in ("tanh", "relu")}
    for part in options.parts:
        PARTS[part](options, activations)


def print_generators(options: argparse.Namespace, activations: dict[str, Any]) -> None:
    """The floor and the sampler at one width for each bit generator."""
    print("\nGenerators, tanh, width 1024: ns per standard normal, ns per neuron and layer of the sampler")
    print(f"{'generator':>10} {'normal ns':>9} {'sampler ns':>10}  ratio   quartiles")
    for generator in GENERATORS:
        floor, own, text = against_floor(activations["tanh"], 1024, options, generator)
        print(f"{generator:>10} {floor / 2:>9.2f} {own:>10.1f} {text}")


def print_floor(options: argparse.Namespace, activations: dict[str, Any]) -> None:
    """Time over floor for each width and activation."""
    print(f"\nMatrix-free over its floor, depth {options.depth}, one thread; ns per neuron and layer")
    print("activation  width trials floor ns     ns  ratio   quartiles")
    for name, phi in activations.items():
        for width in options.widths:
            floor, own, text = against_floor(phi, width, options, options.generator)
            print(f"{name:>10} {width:>6} {trials_of(width, options):>6} {floor:>8.1f} {own:>6.1f} {text}")


def print_profile(options: argparse.Namespace, activations: dict[str, Any]) -> None:
    """The passes over a layer one by one, each with what it is called on in the sampler."""
    width = 1024
    rows = BLOCK_NEURONS // width
    rng = np.random.Generator(GENERATORS[options.generator](1))
    h, x, slope, e = rng.standard_normal((4, rows, width))
    factors = np.ones((rows, 1))
    print(f"\nProfile, width {width}, {rows} trials at once: ns per neuron and layer")
    for name, phi in activations.items():
        passes: dict[str, tuple[int, Callable[[], object]]] = {
            "normals": (2, lambda: fill_normals(rng, e)),
            "products of rows": (6, lambda: row_dots(e, h)),
            "factors for rows": (2, lambda: np.multiply(x, factors, out=x)),
            "value": (1, lambda phi=phi: phi.value_into(h, x)),
            "value and slope": (1, lambda phi=phi: phi.value_and_slope_into(h, x, slope)),
            "sums and products": (2, lambda: np.add(e, x, out=e)),
        }
        times = alternate([lambda f=f: [f() for _ in range(20)] for _, f in passes.values()], options.repeats)
        whole = against_floor(phi, width, options, options.generator)[1]
        parts = {
            label: count * median(seconds, 1e9 / (20 * rows * width))
            for (label, (count, _)), seconds in zip(passes.items(), times, strict=True)
        }
        parts["small arrays, calls, memory"] = whole - sum(parts.values())
        print(f"{name:>10}: {whole:.1f} in all")
        for label, time_of_part in parts.items():
            times_called = f"{passes[label][0]} x" if label in passes else ""
            print(f"{times_called:>16} {label:<28} {time_of_part:>6.2f} {100 * time_of_part / whole:>4.0f} %")


def print_cores(options: argparse.Namespace, activations: dict[str, Any]) -> None:
    """Two jobs one after the other against two threads, and two processes, with one job each, by the clock on the wall.

    Drawing normals, which needs nothing from the interpreter, shows what the machine has to give at the time. Between
    two NumPy calls a thread waits for the interpreter's lock, a process does not.
    """
    print("\nTwo against one, time on the wall: speed-up by threads, by processes, and of drawing normals by threads")
    print("activation  width threads  quartiles     processes quartiles       normals  quartiles")
    neurons = options.neurons // 4
    context = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, context) as processes:
        for name, phi in activations.items():
            for width in options.widths:
                job, normals = sampler_job(phi, width, options, neurons), normals_job(options, neurons)
                functions = [
                    lambda j=job: [j(1), j(2)],
                    lambda j=job: list(threads.map(j, (1, 2))),
                    lambda j=job: list(processes.map(j, (1, 2))),
                    lambda j=normals: [j(1), j(2)],
                    lambda j=normals: list(threads.map(j, (1, 2))),
                ]
                one, two, apart, floor, floor_two = alternate(functions, options.repeats, time.perf_counter)
                columns = "   ".join((ratio(one, two), ratio(one, apart), ratio(floor, floor_two)))
                print(f"{name:>10} {width:>6} {columns}")


def print_scaling(options: argparse.Namespace, activations: dict[str, Any]) -> None:
    """The cost of a neuron in a layer, matrix-free and with explicit matrices drawn anew."""
    phi, depth = activations["tanh"], 10
    print(f"\nScaling, tanh, depth {depth}: ns per neuron and layer")
    print("  width matrix-free      dense   dense / matrix-free")
    for width in (10**k for k in range(2, 7)):
        trials = max(1, options.neurons // width)
        rng = np.random.Generator(GENERATORS[options.generator](1))
        free = lambda n=width, t=trials, r=rng: sample(phi, n, depth, t, r)  # noqa: E731
        dense = lambda n=width: gpn.simulate(phi, n, depth, 1, seed=1, method="dense")  # noqa: E731
        functions = [free, dense] if width in DENSE_WIDTHS else [free]
        cost, *explicit = (median(seconds, 1e9 / (width * depth)) for seconds in alternate(functions, options.repeats))
        cost /= trials
        print(f"{width:>7} {cost:>11.1f} " + "".join(f"{each:>10.0f} {each / cost:>12.0f}" for each in explicit))


def print_shapes(options: argparse.Namespace, activations: dict[str, Any]) -> None:
    """Layers with gains, biases, branches or two widths in turn, over square ones with as many neurons."""
    print(f"\nShapes, tanh, depth {options.depth}: ns per neuron and layer, over square layers")
    for width in options.widths:
        square = [width] * (options.depth + 1)
        shapes = {
            "gain": Shape.read(square, gain=1.1),
            "bias": Shape.read(square, bias=0.1),
            "branches": Shape.read(square, residual=0.5),
            "widths": Shape.read([width + (-1) ** layer * (width // 4) for layer in range(options.depth + 1)]),
        }
        run = partial(run_shape, activations["tanh"], options, width)
        plain, *others = alternate(
            [partial(run, None), *(partial(run, each) for each in shapes.values())], options.repeats
        )
        neurons = width * trials_of(width, options) * options.depth
        for name, times in zip(shapes, others, strict=True):
            print(f"{width:>7} {name:>9} {median(times, 1e9 / neurons):>6.1f} {ratio(times, plain)}")


def run_shape(phi: Any, options: argparse.Namespace, width: int, shape: Shape | None) -> None:
    rng = np.random.Generator(GENERATORS[options.generator](1))
    first = width if shape is None else shape.widths[0]
    sample(phi, first, options.depth, trials_of(width, options), rng, shape=shape)


def against_floor(phi: Any, width: int, options: argparse.Namespace, generator: str) -> tuple[float, float, str]:
    """Nanoseconds of floor and sampler per neuron and layer, and their ratio in words."""
    rng = np.random.Generator(GENERATORS[generator](1))
    trials = trials_of(width, options)
    neurons = width * trials * options.depth
    buffer = np.empty(FLOOR_NUMBERS)

    def floor() -> None:
        for _ in range(2 * neurons // len(buffer)):
            rng.standard_normal(out=buffer)

    floors, own = alternate([floor, lambda: sample(phi, width, options.depth, trials, rng)], options.repeats)
    return median(floors, 1e9 / neurons), median(own, 1e9 / neurons), ratio(own, floors)


def trials_of(width: int, options: argparse.Namespace) -> int:
    return max(1, options.neurons // width)


def sampler_job(phi: Any, width: int, options: argparse.Namespace, neurons: int) -> Callable[[int], object]:
    return partial(sampler_work, phi, width, options.depth, max(1, neurons // width), options.generator)


def sampler_work(phi: Any, width: int, depth: int, trials: int, generator: str, seed: int) -> None:
    sample(phi, width, depth, trials, np.random.Generator(GENERATORS[generator](seed)))


def normals_job(options: argparse.Namespace, neurons: int) -> Callable[[int], object]:
    return partial(normals_work, 2 * neurons * options.depth // FLOOR_NUMBERS, options.generator)


def normals_work(calls: int, generator: str, seed: int) -> None:
    rng, buffer = np.random.Generator(GENERATORS[generator](seed)), np.empty(FLOOR_NUMBERS)
    for _ in range(calls):
        rng.standard_normal(out=buffer)


PARTS: dict[str, Callable[[argparse.Namespace, dict[str, Any]], None]] = {
    "generators": print_generators,
    "floor": print_floor,
    "profile": print_profile,
    "cores": print_cores,
    "scaling": print_scaling,
    "shapes": print_shapes,
}

if __name__ == "__main__":
    main()
