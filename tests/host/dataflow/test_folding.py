"""Foldings: FINN's JSON in and out, presets, and what the layers do not allow."""

import json
from dataclasses import replace

import pytest

from labd_host.dataflow.folded_chain import FoldedChain, design_of
from labd_host.dataflow.folding import (
    Folding,
    FoldingOver,
    check_folding,
    folding_of,
    load_folding,
    read_folding,
    to_json,
)
from labd_host.dataflow.generations import KEYS
from labd_host.dataflow.layers import LabelSelect, Mvau, SlidingWindow, Thresholding, Upsample, Vvau
from labd_host.dataflow.presets import PRESETS
from labd_host.explore.for_a_rate import FoldingForRate
from labd_host.flow.finn_door import Finn
from labd_host.networks import network
from labd_shared.errors import ArtifactError, IllegalFolding, UnknownName, UsageError

LAYERS = (
    Thresholding("Thresholding_rtl_0", 784, 1, 1, 1, "UINT8", "BINARY", 0),
    Mvau("MVAU_hls_0", 784, 64, 1, 1, 1, 1, True, "BINARY", "BINARY", "BINARY", 0),
    Mvau("MVAU_hls_1", 64, 10, 1, 1, 1, 0, True, "BINARY", "BINARY", "UINT32", 0),
    LabelSelect("LabelSelect_hls_0", 10, 1, "UINT32", "UINT8"),
)
NETWORK = FoldedChain("small", LAYERS, (), ())


def test_the_lab_s_folding_of_tfc_is_the_notebook_s():
    folding = load_folding("lab", "tfc-w1a1")
    assert folding.nodes == {
        "Thresholding_rtl_0": {"PE": 49},
        "MVAU_hls_0": {"PE": 16, "SIMD": 49},
        "MVAU_hls_1": {"PE": 8, "SIMD": 8},
        "MVAU_hls_2": {"PE": 8, "SIMD": 8},
        "MVAU_hls_3": {"PE": 10, "SIMD": 8},
    }


def test_an_unknown_folding_offers_the_nearest_name():
    with pytest.raises(UnknownName, match="no folding for tfc-w1a1 named 'labb'; known: lab") as caught:
        load_folding("labb", "tfc-w1a1")
    assert caught.value.fix == "did you mean 'lab'?"


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "folding.json"
    settings = {"MVAU_hls_0": {"PE": 16, "SIMD": 49, "ram_style": "block"}, "LabelSelect_hls_0": {"PE": 1}}
    path.write_text(to_json(settings))
    assert json.loads(path.read_text())["Defaults"] == {}
    assert read_folding(path) == Folding("folding.json", settings, {})
    assert load_folding(str(path), "anything").nodes == settings


def test_defaults_hold_for_the_kinds_they_name_and_a_node_s_own_value_wins(tmp_path):
    path = tmp_path / "folding.json"
    path.write_text(
        json.dumps(
            {
                "Defaults": {"PE": [2, ["all"]], "ram_style": ["block", ["MVAU_hls"]]},
                "MVAU_hls_1": {"PE": 5},
            }
        )
    )
    assert read_folding(path).settings_for(NETWORK) == {
        "Thresholding_rtl_0": {"PE": 2},
        "MVAU_hls_0": {"PE": 2, "ram_style": "block"},
        "MVAU_hls_1": {"PE": 5, "ram_style": "block"},
        "LabelSelect_hls_0": {"PE": 2},
    }


def test_nodes_that_finn_inserts_later_may_stand_in_the_file():
    later = {"StreamingFIFO_rtl_0": {"depth": 32}, "StreamingDataWidthConverter_rtl_0": {"impl_style": "hls"}}
    assert Folding("f", later, {}).settings_for(NETWORK) == {layer.name: {} for layer in LAYERS}


def test_a_node_of_another_network_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match=r"no layer \(folding f\) named 'MVAU_hls_7'") as caught:
        Folding("f", {"MVAU_hls_7": {"PE": 1}}, {}).settings_for(NETWORK)
    assert "did you mean 'MVAU_hls_" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100000, "nested more than 32 deep"),
        ('{"MVAU_hls_0": {"PE": 1' + "0" * 400 + "}}", "more than 64 bits"),
        ('{"MVAU_hls_0": {"PE": NaN}}', "MVAU_hls_0.PE is nan"),
        ('{"MVAU_hls_0": {"PE": 1, "PE": 2}}', "the key 'PE' stands twice"),
        ("[]", "is a list of 0 entries, an object is wanted"),
        ('{"MVAU_hls_0": 3}', "MVAU_hls_0 is 3, an object is wanted"),
        ('{"MVAU_hls_0": {"PE": 1.5}}', "MVAU_hls_0.PE is 1.5, a whole number, text or a list"),
        ('{"MVAU_hls_0": {"PE": true}}', "MVAU_hls_0.PE is true"),
        ('{"Defaults": {"PE": 2}}', r"Defaults.PE is 2, \[value, \[kinds\]\] is wanted"),
    ],
)
def test_a_file_that_is_no_folding_is_refused(tmp_path, text, message):
    path = tmp_path / "folding.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=message) as caught:
        read_folding(path)
    assert '"SIMD": 49' in caught.value.fix, "the fix shows the form"


def test_every_divisor_is_legal():
    for pe in (1, 2, 4, 8, 16, 32, 64):
        for simd in (1, 2, 4, 7, 8, 14, 16, 28, 49, 56, 98, 112):
            check_folding(LAYERS, {"MVAU_hls_0": {"PE": pe, "SIMD": simd}})


@pytest.mark.parametrize(
    ("layer", "settings", "message"),
    [
        (
            "MVAU_hls_0",
            {"SIMD": 50},
            "SIMD 50 of MVAU_hls_0 does not divide its 784 columns; nearest legal: 49, 56",
        ),
        ("MVAU_hls_0", {"PE": 5}, "PE 5 of MVAU_hls_0 does not divide its 64 rows; nearest legal: 4, 8"),
        ("MVAU_hls_0", {"PE": 128}, "PE 128 of MVAU_hls_0 does not divide its 64 rows; nearest legal: 64"),
        ("MVAU_hls_0", {"PE": 0}, "PE 0 of MVAU_hls_0 does not divide its 64 rows; nearest legal: 1"),
        ("MVAU_hls_0", {"PE": "8"}, "PE '8' of MVAU_hls_0 does not divide"),
        ("Thresholding_rtl_0", {"PE": 50}, "PE 50 of Thresholding_rtl_0 does not divide its 784 channels"),
        (
            "LabelSelect_hls_0",
            {"PE": 3},
            "PE 3 of LabelSelect_hls_0 does not divide its 10 labels; nearest legal: 2, 5",
        ),
        (
            "MVAU_hls_0",
            {"PE": 64, "SIMD": 784},
            "the weight stream of MVAU_hls_0 is 50176 bits wide at PE 64, 8191 .* PE: 8",
        ),
    ],
)
def test_what_does_not_divide_or_is_too_wide_is_refused_with_the_nearest_legal_values(
    layer, settings, message
):
    with pytest.raises(IllegalFolding, match=message):
        check_folding(LAYERS, {layer: settings})


def test_a_stream_of_wide_values_is_bounded_in_bits():
    wide = Mvau("m", 8, 512, 1, 1, 1, 0, False, "UINT8", "INT8", "INT32", 0)
    check_folding([wide], {"m": {"PE": 128}})
    with pytest.raises(IllegalFolding, match="output stream of m is 8192 bits wide at PE 256, .* PE: 128"):
        check_folding([wide], {"m": {"PE": 256}})


def test_a_column_is_folded_at_most_1024_times():
    deep = Mvau("m", 4096, 8, 1, 1, 1, 0, True, "BINARY", "BINARY", "UINT32", 0)
    check_folding([deep], {"m": {"SIMD": 4}})
    with pytest.raises(IllegalFolding, match="SIMD 2 of m folds its 4096 columns 2048 times, .* SIMD: 4"):
        check_folding([deep], {"m": {"SIMD": 2}})


def test_every_fault_is_named_at_once():
    with pytest.raises(IllegalFolding) as caught:
        check_folding(LAYERS, {"MVAU_hls_0": {"PE": 5, "SIMD": 50}, "LabelSelect_hls_0": {"PE": 3}})
    assert len(caught.value.facts["faults"]) == 3


def test_a_layer_without_columns_has_no_simd():
    with pytest.raises(UsageError, match="Thresholding_rtl_0 is folded by PE, it has no SIMD"):
        check_folding(LAYERS, {"Thresholding_rtl_0": {"SIMD": 2}})


def test_the_folding_that_layers_have_can_be_read_off():
    assert folding_of(LAYERS)["MVAU_hls_0"] == {"PE": 1, "SIMD": 1}
    assert folding_of(LAYERS)["LabelSelect_hls_0"] == {"PE": 1}


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        (
            '{"MVAU_hls_0": {"PEE": 16}}',
            r"no setting of MVAU_hls_0 in .*f\.json named 'PEE'",
            "did you mean 'PE'",
        ),
        (
            '{"MVAU_hls_0": {"MW": 16}}',
            r"no setting of MVAU_hls_0 in .*f\.json named 'MW'; known: .*PE, SIMD",
            "form",
        ),
        ('{"Defaults": {"MW": [16, ["all"]]}}', r"no setting in Defaults in .*f\.json named 'MW'", "form"),
    ],
)
def test_a_folding_sets_what_foldings_set_and_nothing_of_the_network(tmp_path, text, message, fix):
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(UnknownName, match=message) as caught:
        read_folding(path)
    assert fix in caught.value.fix


@pytest.mark.parametrize("text", ["{}", '{"Defaults": {}}'])
def test_a_folding_that_says_nothing_is_refused(tmp_path, text):
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match="folds no layer"):
        read_folding(path)


def test_a_folding_of_another_network_names_its_first_stranger_and_what_there_is():
    other = Folding("cnv.json", PRESETS["cnv-w1a1"]["lab"], {})
    with pytest.raises(
        UnknownName,
        match=r"no layer \(folding cnv\.json\) named 'MVAU_hls_2'; known: LabelSelect_hls_0, MVAU_hls_0, MVAU_hls_1, ",
    ):
        other.settings_for(NETWORK)


CNV = design_of(network("cnv-w1a1"))
OLD_CNV = {
    "Thresholding_Batch_0": {"PE": 1, "ram_style": "distributed", "mem_mode": "const"},
    **{
        f"ConvolutionInputGenerator_{index}": {"SIMD": simd}
        for index, simd in enumerate((3, 32, 32, 32, 32, 16))
    },
    **{f"StreamingMaxPool_Batch_{index}": {"PE": 1} for index in range(2)},
    **{
        f"StreamingFCLayer_Batch_{index}": {"PE": pe, "SIMD": simd}
        for index, (pe, simd) in enumerate(
            ((16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1))
        )
    },
    "LabelSelect_Batch_0": {"PE": 1},
}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("StreamingFCLayer_Batch_1", "MVAU_hls_1"),
        ("MatrixVectorActivation_0", "MVAU_hls_0"),
        ("MVAU_1", "MVAU_hls_1"),
        ("MVAU_rtl_0", "MVAU_hls_0"),
        ("Thresholding_Batch_0", "Thresholding_rtl_0"),
        ("Thresholding_hls_0", "Thresholding_rtl_0"),
        ("LabelSelect_Batch_0", "LabelSelect_hls_0"),
    ],
)
def test_the_names_of_every_finn_mean_the_layers_of_the_network(name, meant):
    found = Folding("f", {name: {"PE": 2}}, {}).settings_for(NETWORK)
    assert {layer for layer, settings in found.items() if settings} == {meant}


def test_a_finn_with_streaming_max_pools_counted_the_windows_of_convolutions():
    found = CNV.folded(Folding("old.json", OLD_CNV, {}))
    windows = [layer for layer in found.layers if isinstance(layer, SlidingWindow)]
    assert [window.simd for window in windows if not window.depthwise] == [3, 32, 32, 32, 32, 16]
    assert [window.simd for window in windows if window.depthwise] == [64, 128], "as FINN makes them"
    assert found.settings["MVAU_hls_8"] == {"PE": 5, "SIMD": 1}


def test_windows_of_convolutions_only_are_known_without_the_pools_names():
    nodes = {name: entry for name, entry in OLD_CNV.items() if not name.startswith("StreamingMaxPool")}
    assert CNV.folded(Folding("f", nodes, {})) == CNV.folded(Folding("f", OLD_CNV, {}))


def test_layers_counted_by_how_they_are_made_are_found_in_the_order_of_the_stream():
    layers = tuple(
        Mvau(name, 64, 64, 1, 1, 1, 1, True, "BINARY", "BINARY", "BINARY", 0)
        for name in ("MVAU_hls_0", "MVAU_hls_1", "MVAU_hls_2")
    )
    chain = FoldedChain("three", layers, (), ())
    mixed = {"MVAU_hls_0": {"PE": 2}, "MVAU_rtl_0": {"PE": 4}, "MVAU_hls_1": {"PE": 8}}
    found = Folding("f", mixed, {}).settings_for(chain)
    assert [settings["PE"] for settings in found.values()] == [2, 4, 8]
    for wrong in (
        {"MVAU_hls_0": {"PE": 2}, "MVAU_rtl_0": {"PE": 4}},
        {"MVAU_hls_1": {"PE": 2}, "MVAU_rtl_0": {"PE": 4}, "MVAU_hls_0": {"PE": 8}},
        {"MVAU_hls_0": {"PE": 2}, "StreamingFCLayer_Batch_1": {"PE": 4}, "MVAU_hls_2": {"PE": 4}},
    ):
        with pytest.raises(
            UsageError, match="cannot be told: the network has MVAU_hls_0, MVAU_hls_1, MVAU_hls_2"
        ):
            Folding("f", wrong, {}).settings_for(chain)


def test_two_entries_of_one_layer_are_refused():
    with pytest.raises(UsageError, match="MVAU_0 and MVAU_00 both fold MVAU_hls_0"):
        Folding("f", {"MVAU_0": {"PE": 2}, "MVAU_00": {"PE": 4}}, {}).settings_for(NETWORK)


def test_thresholds_that_were_layers_of_their_own_belong_to_their_mvau():
    standalone = {f"Thresholding_rtl_{index}": {"PE": 2 + index} for index in range(2)}
    found = Folding("f", {**standalone, "MVAU_hls_0": {"PE": 4}}, {}).settings_for(NETWORK)
    assert found["Thresholding_rtl_0"] == {"PE": 2}
    assert found["MVAU_hls_0"] == {"PE": 4}, "FINN folds its thresholds like its rows"
    with pytest.raises(UnknownName, match="named 'Thresholding_rtl_2'"):
        Folding("f", {**standalone, "Thresholding_rtl_2": {"PE": 1}}, {}).settings_for(NETWORK)


@pytest.mark.parametrize(
    "name",
    [
        "StreamingFIFO_3", "StreamingFIFO_rtl_2_0", "StreamingDataWidthConverter_Batch_0", "IODMA_0", "IODMA_hls_1",
        "TLastMarker_0", "Reshape_rtl_0", "DuplicateStreams_Batch_0", "OuterShuffle_hls_0",
    ],
)  # fmt: skip
def test_nodes_without_a_folding_may_stand_in_the_file(name):
    assert Folding("f", {name: {"PE": 7, "depth": 32}}, {}).settings_for(NETWORK) == {
        layer.name: {} for layer in LAYERS
    }


def test_settings_of_an_older_finn_are_read_as_today_s(tmp_path):
    path = tmp_path / "f.json"
    entry = {"PE": 2, "mem_mode": "const", "resType": "ap_resource_lut()", "inFIFODepth": 4, "slr": 1}
    path.write_text(
        json.dumps({"StreamingFCLayer_Batch_0": entry, "Thresholding_Batch_0": {"mem_mode": "decoupled"}})
    )
    folding = read_folding(path)
    assert folding.settings_for(NETWORK) == {
        "Thresholding_rtl_0": {},
        "MVAU_hls_0": {"PE": 2, "mem_mode": "internal_embedded", "resType": "lut", "inFIFODepths": [4]},
        "MVAU_hls_1": {},
        "LabelSelect_hls_0": {},
    }
    assert folding.left_out(NETWORK) == [
        "folding f.json: mem_mode internal_decoupled of Thresholding_Batch_0 left out, "
        "Thresholding_rtl_0 has no such setting"
    ]


def test_defaults_are_pairs_of_values_and_kinds_as_finn_has_them(tmp_path):
    path = tmp_path / "f.json"
    defaults = {
        "ram_style": ["block", "all"],
        "PE": [2, ["StreamingFCLayer_Batch"], 4, ["MVAU_hls"]],
        "mem_mode": ["const", "MatrixVectorActivation"],
        "SIMD": [7, ["all"]],
    }
    path.write_text(json.dumps({"Defaults": defaults}))
    mvau = {"ram_style": "block", "PE": 4, "mem_mode": "internal_embedded", "SIMD": 7}
    assert read_folding(path).settings_for(NETWORK) == {
        "Thresholding_rtl_0": {},
        "MVAU_hls_0": mvau,
        "MVAU_hls_1": mvau,
        "LabelSelect_hls_0": {},
    }


def test_a_folding_over_another_wins_where_it_says_something():
    base = Folding("base", {"MVAU_hls_0": {"PE": 2, "SIMD": 4}, "MVAU_hls_1": {"PE": 2}}, {})
    both = FoldingOver(base, Folding("own", {"MatrixVectorActivation_0": {"PE": 8}}, {}))
    found = both.settings_for(NETWORK)
    assert found["MVAU_hls_0"] == {"PE": 8, "SIMD": 4}
    assert found["MVAU_hls_1"] == {"PE": 2}
    assert both.name == "own over base"
    assert both.key != FoldingOver(base, base).key


def test_a_folding_of_every_layer_does_not_ask_for_another():
    tfc = design_of(network("tfc-w1a1"))
    own = Folding("own", {layer.name: dict(layer.settings()) for layer in tfc.layers}, {})
    unreachable = FoldingForRate(1e9, 1.0)
    assert FoldingOver(unreachable, own).settings_for(tfc) == own.nodes
    with pytest.raises(UsageError, match="leave 0 cycles for a frame"):
        FoldingOver(unreachable, replace(own, nodes={"MVAU_hls_0": {"PE": 1}})).settings_for(tfc)


def test_what_layers_can_be_set_to_is_what_finn_s_nodes_can_be():
    import onnx
    from qonnx.custom_op.registry import getCustomOp

    inner = {"EmbFold", "SeqFold", "ram_style_mask", "mac_resource"}  # of kinds that labd does not have
    others = (
        Thresholding("Thresholding_hls_0", 8, 1, 1, 1, "UINT8", "BINARY", 0),
        Vvau("VVAU_hls_0", 4, 9, 4, 1, 1, 0, "INT4", "INT4", "INT8", 0),
        Upsample("UpsampleNearestNeighbour_hls_0", 4, 2, 2, 2, 2, 1, "INT4", "INT4"),
    )
    with Finn():
        for layer in (*CNV.layers, *others):
            operation = layer.name.rpartition("_")[0]
            domain = f"finn.custom_op.fpgadataflow.{operation[-3:]}"
            node = onnx.helper.make_node(operation, [], [], domain=domain, Labels=10)
            known = getCustomOp(node).get_nodeattr_types()
            assert {key for key in KEYS if layer.takes(key)} == known.keys() & set(KEYS) - inner, layer.name
