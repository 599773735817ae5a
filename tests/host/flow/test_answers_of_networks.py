"""One output neuron becomes a threshold at 0; other scores and maps are left as they are."""

import numpy as np
import pytest

from labd_host.bundles.preparation import measure, output_contract
from labd_host.dataflow.folding import Folding
from labd_host.datasets import SplitFrames
from labd_host.flow import compile_network
from labd_host.judge.classifiers import exported, golden
from labd_host.machine.listener import SILENT
from labd_host.networks import resolve
from labd_host.networks.exported import ExportedModel
from labd_shared.dataset_table import DATASETS
from labd_shared.errors import UsageError
from support.small_networks import Net, hidden, images

FRAMES = images(100)


def compiled_in(folder, net, out, classes=4):
    path = net.save(folder / "small.onnx", out=out)
    return compile_network(
        path,
        folding=Folding("none", {}, {}),
        out=folder / "out",
        images=FRAMES[:4],
        many_images=FRAMES,
        classes=classes,
    )


def plain(net):
    net.matmul(8, 1)


def with_bias(net):
    net.gemm(8, 1, net.const([-0.3]))


def falling(net):
    net.op("Mul", net.matmul(8, 1), net.const(-1.5))


@pytest.mark.parametrize("last", [plain, with_bias, falling])
def test_one_output_neuron_answers_whether_its_score_is_above_0(last, tmp_path):
    net = hidden(Net())
    last(net)
    compiled = compiled_in(tmp_path, net, (1, 1), classes=2)
    assert compiled.golden.network.answer == "sign"
    answers = compiled.golden.run(FRAMES).outputs[0][:, 0]
    scores = ExportedModel(tmp_path / "small.onnx").run(FRAMES)[:, 0]
    np.testing.assert_array_equal(answers, scores > 0)
    assert 0 < answers.sum() < len(answers)
    assert compiled.stages[-1].proof.tensors == 1


def conv(net, inputs, outputs, bias=None):
    parts = [net.tensor, net.weights((outputs, inputs, 3, 3))]
    if bias is not None:
        parts.append(net.const(bias))
    net.op("Conv", *parts, kernel_shape=[3, 3], strides=[1, 1], pads=[0] * 4, dilations=[1, 1], group=1)


def six_scores(net):
    net.gemm(8, 6, net.const(np.linspace(-1, 1, 6)), scale=np.linspace(0.3, 0.5, 6).reshape(-1, 1))


def six_levels(net):
    net.quant(net.matmul(8, 6), 4, 0.5)


def bits(net):
    net.quant(net.tensor, 1, 1.0)
    net.quant(net.matmul(8, 8, bits=1, scale=1.0), 1, 1.0)
    net.matmul(8, 6, bits=1, scale=0.25)


@pytest.mark.parametrize("last", [six_scores, six_levels, bits])
def test_scores_that_are_not_one_for_each_class_come_out_as_the_contract_says(last, tmp_path):
    net = hidden(Net())
    last(net)
    compiled = compiled_in(tmp_path, net, (1, 6))
    check_contract(compiled, tmp_path / "small.onnx")


def check_contract(compiled, path):
    assert compiled.golden.network.answer == "values"
    contract = output_contract(compiled)
    outputs = compiled.golden.run(FRAMES).outputs[0].astype(np.float64)
    found = outputs * contract.scale + contract.offset
    np.testing.assert_allclose(found, np.moveaxis(ExportedModel(path).run(FRAMES), 1, -1), atol=1e-4)


def test_a_map_comes_out_with_the_channel_last(tmp_path):
    net = Net()
    net.pixels()
    conv(net, 1, 2)
    net.relu()
    conv(net, 2, 3, bias=[-1.0, 0.0, 1.0])
    compiled = compiled_in(tmp_path, net, (1, 3, 2, 2))
    assert compiled.outputs[0].normal == (1, 2, 2, 3)
    check_contract(compiled, tmp_path / "small.onnx")


def test_values_have_no_accuracy_and_are_not_judged_by_labels(tmp_path, monkeypatch):
    net = Net()
    net.pixels()
    net.flat(784)
    net.matmul(784, 8)
    net.relu(2, 16.0)
    net.matmul(8, 6)
    path, frames = (
        net.save(tmp_path / "small.onnx", shape=(1, 1, 28, 28), out=(1, 6)),
        images(40, shape=(28, 28, 1)),
    )
    compiled = compile_network(
        path, folding=Folding("none", {}, {}), out=tmp_path / "out", images=frames[:4], classes=10
    )
    found = SplitFrames(DATASETS["mnist"], frames, np.zeros(40, np.uint8))
    prepared = measure("small", found, compiled)
    assert (prepared.accuracy, prepared.class_names, len(prepared.golden["digests"])) == (None, (), 0)
    for classifier in (golden(str(tmp_path / "out"), SILENT), exported(resolve(str(path), "mnist"), SILENT)):
        with pytest.raises(UsageError, match="small gives 6 values .*10 classes"):
            classifier.run(frames, 10)


def test_a_yes_or_no_is_judged_by_two_classes(tmp_path):
    net = hidden(Net())
    plain(net)
    compiled_in(tmp_path, net, (1, 1), classes=2)
    ours = golden(str(tmp_path / "out"), SILENT)
    theirs = exported(resolve(str(tmp_path / "small.onnx"), "mnist"), SILENT)
    np.testing.assert_array_equal(ours.run(FRAMES, 2).best[:, 0], theirs.run(FRAMES, 2).best[:, 0])
    for classifier in (ours, theirs):
        with pytest.raises(UsageError, match="small gives one .*an image"):
            classifier.run(FRAMES, 10)
