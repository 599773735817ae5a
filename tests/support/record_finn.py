"""Record what FINN's own executor computes for a network that ships, layer by layer.

    python tests/support/record_finn.py NETWORK [--images 100] [-o tests/recordings]

Compiles the network with the lab's folding, runs the folded dataflow graph in FINN image by image,
and writes ``NETWORK-finn.npz``: for each of the first test images its digest and every tensor
between the layers, of the wide ones a digest. No image is kept. The tests find the images again by
their digests. To be run again whenever the shipped network changes; a convolutional one takes
FINN's executor minutes.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from labd_host import datasets
from labd_host.dataflow.folding import load_folding
from labd_host.flow import compile_network, proof_images
from labd_host.flow.finn_door import Finn, tool_versions
from labd_host.networks import network, trained_onnx
from labd_shared.digest import file_sha256, image_digest

RECORDINGS = Path(__file__).resolve().parents[1] / "recordings"
KEPT_WIDTH = 128  # values of a tensor; of a wider one the digest is kept
DIGESTS = ".digests"
AT_A_TIME = 10  # images: bounds the memory of a convolutional network's tensors


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


def recorded(found):
    """What is kept of tensors (N, values) of integers: themselves, or a digest of each row."""
    kept = {}
    for name, rows in found.items():
        if rows.shape[1] <= KEPT_WIDTH:
            kept[name] = rows.astype(np.int32)
        else:
            contents = [np.ascontiguousarray(row, "<i4").tobytes() for row in rows]
            kept[name + DIGESTS] = np.array([image_digest(content) for content in contents], dtype=np.uint64)
    return kept


def recording_of(name):
    """The recording of the network called *name*: tensors, digests, images, onnx_sha256, tools."""
    with np.load(RECORDINGS / f"{name}-finn.npz", allow_pickle=False) as archive:
        return dict(archive)


def images_of(recording, images):
    """Those of *images* that were recorded, found by their digests."""
    rows = {int(digest): row for row, digest in enumerate(digests_of(images.reshape(len(images), -1)))}
    return images[[rows[int(digest)] for digest in recording["images"]]]


def assert_recorded(recording, found, rows=slice(None)):
    """That the tensors *found* for *rows* of the recorded images are what was recorded, no more and no less."""
    kept = recorded(found)
    assert set(kept) == set(recording) - {"images", "onnx_sha256", "tools"}
    for name, value in kept.items():
        np.testing.assert_array_equal(value, recording[name][rows], err_msg=name)


@click.command()
@click.argument("name", metavar="NETWORK")
@click.option("--images", "count", default=100, show_default=True, type=click.IntRange(100, 10000))
@click.option("-o", "--out", default=RECORDINGS, type=click.Path(path_type=Path))
def main(name, count, out):
    """Record what FINN computes for COUNT test images."""
    entry = network(name)
    images = datasets.load(entry.dataset, "test")[0][:count]
    model_path = trained_onnx(name)
    with TemporaryDirectory() as folder:
        compiled = compile_network(
            model_path,
            folding=load_folding("lab", name),
            out=Path(folder),
            images=images[: proof_images(entry.kind)],
        )
        path = next(stage.path for stage in compiled.stages if stage.name == "folded")
        with Finn() as finn:
            model = finn.load(path)
            parts = [
                recorded(tensors_of(finn, model, frames_of(entry, images[begin : begin + AT_A_TIME])))
                for begin in range(0, count, AT_A_TIME)
            ]
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{name}-finn.npz"
    np.savez_compressed(
        target,
        **{key: np.concatenate([part[key] for part in parts]) for key in parts[0]},
        images=digests_of(images.reshape(count, -1)),
        onnx_sha256=np.array(file_sha256(model_path)),
        tools=np.array([f"{tool} {version}" for tool, version in tool_versions().items()]),
    )
    click.echo(f"{count} images, {len(parts[0])} tensors of each -> {target}")


def frames_of(entry, images):
    """Images uint8 (n, height, width, channels) as the accelerator of *entry* takes them."""
    return images.reshape(len(images), -1) if entry.kind == "fc" else images


if __name__ == "__main__":
    main()
