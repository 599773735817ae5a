"""``labd completion``, and what the Tab key offers where a command takes a network or a board."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete

from labd_shared.errors import LabdError, UsageError
from labd_shared.files import write_text

_COMPLETES = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
SHELLS = tuple(_COMPLETES)
MARK = "# labd completion"
# zsh completes nothing before its compinit ran, which a bare ~/.zshrc never calls.
_ZSH_READY = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"


@click.command()
@click.argument("shell", required=False, type=click.Choice(SHELLS))
def completion(shell: str | None) -> None:
    """Let the Tab key complete labd's commands, options, networks and boards.

    SHELL is yours where none is given ($SHELL). A script is written into your home and, for bash and
    zsh, one line into the file that they start with. Doing it again changes nothing.
    """
    from labd_host.cli.main import labd

    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise UsageError(
            f"your shell is {shell or 'not named in $SHELL'}; labd completes in {', '.join(SHELLS)}",
            fix="labd completion bash",
        )
    script = _COMPLETES[shell](labd, {}, "labd", "_LABD_COMPLETE").source()
    written = _script_file(shell)
    written.parent.mkdir(parents=True, exist_ok=True)
    write_text(written, (_ZSH_READY if shell == "zsh" else "") + script)
    click.echo(f"written: {written}")
    start = _start_file(shell)
    if start is not None and _add_line(start, f'. "{written}"  {MARK}'):
        click.echo(f"one line added to {start}")
    click.echo("the Tab key completes labd in the next shell you open")


def _script_file(shell: str) -> Path:
    from labd_host.machine.places import home

    if shell == "fish":  # it reads this folder by itself
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return Path(config) / "fish" / "completions" / "labd.fish"
    return home() / f"completion.{shell}"


def _start_file(shell: str) -> Path | None:
    if shell == "fish":
        return None
    folder = Path(os.environ.get("ZDOTDIR") or Path.home()) if shell == "zsh" else Path.home()
    return folder / f".{shell}rc"


def _add_line(path: Path, line: str) -> bool:
    """Make *line* the one line of *path* that ends in the mark; False where it stands there."""
    path = path.resolve()  # a link into a folder of dotfiles stays one
    text = path.read_text() if path.exists() else ""
    kept = [old for old in text.splitlines() if not old.endswith(MARK)]
    if line in text.splitlines():
        return False
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    write_text(path, "\n".join([*kept, line]) + "\n", mode)
    return True


def networks_or_files(_context: click.Context, _option: click.Parameter, begun: str) -> list[CompletionItem]:
    """The networks whose name begins so; where none does, the shell's own files."""
    from labd_host.networks import NETWORKS

    names = [
        CompletionItem(name, help=entry.dataset) for name, entry in NETWORKS.items() if name.startswith(begun)
    ]
    return names or [CompletionItem(begun, type="file")]


def board_numbers(_context: click.Context, _option: click.Parameter, begun: str) -> list[CompletionItem]:
    """The boards of the inventory in force; none where there is no inventory to read."""
    from labd_host.remote import inventory

    try:
        numbers = inventory.load().numbers()
    except LabdError:  # this is no place to say so
        return []
    return [CompletionItem(number) for number in numbers if number.startswith(begun)]
