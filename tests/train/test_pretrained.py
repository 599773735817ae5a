"""Weights as Brevitas' own models save them, taken as they are and trained on from; drawn here, none published."""

import os
from dataclasses import replace

import numpy as np
import pytest

from labd_host.networks import network, read_record
from labd_host.networks.exported import ExportedModel
from labd_host.networks.pretrained import checksum
from labd_shared.errors import ArtifactError, UsageError

TFC = network("tfc-w1a1")
SOURCE = "https://example.invalid/tfc_1w1a-45185b4d.pth"


def ignore(message):
    pass


def never():
    return False


@pytest.fixture(scope="module")
def theirs():
    """Brevitas' own tfc_1w1a with drawn weights, its batch normalisation with statistics."""
    import torch
    from brevitas_examples.bnn_pynq.models import model_with_cfg

    torch.manual_seed(7)
    model, _ = model_with_cfg("tfc_1w1a", pretrained=False)
    with torch.no_grad():
        model(torch.rand(200, 1, 28, 28))
    return model.eval()


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(3)
    return random.integers(0, 256, (200, 28, 28, 1)).astype(np.uint8), random.integers(0, 10, 200).astype(
        np.uint8
    )


def start_of(path):
    from labd_host.networks.checkpoint import load_published
    from labd_host.networks.training import Start

    return Start(load_published(path), SOURCE)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "as torch before 1.6 wrote it"])
def test_published_weights_are_exported_as_they_are(tmp_path, theirs, images, zipped):
    import torch

    from labd_host.networks.train_process import take
    from labd_host.networks.training import logits_of

    torch.save(theirs.state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    record = take(TFC, start_of(tmp_path / "w.pth"), lambda: images, tmp_path / "out", note=ignore)
    planes = torch.from_numpy(images[0].transpose(0, 3, 1, 2).copy())
    wanted = logits_of(theirs, planes).numpy()
    found = ExportedModel(tmp_path / "out" / "tfc-w1a1.onnx").run(images[0])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert record == read_record(tmp_path / "out" / "tfc-w1a1.json")
    assert (record.samples, record.correct) == (200, int((wanted.argmax(axis=1) == images[1]).sum()))
    assert (record.how, record.recipe.epochs) == (f"as published: {SOURCE}", 0)
    assert record.command == "labd train tfc-w1a1 --pretrained"


def test_training_goes_on_from_published_weights(tmp_path, theirs, images):
    import torch

    from labd_host.networks.checkpoint import CheckpointFolder
    from labd_host.networks.train_process import train
    from labd_host.networks.training import Training

    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    start = start_of(tmp_path / "w.pth")
    small = replace(TFC, recipe=replace(TFC.recipe, epochs=1, batch=20, validation=20))
    first = CheckpointFolder(tmp_path / "first")
    begun = Training(small, *images, first, seed=1, start=start).model.state_dict()
    first.close()
    assert all(torch.equal(begun[key], value) for key, value in theirs.state_dict().items())
    record = train(
        small, images, lambda: images, tmp_path / "out",
        seed=1, tell=ignore, note=ignore, stopping=never, start=start,
    )  # fmt: skip
    assert record.how == f"from {SOURCE}"
    with pytest.raises(UsageError, match=f"has pretrained {SOURCE}, asked for is https://other"):
        train(
            small, images, lambda: images, tmp_path / "out",
            seed=1, tell=ignore, note=ignore, stopping=never, start=replace(start, source="https://other"),
        )  # fmt: skip


def test_weights_of_another_network_are_refused(tmp_path, theirs):
    import torch

    from labd_host.networks.train_process import take

    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        ArtifactError, match="the weights are not those of sfc-w1a1: .* size mismatch for features.2"
    ):
        take(network("sfc-w1a1"), start_of(tmp_path / "w.pth"), None, tmp_path / "out", note=ignore)
    few = dict(list(theirs.state_dict().items())[:-1])
    torch.save(few, tmp_path / "w.pth")
    with pytest.raises(ArtifactError, match=r"the weights are not those of tfc-w1a1: .* Missing key\(s\)"):
        take(TFC, start_of(tmp_path / "w.pth"), None, tmp_path / "out", note=ignore)


def test_a_file_with_code_or_other_things_in_it_is_refused(tmp_path):
    import torch

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    for content in ({"a": Bomb()}, {"a": 1}, [torch.zeros(1)]):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(ArtifactError, match=r"the weights .*w\.pth cannot be read"):
            start_of(tmp_path / "w.pth")
    assert not (tmp_path / "exploded").exists()
    (tmp_path / "w.pth").write_bytes(b"no weights")
    with pytest.raises(ArtifactError, match="cannot be read"):
        start_of(tmp_path / "w.pth")


def test_the_table_s_addresses_are_those_in_brevitas_files():
    from brevitas_examples.bnn_pynq.models import get_model_cfg

    from labd_host.networks import NETWORKS

    for name, entry in NETWORKS.items():
        if name != "vgg9-w1a1":
            family, weights, activations = name.replace("-w", " ").replace("a", " ").split()
            theirs = get_model_cfg(f"{family}_{weights}w{activations}a")
            assert entry.pretrained == theirs.get("MODEL", "PRETRAINED_URL")
            assert len(checksum(entry)) == 8
