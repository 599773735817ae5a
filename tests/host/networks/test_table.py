"""The network table, and the trained networks that come with labd."""

import json
import math
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from labd_host import networks
from labd_host.cli.networks import networks as list_networks
from labd_host.networks import Conv, Recipe, network, parse_table, read_record, trained_onnx, trained_record
from labd_host.networks.table import TABLE, recipe_of
from labd_host.networks.trained import TRAINED
from labd_shared.errors import ArtifactError, DataMissing, DigestMismatch, UnknownName, UsageError

ENTRY = """
[net]
kind = "cnv"
dataset = "mnist"
classes = 10
input_shape = [28, 28, 1]
in_bits = 8
weight_bits = 1
act_bits = 2
convs = [{ channels = 4, pool = true }]
hidden = [16]

[net.recipe]
epochs = 3
batch = 10
learning_rate = 0.01
latent_scale = 0.5
dropout = 0
augment = true
precision = "bfloat16"
validation = 20
"""


def test_the_table_holds_the_labs_networks_and_their_relatives():
    assert list(networks.NETWORKS) == [
        "tfc-w1a1", "tfc-w1a2", "tfc-w2a2", "sfc-w1a1", "sfc-w1a2", "sfc-w2a2", "lfc-w1a1", "lfc-w1a2",
        "cnv-w1a1", "cnv-w1a2", "cnv-w2a2", "vgg9-w1a1",
    ]  # fmt: skip
    tfc, vgg9 = network("tfc-w1a1"), network("vgg9-w1a1")
    assert (tfc.kind, tfc.dataset, tfc.input_shape, tfc.flat_features) == ("fc", "mnist", (28, 28, 1), 784)
    assert (tfc.hidden, tfc.classes, tfc.weight_bits, tfc.act_bits, tfc.in_bits) == (
        (64, 64, 64),
        10,
        1,
        1,
        1,
    )
    assert (vgg9.kind, vgg9.dataset, vgg9.classes, vgg9.flat_features) == ("cnv", "cifar100", 100, 256)
    assert [conv.channels for conv in vgg9.convs] == [64, 64, 128, 128, 256, 256]
    assert [conv.pool for conv in vgg9.convs] == [False, True, False, True, False, False]


def test_an_unknown_network_gets_a_suggestion():
    with pytest.raises(UnknownName) as raised:
        network("tfc_w1a1")
    assert raised.value.what.startswith("no network named 'tfc_w1a1'; known: cnv-w1a1, cnv-w1a2, ")
    assert raised.value.fix == "did you mean 'tfc-w1a1'?"


def test_a_network_s_name_says_its_bits_and_its_layers_fit_in_a_line():
    for name, entry in networks.NETWORKS.items():
        assert name.endswith(f"-w{entry.weight_bits}a{entry.act_bits}")
        assert entry.recipe is not None
    assert network("lfc-w1a2").layers == "784-1024-1024-1024-10"
    assert network("vgg9-w1a1").layers == "64-64-P-128-128-P-256-256-512-512-100"


def test_labd_networks_lists_every_network_and_what_ships(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    lines = CliRunner().invoke(list_networks, catch_exceptions=False).output.splitlines()
    rows = {line.split()[1]: line for line in lines if line.startswith("│")}
    assert list(rows) == list(networks.NETWORKS)
    for name, line in rows.items():
        shipped = (TRAINED / f"{name}.json").is_file()
        wanted = f"{trained_record(name).accuracy_percent:.2f} %" if shipped else " no "
        assert wanted in line
        assert f" {network(name).layers} " in line, "whole, also on a narrow terminal"


def test_a_table_is_read_into_frozen_data():
    net = parse_table(ENTRY)["net"]
    assert net.convs == (Conv(4, True),)
    assert net.flat_features == 13 * 13 * 4
    assert net.recipe == Recipe(
        epochs=3, batch=10, learning_rate=0.01, latent_scale=0.5,
        dropout=0.0, augment=True, precision="bfloat16", validation=20,
    )  # fmt: skip
    with pytest.raises(AttributeError):
        net.classes = 11


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('kind = "cnv"', 'kind = "cnn"', "net.kind is 'cnn', one of fc, cnv is wanted"),
        ('kind = "cnv"', 'kind = "fc"', "net.convs is a list of 1 entries, an empty list for kind fc"),
        ("{ channels = 4, pool = true }", "", "net.convs is a list of 0 entries, an empty list for kind fc, conv"),
        ("classes = 10", "", "net.classes is missing"),
        ("classes = 10", "classes = 0", "net.classes is 0, a whole number from 1 on is wanted"),
        ("classes = 10", "classes = true", "net.classes is true, a whole number from 1 on is wanted"),
        ("classes = 10", f"classes = {10**400}", "net.classes is a number of 1329 bits"),
        ("classes = 10", "classes = 10\nclasses = 10", "not TOML: Cannot overwrite a value"),
        ("classes = 10", "clases = 10", "no key of net in the network table named 'clases'; known: act_bits, "),
        ("classes = 10", "colour = 10", "no key of net in the network table named 'colour'; known: act_bits, "),
        ("[28, 28, 1]", "[28, 28]", "net.input_shape is a list of 2 entries, [height, width, channels] is wanted"),
        ("[28, 28, 1]", "28", "net.input_shape is 28, a list is wanted"),
        ("[28, 28, 1]", "[28, 28, 0]", "net.input_shape[2] is 0, a whole number from 1 on is wanted"),
        ("hidden = [16]", "hidden = 16", "net.hidden is 16, a list is wanted"),
        ("[16]", "[" * 40 + "]" * 40, "lists and objects are nested more than 32 deep"),
        ("act_bits = 2", "act_bits = 9", "net.act_bits is 9, a whole number from 1 to 8 is wanted"),
        ("[16]", "[200_000]", "network 'net' has 137200036 weights, labd takes 134217728 at most"),
        ("[28, 28, 1]", "[1, 1, 1]", "net.convs leave nothing of an image of (1, 1, 1), (-1, -1, 4) remains"),
        ("[28, 28, 1]", "[2, 28, 1]", "net.convs leave nothing of an image of (2, 28, 1), (0, 13, 4) remains"),
        ("pool = true", "pool = 1", "net.convs[0].pool is 1, true or false is wanted"),
        ("pool = true", "pooling = true", "no key of net.convs[0] in the network table named 'pooling'; known: "),
        ("dropout = 0", "dropout = 0.5", "net.recipe.dropout is 0.5, only fully connected networks have dropout"),
        ("dropout = 0", "dropout = 1", "net.recipe.dropout is 1, a number from 0 to below 1 is wanted"),
        ("latent_scale = 0.5", 'latent_scale = "x"', "net.recipe.latent_scale is 'x', a number is wanted"),
        ("latent_scale = 0.5", "latent_scale = 2", "net.recipe.latent_scale is 2, a number above 0 and at most 1"),
        ("learning_rate = 0.01", "learning_rate = -1", "net.recipe.learning_rate is -1, a number above 0 is wanted"),
        ("learning_rate = 0.01", "learning_rate = nan", "net.recipe.learning_rate is nan, a finite number"),
        ("learning_rate = 0.01", "learning_rate = inf", "net.recipe.learning_rate is inf, a finite number"),
        ("learning_rate = 0.01", "learning_rate = 1e400", "net.recipe.learning_rate is inf, a finite number"),
        ("validation = 20", "validation = 20\nfloat_epochs = 3", "float_epochs is 3, a number below epochs (3) is"),
        ("[net.recipe]", "[net.recipes]", "no key of net in the network table named 'recipes'"),
        ("[net]", "[net", "the network table: not TOML"),
        (ENTRY, "net = 1", "net is 1, an object is wanted"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_by_what_is_wrong(was, becomes, says):
    assert was in ENTRY
    with pytest.raises(ArtifactError) as raised:
        parse_table(ENTRY.replace(was, becomes))
    assert says in raised.value.what
    assert raised.value.fix == "correct the network table" or raised.value.fix.startswith("did you mean '")


def test_a_mistyped_key_is_answered_with_the_nearest():
    for was, becomes, near in (("classes", "clases", "classes"), ("pool =", "pooling =", "pool")):
        with pytest.raises(ArtifactError) as raised:
            parse_table(ENTRY.replace(was, becomes))
        assert raised.value.fix == f"did you mean {near!r}?"


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.toml cannot be read: No such file"):
        networks.read_table(tmp_path / "none.toml")
    assert networks.read_table(TABLE) == networks.NETWORKS


def test_another_recipe_is_checked_like_the_table():
    tfc = network("tfc-w1a1")
    longer = tfc.with_recipe(replace(recipe_of(tfc), epochs=7))
    assert longer == replace(tfc, recipe=replace(tfc.recipe, epochs=7))
    for changed, says in (
        ({"epochs": 0}, "the recipe of tfc-w1a1: epochs is 0, a whole number from 1 on is wanted"),
        ({"learning_rate": math.nan}, "the recipe of tfc-w1a1: learning_rate is nan, a finite number"),
    ):
        with pytest.raises(ArtifactError, match=says):
            tfc.with_recipe(replace(recipe_of(tfc), **changed))


def test_a_network_without_a_recipe_cannot_be_trained():
    with pytest.raises(UsageError, match="there is no training recipe for 'vgg9-w1a1'"):
        recipe_of(replace(network("vgg9-w1a1"), recipe=None))


def test_the_shipped_tfc_is_as_good_as_finns():
    record = trained_record("tfc-w1a1")
    assert (record.network, record.dataset, record.split, record.samples) == (
        "tfc-w1a1",
        "mnist",
        "test",
        10000,
    )
    assert record.accuracy_percent >= 92.96, "FINN's own tfc-w1a1"
    assert record.recipe == network("tfc-w1a1").recipe, "the table's recipe is the one it was trained by"
    assert record.command.startswith("labd train tfc-w1a1 --epochs ")
    assert trained_onnx("tfc-w1a1") == TRAINED / "tfc-w1a1.onnx"


@pytest.mark.parametrize("shipped", sorted(TRAINED.glob("*.json")), ids=lambda path: path.stem)
def test_a_record_is_written_again_byte_by_byte_as_it_was(tmp_path, shipped):
    record = read_record(shipped)
    record.write(tmp_path / "again.json")
    assert read_record(tmp_path / "again.json") == record
    assert (tmp_path / "again.json").read_bytes() == shipped.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"again.json"}


def test_a_network_that_was_never_trained_is_to_be_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_HOME", str(tmp_path))
    with pytest.raises(DataMissing) as raised:
        trained_onnx("lfc-w1a2")
    assert (raised.value.what, raised.value.fix) == (
        f"no trained 'lfc-w1a2' comes with labd, and none is in {tmp_path / 'training' / 'lfc-w1a2'}",
        "train it: labd train lfc-w1a2",
    )


def test_a_changed_export_is_noticed(tmp_path):
    shutil.copytree(TRAINED, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "tfc-w1a1.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DigestMismatch, match="its record says"):
        trained_onnx("tfc-w1a1", tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "the version of labd-trained-network is 2, this labd reads 1"),
        ({"correct": 10001}, "correct is 10001, a whole number from 0 to 10000 is wanted"),
        ({"samples": 0, "correct": 0}, "samples is 0, a whole number from 1 on is wanted"),
        ({"validation_correct": 5001}, "validation_correct is 5001, a whole number from 0 to 5000 is wanted"),
        ({"recipe": {"epochs": 1}}, "recipe.batch is missing"),
        ({"seed": "x"}, "seed is 'x', a whole number is wanted"),
        ({"tools": None}, "tools is null, an object is wanted"),
        ({"tools": {"numpy": 2.4}}, "tools.numpy is 2.4, a text of at most 1000 characters is wanted"),
        ({"network": "../tfc"}, "network is '../tfc', a name of a to z, 0 to 9 and . _ -, "),
        ({"onnx_sha256": "../../x"}, "onnx_sha256 is '../../x', a sha256 is wanted"),
        ({"accuracy_percent": math.inf}, "accuracy_percent is inf, a finite number"),
    ],
)
def test_a_wrong_record_is_refused_by_what_is_wrong(tmp_path, change, says):
    content = {**json.loads((TRAINED / "tfc-w1a1.json").read_text()), **change}
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ArtifactError) as raised:
        read_record(path)
    assert raised.value.what.startswith(f"{path}: {says}")


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('"learning_rate": 0.005', '"learning_rate": NaN', "recipe.learning_rate is nan, a finite number"),
        ('"learning_rate": 0.005', '"learning_rate": 1e400', "recipe.learning_rate is inf, a finite number"),
        ('"learning_rate": 0.005', '"learning_rate": 0', "recipe.learning_rate is 0, a number above 0 is wanted"),
        ('"seed": 0', '"seed": 1' + "0" * 400, "not JSON: the number 10000000000000000000... has more than 64 bits"),
        ('"seed": 0', '"samples": 0', "not JSON: the key 'samples' stands twice in an object"),
        ('"seed": 0', '"seed": ' + "[" * 40 + "]" * 40, "lists and objects are nested more than 32 deep"),
        ('"batch"', '"bach"', "no key of recipe in "),
    ],
)  # fmt: skip
def test_a_hostile_record_is_refused(tmp_path, was, becomes, says):
    text = (TRAINED / "tfc-w1a1.json").read_text()
    assert was in text
    path = tmp_path / "wrong.json"
    path.write_text(text.replace(was, becomes))
    with pytest.raises(ArtifactError) as raised:
        read_record(path)
    assert says in raised.value.what and str(path) in raised.value.what


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "labd-trained-network"}', "\xff"])
def test_something_other_than_a_record_is_refused(tmp_path, text):
    path = tmp_path / "wrong.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match=r"wrong\.json: "):
        read_record(path)
