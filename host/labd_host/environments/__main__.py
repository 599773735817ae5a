"""``python3 -m labd_host.environments``: make or list environments, before anything is installed."""

from __future__ import annotations  # an older python3 may start this; it looks for a newer one

import argparse
import shutil
import sys
from pathlib import Path

from labd_host import environments
from labd_host.machine import places
from labd_host.machine.listener import Listener
from labd_shared.errors import LabdError


def main() -> int:
    """Parse the command line and do it; the exit code of the error tree."""
    parser = argparse.ArgumentParser(prog="python3 -m labd_host.environments", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    ensure = actions.add_parser("ensure", help="make it where it is missing; print its Python")
    ensure.add_argument("name")
    ensure.add_argument("--where", type=Path, help="its folder (default: the user's data folder)")
    ensure.add_argument(
        "--optional", action="store_true", help="it cannot be had here: say so, print nothing, succeed"
    )
    python = actions.add_parser("python", help="print its Python where it is ready, nothing where not")
    python.add_argument("name")
    actions.add_parser("list", help="which are there")
    actions.add_parser("remove", help="delete all of them in the user's data folder")
    wanted = parser.parse_args()
    try:
        if wanted.action == "ensure":
            return _ensure(wanted.name, wanted.where, optional=wanted.optional)
        if wanted.action == "python":
            chosen = environments.environment(wanted.name)
            if environments.is_ready(chosen, where := environments.folder(chosen)):
                sys.stdout.write(f"{where / 'bin' / 'python'}\n")
            return 0
        if wanted.action == "remove":
            shutil.rmtree(places.home() / "environments", ignore_errors=True)
            return 0
        for each in environments.ENVIRONMENTS.values():
            where = environments.folder(each)
            state = "ready" if environments.is_ready(each, where) else "not made"
            sys.stdout.write(f"{each.name:6} {state:9} {where}  ({each.purpose})\n")
        return 0
    except LabdError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


class Announcer(Listener):
    """Lines on standard error."""

    def say(self, line: str) -> None:
        sys.stderr.write(line + "\n")


def _ensure(name: str, where: Path | None, *, optional: bool) -> int:
    try:
        if optional:
            environments.check(environments.environment(name))
        python = environments.ensure(name, where=where, listener=Announcer())
    except LabdError as error:
        if not optional or error.exit_code != 3:
            raise
        Announcer().say(f"skipped: {error.what}")
        return 0
    sys.stdout.write(f"{python}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
