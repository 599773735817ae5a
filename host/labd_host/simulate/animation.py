"""A simulated run as a page to step through: each unit's state and each FIFO's level, cycle by cycle.

The page is a file of its own that loads nothing. Its one script, animation.js, is in it; the content
security policy allows that script by its digest and no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from labd_host.drawing.markup import element, html
from labd_host.simulate.run_picture import LEGEND
from labd_host.simulate.simulator import STATES, Simulation

SPEEDS = (1, 5, 20, 100)  # steps a second
DEFAULT_SPEED = 20
STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1c2129; --soft: #5a6472; --line: #c4cad2;
  --working: #2f9e62; --starved: #f8e2a4; --blocked: #c8372d; --idle: #e4e7eb; --words: #3b7dd8;
  --on-strong: #ffffff; --on-weak: #1c2129; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1115; --card: #15181d; --ink: #e8ebf0; --soft: #a3adba;
  --line: #3a414c; --idle: #2a2f37; --starved: #8a6d1d; --on-weak: #ffffff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 16px; }
h1 { font-size: 22px; margin: 4px 0; overflow-wrap: anywhere; }
p { margin: 4px 0 12px; color: var(--soft); }
.controls { position: sticky; top: 0; padding: 10px 0; background: var(--page); display: flex; flex-wrap: wrap;
  gap: 8px; align-items: center; z-index: 1; }
.controls input { flex: 1 1 260px; }
button, select { font: inherit; padding: 4px 10px; }
output { min-width: 22ch; font-variant-numeric: tabular-nums; }
ol { list-style: none; margin: 0; padding: 0; }
.unit { display: flex; justify-content: space-between; gap: 12px; padding: 3px 10px; border-radius: 5px;
  border: 1px solid var(--line); background: var(--idle); color: var(--on-weak); }
.unit[data-state="working"] { background: var(--working); color: var(--on-strong); }
.unit[data-state="starved"] { background: var(--starved); color: var(--on-weak); }
.unit[data-state="blocked"] { background: var(--blocked); color: var(--on-strong); }
.name { overflow-wrap: anywhere; }
.fifo { display: flex; align-items: center; gap: 10px; padding: 2px 10px 2px 34px; font-size: 12px;
  color: var(--soft); font-variant-numeric: tabular-nums; }
.fifo .level { flex: 0 0 240px; height: 9px; border: 1px solid var(--line); border-radius: 4px; overflow: hidden;
  background: var(--card); }
.fifo .level div { height: 100%; width: 0; background: var(--words); }
"""


def page(run: Simulation, clock_mhz: float) -> str:
    """*run*, which has a trace, as an HTML page."""
    script = resources.files("labd_host.simulate").joinpath("animation.js").read_text(encoding="utf-8")
    root = element(None, "html", lang="en")
    _head(root, run, script)
    main = element(element(root, "body"), "main")
    element(main, "h1", f"{run.machine.name}, cycle by cycle")
    element(main, "p", _lead(run, clock_mhz))
    _controls(main, _rows(run))
    chain = element(main, "ol")
    for unit in run.machine.units:
        item = element(chain, "li")
        box = element(item, "div", class_="unit", data_state="idle")
        element(box, "span", unit.name, class_="name")
        element(box, "span", "", class_="state")
        for index in unit.outputs:
            fifo = run.machine.fifos[index]
            level = element(item, "div", class_="fifo")
            element(element(level, "div", class_="level"), "div")
            element(level, "span", "", class_="words")
            element(level, "span", fifo.name, class_="name")
    data = element(main, "script", type="application/json", id="run")
    data.text = json.dumps(_record(run), separators=(",", ":"))  # numbers and words of ours, no names
    element(main, "script").text = script
    return html(root)


def _head(root: Element, run: Simulation, script: str) -> None:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(root, "head")
    element(head, "meta", charset="utf-8")
    element(head, "meta", http_equiv="Content-Security-Policy", content=policy)
    element(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    element(head, "title", f"{run.machine.name}, cycle by cycle")
    element(head, "style").text = STYLE


def _controls(main: Element, rows: int) -> None:
    controls = element(main, "div", class_="controls")
    for name, label, meaning in (
        ("back", "◀", "one step back"),
        ("play", "Play", "play or pause"),
        ("forward", "▶", "one step forward"),
    ):
        element(controls, "button", label, id=name, type="button", title=meaning)
    element(
        controls, "input", id="step", type="range", min=0, max=rows - 1, value=0, aria_label="clock cycle"
    )
    speed = element(controls, "select", id="speed", aria_label="steps a second")
    for each in SPEEDS:
        option = element(speed, "option", f"{each} steps/s", value=each)
        if each == DEFAULT_SPEED:
            option.set("selected", "selected")
    element(controls, "output", "", id="now")


def _lead(run: Simulation, clock_mhz: float) -> str:
    steps = "every step is a clock cycle"
    if run.trace is not None and run.trace.bucket_cycles > 1:
        steps = (
            f"a step sums up {run.trace.bucket_cycles} clock cycles: what a unit did most, and the most words a "
            f"FIFO held"
        )
    return f"{len(run.finished)} frames, {run.cycles:,} cycles at {clock_mhz:g} MHz; {steps}."


def _rows(run: Simulation) -> int:
    if run.trace is None:
        raise ValueError("the run was not traced")
    return len(run.trace.units)


def _record(run: Simulation) -> dict[str, Any]:
    """What the script needs: a digit a step for each unit, a number a step for each FIFO."""
    trace = run.trace
    if trace is None:
        raise ValueError("the run was not traced")
    shown = [unit.outputs for unit in run.machine.units]
    order = [index for outputs in shown for index in outputs]  # the FIFOs in the order of the page
    return {
        "cyclesPerStep": trace.bucket_cycles,
        "cycles": run.cycles,
        "states": list(STATES),
        "said": [LEGEND[state] for state in STATES],
        "units": ["".join(map(str, steps)) for steps in np.argmax(trace.units, axis=2).T],
        "fifos": [trace.fifos[:, index].tolist() for index in order],
        "depths": [run.machine.fifos[index].depth for index in order],
        "finished": run.finished.tolist(),
    }
