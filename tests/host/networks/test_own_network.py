"""A network in a user's own file: what docs/own-network.md shows, wrong files, and where its export is found."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from labd_host.cli.networks import networks as list_networks
from labd_host.networks import Conv, launch, network, read_network, resolve, trained_record
from labd_host.networks.trained import TRAINED
from labd_shared.errors import ArtifactError, DataMissing, DigestMismatch, UsageError
from support.listeners import Kept
from support.paths import ROOT
from support.training import empty_mnist, train_python

EXAMPLE = (ROOT / "docs" / "own-network.md").read_text().split("```toml\n")[1].split("```")[0]
NAME = "digits-w1a2"


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """The file of the documents' example, and an empty data folder of labd's."""
    monkeypatch.setenv("LABD_HOME", str(tmp_path / "home"))
    path = tmp_path / "digits.toml"
    path.write_text(EXAMPLE)
    return path


def _found(what):
    export = resolve(what)
    return export.file, export.spec


def test_the_example_of_the_documents_is_a_network(digits):
    found = network(str(digits))
    assert (found.name, found.file, found.typed) == (NAME, digits, str(digits))
    assert found.convs == (Conv(8, True), Conv(16, True))
    assert found.flat_shape == (5, 5, 16)
    assert found.weights == 9 * 8 + 9 * 8 * 16 + 400 * 64 + 64 * 10
    assert found.with_recipe(replace(found.recipe, epochs=9)).file == digits


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('name = "digits-w1a2"', "", "name is missing"),
        ("digits-w1a2", "../digits", "name is '../digits', a name of a to z, 0 to 9 and . _ -, "),
        ("digits-w1a2", "tfc-w1a1", "name is 'tfc-w1a1', which is the name of one of labd's own"),
        ('"mnist"', '"mnits"', "no dataset named 'mnits'; known: "),
        ("[28, 28, 1]", "[32, 32, 3]", "it takes (32, 32, 3) for 10 classes, mnist has (28, 28, 1) for 10"),
        ("classes = 10", "classes = 11", "it takes (28, 28, 1) for 11 classes, mnist has (28, 28, 1) for 10"),
        ("act_bits", "activation_bits", "named 'activation_bits'; known: act_bits, "),
        ("epochs = 3", "epoch = 3", "named 'epoch'; known: augment, "),
        ("epochs = 3", 'epochs = "3"', "recipe.epochs is '3', a whole number from 1 on is wanted"),
        ("hidden = [64]", "", "hidden is missing"),
        ("kind =", "kind", "not TOML: "),
        ("= 0.005", "= nan", "recipe.learning_rate is nan, a finite number"),
        ("= 0.005", "= -inf", "recipe.learning_rate is -inf, a finite number"),
        ("= 0.005", "= 0.005\nlearning_rate = 0.1", "not TOML: Cannot overwrite a value"),
        ("epochs = 3", f"epochs = {10**400}", "recipe.epochs is a number of 1329 bits, a whole number of 64 bits"),
        ("[64]", "[" * 10_000, "nested too deep"),
        (EXAMPLE, "\n" * 70_000, "has 70000 bytes, more than 65536"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_its_name_and_what_is_wrong(digits, was, becomes, says):
    assert was in EXAMPLE
    digits.write_text(EXAMPLE.replace(was, becomes, 1))
    with pytest.raises(ArtifactError) as raised:
        network(str(digits))
    assert str(digits) in raised.value.what
    assert says in raised.value.what
    assert raised.value.fix and "\n" not in str(raised.value.what)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.toml cannot be read: No such file"):
        network(str(tmp_path / "none.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match=r"binary\.toml: not TOML"):
        network(str(tmp_path / "binary.toml"))


def trained_in(folder, name):
    """Stands for a training: the shipped TFC's export and record under *name*."""
    folder.mkdir(parents=True)
    shutil.copy(TRAINED / "tfc-w1a1.onnx", folder / f"{name}.onnx")
    record = json.loads((TRAINED / "tfc-w1a1.json").read_text())
    (folder / f"{name}.json").write_text(json.dumps({**record, "network": name}))
    return folder / f"{name}.onnx"


def test_its_export_is_found_where_labd_train_leaves_it(digits, tmp_path):
    with pytest.raises(DataMissing, match="none is in ") as raised:
        resolve(str(digits))
    assert raised.value.fix == f"train it: labd train {digits}"
    path = trained_in(tmp_path / "home" / "training" / NAME, NAME)
    assert _found(str(digits)) == (path, network(str(digits)))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DigestMismatch) as raised:
        resolve(str(digits))
    assert raised.value.fix == f"labd train {NAME} --resume -o {path.parent}"


def test_a_network_of_the_table_that_does_not_ship_is_found_there_too(digits, tmp_path):
    path = trained_in(tmp_path / "home" / "training" / "lfc-w1a2", "lfc-w1a2")
    assert _found("lfc-w1a2") == (path, network("lfc-w1a2"))
    trained_in(tmp_path / "home" / "training" / "tfc-w1a1", "tfc-w1a1")
    assert _found("tfc-w1a1") == (TRAINED / "tfc-w1a1.onnx", network("tfc-w1a1")), "labd's own comes first"


def test_an_export_is_known_by_the_definition_beside_it(digits, tmp_path):
    path = trained_in(tmp_path / "elsewhere", NAME)
    assert _found(str(path)) == (path, None)
    shutil.copy(digits, path.with_suffix(".toml"))
    assert _found(str(path)) == (path, read_network(digits))


def test_labd_networks_shows_what_is_in_a_file(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    line = CliRunner().invoke(list_networks, [str(digits)], catch_exceptions=False).output.splitlines()[3]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [NAME, "mnist", "8-P-16-P-64-10", "no"]
    trained_in(tmp_path / "home" / "training" / NAME, NAME)
    assert "93.55 % *" in CliRunner().invoke(list_networks, [str(digits)]).output


def test_a_training_keeps_the_definition_and_is_resumed_with_no_other(digits, tmp_path, monkeypatch):
    empty_mnist(tmp_path / "data")
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "data"))
    python = train_python(tmp_path / "python", NAME, "$3")
    out, noted = tmp_path / "out", []
    assert launch.train(read_network(digits), out, listener=Kept(noted), python=python) == trained_record(
        "tfc-w1a1"
    )
    assert noted == [f"{out / NAME}.toml"], "what the process trains is the copy"
    assert read_network(out / f"{NAME}.toml") == read_network(digits)
    launch.train(read_network(digits), out, resume=True, python=python)
    digits.write_text(EXAMPLE.replace("hidden = [64]", "hidden = [65]"))
    with pytest.raises(UsageError, match=r"digits\.toml is not as it was when the training in "):
        launch.train(read_network(digits), out, resume=True, python=python)
