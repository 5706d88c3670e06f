"""The commands about networks in depth: `gpn design`, `gpn spectrum` and `gpn probe`."""

from pathlib import Path
from typing import Annotated

import typer

from gpn.cli import answer
from gpn.cli.options import (
    Json,
    Level,
    Raw,
    Root,
    Seed,
    Spec,
    check_writable,
    chosen_root,
    number,
    only_given,
    option,
    progress_bar,
    targets,
    weights,
)


def design(
    spec: Spec,
    depth: Annotated[int, number("L", "Layers of the network.", 200)],
    curvature: Annotated[
        float, number("TAU", "Budget: two orthogonal inputs keep 1/(1 + TAU/2) of their distance.", 1.0)
    ] = 1.0,
    parameter: Annotated[str | None, option("NAME", "The free parameter, if the formula has several names.")] = None,
    root: Root = "auto",
    emit: Annotated[
        str | None, option("TARGET", "Print code instead: numpy, torch, jax, keras or latex.", targets)
    ] = None,
    out: Annotated[Path | None, option("FOLDER", "Write design.csv, design.json and a figure there.")] = None,
    as_json: Json = False,
) -> None:
    """Choose the activation of a family that keeps a network of a given depth trainable.

    SPEC is a family with a free parameter, such as "tanh(s*x)". For a plain activation phi, the family is phi(s*x), or
    x + s*phi(x) where lengths of the first would run away. The member is Gaussian-Poincare normalized, so the norms
    are kept. Its parameter is set so that two inputs stay apart, and enough directions of a gradient survive.

    \b
    Examples:
      gpn design tanh --depth 200
      gpn design relu --depth 1000 --curvature 0.5
      gpn design "x + s*gelu(x)" --depth 50 --emit torch
    """
    from gpn.checking.designing import design as choose
    from gpn.report.tables import trainability as tables
    from gpn.report.words import commands, terminal

    if out is not None:
        check_writable(out)
    report = choose(spec, depth, curvature=curvature, parameter=parameter, root=root)
    if emit is not None:
        code = report.code(emit)
        terminal.emit_json(report.to_dict() | {"code": code}) if as_json else terminal.emit(code)
        return
    answer.deliver(report, tables.design(report), commands.after_design(report), as_json=as_json, folder=out)


def spectrum(
    spec: Spec,
    depth: Annotated[int, number("L", "Layers of the network.", 50)],
    width: Annotated[int, number("N", "Neurons of each layer.", 256)] = 256,
    networks: Annotated[int, number("K", "Networks to draw.", 20)] = 20,
    root: Root = "auto",
    raw: Raw = False,
    weight: Annotated[str, option("NAME", "Ensemble of the weights.", weights)] = "haar",
    seed: Seed = 0,
    level: Level = 0.99,
    out: Annotated[Path | None, option("FOLDER", "Write spectrum.csv, spectrum.json and a figure there.")] = None,
    as_json: Json = False,
) -> None:
    """Sample the singular values of the Jacobian of a deep network beside their law.

    A network may keep norms while most directions of a gradient vanish. The effective rank says how many survive. Pairs
    of orthogonal inputs show how far these stay apart. Verdicts say whether the networks follow the laws of infinite
    width, to within their error at this width; they change no exit code.

    \b
    Examples:
      gpn spectrum tanh --depth 50
      gpn spectrum "tanh(0.25*x)" --depth 200 --width 512 --networks 5
    """
    from gpn.checking.spectrum import spectrum as sample
    from gpn.report.tables import trainability as tables
    from gpn.report.words import commands

    if out is not None:
        check_writable(out)
    with progress_bar() as progress:
        chosen = chosen_root(root, raw)
        sizes = (depth, width, networks)
        report = sample(spec, *sizes, root=chosen, weights=weight, seed=seed, level=level, progress=progress)
    next_step = commands.next_step("design", spec, depth=depth)
    answer.deliver(report, tables.spectrum(report), next_step, as_json=as_json, folder=out)


def probe(
    model: Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help="A factory or module, as mymodel:build.")],
    inputs: Annotated[
        str | None, option("DATA", "Inputs: a file .npy, module:name, or a shape as 8,3,32,32 for random ones.")
    ] = None,
    initializations: Annotated[int | None, number("K", "Fresh initializations.", 5)] = None,
    layers: Annotated[str, option("PATTERN", "Only modules with such names, as 'encoder.*'.")] = "*",
    source: Annotated[bool, typer.Option("--source", help="Also the model line by line with its scales.")] = False,
    seed: Seed = 0,
    level: Level = 0.99,
    out: Annotated[Path | None, option("FOLDER", "Write probe.csv, probe.json, a figure and a page there.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a PyTorch or JAX model in every layer beside the prediction, and say what to change.

    MODULE:FACTORY is called for each initialization and returns a torch.nn.Module, or for JAX a pair
    (function, params).

    Exit code: 0 it follows the theory of itself and is normalized, 1 it does not, 3 undecided, 2 wrong use.

    \b
    Examples:
      gpn probe mymodel:build
      gpn probe mymodel:Net --inputs 8,3,32,32 --source
      gpn probe mymodel:build --layers "encoder.*" --json
    """
    from gpn.probing.models import read_inputs
    from gpn.probing.probe import probe as measure
    from gpn.report.tables import probing as tables
    from theory.activations.specification import load

    if out is not None:
        check_writable(out)
    options = only_given(locals(), "initializations")
    given = None if inputs is None else read_inputs(inputs, seed)
    with progress_bar() as progress:
        report = measure(load(model), given, layers=layers, seed=seed, level=level, progress=progress, **options)
    answer.deliver(report, tables.probe(report, source), None, as_json=as_json, folder=out)
    if report.code:
        raise typer.Exit(report.code)
