"""network.npz: a damaged or hostile one ends in one sentence."""

import io
import json
import zipfile

import numpy as np
import pytest

from labd_host.dataflow.layers import DataflowGraph, LabelSelect, Mvau, Thresholding
from labd_host.dataflow.network_file import read_network
from labd_host.golden.golden_model import GoldenModel
from labd_shared.errors import ArtifactError
from labd_shared.tensors import make_tensor


@pytest.fixture
def network_file(tmp_path):
    rng = np.random.default_rng(3)
    layers = (
        Thresholding("t", 20, 1, 4, 1, "UINT8", "BINARY", 0),
        Mvau("m", 20, 6, 1, 2, 5, 1, True, "BINARY", "BINARY", "BINARY", 0),
        Mvau("n", 6, 3, 1, 1, 1, 0, False, "BINARY", "INT4", "INT8", 0),
        LabelSelect("l", 3, 1, "INT8", "UINT8"),
    )
    network = DataflowGraph(
        "small",
        layers,
        (make_tensor("in", "UINT8", (1, 20), (1, 5, 4), "NC", "idma0"),),
        (make_tensor("out", "UINT8", (1, 1), (1, 1, 1), "NC", "odma0"),),
        {
            "t.thresholds": np.full((1, 1), 128),
            "m.weights": rng.integers(0, 2, (20, 6)),
            "m.thresholds": rng.integers(5, 15, (6, 1)),
            "n.weights": rng.integers(-8, 8, (6, 3)),
        },
    )
    path = tmp_path / "network.npz"
    GoldenModel(network).save(path)
    return path


def rewrite(path, change):
    """The archive again, after *change* was let at its members {name: bytes}."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def described(**changes):
    """A change of top-level keys of network.json."""

    def change(members):
        record = json.loads(members["network.json"])
        record.update(changes)
        members["network.json"] = json.dumps(record).encode()

    return change


def layer(index, **changes):
    """A change of keys of one layer; None removes the key."""

    def change(members):
        record = json.loads(members["network.json"])
        for key, value in changes.items():
            record["layers"][index][key] = value
            if value is None:
                del record["layers"][index][key]
        members["network.json"] = json.dumps(record).encode()

    return change


def npy(name, array, **options):
    def change(members):
        buffer = io.BytesIO()
        np.save(buffer, array, **options)
        members[name] = buffer.getvalue()

    return change


def drop(name):
    return lambda members: members.pop(name)


def add(name, data):
    return lambda members: members.update({name: data})


FAULTS = {
    "no description": (drop("network.json"), "no network.json"),
    "not JSON": (add("network.json", b"{"), "network.json: not JSON"),
    "brackets without end": (add("network.json", b"[" * 100000), "nested more than 32 deep"),
    "a number without end": (add("network.json", b'{"version": 1' + b"0" * 400 + b"}"), "more than 64 bits"),
    "a number that is none": (add("network.json", b'{"version": NaN}'), "version is nan, a finite number"),
    "a key twice": (add("network.json", b'{"version": 1, "version": 1}'), "'version' stands twice"),
    "JSON that is no object": (add("network.json", b"[]"), "a list of 0 entries, an object is wanted"),
    "another format": (described(format="onnx"), "the format is 'onnx', not 'labd-network'"),
    "another version": (described(version=2), "the version of labd-network is 2, this labd reads 1"),
    "layers that are no list": (
        described(layers={}),
        "layers is an object of 0 fields, a list of 0 to 1000 entries is wanted",
    ),
    "no layers": (described(layers=[]), "arrays are not the ones its layers need"),
    "an unknown layer": (
        layer(0, op="Softmax"),
        r"layers\[0\] is an object of .*, a layer whose op is one of",
    ),
    "a layer that is text": (described(layers=["MVAU"]), r"layers\[0\] is 'MVAU', an object is wanted"),
    "a key missing": (layer(1, simd=None), r"layers\[1\].simd is missing"),
    "a key too many": (layer(1, speed=1), r"layers\[1\].speed is unknown; known: "),
    "a size that is text": (layer(0, pe="4"), r"layers\[0\].pe is '4', a whole number"),
    "a size that is true": (layer(0, pe=True), r"layers\[0\].pe is true, a whole number"),
    "a flag that is a number": (layer(1, xnor=1), r"layers\[1\].xnor is 1, true or false is wanted"),
    "a negative size": (layer(0, channels=-20), "channels of t is -20"),
    "an absurd size": (layer(0, channels=1 << 30), "channels of t is 1073741824"),
    "an unknown datatype": (layer(0, input="FLOAT32"), "no datatype named 'FLOAT32'"),
    "bits of wider values": (layer(1, input="UINT8"), "counts agreeing bits, but takes UINT8"),
    "a name with a path in it": (
        layer(0, name="../t"),
        r"layers\[0\].name is '../t', the name of a layer is wanted",
    ),
    "a broken chain": (layer(3, input="INT16"), "l takes 3 INT16 values, n gives 3 INT8"),
    "an array too few": (drop("m.weights.npy"), "arrays are not the ones its layers need"),
    "an array too many": (add("extra.npy", b"x"), "arrays are not the ones its layers need"),
    "an array of another shape": (
        npy("n.weights.npy", np.zeros((3, 5), np.int8)),
        r"n.weights is int8 \(3, 5\)",
    ),
    "an array of another type": (npy("n.weights.npy", np.zeros((3, 6), np.int16)), "n.weights is int16"),
    "an array in another order": (
        npy("n.weights.npy", np.asfortranarray(np.zeros((3, 6), np.int8))),
        "n.weights",
    ),
    "a pickle": (npy("n.weights.npy", np.array([{"a": 1}], dtype=object)), "n.weights is object"),
    "no .npy": (add("n.weights.npy", b"not numpy at all"), "damaged"),
    "an array cut short": (
        lambda members: members.update({"n.weights.npy": members["n.weights.npy"][:-1]}),
        "n.weights holds 17 bytes, 18 are wanted",
    ),
    "a weight out of range": (npy("n.weights.npy", np.full((3, 6), 9, np.int8)), "INT4 holds -8 to 7"),
    "a tensor of another size": (
        described(
            inputs=[
                {
                    "name": "in",
                    "datatype": "UINT8",
                    "normal": [1, 21],
                    "folded": [1, 21, 1],
                    "layout": "NC",
                    "dma": "idma0",
                }
            ]
        ),
        "t takes 20 UINT8 values, in gives 21 UINT8",
    ),
    "a tensor that contradicts itself": (
        described(
            inputs=[
                {
                    "name": "in",
                    "datatype": "UINT8",
                    "normal": [1, 20],
                    "folded": [1, 7, 3],
                    "layout": "NC",
                    "dma": "idma0",
                }
            ]
        ),
        r"network.json: inputs\[0\]: 'in' holds 20 elements",
    ),
    "two inputs": (
        lambda members: described(inputs=json.loads(members["network.json"])["inputs"] * 2)(members),
        "has 2 inputs, 4 layers and 1 outputs",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_not_as_it_must_be_is_refused(network_file, fault):
    change, message = FAULTS[fault]
    rewrite(network_file, change)
    with pytest.raises(ArtifactError, match=message) as caught:
        read_network(network_file)
    assert "labd compile" in caught.value.fix


def test_every_cut_and_every_changed_byte_is_refused_or_reads_the_same(network_file):
    whole = network_file.read_bytes()
    images = np.random.default_rng(0).integers(0, 256, (50, 20), dtype=np.uint8)
    expected = GoldenModel.load(network_file).run(images).logits
    for place in range(0, len(whole), 37):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            network_file.write_bytes(damaged)
            try:
                logits = GoldenModel.load(network_file).run(images).logits
            except ArtifactError:
                continue
            np.testing.assert_array_equal(logits, expected, err_msg=f"damage at byte {place} went through")


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(ArtifactError, match=r"network\.npz cannot be read: No such file"):
        read_network(tmp_path / "network.npz")


def test_a_member_that_unpacks_to_gigabytes_is_refused_unread(network_file):
    with zipfile.ZipFile(network_file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", b"\0" * (300 << 20))
    assert network_file.stat().st_size < 1 << 20
    with pytest.raises(ArtifactError, match="the network file holds 6 members, 3145"):
        read_network(network_file)
