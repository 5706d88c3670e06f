"""The command `gpn` without a subcommand: its help, its version, and the order of the commands."""

from typing import Annotated, Any

import typer.core

from gpn._version import __version__

STORY = (
    "check",
    "normalize",
    "verify",
    "width",
    "activations",
    "family",
    "explore",
    "audit",
    "reproduce",
    "train",
)
"""The commands in the order in which a newcomer meets them."""


class _InOrder(typer.core.TyperGroup):
    """A group that lists its commands in the order of `STORY`; typer would put groups of commands last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=STORY.index)


app = typer.Typer(
    cls=_InOrder,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gpn {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _gpn(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Numerical verification of bidirectionally self-normalizing networks.

    \b
    Examples:
      gpn verify                    does the theorem hold? (under a minute)
      gpn check gelu                is GELU Gaussian-Poincare normalized, and
                                    which a, b make it so?
      gpn check mymodule:phi        the same for a function of your own
      gpn normalize silu            the constants, and code to paste
      gpn width tanh --depth 50 --epsilon 0.5       how wide must it be?
      gpn activations               every activation known by name
      gpn family "elu(alpha)" --values 0.5,1        scan over a parameter
      gpn explore                   the same by hand in Jupyter
      gpn audit                     published constants against certified ones
      gpn reproduce gradients       gradient norms of 200 layers: vanishing,
                                    exploding, preserved (minutes)
      gpn train selu --depth 200    does it train? (minutes)
      gpn reproduce training        very deep networks beside their baselines
                                    (twenty minutes)
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
