"""The command `gpn reproduce`: the paper's experiments."""

from typing import Annotated

import typer

from gpn.cli import answer, long_run
from gpn.cli.options import (
    Dataset,
    Floats,
    Inputs,
    Integers,
    Json,
    Level,
    Results,
    Seed,
    Words,
    number,
    numbers,
    only_given,
    option,
    progress_bar,
    results_folder,
    words,
)

Activations = Annotated[
    Words | None, option("NAME,NAME", "Activations by name.  [default: selu,relu,gelu,tanh]", read=words)
]
Recipes = Annotated[
    Words | None, option("KEY,KEY", "Networks, such as gpn,plain-gaussian.  [default: all nine]", read=words)
]
_FACTORS = "Learning rates to try first, times the default.  [default: 0.25,1,4]"


def training(
    context: typer.Context,
    activations: Activations = None,
    inputs: Dataset = "digits",
    depth: Annotated[Integers | None, numbers("L,L", "Hidden layers.  [default: 10,50,200]", "10,200")] = None,
    recipes: Recipes = None,
    width: Annotated[int | None, number("N", "Width n.  [default: 64]", 64)] = None,
    seeds: Annotated[int | None, number("N", "Measured networks of each kind.  [default: 3]", 3)] = None,
    epochs: Annotated[
        int | None, number("N", "Passes through the data; half to try a rate.  [default: 20]", 20)
    ] = None,
    batch: Annotated[int | None, number("N", "Samples in each step.  [default: 64]", 64)] = None,
    samples: Annotated[
        int | None, number("N", "Largest number of samples to train on, and to test on.  [default: 2000]", 2000)
    ] = None,
    factors: Annotated[Floats | None, numbers("C,C", _FACTORS, "0.5,2")] = None,
    level: Level = 0.95,
    seed: Annotated[int, number("N", "Learning rates are tried with N, networks measured with N+1, ...", 7)] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A small run of seconds: does everything work?")] = False,
    workers: Annotated[int | None, number("N", "Processes.  [default: one on each core]", 2)] = None,
    out: Results = None,
    as_json: Json = False,
) -> None:
    """Train very deep networks on real data: GPN beside plain activations, Gaussian weights, batch norm and Adam.

    Every kind of network tries the same learning rates on validation samples. Then networks with other seeds are
    trained and tested. A network that fails is shown as failed. The default takes about twenty minutes on two cores.

    The command writes training.csv, training-runs.csv, training-curves.csv, training.json and three figures into the
    folder --out; with --json, only if you give --out. Finished runs are kept there, and the same command resumes.

    \b
    Exit code: 0, 2 wrong use, 75 lost workers or a full disk.

    \b
    Examples:
      gpn reproduce training --quick
      gpn reproduce training --activations selu,elu --out selu-elu
      gpn reproduce training --inputs mnist/ --depth 10,200 --recipes gpn,plain-gaussian
    """
    folder = results_folder(out, as_json)
    names = ("activations", "recipes", "width", "seeds", "epochs", "batch", "samples", "factors")
    given = only_given(locals() | {"depths": depth}, "depths", *names)
    fixed = {
        "inputs": inputs,
        "level": level,
        "seed": seed,
        "workers": workers,
        "store": folder,
        "replace_finished": True,
    }
    from gpn.report.tables import comparison as tables
    from gpn.reproduction.comparison import QUICK
    from gpn.reproduction.reproduce import reproduce

    if folder is not None:
        long_run.report_unfinished(folder)
    with long_run.endings(context):
        with progress_bar(announced=True) as progress:
            report = reproduce("training", **{**(QUICK if quick else {}), **given, **fixed}, progress=progress)
        answer.deliver(report, tables.comparison(report), None, as_json=as_json, folder=folder)


app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _experiments(context: typer.Context) -> None:
    """Run the experiments of the paper, and compare them with what theory predicts.

    \b
    Examples:
      gpn reproduce gradients
      gpn reproduce gradients --activations tanh,relu --depth 100 --out figures
      gpn reproduce training --quick
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(short_help="Measure gradient norms by layer at initialization.")
def gradients(
    context: typer.Context,
    activations: Annotated[
        Words | None,
        option("SPEC,SPEC", "Names or formulas.  [default: tanh,relu,leaky_relu,elu,selu,gelu]", read=words),
    ] = None,
    width: Annotated[int, number("N", "Width n.", 500)] = 500,
    depth: Annotated[int, number("L", "Depth L.", 200)] = 200,
    trials: Annotated[int, number("N", "Networks of each kind; a fiftieth with batch normalization.", 300)] = 300,
    batch: Annotated[int, number("K", "Inputs of a network with batch normalization.", 64)] = 64,
    batches: Annotated[
        Integers | None,
        numbers("K,K", "Batch sizes of the table of growth, or none.  [default: 8,16,32,64,128]", "8,32", none=True),
    ] = None,
    inputs: Inputs = None,
    level: Level = 0.99,
    seed: Seed = 0,
    workers: Annotated[int | None, number("N", "How many processes.  [default: all cores]", 2)] = None,
    out: Results = None,
    as_json: Json = False,
) -> None:
    """Measure |dE/dW_l|_F by layer at initialization, for every activation of the paper.

    Each activation is taken as it is, normalized (root auto, and the other root if it behaves differently), and with
    batch normalization; with Haar and with Gaussian weights. Beside them stand the band and the rates that theory
    predicts. The default takes one to three minutes.

    The command writes gradients.csv, gradients-layers.csv, gradients-batch-normalization.csv, gradients.json and a
    figure into the folder --out; with --json, only if you give --out. Finished work is kept there, and the same command
    resumes.

    Exit code: 0, 2 wrong use, 75 lost workers or a full disk.

    \b
    Examples:
      gpn reproduce gradients
      gpn reproduce gradients --activations tanh,silu --depth 100 --batches none
      gpn reproduce gradients --inputs digits --out digits
    """
    folder = results_folder(out, as_json)
    names = ("activations", "width", "depth", "trials", "batch", "batches", "inputs", "level", "seed", "workers")
    given = only_given(locals(), *names) | {"store": folder, "replace_finished": True}
    from gpn.report.tables import gradients as tables
    from gpn.report.words import commands
    from gpn.reproduction.reproduce import reproduce

    if folder is not None:
        long_run.report_unfinished(folder)
    with long_run.endings(context):
        with progress_bar(announced=True) as progress:
            report = reproduce("gradients", **given, progress=progress)
        next_step = commands.after_gradients(report)
        answer.deliver(report, tables.gradients(report), next_step, as_json=as_json, folder=folder)


app.command("training", short_help="Train very deep networks on real data.")(training)


@app.command("table-1", short_help="Train as for the paper's Table 1, its numbers beside ours.")
def table_1(
    context: typer.Context,
    activations: Annotated[
        Words | None,
        option("SPEC,SPEC", "Names or formulas.  [default: tanh,relu,leaky_relu,elu,selu,quick_gelu]", read=words),
    ] = None,
    inputs: Dataset = "digits",
    width: Annotated[int | None, number("N", "Width n; the paper has 500.  [default: 64]", 64)] = None,
    depth: Annotated[int | None, number("L", "Layers n x n; the paper has 200.  [default: 200]", 200)] = None,
    epochs: Annotated[
        int | None, number("N", "Passes through the data; the paper has 50 or 100.  [default: 5]", 5)
    ] = None,
    samples: Annotated[
        int | None, number("N", "Largest number to train on, and to test on.  [default: 2000]", 2000)
    ] = None,
    learning_rate: Annotated[
        float | None, number("R", "Constant learning rate.  [default: 10 / (N L)]", 0.0001)
    ] = None,
    seed: Annotated[int, number("N", "Seed of the weights and of the order of the samples.", 7)] = 0,
    workers: Annotated[int | None, number("N", "Processes.  [default: one on each core]", 2)] = None,
    out: Results = None,
    as_json: Json = False,
) -> None:
    """Train the networks of the paper's Table 1 in its setting: unit rows, momentum 0.5, standardized pixels.

    Each activation is trained as it is, normalized, and with batch normalization. The command writes table-1.csv and
    table-1.json into the folder --out; with --json, only if you give --out. Finished runs are kept there, and the same
    command resumes. The default takes minutes, the full size days.

    Exit code: 0, 2 wrong use, 75 lost workers or a full disk.

    \b
    Examples:
      gpn reproduce table-1 --activations tanh,relu --depth 50
      gpn reproduce table-1 --inputs mnist/ --samples 60000 --width 500 --epochs 50 --out table
    """
    folder = results_folder(out, as_json)
    names = ("activations", "width", "depth", "epochs", "samples", "learning_rate")
    given = only_given(locals(), *names)
    fixed = {"inputs": inputs, "seed": seed, "workers": workers, "store": folder, "replace_finished": True}
    from gpn.report.tables import table_1 as tables
    from gpn.reproduction.reproduce import reproduce

    if folder is not None:
        long_run.report_unfinished(folder)
    with long_run.endings(context):
        with progress_bar(announced=True) as progress:
            report = reproduce("table-1", **given, **fixed, progress=progress)
        answer.deliver(report, tables.table_1(report), None, as_json=as_json, folder=folder)
