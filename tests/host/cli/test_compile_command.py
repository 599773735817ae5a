"""labd compile."""

import re

import pytest
from click.testing import CliRunner

from labd_host.cli.compile import compile_
from labd_shared.errors import ArtifactError, IllegalFolding, UnknownName, UsageError
from support.facts import lacking


def run(*arguments, **environment):
    return CliRunner().invoke(compile_, [str(argument) for argument in arguments], env=environment)


@pytest.mark.usefixtures("mnist_folder")
def test_without_a_folding_it_is_the_labs_and_goes_into_build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("tfc-w1a1", "--images", 2)
    assert result.exception is None, result.output
    assert "98 cycles a frame" in result.stdout
    assert (tmp_path / "build" / "tfc-w1a1.stages" / "network.npz").is_file()


def test_a_folding_and_a_rate_together_are_refused(tmp_path):
    result = run("tfc-w1a1", "--folding", "lab", "--target-fps", "1000", "-o", tmp_path)
    assert isinstance(result.exception, UsageError)
    assert lacking(result.exception.what, "a folding (lab)", "a rate (1000 frames/s)") == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ["--target-fps", "2e6"],
            "the DMA idma0 needs 98, .* 1,020,408 frames/s",
        ),
        (["--folding", "{folding}"], "PE 7 of MVAU_hls_0 does not divide its 64 rows; nearest legal: 4, 8"),
    ],
)
def test_what_does_not_suit_a_network_of_the_table_is_refused_before_anything_starts(
    asked, message, tmp_path
):
    folding = tmp_path / "folding.json"
    folding.write_text('{"MVAU_hls_0": {"PE": 7}}')
    result = run("tfc-w1a1", *(each.format(folding=folding) for each in asked), "-o", tmp_path / "out")
    assert isinstance(result.exception, UsageError | IllegalFolding)
    assert re.search(message, result.exception.what)
    assert not (tmp_path / "out").exists()


def test_an_unknown_network_offers_the_nearest(tmp_path):
    result = run("tfc-w1a1x", "--folding", "lab", "-o", tmp_path)
    assert isinstance(result.exception, UnknownName)
    assert result.exception.fix == "did you mean 'tfc-w1a1'?"


def test_a_model_that_is_not_there_is_named(tmp_path):
    result = run(tmp_path / "mine.onnx", "--folding", "lab", "-o", tmp_path)
    assert isinstance(result.exception, ArtifactError)
    assert str(tmp_path / "mine.onnx") in result.exception.what


def test_a_model_that_is_not_in_the_table_needs_its_data_set_named(tmp_path):
    folding = tmp_path / "folding.json"
    folding.write_text('{"MVAU_hls_0": {"PE": 2}}')
    (tmp_path / "mine.onnx").touch()
    result = run(tmp_path / "mine.onnx", "--folding", folding, "-o", tmp_path)
    assert isinstance(result.exception, UsageError)
    assert "--dataset mnist" in result.exception.fix


@pytest.mark.usefixtures("mnist_folder")
def test_tfc_compiles_on_real_images_and_shows_proofs_and_the_dma_ceiling(tmp_path):
    result = run("tfc-w1a1", "--folding", "lab", "-o", tmp_path)
    assert result.exception is None, result.output
    for words in (
        "streamlined",
        "117,900",
        "on 100 images",
        "98 cycles a frame, set by idma0: 1,020,408 frames/s at 100 MHz",
        "the DMA is the ceiling: the layers alone would reach 1,428,571 frames/s",
    ):
        assert words in result.stdout, result.stdout
    assert "golden: the golden model" in result.stderr, "talk goes to standard error"
    assert "xc7z020clg400-1   " in result.stdout and "16 %" in result.stdout, (
        "the sum of LUT against the part"
    )
    assert "fits xc7z020clg400-1, by FINN's estimates" in result.stdout
    assert (tmp_path / "network.npz").is_file()
    assert f"every stage as a picture, explained: {tmp_path / 'gallery.html'}" in result.stdout
    assert (tmp_path / "gallery.html").is_file() and len(list(tmp_path.glob("?-*.svg"))) == 7


@pytest.mark.usefixtures("mnist_folder")
def test_a_second_compilation_says_what_it_used_again(tmp_path):
    first = run("tfc-w1a1", "--folding", "lab", "--images", 2, "-o", tmp_path)
    assert first.exception is None and "reused" not in first.stdout, first.output
    second = run("tfc-w1a1", "--target-fps", 500_000, "--images", 2, "-o", tmp_path)
    assert second.exception is None, second.output
    assert second.stdout.count("reused") == 7 and second.stdout.count("again") == 2, second.stdout
    assert re.search(r"^folded: .*\(again: other settings\)$", second.stderr, re.MULTILINE)
    assert "166 cycles a frame" in second.stdout
    third = run("tfc-w1a1", "--folding", "auto", "--from", "golden", "--images", 2, "-o", tmp_path)
    assert isinstance(third.exception, UsageError), "its folded stage is another"
    assert lacking(third.exception.what, "no finished stage folded", "other settings") == []


@pytest.mark.usefixtures("mnist_folder")
def test_a_compilation_that_fails_leaves_no_gallery_of_an_earlier_one(tmp_path):
    folding, out = tmp_path / "folding.json", tmp_path / "out"
    folding.write_text('{"MVAU_hls_0": {"ram_style": "blok"}}')
    out.mkdir()
    (out / "gallery.html").write_text("an earlier network")
    assert isinstance(run("tfc-w1a1", "--folding", folding, "-o", out).exception, UnknownName)
    assert not (out / "gallery.html").exists()
