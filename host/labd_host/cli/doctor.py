"""``labd doctor``: what is there, what is missing, and how to get it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labd_shared.errors import SetupError

if TYPE_CHECKING:
    from rich.table import Table

    from labd_host.doctor.needs import Need


@click.command()
@click.option("--for", "purpose", type=click.Choice(["emu", "hw"]), default="emu", show_default=True,
              help="Fail where something is missing for this target; hw: builds with Vivado.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), metavar="DIR",
              help="hw: where builds are to go; its disk and path are looked at (default: here).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(purpose: str, out: Path, as_json: bool) -> None:
    """Show what labd needs on this machine. Nothing is installed, made or downloaded.

    Fails (3) where something is missing that the target needs.
    """
    from labd_host.doctor.needs import MISSING, labd_needs
    from labd_host.vivado.build_needs import hardware_needs

    groups = {"emu": [*labd_needs(), _stage_cache()], "hw": hardware_needs(out.absolute())}
    demanded = [*groups["emu"], *(groups["hw"] if purpose == "hw" else [])]
    missing = [need.name for need in demanded if need.state == MISSING]
    if as_json:
        click.echo(
            json.dumps({name: [_record(need) for need in needs] for name, needs in groups.items()}, indent=2)
        )
    else:
        _print(groups)
    if missing:
        raise SetupError(
            f"missing for target {purpose}: {', '.join(missing)}",
            fix="the table says how to get each",
            missing=missing,
        )
    if not as_json:
        click.echo(f"\nverdict: all that target {purpose} needs is there")


def _stage_cache() -> Need:
    """How much of its limit the cache of finished stages holds."""
    from labd_host.doctor.needs import OK, Need
    from labd_host.flow.stage_cache import LIMIT_BYTES, cache_folder, held_bytes

    return Need(
        "stage cache", OK, f"{held_bytes() / 1e9:.2f} of {LIMIT_BYTES / 1e9:.1f} GB in {cache_folder()}"
    )


def _record(need: Need) -> dict[str, Any]:
    return {"name": need.name, "state": need.state, "found": need.found, "how": need.how}


def _print(groups: dict[str, list[Need]]) -> None:
    from labd.shown import terminal

    console = terminal()
    console.print(_table("labd: networks, compiling, virtual boards, deploying", groups["emu"]))
    console.print(
        _table("\nBuilds for a real board (--target hw), as far as can be seen before one", groups["hw"])
    )
    wanting = [need for needs in groups.values() for need in needs if need.how]
    if wanting:
        console.print("\n[bold]How to get what is missing[/bold]")
    for need in wanting:  # not in a table: a command that is cut into lines cannot be copied
        console.print(f"{need.name}: {need.how}", soft_wrap=True, markup=False)


def _table(title: str, needs: list[Need]) -> Table:
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "missing": "red", "optional": "yellow"}
    table = Table("", "", "", title=title, title_justify="left", title_style="bold", box=None, pad_edge=False,
                  show_header=False)  # fmt: skip
    for need in needs:
        table.add_row(
            Text(need.state, style=colours[need.state]), need.name, Text(need.found, overflow="fold")
        )
    return table
