"""``labd``: the one place where the command line meets the library and errors become exit codes."""

from __future__ import annotations

import importlib
import sys

import click
from click.shell_completion import CompletionItem

from labd_shared import __version__
from labd_shared.errors import INTERRUPTED, LabdError, unknown_name

# name -> module of this package, attribute, one line for --help: nothing is imported before it is used.
COMMANDS = {
    "attach-network": ("build", "attach_network", "Add a golden model to a bundle, for virtual boards."),
    "board": ("board", "board", "Virtual boards on this machine: up, down, ssh, list."),
    "boards": ("on_boards", "boards", "Which boards there are, what runs on them, and who has them."),
    "build": ("build", "build", "From a trained network to a bundle."),
    "calibrate": ("calibrate", "calibrate", "Learn from finished builds what layers cost."),
    "classify": ("on_boards", "classify", "What a board sees in pictures of this machine."),
    "compare": ("compare", "compare", "The images on which two runs differ, with pictures."),
    "compile": ("compile", "compile_", "A network through FINN, every stage proven."),
    "completion": ("completion", "completion", "The Tab key completes labd, in bash, zsh or fish."),
    "data": ("on_boards", "data", "Send a data set to a board."),
    "demo": ("demo", "demo", "The whole road once, ending on a virtual board."),
    "deploy": ("on_boards", "deploy", "A bundle to a board, proven there, rolled back when wrong."),
    "doctor": ("doctor", "doctor", "What labd needs on this machine, and how to get what is missing."),
    "enroll": ("on_boards", "enroll", "Trust the host key a board presents, once it was compared."),
    "estimate": ("estimate", "estimate", "Cycles, rate and bottleneck of a folding, before it is built."),
    "evaluate": ("evaluate", "evaluate", "The accuracy of a trained export, in floating point."),
    "experiments": ("experiments", "experiments", "A study of foldings: predicted, simulated, compared."),
    "explore": ("explore", "explore", "The best folding of a network within budgets."),
    "export": ("interchange", "export", "A bundle as the folder FINN's own driver expects."),
    "import": ("interchange", "import_", "A bundle from somebody else's FINN design."),
    "info": ("on_boards", "info", "What a board is and what is deployed on it."),
    "inspect": ("inspect", "inspect", "Show a bundle, deploy folder, .bit, .hwh, .onnx or network.npz."),
    "networks": ("networks", "networks", "The networks there are."),
    "rollback": ("on_boards", "rollback", "A board goes back to the release before."),
    "selftest": ("on_boards", "selftest", "Does a board compute exactly what the golden model does?"),
    "setup": ("on_boards", "setup", "Once per board: its Python finds the current release."),
    "simulate": ("simulate", "simulate", "A folded network cycle by cycle: latency, rate, FIFOs, stalls."),
    "throughput": ("on_boards", "throughput", "How fast a deployed accelerator is."),
    "train": ("train", "train", "Train a network of the table."),
    "validate": ("validate", "validate", "The accuracy of the golden model, or of boards with --board."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:  # the Tab key asks, and wants no words
                return None
            raise unknown_name("command", cmd_name, COMMANDS, fix="labd --help")
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"labd_host.cli.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"labd_host.cli.{module}.{attribute} is no command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands from the table: nothing is imported for the Tab key."""
        named = [
            CompletionItem(name, help=COMMANDS[name][2]) for name in COMMANDS if name.startswith(incomplete)
        ]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

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
