"""The command `gpn reproduce training`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gpn import long_run
from gpn.cli_options import Json, number, numbers, only_given, option, progress_bar, results_folder, save_report, words


def training(
    activations: Annotated[str | None, option("NAME,NAME", "Of the catalog.  [default: selu,relu,gelu,tanh]")] = None,
    data: Annotated[
        str, option("DATA", "digits, a folder with MNIST, Fashion-MNIST or CIFAR-10, or a file .npz.")
    ] = "digits",
    depth: Annotated[str | None, option("L,L", "Hidden layers.  [default: 10,50,200]")] = None,
    recipes: Annotated[
        str | None, option("KEY,KEY", "Which networks, as gpn,plain-gaussian.  [default: all eight]")
    ] = None,
    width: Annotated[str | None, option("N", "Width n.  [default: 64]")] = None,
    seeds: Annotated[str | None, option("N", "Measured networks of each kind.  [default: 3]")] = None,
    epochs: Annotated[str | None, option("N", "Passes through the data; half to try a rate.  [default: 20]")] = None,
    batch: Annotated[str | None, option("N", "Samples of a step.  [default: 64]")] = None,
    samples: Annotated[str | None, option("N", "The most to train on and to test.  [default: 2000]")] = None,
    factors: Annotated[
        str | None, option("C,C", "Learning rates to try, times the default.  [default: 0.03125,0.125,0.5,2,8]")
    ] = None,
    level: Annotated[str, option("P", "Confidence level of each interval.")] = "0.95",
    seed: Annotated[str, option("N", "Learning rates are tried with N, networks measured with N+1, ...")] = "0",
    quick: Annotated[bool, typer.Option("--quick", help="A small run of seconds: does everything work?")] = False,
    workers: Annotated[str | None, option("N", "Processes.  [default: one on each core]")] = None,
    out: Annotated[Path | None, option("FOLDER", "Folder of the results.  [default: gpn-output]")] = None,
    as_json: Json = False,
) -> None:
    """Train very deep networks on real data: GPN beside plain activations, Gaussian weights, batch norm and Adam.

    Every kind of network tries the same learning rates on validation samples, then networks with other seeds are
    trained and tested. What fails is shown failing. Writes training.csv, training-runs.csv, training-curves.csv,
    training.json and three figures into the folder --out; with --json only if --out is given. Finished runs are kept
    there: the same command goes on where it was stopped. The default takes about twenty minutes on two cores.

    \b
    Exit code: 0, 2 wrong use, 75 lost workers or a full disk.

    \b
    Examples:
      gpn reproduce training --quick
      gpn reproduce training --activations selu,elu --out selu-elu
      gpn reproduce training --data mnist/ --depth 10,200 --recipes gpn,plain-gaussian
    """
    folder = results_folder(out, as_json)
    options = only_given(
        activations=words(activations),
        depths=numbers("--depth", depth, int, "10,200"),
        recipes=words(recipes),
        width=number("--width", width, int, "64"),
        seeds=number("--seeds", seeds, int, "3"),
        epochs=number("--epochs", epochs, int, "20"),
        batch=number("--batch", batch, int, "64"),
        samples=number("--samples", samples, int, "2000"),
        factors=numbers("--factors", factors, float, "0.5,2"),
    )
    fixed = {
        "data": data,
        "level": number("--level", level, float, "0.95"),
        "seed": number("--seed", seed, int, "7"),
        "workers": number("--workers", workers, int, "2"),
        "store": folder,
        "replace_finished": True,
    }
    from gpn import comparison_tables, tables
    from gpn.comparison import QUICK
    from gpn.reproduction import reproduce

    if folder is not None:
        long_run.speak_of_unfinished(folder)
    with long_run.endings():
        with progress_bar() as progress:
            report = reproduce("training", **{**(QUICK if quick else {}), **options, **fixed}, progress=progress)
        tables.emit_json(report.to_dict()) if as_json else tables.show(comparison_tables.comparison(report))
        if folder is not None:
            save_report(report, folder, sys.stderr if as_json else None)
