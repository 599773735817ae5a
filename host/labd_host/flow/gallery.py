"""The gallery of a compiled network: a picture of every stage and one page that explains them all."""

from pathlib import Path

from labd_host.dataflow.folding import FOLDING_FILE
from labd_host.drawing.graph_picture import GraphPicture
from labd_host.drawing.graph_svg import graph_svg
from labd_host.flow.compiled_network import PARTITION_FILE, CompiledNetwork, CompiledStage
from labd_host.flow.gallery_page import ComparedRow, CycleRow, Gallery, ProofShown, StageShown, gallery_html
from labd_host.flow.stage_pictures import pictures, read_stage
from labd_host.flow.stage_records import MAX_RECORD_BYTES, written
from labd_shared.digest import file_sha256
from labd_shared.records import read_json

GALLERY_FILE = "gallery.html"


def write_gallery(compiled: CompiledNetwork, clock_mhz: float) -> Path:
    """Write N-stage.svg and gallery.html into the folder of *compiled*; the page's path.

    The same network and folding give the same bytes. Times are left out, they differ from run to run.

    Args:
        compiled: What `compile_network` made; its files are read again.
        clock_mhz: For the frames per second.
    """
    graphs = [
        read_stage(
            stage.name, stage.title, stage.path, compiled.folder / PARTITION_FILE, stage.proof.compared
        )
        for stage in compiled.stages
        if stage.path.suffix == ".onnx"
    ]
    drawn = {picture.stage: picture for picture in pictures(graphs, compiled.estimate)}
    shown = []
    for number, stage in enumerate(compiled.stages, start=1):
        picture = drawn.get(stage.name)
        if picture is not None:
            svg = compiled.folder / f"{number}-{stage.name}.svg"
            with written(svg):
                svg.write_text(graph_svg(picture), encoding="utf-8")
        shown.append(_stage(compiled.folder, number, stage, picture))
    page = compiled.folder / GALLERY_FILE
    with written(page):
        page.write_text(gallery_html(_gallery(compiled, clock_mhz, shown)), encoding="utf-8")
    return page


def _gallery(compiled: CompiledNetwork, clock_mhz: float, shown: list[StageShown]) -> Gallery:
    estimate = compiled.estimate
    return Gallery(
        network=compiled.golden.network.name,
        stages=tuple(shown),
        cycles=tuple(
            CycleRow(
                node.name,
                node.op,
                compiled.folding.get(node.name, {}),
                node.interval_cycles,
                compiled.finn_cycles.get(node.name),
            )
            for node in estimate.nodes
        ),
        bottleneck=estimate.bottleneck,
        latency_cycles=estimate.latency_cycles,
        clock_mhz=clock_mhz,
        frames_per_s=estimate.frames_per_s(clock_mhz),
        more_files=(PARTITION_FILE, FOLDING_FILE),
        tools=dict(compiled.tools),
    )


def _stage(folder: Path, number: int, stage: CompiledStage, picture: GraphPicture | None) -> StageShown:
    record_file = folder / f"{number}-{stage.name}.json"
    record = read_json(record_file, MAX_RECORD_BYTES).fields(("steps",), None)
    proof = stage.proof
    return StageShown(
        name=stage.name,
        title=stage.title,
        picture=picture,
        nodes=stage.nodes,
        proof=ProofShown(
            against=proof.against,
            images=proof.images,
            tensors=proof.tensors,
            values=proof.elements,
            mismatches=proof.mismatches,
            compared=tuple(
                ComparedRow(entry.kind, entry.layer, entry.layer_before, entry.values)
                for entry in proof.compared
            ),
            notes=proof.notes,
            missing=proof.missing,
        ),
        steps=tuple(step.fields(("name",), None)["name"].text() for step in record["steps"].list()),
        files=(
            stage.path.name,
            record_file.name,
            *([f"{number}-{stage.name}.svg"] if picture is not None else []),
        ),
        sha256=file_sha256(stage.path),
    )
