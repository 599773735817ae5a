"""``labd``: the one place where the command line meets the library and errors become exit codes."""

from __future__ import annotations

import importlib
import sys

import click

from labd_shared import __version__
from labd_shared.errors import INTERRUPTED, LabdError, unknown_name

# name -> module of this package, attribute, one line for --help: nothing is imported before it is used.
COMMANDS = {
    "attach-network": ("build", "attach_network", "Add a golden model to a bundle, for virtual boards."),
    "board": ("board", "board", "Virtual boards on this machine."),
    "build": ("build", "build", "From a trained network to a bundle."),
    "calibrate": ("calibrate", "calibrate", "Learn from finished builds what layers cost."),
    "compare": ("compare", "compare", "The images on which two runs differ, with pictures."),
    "compile": ("compile", "compile_", "A network through FINN, every stage proven."),
    "demo": ("demo", "demo", "The whole road once, ending on a virtual board."),
    "doctor": ("doctor", "doctor", "What labd needs on this machine, and how to get what is missing."),
    "estimate": ("estimate", "estimate", "Cycles, rate and bottleneck of a folding, before it is built."),
    "evaluate": (
        "evaluate",
        "evaluate",
        "The accuracy of a trained export, in floating point (onnxruntime).",
    ),
    "experiments": ("experiments", "experiments", "A study of foldings: predicted, simulated, compared."),
    "explore": ("explore", "explore", "The best folding of a network within budgets."),
    "export": ("interchange", "export", "A bundle as the folder FINN's own driver expects."),
    "import": ("interchange", "import_", "A bundle from somebody else's FINN design."),
    "inspect": ("inspect", "inspect", "Show a bundle, deploy folder, .bit, .hwh, .onnx or network.npz."),
    "networks": ("networks", "networks", "The networks there are."),
    "simulate": ("simulate", "simulate", "A folded network cycle by cycle: latency, rate, FIFOs, stalls."),
    "train": ("train", "train", "Train a network of the table."),
    "validate": ("validate", "validate", "What a board would score: the golden model, bit by bit."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            raise unknown_name("command", cmd_name, COMMANDS, fix="labd --help")
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"labd_host.cli.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"labd_host.cli.{module}.{attribute} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="labd")
def labd() -> None:
    """From a quantized neural network to a proven FINN accelerator on a PYNQ-Z2."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code of the error tree."""
    try:
        labd.main(arguments, prog_name="labd", standalone_mode=False)
    except LabdError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    return 0


def main() -> None:
    """The entry point of the ``labd`` script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
