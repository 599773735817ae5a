"""Record what FINN's own executor computes for the shipped tfc-w1a1, layer by layer.

    python tests/host/record_finn.py [--images 100] [-o tests/host/recordings]

Compiles the network with the lab's folding, runs the folded dataflow graph in FINN image by image,
and writes ``tfc-w1a1-finn.npz``: for each of the first MNIST test images its digest, and every
tensor between the layers. No image is kept, and not the first layer's output either, which is the
image in black and white: of that only a digest. test_golden_finn.py finds the images again by
their digests. To be run again whenever the shipped network changes.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from labd_host import datasets
from labd_host.flow import compile_network, load_folding
from labd_host.flow.finn_door import Finn, tool_versions
from labd_host.networks import trained_onnx
from labd_shared.digest import file_sha256, image_digest

NETWORK = "tfc-w1a1"
FILE = f"{NETWORK}-finn.npz"


def tensors_of(finn, model, frames):
    """What FINN computes: node name -> output, "<node>.accumulators" -> sums before thresholds; integers."""
    graph = finn.graph(model)
    trace = finn.run(model, frames)
    found = {}
    for node in graph.nodes:
        if node.kind == "MVAU" and not node.attributes["noActivation"]:
            found[f"{node.name}.accumulators"] = whole(trace.sums[node.name])
        found[node.name] = whole(trace.values[node.outputs[0]])
    return found


def whole(values):
    """Floats that hold integers, as integers (N, values)."""
    nearest = np.rint(values)
    if not np.array_equal(nearest, values):
        raise ValueError("FINN computed something that is no integer")
    return nearest.astype(np.int64).reshape(len(values), -1)


def digests_of(rows):
    """One digest for each row of small unsigned integers."""
    return np.array([image_digest(row.astype(np.uint8).tobytes()) for row in rows], dtype=np.uint64)


@click.command()
@click.option("--images", "count", default=100, show_default=True, type=click.IntRange(100, 10000))
@click.option("-o", "--out", default=Path(__file__).parent / "recordings", type=click.Path(path_type=Path))
def main(count, out):
    """Record what FINN computes for COUNT test images."""
    images = datasets.load("mnist", "test")[0][:count]
    model_path = trained_onnx(NETWORK)
    with TemporaryDirectory() as folder:
        compiled = compile_network(
            model_path, folding=load_folding("lab", NETWORK), out=Path(folder), images=images[:16]
        )
        path = next(stage.path for stage in compiled.stages if stage.name == "folded")
        with Finn() as finn:
            found = tensors_of(finn, finn.load(path), images.reshape(count, -1))
    first = compiled.golden.network.layers[0].name
    record = {name: value.astype(np.uint16) for name, value in found.items() if name != first}
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out / FILE,
        **record,
        **{f"{first}.digests": digests_of(found[first])},
        images=digests_of(images.reshape(count, -1)),
        onnx_sha256=np.array(file_sha256(model_path)),
        tools=np.array([f"{name} {version}" for name, version in tool_versions().items()]),
    )
    click.echo(f"{count} images, {sum(value.size for value in found.values()):,} values -> {out / FILE}")


if __name__ == "__main__":
    main()
