"""The command `gpn reproduce`: the paper's experiments."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gpn import cli_comparison
from gpn.cli_options import Json, number, numbers, only_given, option, progress_bar, results_folder, save_report, words

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _experiments(context: typer.Context) -> None:
    """Run the experiments of the paper, and set what is measured beside what theory predicts.

    \b
    Examples:
      gpn reproduce gradients
      gpn reproduce gradients --activations tanh,relu --depth 100 --out figures
      gpn reproduce training --quick
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(short_help="Gradient norm by layer at initialization.")
def gradients(
    activations: Annotated[
        str | None, option("SPEC,SPEC", "Names or formulas.  [default: tanh,relu,leaky_relu,elu,selu,gelu]")
    ] = None,
    width: Annotated[str, option("N", "Width n.")] = "500",
    depth: Annotated[str, option("L", "Depth L.")] = "200",
    trials: Annotated[str, option("N", "Networks of each kind; a fiftieth with batch normalization.")] = "300",
    batch: Annotated[str, option("K", "Inputs of a network with batch normalization.")] = "64",
    batches: Annotated[str, option("K,K", "Batch sizes of the table of growth; none for no table.")] = "8,16,32,64,128",
    data: Annotated[str | None, option("DATA", "Real inputs: digits, or a file .npy or .npz.")] = None,
    level: Annotated[str, option("P", "Confidence level of each interval.")] = "0.99",
    seed: Annotated[str, option("N", "The same seed gives the same bits with any --workers.")] = "0",
    workers: Annotated[str | None, option("N", "Threads.  [default: all cores]")] = None,
    out: Annotated[Path | None, option("FOLDER", "Folder of the results.  [default: gpn-output]")] = None,
    as_json: Json = False,
) -> None:
    """Measure |dE/dW_l|_F by layer at initialization, for every activation of the paper.

    As it is, normalized (root auto, and the other root where it behaves differently), with Haar and Gaussian weights,
    and with batch normalization; beside them the band and the rates that theory predicts. Writes gradients.csv,
    gradients-layers.csv, gradients-batch-normalization.csv, gradients.json and a figure into the folder --out; with
    --json only if --out is given. The default takes one to three minutes.

    Exit code: 0, 2 wrong use.

    \b
    Examples:
      gpn reproduce gradients
      gpn reproduce gradients --activations tanh,silu --depth 100 --batches none
      gpn reproduce gradients --data digits --out digits
    """
    folder = results_folder(out, as_json)
    options = only_given(
        activations=words(activations),
        width=number("--width", width, int, "500"),
        depth=number("--depth", depth, int, "200"),
        trials=number("--trials", trials, int, "300"),
        batch=number("--batch", batch, int, "64"),
        batches=[] if batches == "none" else numbers("--batches", batches, int, "8,32"),
        level=number("--level", level, float, "0.99"),
        seed=number("--seed", seed, int, "7"),
        workers=number("--workers", workers, int, "2"),
        data_set=data,
    )
    from gpn import gradient_tables, next_steps, tables
    from gpn.reproduction import reproduce

    with progress_bar() as progress:
        report = reproduce("gradients", **options, progress=progress)
    if as_json:
        tables.emit_json(report.to_dict())
    else:
        tables.show(gradient_tables.gradients(report))
        tables.show_next(next_steps.after_gradients(report))
    if folder is not None:
        save_report(report, folder, sys.stderr if as_json else None)


app.command("training", short_help="Very deep networks trained on real data.")(cli_comparison.training)
