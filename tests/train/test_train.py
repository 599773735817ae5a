"""Training, its checkpoints and the export, on a set small enough to learn in seconds."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labd_host.networks import NETWORKS, Conv, Recipe, network, read_record
from labd_host.networks.exported import ExportedModel
from labd_host.networks.training_log import best_epoch, read_log
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, BuildError, UsageError

SMALL = replace(
    network("tfc-w1a1"),
    name="small",
    classes=4,
    input_shape=(8, 8, 1),
    hidden=(16, 16),
    recipe=Recipe(
        epochs=4,
        batch=50,
        learning_rate=0.01,
        latent_scale=0.1,
        dropout=0.1,
        augment=False,
        precision="float32",
        validation=100,
    ),  # fmt: skip
)
ROOT = Path(__file__).resolve().parents[2]


def never():
    return False


def ignore(message):
    pass


def classes_of_stripes(count, seed):
    """Images whose bright rows give away the class: uint8 (count, 8, 8, 1), labels (count,)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count).astype(np.uint8)
    images = random.integers(0, 140, (count, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 110
    return images.astype(np.uint8), labels


TRAIN_SET, TEST_SET = classes_of_stripes(600, 1), classes_of_stripes(300, 2)


def run(out, stopping=never, seed=3, small=SMALL):
    from labd_host.networks.train_process import train

    return train(
        small, TRAIN_SET, lambda: TEST_SET, out, seed=seed, tell=ignore, note=ignore, stopping=stopping
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One training that was never interrupted."""
    out = tmp_path_factory.mktemp("finished")
    return out, run(out)


def test_a_small_network_learns_and_leaves_what_it_should(finished):
    out, record = finished
    assert record.accuracy_percent > 80
    assert (record.network, record.split, record.samples, record.seed) == ("small", "test", 300, 3)
    assert (record.validation_samples, record.recipe) == (100, SMALL.recipe)
    assert record.onnx_sha256 == file_sha256(out / "small.onnx")
    assert read_record(out / "small.json") == record
    log = json.loads((out / "log.json").read_text())
    assert [entry["epoch"] for entry in log] == [1, 2, 3, 4]
    assert log[record.best_epoch - 1]["validation_percent"] == record.validation_correct
    assert record.validation_correct == max(entry["validation_percent"] for entry in log)
    assert best_epoch(read_log(out / "log.json")).number == record.best_epoch
    names = {path.name for path in out.iterdir()}
    assert names == {"best.pt", "last.pt", "lock", "log.json", "small.json", "small.onnx"}


@pytest.mark.parametrize("steps", [1, 10, 13])
def test_a_training_stopped_anywhere_ends_like_one_that_was_not(tmp_path, finished, steps):
    asked = iter(range(1000))
    assert run(tmp_path, stopping=lambda: next(asked) == steps - 1) is None
    assert not (tmp_path / "small.onnx").exists()
    record = run(tmp_path)
    out, wanted = finished
    assert record == wanted
    assert (tmp_path / "small.onnx").read_bytes() == (out / "small.onnx").read_bytes()
    assert (tmp_path / "log.json").read_bytes() == (out / "log.json").read_bytes()


def test_a_loss_that_is_no_number_ends_the_training_with_its_epoch_and_rate(tmp_path):
    wild = replace(SMALL, recipe=replace(SMALL.recipe, learning_rate=1e38))
    with pytest.raises(
        BuildError, match=r"the loss is (nan|inf) in epoch 1, step \d+, at a learning rate of 1e\+38"
    ):
        run(tmp_path, small=wild)
    assert not (tmp_path / "small.onnx").exists()


def test_a_training_that_ended_is_only_exported_again(tmp_path, finished):
    first = run(tmp_path)
    told = []
    (tmp_path / "small.onnx").unlink()
    assert run(tmp_path, stopping=lambda: told.append(1)) == first == finished[1]
    assert told == []


def test_a_training_can_be_ended_early_and_gives_its_best_epoch_so_far(tmp_path, finished):
    from labd_host.networks.train_process import train

    def finish(out):
        return train(
            SMALL, TRAIN_SET, lambda: TEST_SET, out,
            seed=3, tell=ignore, note=ignore, stopping=never, finish=True,
        )  # fmt: skip

    with pytest.raises(UsageError, match="no epoch of the training in .* has ended"):
        finish(tmp_path / "none")
    asked = iter(range(1000))
    assert run(tmp_path, stopping=lambda: next(asked) == 23) is None  # in the third epoch of ten steps
    record = finish(tmp_path)
    log = read_log(tmp_path / "log.json")
    assert (len(log), record.best_epoch) == (2, best_epoch(log).number)
    assert record.validation_correct == best_epoch(log).validation_percent
    assert record.how == "ended early, by --finish, after 2 of 4 epochs"
    assert record.onnx_sha256 == file_sha256(tmp_path / "small.onnx")
    assert run(tmp_path) == finished[1], "and can still be trained to its end"
    assert finish(tmp_path) == finished[1]


def test_another_seed_gives_another_network(tmp_path, finished):
    assert run(tmp_path, seed=4).onnx_sha256 != finished[1].onnx_sha256


def test_the_export_computes_what_torch_computes(finished):
    import torch

    from labd_host.networks import brevitas_model as models
    from labd_host.networks.training import logits_of

    out, _ = finished
    model = models.build(SMALL)
    model.load_state_dict(torch.load(out / "best.pt", weights_only=True)["model"])
    images = TEST_SET[0]
    wanted = logits_of(model, torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    found = ExportedModel(out / "small.onnx").run(images)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found.argmax(axis=1), wanted.argmax(axis=1))


def test_the_test_split_is_not_asked_for_while_training(tmp_path):
    from labd_host.networks.train_process import train

    asked = []
    stopped = train(
        SMALL, TRAIN_SET, lambda: asked.append(1), tmp_path,
        seed=3, tell=ignore, note=ignore, stopping=lambda: True,
    )  # fmt: skip
    assert (stopped, asked) == (None, [])


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    run(tmp_path, stopping=lambda: True)
    with pytest.raises(UsageError, match="has seed 3, asked for is 5"):
        run(tmp_path, seed=5)
    with pytest.raises(UsageError, match="has epochs 4, asked for is 9"):
        run(tmp_path, small=SMALL.with_recipe(replace(SMALL.recipe, epochs=9)))


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_damaged_checkpoint_is_refused_not_executed(tmp_path, keep):
    run(tmp_path, stopping=lambda: True)
    data = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(data[:keep])
    with pytest.raises(ArtifactError, match=r"the checkpoint .*last\.pt cannot be read"):
        run(tmp_path)


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    import torch

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    run(tmp_path, stopping=lambda: True)
    torch.save({"settings": Bomb()}, tmp_path / "last.pt")
    with pytest.raises(ArtifactError, match="cannot be read"):
        run(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    from labd_host.networks.checkpoint import CheckpointFolder

    first = CheckpointFolder(tmp_path)
    with pytest.raises(UsageError, match="another training is running in"):
        run(tmp_path)
    first.close()
    assert run(tmp_path, stopping=lambda: True) is None


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_it(tmp_path):
    from labd_host.networks.checkpoint import CheckpointFolder

    folder = CheckpointFolder(tmp_path)
    folder.save_best({"model": {}, "epoch": 1})
    folder.write_log([{"epoch": 1, "loss": 0.5}])
    with pytest.raises(AttributeError):  # of pickle: a local function
        folder.save_best({"model": {}, "epoch": lambda: 2})
    with pytest.raises(ValueError, match="JSON"):
        folder.write_log([{"epoch": 1, "loss": float("nan")}])
    folder.close()
    assert folder.load_best() == {"model": {}, "epoch": 1}
    assert json.loads((tmp_path / "log.json").read_text()) == [{"epoch": 1, "loss": 0.5}]
    assert {path.name for path in tmp_path.iterdir()} == {"best.pt", "lock", "log.json"}


def test_a_set_too_small_to_split_is_refused(tmp_path):
    recipe = replace(SMALL.recipe, validation=599)
    with pytest.raises(UsageError, match="600 training images leave 1 after 599 for validation"):
        run(tmp_path, small=SMALL.with_recipe(recipe))


def brevitas_own(name):
    """The model that Brevitas itself makes of the network called *name* here."""
    from brevitas_examples.bnn_pynq.models import model_with_cfg
    from brevitas_examples.bnn_pynq.models.CNV import CNV

    if name == "vgg9-w1a1":  # CNV with more classes: Brevitas has no file for it
        return CNV(100, 1, 1, 8, 3)
    family, weights, activations = re.fullmatch(r"(\w+)-w(\d)a(\d)", name).groups()
    return model_with_cfg(f"{family}_{weights}w{activations}a", pretrained=False)[0]


def test_the_table_has_every_network_brevitas_has_but_the_resnet():
    from brevitas_examples.bnn_pynq.models import CNV

    files = (Path(CNV.__file__).parents[1] / "cfg").glob("*.ini")
    theirs = {re.sub(r"_(\d)w(\d)a", r"-w\1a\2", file.stem) for file in files}
    assert theirs - {"resnet18-w4a4"} == set(NETWORKS) - {"vgg9-w1a1"}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tables_networks_are_brevitas_own(name):
    import torch

    from labd_host.networks import brevitas_model as models

    ours, theirs = models.build(network(name)), brevitas_own(name)
    height, width, channels = network(name).input_shape
    images = torch.rand(4, channels, height, width, generator=torch.Generator().manual_seed(1))
    theirs.train()
    with torch.no_grad():
        theirs(images)  # batch normalisation gets statistics that are not zero and one
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes
    ours.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


# Its feature maps are 3 x 2 where the fully connected layers begin; those of the table are one pixel.
WIDE = replace(
    network("cnv-w1a2"), name="wide", input_shape=(12, 10, 3), convs=(Conv(5, True), Conv(6, False)),
    hidden=(7,), recipe=replace(network("cnv-w1a2").recipe, validation=20),
)  # fmt: skip


def test_a_network_whose_feature_maps_are_wider_than_a_pixel_is_trained_and_exported(tmp_path):
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (120, 12, 10, 3)).astype(np.uint8)
    labels = random.integers(0, 10, 120).astype(np.uint8)
    from labd_host.networks.train_process import train

    small = replace(WIDE, recipe=replace(WIDE.recipe, epochs=1, batch=20))
    record = train(
        small, (images, labels), lambda: (images, labels), tmp_path,
        seed=1, tell=ignore, note=ignore, stopping=never,
    )  # fmt: skip
    assert small.flat_shape == (3, 2, 6)
    assert ExportedModel(tmp_path / "wide.onnx").run(images).shape == (120, 10)
    assert record.samples == 120


@pytest.mark.parametrize("name", ["sfc-w2a2", "cnv-w2a2"])
def test_networks_of_few_bits_are_exported_too(tmp_path, name):
    import torch

    from labd_host.networks import brevitas_model as models
    from labd_host.networks.export import export
    from labd_host.networks.training import logits_of

    torch.manual_seed(1)
    model = models.build(network(name))
    height, width, channels = network(name).input_shape
    images = torch.randint(0, 256, (8, channels, height, width), dtype=torch.uint8)
    with torch.no_grad():
        model(images.float() / 255)
    export(model, network(name), tmp_path / "few.onnx")
    found = ExportedModel(tmp_path / "few.onnx").run(
        np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
    )
    np.testing.assert_allclose(found, logits_of(model, images).numpy(), rtol=0, atol=1e-3)


def test_a_convolutional_network_is_exported_too(tmp_path):
    import torch

    from labd_host.networks import brevitas_model as models
    from labd_host.networks.export import export
    from labd_host.networks.training import logits_of

    cnv = network("cnv-w1a1")
    torch.manual_seed(1)
    model = models.build(cnv, latent_scale=0.1)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    model.train()
    model(images.float() / 255)  # batch normalisation gets statistics that are not zero and one
    wanted = logits_of(model, images).numpy()
    export(model, cnv, tmp_path / "cnv.onnx")
    found = ExportedModel(tmp_path / "cnv.onnx").run(
        np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
    )
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)


def test_a_reader_that_is_gone_means_stop():
    from labd_host.machine.parent import MessageWriter
    from labd_host.networks.train_process import Teller

    reading, writing = os.pipe()
    teller = Teller(MessageWriter(writing))
    teller.note("heard")
    assert (os.read(reading, 100), teller.stop) == (b'{"note":"heard"}\n', False)
    os.close(reading)
    teller.note("not heard")
    assert teller.stop
    os.close(writing)


def test_an_interrupted_process_goes_on_where_it_stopped(tmp_path, mnist_folder):
    """The whole process on the real training set: SIGTERM in the first epoch, then to the end."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("host", "shared")),
        "LABD_DATASETS": str(mnist_folder.parent),
        "PYTHONWARNINGS": "ignore:fast_hadamard_transform",
    }
    command = [sys.executable, "-m", "labd_host.networks.train_process", "tfc-w1a1"]
    command += ["--out", str(tmp_path), "--epochs", "1", "--seed", "0", "--precision", "float32"]
    command += ["--threads", "1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=120)
    assert first["progress"]["epoch"] == 1
    assert (process.returncode, json.loads(rest.splitlines()[-1])) == (130, {"stopped": True})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0]["note"].startswith("resuming at epoch 1, step ")
    assert told[-1] == {"trained": True}
    record = read_record(tmp_path / "tfc-w1a1.json")
    assert record.samples == 10000 and record.accuracy_percent > 80


def test_an_augmented_image_is_the_image_shifted_and_mirrored():
    import torch

    from labd_host.networks.training import SHIFT, framed, seen

    images = torch.arange(1, 2 * 5 * 6 * 3 + 1).reshape(2, 5, 6, 3).to(torch.uint8)
    views = torch.tensor([[SHIFT + 1, SHIFT - 2, 1], [SHIFT, SHIFT, 0]])
    moved, same = seen(framed(images), torch.tensor([1, 0]), views)
    planes = images.permute(0, 3, 1, 2)
    assert torch.equal(same, planes[0])
    expected = np.zeros((3, 5, 6), np.uint8)
    expected[:, :4, 2:] = planes[1].numpy()[:, 1:, :4]  # a row up, two columns right
    np.testing.assert_array_equal(moved.numpy(), expected[:, :, ::-1])
    assert torch.equal(seen(framed(images), torch.tensor([1, 0]), None), planes.flip(0))


@pytest.mark.parametrize("steps", [1, 13])
def test_an_augmented_training_in_bfloat16_learns_and_resumes(tmp_path, steps):
    small = SMALL.with_recipe(replace(SMALL.recipe, augment=True, precision="bfloat16"))
    wanted = run(tmp_path / "whole", small=small)
    asked = iter(range(1000))
    assert run(tmp_path / "parts", stopping=lambda: next(asked) == steps - 1, small=small) is None
    assert run(tmp_path / "parts", small=small) == wanted
    assert wanted.recipe.precision == "bfloat16"
