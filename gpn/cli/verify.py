"""The command `gpn verify`."""

from pathlib import Path
from typing import Annotated

import typer

from gpn.cli import answer, long_run, options
from gpn.cli.options import (
    DefaultSpec,
    Derivative,
    Floats,
    Integers,
    Json,
    Root,
    chosen_root,
    number,
    numbers,
    only_given,
    option,
    progress_bar,
    results_folder,
    resumed_folder,
)
from theory.errors import UsageError

CODES = {"holds": 0, "violated": 1, "undecided": 3}


def verify(
    context: typer.Context,
    spec: DefaultSpec = "tanh",
    width: Annotated[
        Integers | None, numbers("N,N", "Widths n.  [default: 64,256,1024, or to suit --inputs]", "64,256")
    ] = None,
    depth: Annotated[Integers | None, numbers("L,L", "Depths L.  [default: 10,50,200]", "50,200")] = None,
    epsilon: Annotated[
        Floats | None, numbers("E,E", "Tolerances.  [default: 0.1,0.2; whole network 0.5,1]", "0.2,0.5")
    ] = None,
    trials: Annotated[int | None, number("N", "Networks for each row.  [default: enough to decide it]", 1000)] = None,
    seed: Annotated[int, number("N", "The same seed gives the same bits with any --workers.", 7)] = 0,
    level: Annotated[float, number("P", "Confidence level of all rows together.", 0.99)] = 0.99,
    claims: Annotated[
        str | None, option("NAME,NAME", "Questions: network, one-layer, engine, or claims by id.  [default: all]")
    ] = None,
    weights: Annotated[
        str, option("NAME", "haar, gaussian (glorot in square layers), or a control: he.", options.weights)
    ] = "haar",
    method: Annotated[
        str | None, option("NAME", "matrix-free, or dense: every matrix written out.", options.methods)
    ] = None,
    layers: Annotated[
        Integers | None, numbers("N,N", "All widths n_0, ..., n_L, instead of --width and --depth.", "784,512,10")
    ] = None,
    gain: Annotated[Floats | None, numbers("G,G", "Gains, one for all layers or one for each.", "1.5,1.0")] = None,
    bias: Annotated[Floats | None, numbers("S,S", "Deviations of Gaussian biases, as --gain.", "0.1,0.0")] = None,
    residual: Annotated[float | None, number("A", "Branches x + A phi(h) around layers of one width.", 0.5)] = None,
    linear_output: Annotated[
        bool, typer.Option("--linear-output", help="The last layer has no activation, like logits.")
    ] = False,
    root: Root = "auto",
    derivative: Derivative = None,
    raw: Annotated[bool, typer.Option("--raw", help="Leave SPEC as it is: no normalization.")] = False,
    inputs: Annotated[
        str | None, option("DATA", "Real inputs: digits, a folder as for gpn train, .npy or .npz.")
    ] = None,
    labels: Annotated[str | None, option("FILE", "Class labels of --inputs: a file .npy.")] = None,
    until: Annotated[str | None, option("decided", "Stop each row once it is decided, instead of --trials.")] = None,
    cap: Annotated[
        int | None, number("N", "With --until decided, the largest number of trials of a row.", 100000)
    ] = None,
    workers: Annotated[int | None, number("N", "How many threads or processes.  [default: all cores]", 2)] = None,
    executor: Annotated[
        str | None, option("KIND", "threads or processes.  [default: by the length of the run]")
    ] = None,
    scheduler: Annotated[str | None, option("ADDRESS", "Run on a Dask cluster, such as tcp://host:8786.")] = None,
    memory: Annotated[
        str | None, option("SIZE", "Memory that the run may take, such as 4GiB.  [default: half of what is free]")
    ] = None,
    resume: Annotated[Path | None, option("FOLDER", "Resume the run that was stopped there.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="With --resume: import the module that the folder names.")
    ] = False,
    out: Annotated[Path | None, option("FOLDER", "Folder of the results.  [default: gpn-output]")] = None,
    details: Annotated[bool, typer.Option("--details", help="Print every event of single layers.")] = False,
    as_json: Json = False,
) -> None:
    """Verify by Monte Carlo that signals and gradients concentrate as the theorem says: the main job.

    SPEC is normalized first. The command prints the findings in a few lines, then tables (--details: every one-layer
    event). It writes results.csv, results.json, figures and the page report.html into the folder --out; with --json,
    only if you give --out.

    Finished chunks are kept there in run.sqlite: --resume continues a run that was stopped, with the same bits. Without
    --width, the run adds widths at which the theorem on the whole network says something.

    Exit code: 0 each question was tested and holds, 1 violated, 3 undecided or not tested, 2 wrong use, 75 workers lost
    or store not writable.

    \b
    Examples:
      gpn verify
      gpn verify gelu --width 64,256 --depth 50 --epsilon 0.2,0.5 --out gelu
      gpn verify tanh --weights gaussian --seed 7
      gpn verify relu --inputs digits
      gpn verify gelu --width 256 --depth 10 --claims one-layer,engine
      gpn verify relu --layers 784,512,10 --gain 1.41 --raw --linear-output
      gpn verify tanh --method dense --width 64 --depth 10
      gpn verify tanh --until decided --cap 1000000
      gpn verify --width 1000000 --depth 200 --trials 3 --memory 4GiB
      gpn verify --width 4096 --depth 1000 --scheduler tcp://host:8786 --out big
      gpn verify --resume big
      gpn verify mymodule:phi
    """
    if trust and resume is None:
        raise UsageError("--trust goes with --resume; it lets the folder name a module to import")
    if labels is not None and inputs is None:
        raise UsageError("--labels belong to --inputs; give both, or --inputs digits, which brings its labels")
    names = ("depth", "trials", "seed", "level", "weights", "derivative", "inputs", "labels", "until", "cap")
    named = locals() | {"widths": width, "epsilons": epsilon}
    given = only_given(named, "widths", "epsilons", "claims", "method", "layers", "residual", *names)
    given |= {"linear_output": True} if linear_output else {}
    for name, numbers_given in (("gain", gain), ("bias", bias)):
        if numbers_given is not None:
            given[name] = numbers_given if len(numbers_given) > 1 else numbers_given[0]
    folder = results_folder(out if resume is None else resumed_folder(resume), as_json)
    if resume is not None:
        agreed = long_run.check_resume(context)
    elif folder is not None:
        long_run.report_unfinished(folder)
    from gpn.report.tables import verification as verification_tables
    from gpn.report.words import commands
    from gpn.verification.resources import Resources
    from gpn.verification.settings import Settings, remembered
    from gpn.verification.verify import run_verification

    with long_run.endings(context):
        with long_run.place(executor, workers, scheduler, memory) as place, progress_bar() as progress:
            call = {"activation": spec, "root": chosen_root(root, raw), **given}
            settings = Settings.read(**call) if resume is None else remembered(resume, None if trust else agreed)
            resources = Resources.read(**place, progress=progress, store=folder, replace_finished=resume is None)
            if resume is not None:
                long_run.report_finished(resume)
            report = run_verification(settings, resources)
        with long_run.after_the_run(folder):
            table, next_step = verification_tables.verification(report, details), commands.after_verify(report)
            answer.deliver(report, table, next_step, as_json=as_json, folder=folder)
    raise typer.Exit(CODES[str(report.verdict.value)])
