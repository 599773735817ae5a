"""What the commands share: their options, and the one place where an error becomes an exit code."""

import argparse
import os
import sys
from typing import Any, Callable, List, NamedTuple, Optional, TextIO

from labd_board.accelerator import DEFAULT_BATCH
from labd_board.device import Device
from labd_shared.errors import INTERRUPTED, LabdError
from labd_shared.wire import ERRORS_VARIABLE, dump_error, dump_line


class Output(NamedTuple):
    """Where a command's words go: with ``--json`` standard output holds the JSON alone."""

    lines: TextIO
    json: Optional[TextIO]

    def line(self, text: str) -> None:
        """One line for people."""
        self.lines.write(text + "\n")
        self.lines.flush()  # the other end of an SSH connection is watching

    def progress(self, text: str) -> None:
        """A line about how it goes: always on standard error."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def result(self, record: Any) -> None:
        """The result for programs, if they asked for it."""
        if self.json is not None:
            self.json.write(dump_line(record) + "\n")
            self.json.flush()


class Arguments(argparse.ArgumentParser):
    """Options every command has; those that run the accelerator take a bundle."""

    def __init__(self, name: str, description: str, bundle: bool = True) -> None:
        super(Arguments, self).__init__(
            prog="python3 -m labd_board." + name,
            description=description,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        self.add_argument(
            "--json", action="store_true", help="the result as JSON on standard output, the rest on stderr"
        )
        if bundle:
            self.add_argument(
                "--bundle", metavar="PATH", help="a bundle, folder or .zip (default: the current release's)"
            )

    def add_batchsize(self) -> None:
        """``--batchsize``: any number, it need not divide anything."""
        self.add_argument(
            "--batchsize", type=positive, default=DEFAULT_BATCH, metavar="N", help="frames a run"
        )

    def add_dataset(self) -> None:
        """``--dataset``, ``--data`` and ``--limit``."""
        self.add_argument(
            "--dataset",
            metavar="NAME",
            help="data set, npz:FILE (images, labels) or dir:FOLDER (a sub-folder for each class); "
            "default: the one the bundle was trained for",
        )
        self.add_data_folder()
        self.add_argument("--limit", type=positive, metavar="N", help="only the first N images")

    def add_data_folder(self) -> None:
        """``--data``."""
        self.add_argument(
            "--data",
            metavar="FOLDER",
            help="where data sets lie (default: LABD_DATASETS, then the deployed ones)",
        )


def positive(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("{} is not 1 or more".format(number))
    return number


Body = Callable[[argparse.Namespace, Device, Output], None]


def run(
    parser: Arguments, body: Body, argv: Optional[List[str]] = None, device: Optional[Device] = None
) -> int:
    """Parse *argv*, run *body* on *device* (the board's own when None); the exit code, as `run_plain`."""

    def on_device(wanted: argparse.Namespace, output: Output) -> None:
        if device is not None:
            body(wanted, device, output)
            return
        from labd_board.pynq_device import PynqDevice

        body(wanted, PynqDevice(), output)

    return run_plain(parser, on_device, argv)


def run_plain(
    parser: Arguments,
    body: Callable[[argparse.Namespace, Output], None],
    argv: Optional[List[str]] = None,
) -> int:
    """Parse *argv*, run *body*, which needs no device; the exit code.

    Our errors become one message and their exit code; anything else is a bug and rises.
    """
    wanted = parser.parse_args(argv)
    output = Output(sys.stderr, sys.stdout) if wanted.json else Output(sys.stdout, None)
    try:
        body(wanted, output)
        return 0
    except LabdError as error:
        sys.stdout.flush()
        wire = os.environ.get(ERRORS_VARIABLE) == "wire"
        sys.stderr.write((dump_error(error) if wire else str(error)) + "\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the next run programs the logic again\n")
        return INTERRUPTED
