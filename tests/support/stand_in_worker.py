"""A stand-in for FINN behind the interface of a hardware build: the same messages, folders and scripts, no graph.

It calls the tools as FINN does (bash scripts, return codes that get lost in them), so that what follows a
build can be tested in a second. `tests/host/vivado/test_hardware_finn.py` runs FINN itself.
"""

import os
import subprocess
import sys
from pathlib import Path

from labd_host.vivado.job import BuildJob, BuildUnit, Products
from labd_host.vivado.worker_process import Units, serve

NODES = ("StreamingDataflowPartition_1_MVAU_hls_0", "StreamingDataflowPartition_1_MVAU_hls_1")


def build(job: BuildJob, units: Units) -> Products:
    sys.stdout.write('{"products":{"project":"what FINN prints is no message"}}\n')
    with units.working(BuildUnit("partition", "", 1, 1, "")):
        pass
    for index, node in enumerate(NODES):
        with units.working(BuildUnit("hls", node, index + 1, len(NODES), "")) as folder:
            if folder is not None:
                (folder / f"hls_syn_{node}.tcl").write_text(f"set config_proj_name project_{node}\n")
                script = f"set -e\ncd {folder}\nvitis_hls {folder}/hls_syn_{node}.tcl\ncd {Path.cwd()}\n"
                _bash(folder, script)
    unit = BuildUnit("synthesis", "", 1, 1, "")
    project = units.folder / "finn" / "synthesis" / "vivado_zynq_proj_stand_in"
    if not project.is_dir():
        units.forget(unit)
    with units.working(unit) as folder:
        if folder is not None:
            _synthesise(job, project)
    return Products(str(project))


def _synthesise(job: BuildJob, project: Path) -> None:
    project.mkdir()
    boards = Path(os.environ["FINN_DEPS"]) / "board_files"
    config = f'set FREQ_MHZ {job.clock_mhz}\nset FPGA_PART {job.part}\nlappend paths_prop "{boards}"\n'
    (project / "ip_config.tcl").write_text(config)
    _bash(project, f"cd {project}\nvivado -mode batch -source {project}/ip_config.tcl\ncd {Path.cwd()}\n")
    bit = project / "finn_zynq_link.runs" / "impl_1" / "top_wrapper.bit"
    if not bit.is_file():
        raise RuntimeError(f"Synthesis failed, no bitfile found. Check logs under {project}")
    bit.rename(project / "resizer.bit")
    hwh = project / "finn_zynq_link.gen" / "sources_1" / "bd" / "top" / "hw_handoff" / "top.hwh"
    hwh.rename(project / "resizer.hwh")


def _bash(folder: Path, script: str) -> None:
    path = folder / "run.sh"
    path.write_text("#!/bin/bash\n" + script)
    subprocess.run(["bash", str(path)], stdin=subprocess.DEVNULL, timeout=600, check=True)


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1]), build))
