"""The first real error in the logs of Vivado and Vitis HLS, in plain words.

A failed run leaves many lines that begin with ERROR; most only say that something before them failed.
The first that is no such consequence is the cause, and the causes people really meet have a sentence
and a way out of their own.

Source of the messages: logs in public issues (Xilinx/QNN-MO-PYNQ 12 and 21, Xilinx/finn 733 and 902,
Xilinx/kria-vitis-platforms 1 and 12, eugene-tarassov/vivado-risc-v 54, chipsalliance/VeeRwolf 51);
AMD's answer record 76960 (the revision number of 2022).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from labd_shared.errors import DoesNotFit, LabdError, SetupError, ToolFailed, WrongVersion

MAX_LOG_BYTES = 256 << 20  # of each; Vivado's of a whole build have a few MB
MAX_LINE = 4096
SHOWN = 300  # characters of a message that is passed on as it is
# Relative to where a tool runs, the runs before the program that started them: they fail first.
LOG_PATTERNS = (
    "*/*.runs/*/runme.log",
    "project_*/sol1/sol1.log",
    "vitis_hls.log",
    "*/vivado.log",
    "vivado.log",
)

_ERROR = re.compile(r"^ERROR:\s*(?:\[(?P<code>[^\]]+)\]\s*)?(?P<text>.*)$")
# They only say that something before them failed.
_CONSEQUENCES = {
    "Common 17-39", "Common 17-69", "Common 17-70", "Vivado 12-13638", "Vivado 12-8222", "Vivado_Tcl 4-23",
    "IMPL 213-28", "HLS 200-1715", "Project 1-681",
}  # fmt: skip


@dataclass(frozen=True)
class Cause:
    """Why a tool failed.

    Attributes:
        error: To be raised.
        line: As the log has it, cut to a sensible length.
        log: The file it stands in.
    """

    error: LabdError
    line: str
    log: Path


def first_cause(folder: Path, *more: Path) -> Cause | None:
    """The first real error in the logs under *folder* and in the files *more*, None where there is none."""
    consequence = None
    for log in (*_logs(folder), *more):
        for line in _lines(log):
            found = _read(line, log)
            if found is None:
                continue
            code, cause = found
            if code not in _CONSEQUENCES:
                return cause
            consequence = consequence or cause
    return consequence


def last_line(folder: Path) -> str:
    """The newest line that a tool wrote under *folder*, "" where there is none."""
    logs = _logs(folder)
    if not logs:
        return ""
    newest = max(logs, key=_changed_ns)
    try:
        with newest.open("rb") as handle:
            handle.seek(max(0, newest.stat().st_size - MAX_LINE))
            tail = handle.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line for line in tail.splitlines() if line.strip()]
    return _plain(lines[-1]) if lines else ""


def newest_change_ns(folder: Path) -> int:
    """When a log under *folder* last grew, in the file system's nanoseconds; 0 where there is none."""
    return max(map(_changed_ns, _logs(folder)), default=0)


def _logs(folder: Path) -> list[Path]:
    """The logs under *folder*, in the order in which their tools ended."""
    found: list[Path] = []
    for pattern in LOG_PATTERNS:
        found += [path for path in sorted(folder.glob(pattern), key=_changed_ns) if path not in found]
    return found


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # removed while we looked


def _lines(log: Path) -> Iterator[str]:
    try:
        with log.open("rb") as handle:
            read = 0
            while read < MAX_LOG_BYTES and (line := handle.readline(MAX_LINE)):
                read += len(line)
                yield line.decode("utf-8", "replace").rstrip()
    except OSError:
        return


def _read(line: str, log: Path) -> tuple[str, Cause] | None:
    """The code and the cause that *line* tells, None where it tells none."""
    for pattern, explain in _KNOWN:
        if match := pattern.search(line):
            return "", Cause(explain(match), _plain(line), log)
    if (match := _ERROR.match(line)) is None:
        return None
    code, text = match.group("code") or "", _plain(match.group("text"))
    tool = "Vitis HLS" if "hls" in log.name or "sol1" in log.parts else "Vivado"
    what = f"{tool} failed: {text}" + (f" [{_plain(code)}]" if code else "")
    return code, Cause(ToolFailed(what, fix=f"read what stands before it in {log}"), _plain(line), log)


def _plain(text: str) -> str:
    """*text* without what would steer a terminal, cut to `SHOWN` characters."""
    text = "".join(character if character.isprintable() else "?" for character in text.strip())
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


_FOLD_MORE = (
    "fold the layer with the most of it more (a smaller PE or SIMD), then build again: "
    "labd compile NETWORK --folding FILE -o DIR shows each layer"
)


def _over(match: re.Match[str]) -> LabdError:
    cell = match.group("cell").removesuffix(" cells")
    return DoesNotFit(
        f"the design needs {match.group('needed')} {cell}, the part has {match.group('there')} (Vivado's placement)",
        fix=_FOLD_MORE,
        resource=cell,
        needed=int(match.group("needed")),
        available=int(match.group("there")),
    )


def _unpacked(match: re.Match[str]) -> LabdError:
    return DoesNotFit(f"Vivado cannot place the design: {_plain(match.group('text'))}", fix=_FOLD_MORE)


def _unrouted(match: re.Match[str]) -> LabdError:
    return DoesNotFit(f"Vivado cannot route the design: {_plain(match.group('text'))}", fix=_FOLD_MORE)


def _licence(match: re.Match[str]) -> LabdError:
    return SetupError(
        f"Vivado has no licence for {match.group('feature')} on {match.group('device')}",
        fix="the xc7z020 needs none in the Standard (WebPACK) edition: install that one, or set XILINXD_LICENSE_FILE "
        "to your licence file or server",
    )


def _board(match: re.Match[str]) -> LabdError:
    return SetupError(
        f"Vivado does not know the board {match.group('board').rstrip('.')}",
        fix="its board files are missing or damaged: labd doctor --for hw says where they go",
    )


def _part(match: re.Match[str]) -> LabdError:
    return SetupError(
        f"this Vivado or Vitis HLS knows no such part: {_plain(match.group('text'))}",
        fix="add the Zynq-7000 devices with AMD's installer (Add Design Tools or Devices)",
    )


def _revision(_: re.Match[str]) -> LabdError:
    return WrongVersion(
        "this Vitis HLS cannot export IP after 2021: its revision number overflows (AMD's Y2K22)",
        fix="install Vivado and Vitis HLS 2022.2, or AMD's y2k22 patch (answer record 76960)",
    )


def _option(match: re.Match[str]) -> LabdError:
    return WrongVersion(
        f"this Vitis HLS does not know an option that FINN gives it: {_plain(match.group('text'))}",
        fix="install Vivado and Vitis HLS 2022.2 or 2024.2, the versions that finn-plus names",
    )


def _header(match: re.Match[str]) -> LabdError:
    return SetupError(
        f"Vitis HLS does not find {match.group('file')}",
        fix="finn-hlslib is missing or of another commit: labd doctor --for hw says how to get it",
    )


def _disk(_: re.Match[str]) -> LabdError:
    return SetupError(
        "the disk is full: the build could not go on",
        fix="make room, then the same command again; finished steps are not repeated",
    )


def _memory(_: re.Match[str]) -> LabdError:
    return SetupError(
        "Vivado or Vitis HLS ran out of memory and was ended by the system",
        fix="close other programs or add swap, then the same command again, perhaps with --jobs 1; "
        "finished steps are not repeated",
    )


def _crash(match: re.Match[str]) -> LabdError:
    return ToolFailed(
        f"Vivado or Vitis HLS crashed by itself: {_plain(match.group(0))}",
        fix="the same command again; finished steps are not repeated. If it happens again, look at the free memory",
    )


def _path(_: re.Match[str]) -> LabdError:
    return SetupError(
        "the path of the build folder is too long for Vivado", fix="build in a shorter one: -o /tmp/NAME"
    )


def _port(_: re.Match[str]) -> LabdError:
    return ToolFailed("two Vitis HLS runs wanted the same port", fix="the same command again with --jobs 1")


_KNOWN: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], LabdError]], ...] = tuple(
    (re.compile(pattern), explain)
    for pattern, explain in (
        (
            r"^ERROR: \[(?:Place 30-640|DRC UTLZ-1)\].*requires more (?P<cell>.+?) than are available"
            r".*requires (?P<needed>\d+) of such cell types but only (?P<there>\d+) compatible",
            _over,
        ),
        (r"^ERROR: \[Place 30-(?:484|487|99)\] (?P<text>.*)", _unpacked),
        (r"^ERROR: \[Route 35-\d+\] (?P<text>.*)", _unrouted),
        (r"\[Common 17-345\].*feature '(?P<feature>[^']+)' and/or device '(?P<device>[^']+)'", _licence),
        (r"^ERROR: \[Board 49-71\].*not found for (?P<board>\S+)", _board),
        (r"^ERROR: \[(?:HLS 200-1023|Coretcl 2-106|Project 1-589)\] (?P<text>.*)", _part),
        (r"^ERROR: '22\d{8}' is an invalid argument", _revision),
        (r"^bad lexical cast: source type value could not be interpreted", _revision),
        (r"^ERROR: \[HLS 200-101\] (?P<text>.*Unknown option.*)", _option),
        (r"^ERROR: \[HLS 207-\d+\] '(?P<file>[^']+)' file not found", _header),
        (r"(?i)no space left on device|disk quota exceeded", _disk),
        (r"\bKilled\s+(?:\"\$RDI_PROG\"|.*\b(?:vivado|vitis)\b)", _memory),
        (r"(?i)std::bad_alloc|cannot allocate memory|TclStackFree: incorrect freePtr", _memory),
        (r"^ERROR: .*\bout of memory\b", _memory),
        (r"Abnormal program termination \(\d+\)|Segmentation fault", _crash),
        (r"^ERROR: \[Common 17-680\]|^ERROR: .*[Ff]ile name too long", _path),
        (r"Address already in use", _port),
    )
)
