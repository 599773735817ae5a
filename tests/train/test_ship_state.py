"""A state dictionary as a network that comes with labd."""

import lzma
from dataclasses import replace

import numpy as np
import pytest

from labd_host.networks import Conv, Recipe, network, trained_onnx, trained_record
from labd_host.networks.exported import ExportedModel
from labd_shared.errors import ArtifactError

SMALL = replace(
    network("vgg9-w1a1"),
    name="small",
    classes=4,
    input_shape=(8, 8, 3),
    convs=(Conv(4, True), Conv(6, False)),
    hidden=(5,),
)
RECIPE = Recipe(
    epochs=1, batch=2, learning_rate=0.1, latent_scale=1.0,
    dropout=0.0, augment=False, precision="float32", validation=0,
)  # fmt: skip


@pytest.fixture
def test_set():
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, (30, 8, 8, 3)).astype(np.uint8), rng.integers(0, 4, 30).astype(np.uint8)


def test_it_ships_packed_and_computes_what_the_model_computes(tmp_path, monkeypatch, test_set):
    import torch

    from labd_host.networks.brevitas_model import build
    from labd_host.networks.ship_state import ship_state

    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(11)
    model = build(SMALL)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            layer.running_mean.uniform_(0.1, 0.3)  # off the sums: torch's rounding must not decide a sign
    record = ship_state(
        SMALL, model.state_dict(), test_set, tmp_path, recipe=RECIPE, how="not at all", command="ship"
    )
    assert trained_record("small", tmp_path) == record
    images, labels = test_set
    found = ExportedModel(trained_onnx("small", tmp_path)).run(images)
    model.eval()
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)
    with torch.no_grad():
        wanted = model(torch.tensor(pixels)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert (record.samples, record.correct) == (30, int((found.argmax(axis=1) == labels).sum()))
    packed = tmp_path / "small.onnx.xz"
    again = tmp_path / "again"
    again.mkdir()
    ship_state(SMALL, model.state_dict(), test_set, again, recipe=RECIPE, how="not at all", command="ship")
    assert lzma.decompress(packed.read_bytes()) == lzma.decompress((again / packed.name).read_bytes())


def test_weights_of_another_network_are_refused(tmp_path, test_set):
    from labd_host.networks.brevitas_model import build
    from labd_host.networks.ship_state import ship_state

    state = build(replace(SMALL, hidden=(6,))).state_dict()
    with pytest.raises(ArtifactError, match="the weights are not those of small"):
        ship_state(SMALL, state, test_set, tmp_path, recipe=RECIPE, how="", command="")
    assert not list(tmp_path.iterdir())
