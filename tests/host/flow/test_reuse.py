"""Finished stages are used again, and only as long as all they came from is the same."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labd_host.dataflow.folding import Folding
from labd_host.flow import compile_network, stage_runner
from labd_host.flow.finn_door import Finn
from labd_shared.errors import IllegalFolding, SetupError, StageFailed, UnknownName, UsageError
from support.convolutional import images, write_network
from support.listeners import Calls, Kept

UNFOLDED = Folding("none", {}, {})
FOLDED = Folding("wider", {"MVAU_hls_1": {"PE": 2}}, {})
NAMES = ["exported", "tidy", "prepost", "streamlined", "hardware", "partition", "folded", "golden", "answers"]


def compiled_in(folder, *, folding=UNFOLDED, count=2, **options):
    with pytest.MonkeyPatch.context() as patch:  # the folder alone is on trial, not the cache
        patch.setenv("LABD_STAGES", str(folder / "stages" / os.urandom(8).hex()))
        return compile_network(
            folder / "small.onnx",
            folding=folding,
            out=folder / "out",
            images=images(count),
            many_images=images(20, seed=6),
            **options,
        )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    write_network(folder / "small.onnx")
    assert all(stage.why == "not made before" for stage in compiled_in(folder).stages)
    return folder


@pytest.fixture
def again(first, tmp_path):
    """A folder in which everything is finished."""
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    return tmp_path


def made(compiled):
    """The stages that were not used again: name -> why."""
    return {stage.name: stage.why for stage in compiled.stages if not stage.reused}


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.name != "finn.log"}


def test_a_second_run_makes_nothing_and_says_the_same(first, again):
    told = []
    found = compiled_in(again, listener=Calls(told.append))
    assert made(found) == {}
    assert told == [
        "read: dilations: ONNX's defaults written in (node_value11)",
        *(f"{name}: finished before, used again" for name in NAMES),
    ]
    assert [stage.proof.mismatches for stage in found.stages] == [0] * 9
    assert [stage.proof.tensors for stage in found.stages] == [0] + [11] * 7 + [2]
    assert contents(again) == contents(first)


def test_another_folding_makes_the_folded_stage_and_the_golden_model_only(again, tmp_path_factory):
    found = compiled_in(again, folding=FOLDED)
    assert made(found) == {"folded": "other settings", "golden": "what it is made from changed"}
    assert found.folding["MVAU_hls_1"]["PE"] == 2
    assert found.stages[6].proof.elements == found.stages[5].proof.elements, "its proof was made again"
    fresh = tmp_path_factory.mktemp("fresh")
    shutil.copy(again / "small.onnx", fresh)
    compiled_in(fresh, folding=FOLDED)
    assert contents(again) == contents(fresh), "as if it had been made in one go"


def test_other_images_make_every_proof_again(again):
    found = compiled_in(again, count=3)
    assert set(made(found)) == set(NAMES) - {"answers"}
    assert found.stages[1].why == "what it is compared with changed"
    assert {stage.proof.images for stage in found.stages[:8]} == {3}


def test_another_network_makes_everything_again(again):
    write_network(again / "small.onnx", seed=2)
    found = compiled_in(again)
    assert set(made(found)) == set(NAMES)
    assert found.stages[0].why == "what it is made from changed"


@pytest.mark.parametrize("changed", ["code_sha256", "tool_versions"])
def test_another_labd_or_another_finn_makes_everything_again(again, monkeypatch, changed):
    other = {"code_sha256": "0" * 64, "tool_versions": {"finn-plus": "9"}}[changed]
    monkeypatch.setattr(stage_runner, changed, lambda: other)
    assert set(made(compiled_in(again))) == set(NAMES)


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("3-prepost.onnx", "prepost"),
        ("4-streamlined.npz", "streamlined"),
        ("6-partition-dataflow.onnx", "partition"),
        ("folding.json", "folded"),
    ],
)
def test_a_damaged_or_missing_file_is_noticed_and_made_again(first, again, file, stage):
    path = again / "out" / file
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-10])
    assert made(compiled_in(again)) == {stage: f"{file} is damaged"}
    assert contents(again) == contents(first)
    path.unlink()
    assert made(compiled_in(again)) == {stage: f"{file} is gone"}


def test_a_damaged_golden_model_is_made_again_before_it_answers(again):
    path = again / "out" / "network.npz"
    path.chmod(0o644)
    path.write_bytes(b"PK" + path.read_bytes()[2:-10])
    assert set(made(compiled_in(again))) == {"golden"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"stage": "tidy"}', "[" * 100_000],
    ids=["empty", "list", "object", "null", "half", "deep"],
)
def test_a_record_that_is_none_counts_for_nothing(first, again, text):
    (again / "out" / "2-tidy.json").write_text(text)
    assert made(compiled_in(again)) == {"tidy": "not made before"}
    assert contents(again) == contents(first)


def test_a_record_cannot_name_files_elsewhere(again):
    path = again / "out" / "2-tidy.json"
    record = json.loads(path.read_text())
    record["file"] = "../small.onnx"
    record["files"] = {"../small.onnx": "0" * 64}
    path.write_text(json.dumps(record))
    assert set(made(compiled_in(again))) == {"tidy"}


def test_from_a_stage_on_everything_is_made_anew(first, again):
    found = compiled_in(again, start="partition")
    assert made(found) == dict.fromkeys(["partition", "folded", "golden", "answers"], "asked for with --from")
    assert contents(again) == contents(first)


def test_from_a_stage_that_nothing_leads_to_is_refused(again):
    (again / "out" / "3-prepost.json").unlink()
    before = contents(again)
    with pytest.raises(
        UsageError, match=r"stage folded cannot be the first .* no finished stage prepost .*not made before"
    ) as caught:
        compiled_in(again, start="folded")
    assert "leave --from out" in caught.value.fix
    assert contents(again) == before
    with pytest.raises(UnknownName, match="no stage named 'fold'"):
        compiled_in(again, start="fold")


def test_what_was_finished_survives_a_stage_that_fails(again, monkeypatch):
    write_network(again / "small.onnx", seed=2)
    apply = Finn.apply

    def fail_once(finn, model, step):
        if step.name.endswith(":InferPool"):
            raise StageFailed("FINN gave up at InferPool", fix="none")
        return apply(finn, model, step)

    monkeypatch.setattr(Finn, "apply", fail_once)
    with pytest.raises(StageFailed, match="stage hardware: FINN gave up at InferPool"):
        compiled_in(again)
    left = {path.name for path in (again / "out").glob("*.json")} - {"folding.json", "finn-estimates.json"}
    assert left == {"1-exported.json", "2-tidy.json", "3-prepost.json", "4-streamlined.json"}, (
        "of this network"
    )
    monkeypatch.setattr(Finn, "apply", apply)
    assert list(made(compiled_in(again))) == NAMES[4:]


def test_an_illegal_folding_leaves_everything_as_it_was(first, again):
    with pytest.raises(IllegalFolding):
        compiled_in(again, folding=Folding("bad", {"MVAU_hls_1": {"PE": 4}}, {}))
    assert contents(again) == contents(first)
    assert made(compiled_in(again)) == {}


def test_a_setting_with_a_value_finn_does_not_know_offers_the_nearest(again):
    with pytest.raises(
        UnknownName, match="no ram_style .*MVAU_hls_1 .*'blok'; known: auto, block, d"
    ) as caught:
        compiled_in(again, folding=Folding("bad", {"MVAU_hls_1": {"ram_style": "blok"}}, {}))
    assert caught.value.fix == "did you mean 'block'?"
    with pytest.raises(
        UnknownName, match="no setting of MVAU_hls_1 named 'depth'; known: PE, SIMD, .*ram_style"
    ):
        compiled_in(again, folding=Folding("bad", {"MVAU_hls_1": {"depth": 2}}, {}))


def test_an_interrupt_loses_only_the_stage_it_hits(again):
    write_network(again / "small.onnx", seed=3)

    def interrupt(line):
        if line.startswith("streamlined"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiled_in(again, listener=Calls(interrupt))
    assert list(made(compiled_in(again))) == NAMES[3:]


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from support.listeners import Calls
from test_reuse import compiled_in
compiled_in(Path(sys.argv[1]), listener=Calls(lambda line: print(line, flush=True)))
"""


def started(folder, **options):
    here = Path(__file__).parent
    script = SCRIPT.format(paths=[str(here), str(here.parents[1])])
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_kill_in_the_middle_loses_only_the_stage_it_hits(tmp_path):
    write_network(tmp_path / "small.onnx")
    with started(tmp_path) as process:
        deadline = time.monotonic() + 60
        for line in process.stdout:
            if line.startswith("hardware") or time.monotonic() > deadline:
                break
        process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    assert set(NAMES[4:]) >= set(made(compiled_in(tmp_path))) >= set(NAMES[5:])


def test_a_full_disk_is_one_sentence_and_what_was_finished_stays(tmp_path):
    """RLIMIT_FSIZE stands in for the disk: the first file larger than the limit cannot be written whole."""
    write_network(tmp_path / "small.onnx")
    limit = 12 << 10  # bytes: the early stages fit, a later one does not

    with started(
        tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ) as process:
        _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"cannot be written: {os.strerror(errno.EFBIG)}" in told, told
    assert "finished stages are kept" in told
    finished = [name for name in NAMES if list((tmp_path / "out").glob(f"?-{name}.json"))]
    assert finished == NAMES[: len(finished)] and 0 < len(finished) < 9
    assert list(made(compiled_in(tmp_path))) == NAMES[len(finished) :]


def test_a_folder_that_takes_no_file_names_it(again, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Finn, "save", full)
    with pytest.raises(
        SetupError, match=r"1-exported\.onnx cannot be written: No space left on device"
    ) as caught:
        compiled_in(again, start="exported")
    assert caught.value.exit_code == 3


def test_a_compile_tells_how_far_it_is(again):
    told = Kept()
    compiled_in(again, listener=told)
    shares = [done / total for _, done, total, _ in told.progressed]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert [note for *_, note in told.progressed] == [*NAMES, ""]
