"""The command `gpn width`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpn.cli import answer, long_run, options
from gpn.cli.options import Json, Raw, Root, Spec, check_writable, chosen_root, number, only_given, option, progress_bar
from theory.errors import UsageError

UNREADABLE = 2  # exit code

if TYPE_CHECKING:
    from gpn.verification.width_results import WidthReport
    from theory.activations.specification import Phi


def width(
    context: typer.Context,
    spec: Spec,
    width: Annotated[int | None, number("N", "Width n; the depth or the tolerance is then solved for.", 1024)] = None,
    depth: Annotated[int | None, number("L", "Depth L.", 50)] = None,
    epsilon: Annotated[
        float | None,
        number("E", "Tolerance: squared gradient norms within e^-E and e^E; norms within f: E = 2 log f.", 0.5),
    ] = None,
    probability: Annotated[float, number("P", "Accepted probability of leaving the tolerance.", 0.05)] = 0.05,
    root: Root = "auto",
    raw: Raw = False,
    weights: Annotated[str, option("NAME", "haar, or gaussian of variance 1/n.", options.weights)] = "haar",
    simulate: Annotated[bool, typer.Option("--simulate", help="Also by simulation: seconds to minutes.")] = False,
    certify: Annotated[bool, typer.Option("--certify", help="Also prove the deep bound: about a minute.")] = False,
    seed: Annotated[int, number("N", "Seed of the simulation.", 7)] = 0,
    out: Annotated[
        Path | None, option("FOLDER", "Write width.csv, width.json and figures there, and certificate.json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tabulate the width that each rigorous bound and the prediction ask for; SPEC is normalized first.

    Give two of --width, --depth and --epsilon; the third is solved for. A simulation that is stopped is kept in the
    folder --out, if you give one, and the same command resumes it. --certify proves the width in ball arithmetic; with
    --out it writes the proof, which gpn verify-certificate checks.

    \b
    Examples:
      gpn width tanh --depth 50 --epsilon 0.5 --probability 0.05
      gpn width relu --width 4096 --epsilon 1
      gpn width gelu --width 4096 --depth 20 --simulate
      gpn width tanh --depth 50 --epsilon 0.5 --weights gaussian
      gpn width tanh --depth 10 --epsilon 1 --certify --out proof
    """
    given = only_given(locals(), "width", "depth", "epsilon")
    if len(given) != 2:
        count = ("none", "only one", "", "all three")[len(given)]
        raise UsageError(
            f"give two of --width, --depth and --epsilon, not {count}, for the third is solved for: try --depth 50 "
            "--epsilon 0.5"
        )
    from gpn.report.tables import width as tables
    from gpn.report.words import commands
    from gpn.verification.width import check_certifiable, chosen, solve, with_certificate

    if certify:
        [unknown] = {"width", "depth", "epsilon"} - given.keys()
        check_certifiable(unknown, weights)
    if out is not None:
        check_writable(out)
    policy = chosen_root(root, raw)
    phi = chosen(spec, policy)
    with progress_bar(announced=certify) as progress:
        if certify:
            progress(0, 0, "the deep bound is searched and then proved in ball arithmetic: about a minute")
        report = solve(phi, **given, probability=probability, root=None, weights=weights, seed=seed, progress=progress)
        document = None
        if certify:
            report, document = with_certificate(report, phi, progress=progress)
    if simulate:
        if not as_json:
            answer.show([tables.width(report)], None, None, as_json)  # what is known already
        report = _simulated(context, report, phi, seed, out)
    next_step = commands.after_width(report, spec, policy)
    proof = None if document is None or out is None else out / "certificate.json"
    if proof is not None:
        next_step = f"Next: gpn verify-certificate {shlex.quote(str(proof))}"
    answer.deliver(report, tables.width(report), next_step, as_json=as_json, folder=out)
    if proof is not None:
        answer.write(proof, json.dumps(document, indent=1), as_json)


def verify_certificate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="certificate.json of gpn width --certify.")],
    as_json: Json = False,
) -> None:
    """Check a certificate of the deep bound in ball arithmetic, by a small program of its own (a minute).

    Exit code: 0 if it proves what it states, 1 if it does not, 2 if it cannot be read.

    \b
    Examples:
      gpn verify-certificate proof/certificate.json
    """
    from gpn.report.words import terminal
    from theory.bounds.certified.checker import verdict

    with progress_bar(announced=True) as progress:
        code, sentence = verdict(file, lambda words: progress(0, 0, f"ball arithmetic, about a minute: {words}"))
    if code == UNREADABLE:
        raise UsageError(f"{sentence}; gpn width --certify --out FOLDER writes one")
    if as_json:
        terminal.emit_json({"proved": code == 0, "sentence": sentence})
    else:
        terminal.emit(sentence)
    raise typer.Exit(code)


def _simulated(context: typer.Context, known: "WidthReport", phi: "Phi", seed: int, out: Path | None) -> "WidthReport":
    """Add a simulation to a report, which says first what it costs."""
    from gpn.verification.width import with_simulation

    with long_run.endings(context), progress_bar(announced=True) as progress:
        try:
            return with_simulation(known, phi, seed, store=out, progress=progress)
        except KeyboardInterrupt as error:
            if out is None:
                error.add_note("nothing of the simulation is kept; one that you want to resume needs --out FOLDER")
            raise
