"""Networks that take something else than pixels go the whole way: compiled, proven, bundled, validated."""

import numpy as np
import pytest

import labd
from labd_host import datasets
from labd_shared.bundle import load_golden, open_bundle
from support.own_networks import CLASSES, write_mlp

FRAMES = 60


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def saved(rng, low, high, shape, form=""):
    values = rng.randint(low, high + 1, (FRAMES, *shape))
    if (low, high) == (-1, 1):
        values = 2 * rng.randint(0, 2, (FRAMES, *shape)) - 1
    kind = np.int8 if low < 0 else np.uint8
    np.savez("frames.npz", images=values.astype(kind), labels=np.arange(FRAMES) % CLASSES)
    if not form:
        return "npz:frames.npz"
    with open("frames.toml", "w") as handle:
        handle.write(f'name = "frames"\ntest = "npz:frames.npz"\n{form}\n')
    return "frames.toml"


CASES = {
    "a vector of INT8, scaled": (
        {"shape": (1, 24), "quantiser": (8, 0.05), "spread": 10.0}, -128, 127, "scale = 0.05"
    ),
    "a vector of INT8 as it is": ({"shape": (1, 24), "quantiser": (8, 1.0)}, -128, 127, ""),
    "a vector of pixels": ({"shape": (1, 24), "quantiser": (8, 1 / 128), "spread": 3.0}, 0, 255, ""),
    "a vector of INT8, declared": ({"shape": (1, 24), "declared": "INT8", "spread": 300.0}, -128, 127, ""),
    "bits, declared": ({"shape": (1, 24), "declared": "BINARY", "spread": 3.0}, 0, 1, ""),
    "UINT4, declared": ({"shape": (1, 24), "declared": "UINT4"}, 0, 15, ""),
    "BIPOLAR, declared": ({"shape": (1, 24), "declared": "BIPOLAR", "spread": 4.0}, -1, 1, ""),
    "an image of 6 x 6 x 3, an offset": (
        {"shape": (1, 3, 6, 6), "quantiser": (8, 1 / 128), "spread": 6.0},
        0,
        255,
        "shape = [6, 6, 3]\nscale = 0.0078125\noffset = -1.0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_own_input_goes_from_the_export_to_a_bundle(tmp_path, rng, case):
    network, low, high, form = CASES[case]
    write_mlp(tmp_path / "own.onnx", **network)
    axes = network["shape"][1:]
    dataset = saved(rng, low, high, axes if len(axes) == 1 else (*axes[1:], axes[0]), form)
    net = labd.load("own.onnx", dataset=dataset)
    design = net.compile("auto", out="stages")
    assert "answers" in design.stages, "compared with onnxruntime"
    bundle = design.build(out="bundle")
    wanted = net.evaluate()
    assert bundle.manifest.accuracy.samples == FRAMES == wanted.samples
    assert bundle.validate().correct == wanted.correct == design.validate().correct
    manifest, golden = bundle.manifest, load_golden(open_bundle("bundle"))
    assert (manifest.dataset, len(manifest.class_names)) == ("frames", CLASSES)
    source = manifest.inputs[0].datatype
    assert manifest.input_contract.kind == ("raw-uint8" if source.name == "UINT8" else "integers")
    assert golden.images.min() == source.low and golden.images.max() == source.high
    images, _ = datasets.load("frames", "test")
    assert len(golden.digests) == FRAMES == len(images), "kept for the board, by its name"
