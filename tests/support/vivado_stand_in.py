"""A stand-in for Vivado and Vitis HLS, called by FINN's own scripts: products, logs and reports of the real
format, and the ways in which real runs fail.

It reads as much of FINN's Tcl as it needs. What it writes has the form of files of Vivado 2020.1 to 2023.2;
the messages are those of logs in public issues (see labd_host.vivado.logs). The variable
LABD_STAND_IN names the way to fail; none is a run that succeeds.
"""

import os
import re
import signal
import sys
import time
from pathlib import Path

VERSION = "2022.2"
FAULT = os.environ.get("LABD_STAND_IN", "")
ACHIEVED_WNS_NS = 1.204

OVERFLOW = (
    "ERROR: [Place 30-640] Place Check : This design requires more Slice LUTs cells than are available in the target "
    "device. This design requires 62315 of such cell types but only 53200 compatible sites are available in the "
    "target device. Please analyze your synthesis results and constraints to ensure the design is mapped to Xilinx "
    "primitives as expected. If so, please consider targeting a larger device."
)
LICENCE = (
    "ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis' and/or device 'xc7z020'. Please run "
    "the Vivado License Manager for assistance in determining which features and devices are licensed for your system."
)
BOARD = (
    "ERROR: [Board 49-71] The board_part definition was not found for {}. The project's board_part property was not "
    "set, but the project's part property was set to xc7z020clg400-1."
)
RUN_ERRORS = {
    "synth": "ERROR: [Synth 8-439] module 'StreamingDataflowPartition_1' not found [top.v:120]",
    "licence": LICENCE,
    "overflow": OVERFLOW,
    "route": "ERROR: [Route 35-3] Design is not routable as its global congestion level is 7.",
    "disk": "ERROR: [Common 17-49] Internal Data Exception: write error: No space left on device",
}
AFTERWARDS = (
    "ERROR: [Common 17-69] Command failed: Placer could not place all instances\n"
    "ERROR: [Vivado 12-13638] Failed runs(s) : 'impl_1'\n"
    "ERROR: [Common 17-39] 'wait_on_runs' failed due to earlier errors.\n"
)


def main() -> int:
    name, arguments = sys.argv[1], sys.argv[2:]
    if arguments == ["-version"]:
        return tell_version(name)
    if FAULT == "kill-parent":
        os.kill(os.getsid(0), signal.SIGKILL)
    if name == "vitis_hls":
        return hls(Path(arguments[0]))
    script = Path(arguments[arguments.index("-source") + 1]).absolute()
    if script.name == "make_project.tcl":
        return stitch(script)
    return synthesise(script)


def tell_version(name: str) -> int:
    if FAULT == "version-hangs":
        time.sleep(600)
    version = "2021.1" if FAULT == "old" else VERSION
    sys.stdout.write(
        f"Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v{version} (64-bit)\n"
        if name == "vitis_hls"
        else f"Vivado v{version} (64-bit)\nSW Build 3671981 on Fri Oct 14 04:59:54 MDT 2022\n"
    )
    return 0


def hls(script: Path) -> int:
    text = script.read_text()
    project = re.search(r"set config_proj_name (\S+)", text).group(1)
    node = project.removeprefix("project_")
    log = ["****** Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2022.2 (64-bit)"]
    ok = True
    if FAULT in ("hls", "hls-once") and "MVAU_hls_1" in node:
        log.append("ERROR: [HLS 207-812] 'bnn-library.h' file not found (top.cpp:9:10)")
        log.append("ERROR: [HLS 200-1715] Encountered problem during source synthesis")
        ok = False
    if FAULT == "hls-revision":
        log.append(
            "ERROR: '2611232201' is an invalid argument. Please specify an integer value.".replace(
                "26", "22", 1
            )
        )
        log.append("ERROR: [IMPL 213-28] Failed to generate IP.")
        ok = False
    solution = Path(project) / "sol1"
    if ok:
        (solution / "impl" / "ip").mkdir(parents=True, exist_ok=True)
        (solution / "impl" / "verilog").mkdir(parents=True, exist_ok=True)
        (solution / "impl" / "verilog" / f"{node}.v").write_text(f"module {node} (); endmodule\n")
        log.append("INFO: [HLS 200-112] Total elapsed time: 42.1 seconds; peak allocated memory: 228.045 MB.")
    Path("vitis_hls.log").write_text("\n".join(log) + "\n")
    return 0 if ok else 1


def stitch(script: Path) -> int:
    text = script.read_text()
    block = re.search(r'create_bd_design "(\S+)"', text).group(1)
    project, folder = re.search(r"create_project (\S+) (\S+) -part", text).groups()
    missing = [
        path for path in re.findall(r"ip_repo_paths \[list ([^\]]*)\]", text)[0].split() if _is_missing(path)
    ]
    if missing:
        Path("vivado.log").write_text(f"ERROR: [IP_Flow 19-2232] no such folder {missing[0]}\n")
        return 1
    hdl = Path(folder) / f"{project}.srcs" / "sources_1" / "bd" / block / "hdl"
    hdl.mkdir(parents=True)
    (hdl / f"{block}_wrapper.v").write_text(f"module {block}_wrapper (); endmodule\n")
    (Path(folder) / "ip").mkdir()
    Path("vivado.log").write_text("INFO: [Common 17-206] Exiting Vivado\n")
    return 0


def _is_missing(path: str) -> bool:
    path = re.sub(r"\$::env\((\w+)\)", lambda match: os.environ[match.group(1)], path)
    return not Path(path).is_dir()


def synthesise(script: Path) -> int:
    text = script.read_text()
    mhz = int(re.search(r"set FREQ_MHZ (\d+)", text).group(1))
    boards = Path(re.search(r'lappend paths_prop "([^"]+)"', text).group(1))
    log = Path("vivado.log")
    if FAULT == "board" or not list(boards.glob("pynq-z2/*/board.xml")):
        log.write_text(
            BOARD.format("tul.com.tw:pynq-z2:part0:1.0") + "\nINFO: [Common 17-206] Exiting Vivado\n"
        )
        return 1
    run = Path("finn_zynq_link.runs") / "impl_1"
    run.mkdir(parents=True)
    runme = run / "runme.log"
    runme.write_text("*** Running vivado\nPhase 4.1 Initial Nets Routing Pass\n")
    if FAULT == "hang":
        log.write_text("Waiting for impl_1 to finish...\n")
        time.sleep(600)
    if FAULT in RUN_ERRORS:
        runme.write_text(f"Phase 1.1 IO Placement\n{RUN_ERRORS[FAULT]}\n{AFTERWARDS}")
        log.write_text(f"[Mon Nov 23 22:00:00 2026] Launched impl_1...\n{RUN_ERRORS[FAULT]}\n{AFTERWARDS}")
        return 1
    if FAULT == "memory":  # the run is killed; the program that waits for it ends well
        log.write_text(
            'Waiting for impl_1 to finish...\n/tools/bin/rdiArgs.sh: line 311:  8214 Killed    "$RDI_PROG" "$@"\n'
            "ERROR: [Common 17-70] Application Exception: Failed to launch run 'impl_1'\n"
        )
        return 0
    if FAULT == "crash":
        log.write_text("Abnormal program termination (11)\nPlease check 'hs_err_pid42.log' for details\n")
        os.kill(os.getpid(), signal.SIGSEGV)
    if FAULT == "silent":  # no bitfile and no word about it
        log.write_text("INFO: [Common 17-206] Exiting Vivado\n")
        return 0
    write_products(run, mhz)
    log.write_text(f"[Mon Nov 23 22:00:00 2026] impl_1 finished\n{runme.read_text()}")
    return 0


def write_products(run: Path, mhz: int) -> None:
    import site

    site.main()  # numpy; the other commands do without and start sooner
    from labd_host.bundles.bitfile_writer import write_bit
    from labd_host.bundles.hwh_writer import write_hwh
    from support.bundles import make_manifest

    bit = run / "top_wrapper.bit"
    write_bit(bit, network_sha256=None)
    if FAULT == "truncated-bit":
        bit.write_bytes(bit.read_bytes()[:-40])
    if FAULT == "other-part":
        write_bit(bit, network_sha256=None, part="xc7z010clg400-1")
    hwh = Path("finn_zynq_link.gen/sources_1/bd/top/hw_handoff/top.hwh")
    hwh.parent.mkdir(parents=True)
    tensors = make_manifest({})
    write_hwh(hwh, clock_mhz=100.0, inputs=tensors.inputs, outputs=tensors.outputs)
    achieved = 50.0 if FAULT == "wrong-clock" else mhz * 0.99999
    wizard = (
        '<MODULE FULLNAME="/clk_wiz_0" INSTANCE="clk_wiz_0" MODTYPE="clk_wiz" VLNV="xilinx.com:ip:clk_wiz:6.0">'
        f'<PARAMETERS><PARAMETER NAME="CLKOUT1_OUT_FREQ" VALUE="{achieved:.5f}"/></PARAMETERS></MODULE></MODULES>'
    )
    hwh.write_text(hwh.read_text().replace("</MODULES>", wizard))
    wns = {"slack": -0.412, "hold": 0.31}.get(FAULT, ACHIEVED_WNS_NS)
    whs = -0.021 if FAULT == "hold" else 0.022
    (run / "top_wrapper_timing_summary_routed.rpt").write_text(timing_report(wns, whs))
    Path("synth_report.xml").write_text(utilisation_report())


def timing_report(wns_ns: float, whs_ns: float) -> str:
    """The part of report_timing_summary that counts, with a clock's own summary behind it."""
    names = (
        "WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)  "
        "THS Failing Endpoints  THS Total Endpoints     WPWS(ns)     TPWS(ns)  TPWS Failing Endpoints  "
        "TPWS Total Endpoints  "
    )
    failing = 37 if wns_ns < 0 else 0
    row = (
        f"{wns_ns:.3f}       {min(0.0, wns_ns) * 9:.3f}      {failing}      29311        {whs_ns:.3f}        0.000"
        "                      0                29311        3.750        0.000                       0     11245  "
    )
    rule = "-" * 96
    met = (
        "All user specified timing constraints are met." if wns_ns >= 0 else "Timing constraints are not met."
    )
    before = f"Copyright\n| Tool Version : Vivado v.2022.2\n\n12. checking latch_loops (0)\n\n{rule}"
    title = f"| Design Timing Summary\n| ---------------------\n{rule}\n"
    table = f"    {names}\n    {re.sub(r'[^ ]', '-', names)}\n      {row}\n\n\n{met}\n\n"
    clocks = f"{rule}\n| Intra Clock Table\n{rule}\n\nClock  WNS(ns)  TNS(ns)\n-----  -------  -------"
    return "\n".join((before, title, table, clocks, "clk_out1  9.999  0.000\n"))


UTILISATION = (
    "Instance", "Module", "Total LUTs", "Logic LUTs", "LUTRAMs", "SRLs", "FFs", "RAMB36", "RAMB18", "DSP Blocks",
)  # fmt: skip
"""The columns of a hierarchical report."""


def utilisation_report() -> str:
    """report_utilization -hierarchical -format xml, with the rows of a small design."""
    rows = (
        ("top_wrapper", "(top)", 8220, 7640, 144, 436, 11045, 3, 4, 0),
        ("  top_i", "top", 8220, 7640, 144, 436, 11045, 3, 4, 0),
        ("    StreamingDataflowPartition_1_MVAU_hls_0", "MVAU_hls_0", 1203, 1203, 0, 0, 990, 1, 1, 0),
    )
    header = "".join(
        f'<tableheader class="" contents="{name}" halign="3" width="-1"/>' for name in UTILISATION
    )
    body = "".join(
        "<tablerow>" + "".join(f'<tablecell class="" contents="{cell}"/>' for cell in row) + "</tablerow>"
        for row in rows
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<RptDoc><section title="1. Utilization by Hierarchy"><table>'
        f'<tablerow class="" suppressoutput="0" wordwrap="0">{header}</tablerow>{body}</table></section></RptDoc>\n'
    )


if __name__ == "__main__":
    sys.exit(main())
