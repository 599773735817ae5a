"""Finished stages in the user's cache: used by other folders, bounded, never trusted, and no folder needs it."""

import os
import shutil

import pytest

from labd_host.dataflow.folding import Folding
from labd_host.flow import compile_network, stage_cache
from labd_shared.digest import file_sha256
from support.convolutional import images, write_network
from support.listeners import Kept

UNFOLDED = Folding("none", {}, {})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_STAGES", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path):
    write_network(tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def compiled(model, out, folding=UNFOLDED, **options):
    heard = Kept()
    made = compile_network(
        model,
        folding=folding,
        out=out,
        images=images(2),
        many_images=images(20, seed=6),
        listener=heard,
        **options,
    )
    return made, [stage.name for stage in made.stages if not stage.reused]


def files_of(folder):
    return {
        path.name: file_sha256(path) for path in folder.iterdir() if path.suffix in (".onnx", ".npz", ".json")
    }


def test_another_folder_proves_nothing_again_and_has_the_same_files(cache, model, tmp_path):
    _, made = compiled(model, tmp_path / "first")
    assert len(made) == 9
    second, made = compiled(model, tmp_path / "second")
    assert made == []
    assert files_of(tmp_path / "second") == files_of(tmp_path / "first")
    assert [stage.proof for stage in second.stages][1].elements > 0, "with its proof"


def test_a_folder_shares_its_bytes_with_the_cache_and_stays_whole_without_it(cache, model, tmp_path):
    compiled(model, tmp_path / "first")
    compiled(model, tmp_path / "second")
    links = {path.stat().st_nlink for path in (tmp_path / "second").glob("?-*.onnx")}
    assert links == {3}, "two folders and the cache"
    assert (tmp_path / "second" / "folding.json").stat().st_nlink == 1, "which people edit"
    before = files_of(tmp_path / "second")
    shutil.rmtree(cache)
    _, made = compiled(model, tmp_path / "second")
    assert made == [] and files_of(tmp_path / "second") == before


def test_what_one_folder_makes_again_changes_no_other(cache, model, tmp_path):
    compiled(model, tmp_path / "first")
    compiled(model, tmp_path / "second")
    before = files_of(tmp_path / "second")
    _, made = compiled(model, tmp_path / "first", Folding("wider", {"MVAU_hls_1": {"PE": 2}}, {}))
    assert "folded" in made
    assert files_of(tmp_path / "second") == before


def test_a_stage_that_is_asked_for_is_made_although_the_cache_has_it(cache, model, tmp_path):
    compiled(model, tmp_path / "first")
    _, made = compiled(model, tmp_path / "first", start="hardware")
    assert made[0] == "hardware" and len(made) == 5


def test_a_damaged_entry_is_dropped_and_made_again(cache, model, tmp_path):
    compiled(model, tmp_path / "first")
    damaged = next(path for path in cache.rglob("4-streamlined.onnx"))
    damaged.chmod(0o644)
    shutil.rmtree(tmp_path / "first")
    damaged.write_bytes(b"damaged")
    _, made = compiled(model, tmp_path / "second")
    assert made == ["streamlined"], "what came of it is the same, and used"
    _, made = compiled(model, tmp_path / "third")
    assert made == []


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(model, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("LABD_STAGES", str(tmp_path / "cache"))
    for out in ("first", "second"):
        _, made = compiled(model, tmp_path / out)
        assert len(made) == 9


def test_the_entries_not_used_for_longest_go_when_there_are_too_many(cache, model, tmp_path, monkeypatch):
    compiled(model, tmp_path / "first")
    entries = sorted(cache.iterdir())
    for age, entry in enumerate(entries):
        os.utime(entry, (1_000_000 + age, 1_000_000 + age))
    held = stage_cache.held_bytes()
    monkeypatch.setattr(stage_cache, "LIMIT_BYTES", held // 2)
    compiled(model, tmp_path / "second", Folding("wider", {"MVAU_hls_1": {"PE": 2}}, {}))
    assert stage_cache.held_bytes() <= held // 2
    assert (tmp_path / "first" / "network.npz").is_file()
