"""The program that runs FINN's hardware transformations: ``python -m labd_host.vivado.finn_worker JOB.json``.

These are the steps of FINN's ZynqBuild, one by one, so that each leaves a file and a killed build goes
on where it was: ZynqBuild itself is one transformation that begins anew every time. A unit reads what
the one before it wrote and writes a file of its own, so that repeating one is harmless.

Source: finn-plus 1.6.1, transformation/fpgadataflow/make_zynq_proj.py (ZynqBuild, _build_sdp_kernel),
interface/run_finn.py (the variables FINN_RTLLIB and FINN_CUSTOM_HLS that its Tcl reads).
"""

import os
import shutil
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from labd_host.flow.finn_door import Model, import_finn
from labd_host.vivado.job import BuildJob, BuildUnit, Products
from labd_host.vivado.worker_process import FINN_FOLDER, Units, serve
from labd_shared.files import replacing

_CONTAINER = "StreamingDataflowPartition"


def build(job: BuildJob, units: Units) -> Products:
    """Run every unit of *job* that is not finished yet."""
    _prepare_finn(job)
    return _Builder(job, units).build()


class _Builder:
    def __init__(self, job: BuildJob, units: Units) -> None:
        self._job = job
        self._units = units
        self._lock = threading.Lock()  # of the kernel whose nodes several threads work on

    def build(self) -> Products:
        parent = self._partition()
        kernels = _kernels(parent)
        for index, (name, path) in enumerate(kernels):
            self._code(BuildUnit("code", name, index + 1, len(kernels), ""), path)
        self._hls([name for name, _ in kernels])
        for index, (name, _) in enumerate(kernels):
            self._stitch(BuildUnit("stitch", name, index + 1, len(kernels), ""))
        return self._synthesis(parent)

    def _partition(self) -> Path:
        """InsertIODMA to CreateDataflowPartition; the file of the parent graph."""
        from finn.transformation.fpgadataflow.create_dataflow_partition import CreateDataflowPartition
        from finn.transformation.fpgadataflow.floorplan import Floorplan
        from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
        from finn.transformation.fpgadataflow.insert_iodma import InsertIODMA
        from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
        from finn.util.basic import pynq_native_port_width
        from qonnx.transformation.general import GiveReadableTensorNames, GiveUniqueNodeNames
        from qonnx.transformation.infer_data_layouts import InferDataLayouts

        path = self._units.folder / "partition.onnx"
        with self._units.working(BuildUnit("partition", "", 1, 1, "")) as folder:
            if folder is None:
                return path
            _use(folder)
            model = _load(Path(self._job.model)).transform(InferDataLayouts())
            for step in (
                InsertIODMA(pynq_native_port_width[self._job.board]),
                InsertDWC(),
                SpecializeLayers(self._job.part),
                Floorplan(),
                CreateDataflowPartition(partition_model_dir=str(folder / "kernels")),
            ):
                model = model.transform(step)
                model = model.transform(GiveUniqueNodeNames())
                model = model.transform(GiveReadableTensorNames())
                if isinstance(step, SpecializeLayers):
                    _set_depths(model, self._job.fifo_depths)
            _save(model, path)
        return path

    def _code(self, unit: BuildUnit, kernel: Path) -> None:
        """InsertFIFO to PrepareIP of one kernel."""
        from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO
        from finn.transformation.fpgadataflow.prepare_ip import PrepareIP
        from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
        from qonnx.transformation.general import GiveUniqueNodeNames

        with self._units.working(unit) as folder:
            if folder is None:
                return
            _use(folder)
            model = _load(kernel)
            if not model.get_nodes_by_op_type("IODMA_hls"):
                del model.model.graph.metadata_props[:]
            model = model.transform(InsertFIFO())
            model = model.transform(SpecializeLayers(self._job.part))
            model = model.transform(GiveUniqueNodeNames(f"{unit.name}_"))
            model = model.transform(PrepareIP(self._job.part, self._job.period_ns))
            _save(model, self._file("code", unit.name))

    def _hls(self, kernels: list[str]) -> None:
        """HLSSynthIP node by node, `BuildJob.jobs` at a time; what is finished is kept after each node."""
        from finn.util.fpgadataflow import is_hls_node
        from qonnx.custom_op.registry import getCustomOp

        work = []
        for kernel in kernels:
            path = self._file("hls", kernel)
            if not path.is_file():
                shutil.copyfile(self._file("code", kernel), path)
            model = _load(path)
            for node in model.graph.node:
                if is_hls_node(node):
                    work.append((kernel, model, node, getCustomOp(node).get_nodeattr("code_gen_dir_ipgen")))

        def one(index: int) -> None:
            kernel, model, node, folder = work[index]
            self._hls_node(BuildUnit("hls", node.name, index + 1, len(work), folder), kernel, model, node)

        with ThreadPoolExecutor(self._job.jobs) as pool:
            futures = [pool.submit(one, index) for index in range(len(work))]
            done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
            for future in waiting:
                future.cancel()
            for future in done:
                future.result()

    def _hls_node(self, unit: BuildUnit, kernel: str, model: Model, node: Any) -> None:
        from finn.transformation.fpgadataflow.hlssynth_ip import HLSSynthIP

        with self._units.working(unit) as folder:
            if folder is None:
                return
            # Left by a run that was killed: HLS would take a half-written project for its own.
            shutil.rmtree(folder / f"project_{node.name}", ignore_errors=True)
            HLSSynthIP(self._job.part).applyNodeLocal(node)
            with self._lock:
                _save(model, self._file("hls", kernel))

    def _stitch(self, unit: BuildUnit) -> None:
        from finn.transformation.fpgadataflow.create_stitched_ip import CreateStitchedIP

        with self._units.working(unit) as folder:
            if folder is None:
                return
            _use(folder)
            model = _load(self._file("hls", unit.name))
            model = model.transform(
                CreateStitchedIP(self._job.part, self._job.period_ns, unit.name, run_synth=False)
            )
            model.set_metadata_prop("platform", "zynq-iodma")
            _save(model, self._file("stitch", unit.name))

    def _synthesis(self, parent: Path) -> Products:
        """MakeZYNQProject, which runs Vivado to the bitfile."""
        from finn.transformation.fpgadataflow.make_zynq_proj import MakeZYNQProject
        from qonnx.custom_op.registry import getCustomOp

        path = self._units.folder / "synthesis.onnx"
        unit = BuildUnit("synthesis", "", 1, 1, "")
        if path.is_file() and not Path(_project(path)).is_dir():
            self._units.forget(unit)  # its project was removed by hand, to have it made again
        with self._units.working(unit) as folder:
            if folder is not None:
                _use(folder)
                model = _load(parent)
                for node in model.get_nodes_by_op_type(_CONTAINER):
                    getCustomOp(node).set_nodeattr("model", str(self._file("stitch", node.name)))
                model = model.transform(MakeZYNQProject(self._job.board, _exact_period_ns(self._job)))
                _save(model, path)
        return Products(_project(path))

    def _file(self, step: str, kernel: str) -> Path:
        return self._units.folder / f"{kernel}.{step}.onnx"


def _prepare_finn(job: BuildJob) -> None:
    """Settings and variables as FINN's own command line would make them."""
    os.environ["FINN_BUILD_DIR"] = str(Path(job.folder) / FINN_FOLDER)
    os.environ["NUM_DEFAULT_WORKERS"] = str(job.jobs)
    import_finn()
    from finn.interface.interface_utils import resolve_module_path

    os.environ["FINN_RTLLIB"] = resolve_module_path("finn-rtllib")
    os.environ["FINN_CUSTOM_HLS"] = resolve_module_path("custom_hls")


def _use(folder: Path) -> None:
    """Have FINN make its projects, which get random names, in *folder*."""
    from finn.util.settings import get_settings

    get_settings().finn_build_dir = folder


def _set_depths(model: Any, depths: Sequence[int]) -> None:
    """Tell every node between the DMAs how deep the FIFOs beside it are to be, for InsertFIFO."""
    from qonnx.custom_op.registry import getCustomOp

    nodes = [node for node in model.graph.node if not node.op_type.startswith("IODMA")]
    if not depths:
        return
    if len(depths) != len(nodes) + 1:
        raise ValueError(f"{len(depths)} FIFOs are sized, the design has {len(nodes) + 1}")
    for node, *beside in zip(nodes, depths, depths[1:], strict=False):
        layer = getCustomOp(node)
        for key, depth in zip(("inFIFODepths", "outFIFODepths"), beside, strict=True):
            first, *others = layer.get_nodeattr(key)
            layer.set_nodeattr(key, [max(int(first), depth), *others])


def _kernels(parent: Path) -> list[tuple[str, Path]]:
    """The kernels of a partitioned graph: name, file."""
    from qonnx.custom_op.registry import getCustomOp

    nodes = _load(parent).get_nodes_by_op_type(_CONTAINER)
    return [(node.name, Path(getCustomOp(node).get_nodeattr("model"))) for node in nodes]


def _project(synthesised: Path) -> str:
    """The folder of Vivado's project, as FINN noted it in the graph."""
    return str(_load(synthesised).get_metadata_prop("vivado_pynq_proj"))


def _exact_period_ns(job: BuildJob) -> float:
    """A period of which FINN, which cuts ``1 / period`` to whole MHz, makes exactly the clock asked for."""
    return 1000.0 / (job.clock_mhz + 1e-6)


def _load(path: Path) -> Model:
    from qonnx.core.modelwrapper import ModelWrapper

    return ModelWrapper(str(path))


def _save(model: Model, path: Path) -> None:
    with replacing(path) as making:  # a build may be killed at any time
        model.save(str(making))


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1]), build))
