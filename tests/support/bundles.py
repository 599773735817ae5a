"""A tiny but whole bundle with its golden answers, and a fake board that computes them."""

import numpy as np

from labd_board.fake import FakeDevice
from labd_shared.arrays import save_npz
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.digest import file_sha256, image_digest
from labd_shared.manifest import (
    BIT_NAME,
    GOLDEN_NAME,
    HWH_NAME,
    MANIFEST_NAME,
    Accuracy,
    Expected,
    FileEntry,
    InputContract,
    Manifest,
)
from labd_shared.tensors import make_tensor

FRAME = (28, 28, 1)


def darkness(images):
    """The classifier of these tests: ten classes by mean brightness, exact integers only."""
    total = images.reshape(len(images), -1).astype(np.int64).sum(axis=1)
    return (total * 10 // (784 * 256)).reshape(-1, 1)


def golden_images():
    """Twenty images of rising brightness, each with some structure."""
    ramp = np.arange(784) % 29
    return np.array([np.clip(ramp + 12 * index, 0, 255) for index in range(20)], np.uint8)


def make_manifest(
    files, target="emu", datatype="UINT8", network="tiny", normal=(1, 784), folded=(1, 16, 49), **fields
):
    """The manifest of the classifier; *fields* of it can be given as they are."""
    made = Manifest(
        network=network,
        dataset="mnist",
        class_names=tuple(str(digit) for digit in range(10)),
        target=target,
        part=PYNQ_Z2_PART,
        board="Pynq-Z2",
        clock_mhz=100.0,
        slack_ns=None,
        input_contract=InputContract("raw-uint8"),
        inputs=(make_tensor("in0", datatype, normal, folded, "NC", "idma0"),),
        outputs=(make_tensor("out0", "UINT8", (1, 1), (1, 1, 1), "NC", "odma0"),),
        folding={"MVAU_hls_0": {"PE": 16, "SIMD": 49}},
        expected=Expected(98, 300, 1e8 / 98, "idma0"),
        accuracy=Accuracy(92.5, 10000, "test", "golden model"),
        tools={"finn-plus": "1.6.1"},
        files=files,
    )
    return made._replace(**fields)


def write_bundle(folder, target="emu", model=darkness, predicted=None, extra=None, **changes):
    """A bundle folder; its bitfile is a stand-in that only the fake loads. *extra*: name -> bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    images = golden_images()
    if predicted is None:
        predicted = images
    digests = np.array([image_digest(image.tobytes()) for image in predicted], np.uint64)
    order = np.argsort(digests)
    (folder / BIT_NAME).write_bytes(b"only a fake board loads this")
    (folder / HWH_NAME).write_text("<EDKSYSTEM/>")
    save_npz(
        folder / GOLDEN_NAME,
        {
            "images": images,
            "outputs": model(images).astype(np.uint8),
            "digests": digests[order],
            "predictions": model(predicted).reshape(-1)[order].astype(np.uint16),
        },
    )
    names = [BIT_NAME, HWH_NAME, GOLDEN_NAME] + sorted(extra or {})
    for name, content in (extra or {}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    files = {name: FileEntry(file_sha256(folder / name), (folder / name).stat().st_size) for name in names}
    manifest = make_manifest(files, target, **changes)
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return folder


def without_golden(folder):
    """The bundle of `write_bundle` as an import has it whose network is unknown."""
    save_npz(
        folder / GOLDEN_NAME,
        {
            "images": np.zeros((0, 784), np.uint8),
            "outputs": np.zeros((0, 1), np.uint8),
            "digests": np.zeros(0, np.uint64),
            "predictions": np.zeros(0, np.uint16),
        },
    )
    names = (BIT_NAME, HWH_NAME, GOLDEN_NAME)
    files = {name: FileEntry(file_sha256(folder / name), (folder / name).stat().st_size) for name in names}
    (folder / MANIFEST_NAME).write_text(make_manifest(files).to_json())
    return folder


def fake_board(model=darkness, manifest=None, **changes):
    """A fake board with the accelerator of `write_bundle` on it."""
    manifest = manifest or make_manifest({})
    options = dict({"cycles_per_frame": 98, "latency_cycles": 300}, **changes)
    return FakeDevice(manifest.inputs, manifest.outputs, model, **options)
