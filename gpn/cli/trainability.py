"""The commands about trainability: `gpn design` and `gpn spectrum`."""

from pathlib import Path
from typing import Annotated

from gpn.cli import answer
from gpn.cli.options import (
    Json,
    Raw,
    Root,
    Seed,
    Spec,
    check_writable,
    chosen_root,
    number,
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

    SPEC is a family with a free parameter, such as "tanh(s*x)". For a plain activation phi, the family is phi(s*x) or
    x + s*phi(x). The member is Gaussian-Poincare normalized, so the norms are kept. Its parameter is set so that two
    inputs stay apart, and enough directions of a gradient survive.

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
    out: Annotated[Path | None, option("FOLDER", "Write spectrum.csv, spectrum.json and a figure there.")] = None,
    as_json: Json = False,
) -> None:
    """Sample the singular values of the Jacobian of a deep network beside their law.

    A network may keep norms while most directions of a gradient vanish. The effective rank says how many survive.

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
        report = sample(
            spec, depth, width, networks, root=chosen_root(root, raw), weights=weight, seed=seed, progress=progress
        )
    next_step = commands.next_step("design", spec, depth=depth)
    answer.deliver(report, tables.spectrum(report), next_step, as_json=as_json, folder=out)
