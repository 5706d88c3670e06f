"""The command `gpn width`."""

from pathlib import Path
from typing import Annotated

import typer

from gpn.cli import answer
from gpn.cli.options import Json, Raw, Root, Spec, check_writable, chosen_root, number, only_given, option, progress_bar
from theory.errors import UsageError


def width(
    spec: Spec,
    width: Annotated[
        int | None, number("N", "Width n, to ask for the depth or the tolerance it carries.", 1024)
    ] = None,
    depth: Annotated[int | None, number("L", "Depth L.", 50)] = None,
    epsilon: Annotated[float | None, number("E", "Tolerance: squared gradient norms within e^-E and e^E.", 0.5)] = None,
    probability: Annotated[float, number("P", "Accepted probability of leaving the tolerance.", 0.05)] = 0.05,
    root: Root = "auto",
    raw: Raw = False,
    simulate: Annotated[bool, typer.Option("--simulate", help="Also by simulation: seconds to minutes.")] = False,
    seed: Annotated[int, number("N", "Of the simulation.", 7)] = 0,
    out: Annotated[Path | None, option("FOLDER", "Write width.csv, width.json and figures there.")] = None,
    as_json: Json = False,
) -> None:
    """Tabulate the width that each rigorous bound and the prediction ask for; SPEC is normalized first.

    Give two of --width, --depth and --epsilon; the third is solved for.

    \b
    Examples:
      gpn width tanh --depth 50 --epsilon 0.5 --probability 0.05
      gpn width relu --width 4096 --epsilon 1
      gpn width gelu --width 4096 --depth 20 --simulate
    """
    given = only_given(locals(), "width", "depth", "epsilon")
    if len(given) != 2:
        raise UsageError(
            "give two of --width, --depth and --epsilon, the third is solved for: try --depth 50 --epsilon 0.5"
        )
    from gpn.report.tables import width as tables
    from gpn.report.words import commands
    from gpn.verification.width import solve

    if out is not None:
        check_writable(out)
    policy = chosen_root(root, raw)
    with progress_bar() as progress:
        report = solve(
            spec,
            **given,
            probability=probability,
            root=policy,
            simulate=simulate,
            seed=seed,
            progress=progress,
        )
    next_step = commands.after_width(report, spec, policy)
    answer.deliver(report, tables.width(report), next_step, as_json=as_json, folder=out)
