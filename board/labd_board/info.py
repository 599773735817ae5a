"""``python3 -m labd_board.info``: what this board is and what is deployed on it."""

import argparse
import os
import platform
import sys
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from labd_board import session
from labd_board.command import Arguments, Output, run
from labd_board.device import Device
from labd_shared import __version__
from labd_shared.errors import LabdError

# The end of a fact's name, the unit it is shown in, and what one of the first is in the second.
_UNITS = (
    ("_frames_per_s", "frames/s", 1.0),
    ("_bytes", "MB", 1e-6),
    ("_percent", "%", 1.0),
    ("_mhz", "MHz", 1.0),
    ("_ns", "ns", 1.0),
    ("_c", "C", 1.0),
)


def system_facts() -> Dict[str, Any]:
    """What can be said without touching the logic."""
    release = session.current_release()
    return {
        "labd_board": __version__,
        "python": platform.python_version(),
        "numpy": str(np.__version__),
        "machine": platform.machine(),
        "board": _first_line("/proc/device-tree/chosen/pynq_board") or os.environ.get("BOARD"),
        "image": _first_line("/etc/pynq_version") or _first_line("/home/xilinx/REVISION"),
        "memory_bytes": _memory_bytes(),
        "release": None if release is None else release.name,
    }


def body(wanted: argparse.Namespace, device: Device, output: Output) -> None:
    """The command: every fact that can be had; what cannot is said, it is no failure."""
    facts = system_facts()
    try:
        facts["device"] = device.facts()
    except LabdError as error:
        facts["device"] = None
        facts["device_problem"] = error.to_wire()
    finally:
        device.close()
    try:
        manifest = session.find_bundle(wanted.bundle).manifest
        facts["bundle"] = {
            "network": manifest.network,
            "dataset": manifest.dataset,
            "target": manifest.target,
            "part": manifest.part,
            "clock_mhz": manifest.clock_mhz,
            "expected_frames_per_s": manifest.expected.frames_per_s,
            "accuracy_percent": None if manifest.accuracy is None else manifest.accuracy.top1_percent,
        }
        if manifest.slack_ns is not None:
            facts["bundle"]["slack_ns"] = manifest.slack_ns
    except LabdError as error:
        facts["bundle"] = None
        facts["bundle_problem"] = error.to_wire()
    for line in _lines(facts):
        output.line(line)
    output.result(facts)


def _lines(facts: Dict[str, Any], indent: str = "") -> Iterator[str]:
    """One fact a line, in its unit; those of the device and of the bundle stand below its name."""
    for key in sorted(facts):
        value = facts[key]
        if isinstance(value, dict) and "what" not in value:
            yield indent + key.replace("_", " ")
            for line in _lines(value, indent + "  "):
                yield line
        else:
            name, shown = _in_its_unit(key, value)
            yield "{:<24} {}".format(indent + name, shown)


def _in_its_unit(key: str, value: Any) -> Tuple[str, str]:
    """What a fact is called and how it reads: clock_mhz, 100.0 is "clock", "100 MHz"."""
    if isinstance(value, dict):
        return key.replace("_", " "), str(value["what"])
    for suffix, unit, factor in _UNITS:
        if key.endswith(suffix):
            name = key[: -len(suffix)].replace("_", " ")
            return name, "unknown" if value is None else "{:.10g} {}".format(round(value * factor, 2), unit)
    return key.replace("_", " "), "unknown" if value is None else str(value)


def _first_line(path: str) -> Optional[str]:
    try:
        with open(path) as handle:
            return handle.readline().strip().strip("\0") or None
    except OSError:
        return None


def _memory_bytes() -> Optional[int]:
    line = _first_line("/proc/meminfo")  # MemTotal: 507892 kB
    return int(line.split()[1]) * 1024 if line else None


def main(argv: Optional[List[str]] = None, device: Optional[Device] = None) -> int:
    """Run the command; the exit code."""
    return run(Arguments("info", "What this board is and what is deployed on it."), body, argv, device)


if __name__ == "__main__":
    sys.exit(main())
