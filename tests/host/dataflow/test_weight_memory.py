"""Weights that are written at run time: FINN's files and parts, the AXI-lite port, the lines fetched ahead."""

import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from labd_host.bundles.hwh_writer import write_hwh
from labd_host.bundles.writable_layers import WritableLayer, writable_layers
from labd_host.dataflow.layers import DataflowGraph, LabelSelect, Mvau, Thresholding
from labd_host.dataflow.weight_memory import line_words, weights_of, words_of
from labd_host.flow.finn_door import Finn
from labd_host.golden.golden_model import GoldenModel
from labd_host.virtual_board.weight_memory_block import FETCHED_LINES, Rewriting, WeightMemory
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import BusFault, UsageError
from labd_shared.hwh import read_hwh
from labd_shared.tensors import make_tensor
from labd_shared.weight_files import LayerFile

BASE = 0x40002000


def mvau(mw=12, mh=6, pe=2, simd=3, weight="INT4", vectors=1, name="MVAU_hls_0"):
    return Mvau(name, mw, mh, vectors, pe, simd, 0, False, "UINT2", weight, "INT32", 0)


def drawn(layer, seed=1):
    rng = np.random.default_rng(seed)
    kind = parse_datatype(layer.weight)
    if kind.name == "BIPOLAR":
        return 2 * rng.integers(0, 2, (layer.mw, layer.mh)) - 1
    return rng.integers(kind.low, kind.high + 1, (layer.mw, layer.mh))


def memory(layer, weights):
    return WeightMemory("StreamingDataflowPartition_1", BASE, 4096, layer, weights)


def write(held, words, start=0):
    for place, word in enumerate(words.tolist()):
        held.write(4 * (start + place), word)


# Lines of 1 to 12 bits, of exactly one word, of a word and a bit, of three words (padded to four), of 25.
SHAPES = [
    (8, 4, 1, 1, "BINARY"),
    (12, 6, 2, 3, "TERNARY"),
    (16, 8, 4, 8, "BIPOLAR"),
    (33, 4, 1, 33, "BINARY"),
    (12, 4, 2, 3, "INT4"),
    (24, 8, 8, 3, "INT4"),
    (98, 16, 8, 98, "BINARY"),
    (10, 6, 3, 5, "INT8"),
]


@pytest.mark.parametrize(("mw", "mh", "pe", "simd", "weight"), SHAPES)
def test_the_words_are_those_that_finn_writes_into_its_file(tmp_path, mw, mh, pe, simd, weight):
    layer = mvau(mw, mh, pe, simd, weight)
    weights = drawn(layer)
    with Finn():
        from onnx import helper
        from qonnx.custom_op.registry import getCustomOp

        node = helper.make_node(
            "MVAU_hls", ["x", "w"], ["y"], name=layer.name, domain="finn.custom_op.fpgadataflow.hls",
            backend="fpgadataflow", MW=mw, MH=mh, PE=pe, SIMD=simd, inputDataType="UINT2", weightDataType=weight,
            outputDataType="INT32", noActivation=1, mem_mode="internal_decoupled", runtime_writeable_weights=1,
        )  # fmt: skip
        written = tmp_path / "finn.dat"
        getCustomOp(node).make_weight_file(weights.astype(np.float32), "decoupled_runtime", str(written))
    file = WritableLayer(LayerFile(1, 0, layer.name), layer)
    assert file.content(weights) == written.read_bytes()
    np.testing.assert_array_equal(weights_of(layer, words_of(layer, weights)), weights)


def test_the_parts_of_the_design_are_numbered_as_finn_numbers_them(compiled, tmp_path):
    writable = ("MVAU_hls_1", "MVAU_hls_3")
    settings = {name: {"runtime_writeable_weights": 1} for name in writable}
    with Finn() as finn:
        from finn.transformation.fpgadataflow.create_dataflow_partition import CreateDataflowPartition
        from finn.transformation.fpgadataflow.floorplan import Floorplan
        from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
        from finn.transformation.fpgadataflow.insert_iodma import InsertIODMA
        from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.custom_op.registry import getCustomOp
        from qonnx.transformation.general import GiveUniqueNodeNames

        model = finn.load(next(stage.path for stage in compiled.stages if stage.name == "folded"))
        finn.set_attributes(model, settings)
        for step in (
            InsertIODMA(64), InsertDWC(), SpecializeLayers(PYNQ_Z2_PART), GiveUniqueNodeNames(), Floorplan(),
            CreateDataflowPartition(partition_model_dir=str(tmp_path)), GiveUniqueNodeNames(),
        ):  # fmt: skip
            model = model.transform(step)
        parts = {
            node.name: {
                each.name for each in ModelWrapper(getCustomOp(node).get_nodeattr("model")).graph.node
            }
            for node in model.graph.node
        }
    ours = writable_layers(compiled.golden.network.layers, settings)
    assert [each.file.node for each in ours] == list(writable)
    for each in ours:
        assert each.file.node in parts[each.file.block]
        assert len(parts[each.file.block] & set(writable)) == 1


def test_a_writable_first_layer_is_in_the_part_behind_the_input_dma():
    first, second = mvau(name="MVAU_hls_0"), mvau(6, 6, name="MVAU_hls_1")
    settings = {first.name: {"runtime_writeable_weights": 1}, second.name: {"runtime_writeable_weights": 1}}
    files = [each.file.name for each in writable_layers([first, second], settings)]
    assert files == ["runtime_weights/1_0_MVAU_hls_0.dat", "runtime_weights/2_0_MVAU_hls_1.dat"]


def test_what_labd_cannot_write_to_is_refused():
    thresholding = Thresholding("Thresholding_rtl_0", 4, 1, 1, 1, "UINT2", "BINARY", 0)
    with pytest.raises(
        UsageError, match="sets runtime_writeable_weights of Thresholding_rtl_0, a Thresholding"
    ):
        writable_layers([thresholding], {"Thresholding_rtl_0": {"runtime_writeable_weights": 1}})
    embedded = {"MVAU_hls_0": {"runtime_writeable_weights": 1, "mem_mode": "internal_embedded"}}
    with pytest.raises(UsageError, match="of MVAU_hls_0, whose mem_mode is internal_embedded"):
        writable_layers([mvau()], embedded)


def test_each_port_has_a_power_of_two_of_addresses_at_a_multiple_of_it(tmp_path):
    tensor = make_tensor("in0", "UINT8", (1, 8), (1, 8, 1), "NC", "idma0")
    large = WritableLayer(LayerFile(1, 0, "a"), mvau(300, 40, 1, 1, "INT8"))
    assert (large.range_bytes, WritableLayer(LayerFile(1, 0, "b"), mvau()).range_bytes) == (65536, 4096)
    memories = {"StreamingDataflowPartition_1": 4096, "StreamingDataflowPartition_2": 65536}
    write_hwh(
        tmp_path / "a.hwh", clock_mhz=100.0, inputs=(tensor,), outputs=(tensor._replace(dma="odma0"),),
        memories=memories,
    )  # fmt: skip
    blocks = read_hwh(tmp_path / "a.hwh").blocks
    assert {name: blocks[name].size for name in memories} == memories
    assert all(block.base % block.size == 0 for block in blocks.values())
    ordered = sorted(blocks.values())
    assert all(one.base + one.size <= other.base for one, other in pairwise(ordered))


# -- the port ------------------------------------------------------------------------------------------


def test_a_line_is_stored_with_its_last_word_and_read_with_its_first():
    layer = mvau(24, 8, 8, 3, "INT4")  # 96 bits a line: three words, and one that is none
    old, new = drawn(layer, 1), drawn(layer, 2)
    held = memory(layer, old)
    words = words_of(layer, new)
    write(held, words[:2])
    assert np.array_equal(held.weights(), old), "two words of three"
    before = held.read(0)
    held.write(8, int(words[2]))
    assert held.read(4) == words_of(layer, old)[1], "the line of the last read of a first word"
    assert (held.peek(0), before) == (words[0], words_of(layer, old)[0])
    held.write(12, 0xFFFFFFFF)
    assert [held.read(4 * place) for place in range(4)] == words[:4].tolist()
    write(held, words)
    assert np.array_equal(held.weights(), new)


def test_bits_that_the_memory_does_not_have_are_lost():
    held = memory(mvau(8, 4, 1, 3 + 1, "BINARY"), drawn(mvau(8, 4, 1, 4, "BINARY")))
    held.write(0, 0xFFFFFFFF)
    assert held.read(0) == 0b1111


def test_behind_the_last_word_nothing_answers():
    layer = mvau()
    held = memory(layer, drawn(layer))
    end = 4 * layer.weight_words * line_words(layer)
    held.read(end - 4)
    for reach in (held.read, held.peek, lambda offset: held.write(offset, 0)):
        with pytest.raises(BusFault, match=r"_1 \+ 0x.+ is behind the 12 words of MVAU_hls_0"):
            reach(end)


# -- the lines fetched ahead ---------------------------------------------------------------------------


def test_the_next_frame_meets_old_lines_where_they_were_fetched_already():
    layer = mvau(60, 6, 2, 3)
    old, new = drawn(layer, 1), drawn(layer, 2)
    held = memory(layer, old)
    write(held, words_of(layer, new))
    expected = words_of(layer, new)
    expected[:FETCHED_LINES] = words_of(layer, old)[:FETCHED_LINES]
    np.testing.assert_array_equal(held.next_frame(), weights_of(layer, expected))
    np.testing.assert_array_equal(held.next_frame(), new)


@pytest.mark.parametrize(("vectors", "stale"), [(1, 4), (2, 2), (3, 2), (4, 1), (9, 1)])
def test_a_memory_of_two_lines_is_old_for_several_frames(vectors, stale):
    layer = mvau(6, 2, 2, 3, vectors=vectors)
    old, new = np.zeros((6, 2), np.int64), np.ones((6, 2), np.int64)
    held = memory(layer, old)
    write(held, words_of(layer, new))
    met = [held.next_frame() for _ in range(6)]
    assert [np.array_equal(weights, new) for weights in met] == [False] * stale + [True] * (6 - stale)


def test_a_network_goes_over_to_what_was_written():
    layer = mvau(6, 4, 4, 6, "INT4")
    inputs = (make_tensor("in0", "UINT2", (1, 6), (1, 1, 6), "NC", "idma0"),)
    outputs = (make_tensor("out0", "UINT8", (1, 1), (1, 1, 1), "NC", "odma0"),)
    select = LabelSelect("LabelSelect_0", 4, 1, "INT32", "UINT8")
    old, new = drawn(layer, 1), drawn(layer, 2)
    network = DataflowGraph("two", (layer, select), inputs, outputs, {"MVAU_hls_0.weights": old})
    held = memory(layer, old)
    rewriting = Rewriting(GoldenModel(network, form="numpy"), [held])
    [(count, model)] = rewriting.next_frames(5)
    assert count == 5 and np.array_equal(model.network.weights(layer), old)
    write(held, words_of(layer, new))
    parts = rewriting.next_frames(3) + rewriting.next_frames(10)
    assert [count for count, _ in parts] == [1] * 8 + [5], "one line: it was fetched eight times"
    frames = np.random.default_rng(3).integers(0, 4, (20, 6))
    for number, weights in ((0, old), (7, old), (8, new)):
        expected = (frames @ weights).argmax(axis=1)
        np.testing.assert_array_equal(parts[number][1].run(frames).outputs[0][:, 0], expected)
    assert rewriting.next_frames(2)[0][1] is parts[-1][1], "made once"


def test_the_settings_of_a_compiled_network_are_what_its_folding_says(compiled, tmp_path):
    folder = shutil.copytree(compiled.folder, tmp_path / "copy")
    assert replace(compiled, folder=folder).settings["MVAU_hls_0"] == {"PE": 16, "SIMD": 49}
