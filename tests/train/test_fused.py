"""The fused form of the layers against the plain one, in float32, and what a recipe does with it."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest

from labd_host.networks import NETWORKS, Conv, network

CNV = network("cnv-w1a1")
# Maps of 8 x 9, 6 x 7 (pooled to 3 x 3, a column left over) and 3 x 3, where the window is the whole map.
ODD = replace(
    CNV, name="odd", input_shape=(10, 11, 3), classes=4, hidden=(7,),
    convs=(Conv(5, False), Conv(6, True), Conv(8, False)),
)  # fmt: skip
# An even map that is pooled, and one that is wider than a pixel where the fully connected layers begin.
EVEN = replace(ODD, name="even", input_shape=(10, 12, 3), convs=(Conv(5, True), Conv(6, False)))
SHAPES = [
    *NETWORKS.values(),
    ODD,
    EVEN,
    replace(EVEN, name="even-a2", act_bits=2),
    replace(ODD, weight_bits=3),
]


def drawn(wanted, seed=1):
    """*wanted* with weights over the whole range and thresholds that no sum falls on."""
    import torch

    from labd_host.networks import brevitas_model as models

    model = models.build(wanted)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.dim() == 1:
                low, high = (0.3, 1.5) if name.endswith("weight") else (-0.7, 0.7)
                values.uniform_(low, high, generator=generator)
            else:
                values.uniform_(-1, 1, generator=generator)
    return model.to(memory_format=torch.channels_last)


def batch_of(wanted, count=12, seed=2):
    import torch

    generator = torch.Generator().manual_seed(seed)
    height, width, channels = wanted.input_shape
    planes = torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)
    return planes, torch.randint(0, wanted.classes, (count,), generator=generator)


def taught(model, logits, labels):
    """Logits and gradients by name of one step."""
    import torch

    model.zero_grad()
    torch.nn.functional.cross_entropy(logits, labels).backward()
    return logits.detach(), {name: each.grad.clone() for name, each in model.named_parameters()}


def assert_alike(ours, theirs):
    """Both steps' logits and gradients, as near as float32 sums in another order are.

    A value that lies at the limit of a quantiser's gradient may fall to either side of it. There are a million
    in a step, so one or two do; each moves the gradients of one channel.
    """
    import torch

    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-5)
    for name, wanted in theirs[1].items():
        # The last bias has no gradient: it shifts all logits of an image alike.
        off = (ours[1][name] - wanted).abs()
        assert off.norm() <= 0.03 * wanted.norm() + 1e-6, name
        assert (off > 1e-4 * wanted.abs().max() + 1e-7).float().mean() <= 0.05, name


@pytest.mark.parametrize("wanted", SHAPES, ids=[each.name for each in SHAPES])
def test_logits_gradients_and_statistics_are_those_of_the_plain_form(wanted):
    import torch

    from labd_host.networks.fused import Fused
    from labd_host.networks.training import as_input

    plain = drawn(wanted)
    model = copy.deepcopy(plain)
    fused = Fused(model, wanted, torch.float32, compiled=False)
    for seed in (2, 3):
        planes, labels = batch_of(wanted, seed=seed)
        assert_alike(taught(model, fused(planes), labels), taught(plain, plain(as_input(planes)), labels))
    for (name, ours), theirs in zip(model.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


def test_dropout_drops_the_same_as_in_the_plain_form():
    import torch

    from labd_host.networks import brevitas_model as models
    from labd_host.networks.fused import Fused
    from labd_host.networks.training import as_input

    wanted = network("sfc-w1a1")
    plain = models.build(wanted, dropout=0.2)
    plain.load_state_dict(drawn(wanted).state_dict())
    model = copy.deepcopy(plain)
    planes, labels = batch_of(wanted)
    steps = []
    for each, forward in ((model, Fused(model, wanted, torch.float32, compiled=False)), (plain, plain)):
        torch.manual_seed(5)
        images = planes if each is model else as_input(planes)
        steps.append(taught(each, forward(images), labels))
    assert_alike(*steps)


@pytest.mark.parametrize("wanted", [ODD, EVEN], ids=["odd", "even"])
def test_compiled_layers_compute_the_same(wanted):
    import torch

    from labd_host.networks.fused import Fused, can_compile, prepare_compiler

    prepare_compiler(torch.get_num_threads())
    if not can_compile("cpu"):
        pytest.skip("no C++ compiler for torch.compile")
    plain = drawn(wanted)
    planes, labels = batch_of(wanted)
    steps = []
    for compiled in (True, False):
        model = copy.deepcopy(plain)
        forward = Fused(model, wanted, torch.float32, compiled=compiled)
        steps.append(taught(model, forward(planes), labels))
    assert_alike(*steps)


def test_float_weights_of_plus_and_minus_one_are_their_own_signs():
    import torch

    from labd_host.networks.fused import Fused

    model = drawn(ODD)
    with torch.no_grad():
        for values in model.parameters():
            if values.dim() > 1:
                values.copy_(torch.where(values >= 0, 1.0, -1.0))
    planes, labels = batch_of(ODD)
    fused = Fused(model, ODD, torch.float32, compiled=False)
    quantised = taught(model, fused(planes), labels)
    fused.float_weights = True
    assert_alike(taught(model, fused(planes), labels), quantised)
    with torch.no_grad():
        model.conv_features[1].weight.mul_(0.7)
        model.conv_features[4].weight[:, :3].mul_(0.7)
    assert not torch.equal(fused(planes), quantised[0])


def test_no_compiler_is_noticed(monkeypatch):
    from labd_host.networks import fused

    def refuse(function):
        raise OSError("no compiler")

    monkeypatch.setattr(fused, "_compile", refuse)
    assert not fused.can_compile("cpu")


def images_of(wanted, count, seed=1):
    """Images and labels of a set that has something to learn."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, wanted.classes, count).astype(np.uint8)
    images = random.integers(0, 120, (count, *wanted.input_shape))
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 120
    return images.astype(np.uint8), labels


@pytest.fixture
def training_of(tmp_path):
    """Makes a training of a network in a folder of its own, or goes on with the one that is there."""
    from labd_host.networks.checkpoint import CheckpointFolder
    from labd_host.networks.training import Training

    folders = {}

    def make(wanted, name, **options):
        if name in folders:
            folders[name].close()
        folders[name] = CheckpointFolder(tmp_path / name)
        return Training(wanted, *images_of(wanted, 120), folders[name], seed=1, **options)

    yield make
    for folder in folders.values():
        folder.close()


def with_recipe(wanted, **settings):
    recipe = replace(CNV.recipe, epochs=2, batch=20, validation=20, learning_rate=0.01)
    return replace(wanted, recipe=replace(recipe, **settings))


def ran(training, steps=10**9):
    """The learning rates of a training's first *steps*."""
    rates = []

    def tell(progress):
        rates.append(training._optimizer.param_groups[0]["lr"])

    training.run(tell, lambda: len(rates) >= steps)
    return rates


def test_the_learning_rate_rises_and_falls(training_of):
    small = with_recipe(ODD, warmup_steps=4, final_learning_rate=0.0)
    rates = ran(training_of(small, "one"))
    assert len(rates) == 10
    assert rates[0] == pytest.approx(0.01 / 4)
    assert max(rates) == max(rates[2:5]) < 0.01
    assert rates[-1] < 0.001


def test_two_steps_train_float_weights_first_and_keep_no_epoch_of_theirs(training_of):
    import torch

    small = with_recipe(ODD, epochs=4, float_epochs=2, warmup_steps=2)
    whole = training_of(small, "whole")
    rates = ran(whole)
    assert rates[10:] == rates[:10], "the second part begins again"
    assert whole.state.best_epoch > 2
    assert [entry["best_percent"] is None for entry in whole.state.log] == [True, True, False, False]
    parts = training_of(small, "parts")
    assert ran(parts, 10) == rates[:10]  # to the last step of float weights
    parts = training_of(small, "parts")
    assert ran(parts, 3) == rates[10:13]
    parts = training_of(small, "parts")
    ran(parts)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name


def test_a_teacher_and_distillation_come_together(training_of):
    import torch

    from labd_host.networks.training import Teacher
    from labd_shared.errors import UsageError

    teacher = Teacher(drawn(ODD).eval(), "odd")
    with pytest.raises(UsageError, match=re.escape("distillation 0.0 and there is a teacher")):
        training_of(with_recipe(ODD), "a", teacher=teacher)
    with pytest.raises(UsageError, match=re.escape("distillation 0.5 and there is not a teacher")):
        training_of(with_recipe(ODD, distillation=0.5), "b")
    alone = training_of(with_recipe(ODD), "c")
    ran(alone)
    taught_by = training_of(with_recipe(ODD, distillation=0.5), "d", teacher=teacher)
    ran(taught_by)
    ours, theirs = (each.model.state_dict()["conv_features.1.weight"] for each in (taught_by, alone))
    assert not torch.equal(ours, theirs)


def test_training_goes_on_from_an_export(tmp_path):
    import torch

    from labd_host.networks.brevitas_model import build, weighted
    from labd_host.networks.export import export
    from labd_host.networks.from_export import LATENT_SIZE, state_of
    from labd_host.networks.training import as_input
    from labd_shared.errors import ArtifactError

    model = drawn(ODD)
    planes, _ = batch_of(ODD)
    model(as_input(planes))  # batch normalisation gets statistics
    with torch.no_grad():
        for layer in weighted(model):  # as `networks.ship` keeps them
            layer.weight.copy_(torch.where(layer.weight >= 0, 1.0, -1.0))
    export(model, ODD, tmp_path / "odd.onnx")
    again = build(ODD)
    again.load_state_dict(state_of(tmp_path / "odd.onnx", ODD))
    assert all(torch.all(layer.weight.abs() == LATENT_SIZE) for layer in weighted(again))
    with torch.no_grad():
        wanted, found = model.eval()(as_input(planes)), again.eval()(as_input(planes))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    with pytest.raises(ArtifactError, match=r"odd\.onnx is not an export of tfc-w1a1"):
        state_of(tmp_path / "odd.onnx", network("tfc-w1a1"))


def test_a_gpu_that_is_not_there_is_refused():
    import torch

    from labd_host.networks.train_process import _device
    from labd_shared.errors import UsageError

    if torch.cuda.is_available():
        assert (_device("auto"), _device("cpu"), _device("cuda")) == ("cuda", "cpu", "cuda")
        return
    assert (_device("auto"), _device("cpu")) == ("cpu", "cpu")
    with pytest.raises(UsageError, match="torch finds no GPU"):
        _device("cuda")
