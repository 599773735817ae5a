"""A tiny but whole bundle that a virtual board loads: it answers with the brightest pixel's index."""

import numpy as np

from labd_host.bundles.bitfile_writer import write_bit
from labd_host.bundles.hwh_writer import write_hwh
from labd_host.dataflow.layers import DataflowGraph, LabelSelect
from labd_host.golden.golden_model import GoldenModel
from labd_shared.arrays import save_npz
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.digest import file_sha256, image_digest
from labd_shared.manifest import (
    BIT_NAME,
    GOLDEN_NAME,
    HWH_NAME,
    MANIFEST_NAME,
    NETWORK_NAME,
    Expected,
    FileEntry,
    InputContract,
    Manifest,
)
from labd_shared.tensors import make_tensor

PIXELS = 200
INPUT = make_tensor("in0", "UINT8", (1, PIXELS), (1, 4, 50), "NC", "idma0")
OUTPUT = make_tensor("out0", "UINT8", (1, 1), (1, 1, 1), "NC", "odma0")
CYCLES_PER_FRAME, LATENCY_CYCLES = 98, 300


def brightest(images):
    """What the accelerator answers: the index of the brightest pixel, (N, 1)."""
    return images.reshape(len(images), -1).argmax(axis=1).astype(np.uint8).reshape(-1, 1)


def random_images(count, seed=1):
    return np.random.RandomState(seed).randint(0, 256, (count, PIXELS)).astype(np.uint8)


def golden_arrays(images, predicted):
    """What golden.npz holds: samples, and predictions for the images *predicted*."""
    digests = np.array([image_digest(image.tobytes()) for image in predicted], np.uint64)
    order = np.argsort(digests)
    return {
        "images": images,
        "outputs": brightest(images),
        "digests": digests[order],
        "predictions": brightest(predicted)[order, 0],
    }


def write_emulated_bundle(
    folder, target="emu", network=True, part=PYNQ_Z2_PART, clock_mhz=100.0, golden=None, layers=()
):
    """Write the bundle and return its folder; without *network* it is as one for hardware.

    *layers*: What else than the brightest pixel's index is computed of PIXELS pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GOLDEN_NAME).write_bytes(b"no test here reads it")
    if golden is not None:
        save_npz(folder / GOLDEN_NAME, golden)
    names = [BIT_NAME, HWH_NAME, GOLDEN_NAME]
    digest = None
    if network:
        layers = layers or (LabelSelect("LabelSelect_0", PIXELS, 1, "UINT8", "UINT8"),)
        GoldenModel(DataflowGraph("brightest", layers, (INPUT,), (OUTPUT,), {})).save(folder / NETWORK_NAME)
        names.append(NETWORK_NAME)
        digest = file_sha256(folder / NETWORK_NAME) if target == "emu" else None
    write_bit(folder / BIT_NAME, network_sha256=digest, part=part)
    write_hwh(folder / HWH_NAME, clock_mhz=clock_mhz, inputs=(INPUT,), outputs=(OUTPUT,))
    manifest = Manifest(
        network="brightest",
        dataset="mnist",
        class_names=tuple(str(index) for index in range(PIXELS)),
        target=target,
        part=PYNQ_Z2_PART,
        board="Pynq-Z2",
        clock_mhz=clock_mhz,
        slack_ns=None,
        input_contract=InputContract("raw-uint8"),
        inputs=(INPUT,),
        outputs=(OUTPUT,),
        folding={},
        expected=Expected(CYCLES_PER_FRAME, LATENCY_CYCLES, 1e8 / CYCLES_PER_FRAME, "idma0"),
        accuracy=None,
        tools={},
        files={name: FileEntry(file_sha256(folder / name), (folder / name).stat().st_size) for name in names},
    )
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return folder
