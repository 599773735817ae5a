"""`labd build --target hw` with stand-ins for FINN and the tools: products, every way to fail, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from labd_host.machine.locks import take
from labd_host.vivado.followed_build import DEADLINES, TIMES_NAME, run
from labd_host.vivado.job import LOG_NAME, STATE_NAME, BuildJob
from labd_host.vivado.products import check_timing, read_routed
from labd_host.vivado.tools import environment, find_toolchain
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import (
    ArtifactError,
    BuildStalled,
    DoesNotFit,
    LabdError,
    SetupError,
    TimingNotMet,
    ToolFailed,
    UsageError,
    WrongPart,
    WrongVersion,
)
from support.bundles import make_manifest
from support.hardware import WORKER, equip, left_behind
from support.listeners import Kept

TENSORS = (*make_manifest({}).inputs, *make_manifest({}).outputs)


class Bench:
    """One build folder, built as often as one likes."""

    def __init__(self, folder):
        self.work = folder / "work"
        self.begun = []

    def build(self, fault="", clock_mhz=100, key="key", **deadlines):
        job = BuildJob("none.onnx", str(self.work), key, PYNQ_Z2_PART, "Pynq-Z2", clock_mhz, 1)
        variables = {**environment(find_toolchain()), "LABD_STAND_IN": fault}
        heard = Kept()
        try:
            return run(
                job, variables, listener=heard, module=WORKER, deadlines=replace(DEADLINES, **deadlines)
            )
        finally:
            self.begun = [(task.split()[0], total) for task, done, total, _ in heard.progressed if not done]

    def design(self, fault="", clock_mhz=100):
        project = Path(self.build(fault, clock_mhz).project)
        return read_routed(project, part=PYNQ_Z2_PART, clock_mhz=clock_mhz, tensors=TENSORS)

    def finished(self):
        return json.loads((self.work / STATE_NAME).read_text())["finished"]


@pytest.fixture
def bench(monkeypatch, tmp_path):
    equip(monkeypatch, tmp_path)
    return Bench(tmp_path)


def test_the_products_are_read_and_checked(bench):
    design = bench.design()
    assert design.timing.wns_ns == 1.204 and design.timing.whs_ns == 0.022 and design.timing.met
    assert design.timing.fastest_mhz(100) == pytest.approx(113.69, abs=0.01)
    assert design.clock.fclk0_mhz == 100 and design.clock.accelerator_mhz == pytest.approx(99.999)
    assert design.resources["LUT"] == 8220 and design.resources["BRAM18"] == 10
    assert design.nodes["StreamingDataflowPartition_1_MVAU_hls_0"]["LUT"] == 1203
    check_timing(design.timing, 100)


@pytest.mark.parametrize(
    "fault, kind, code, words, fix",
    [
        (
            "synth",
            ToolFailed,
            4,
            "module 'StreamingDataflowPartition_1' not found",
            "read what stands before it",
        ),
        ("overflow", DoesNotFit, 4, "needs 62315 Slice LUTs, the part has 53200", "smaller PE or SIMD"),
        ("route", DoesNotFit, 4, "cannot route the design", "smaller PE or SIMD"),
        ("licence", SetupError, 3, "no licence for Synthesis on xc7z020", "XILINXD_LICENSE_FILE"),
        (
            "board",
            SetupError,
            3,
            "does not know the board tul.com.tw:pynq-z2:part0:1.0",
            "labd doctor --for hw",
        ),
        ("disk", SetupError, 3, "the disk is full", "finished steps are not repeated"),
        ("memory", SetupError, 3, "ran out of memory", "--jobs 1"),
        (
            "crash",
            ToolFailed,
            4,
            r"crashed by itself: Abnormal program termination \(11\)",
            "the same command again",
        ),
        (
            "silent",
            ToolFailed,
            4,
            "no log has an error: RuntimeError: Synthesis failed, no bitfile",
            "worker.log",
        ),
        ("hls", SetupError, 3, "MVAU_hls_1: Vitis HLS does not find bnn-library.h", "finn-hlslib"),
        ("hls-revision", WrongVersion, 3, "cannot export IP after 2021", "76960"),
        ("kill-parent", SetupError, 3, "the build was killed in hls", "finished steps are not repeated"),
    ],
)
def test_a_failure_is_told_in_plain_words_and_finished_steps_survive(
    bench, tmp_path, fault, kind, code, words, fix
):
    with pytest.raises(LabdError, match=words) as raised:
        bench.build(fault)
    assert type(raised.value) is kind and raised.value.exit_code == code
    assert fix in raised.value.fix
    assert Path(raised.value.facts["log"]).is_file()
    assert left_behind(tmp_path) == []
    done = bench.finished()
    bench.build()
    assert not {step for step, _ in bench.begun} & set(done), "what was finished is not repeated"
    assert bench.begun[-1][0] == "synthesis"


@pytest.mark.parametrize(
    "fault, kind, words",
    [
        ("truncated-bit", ArtifactError, "bytes of configuration, its header says"),
        ("other-part", WrongPart, "the bitfile is for xc7z010clg400"),
        ("wrong-clock", ArtifactError, r"says 50 MHz \(clk_wiz_0, FCLK0 100 MHz\), asked for were 100 MHz"),
    ],
)
def test_damaged_or_wrong_products_are_refused_and_the_way_on_makes_them_again(bench, fault, kind, words):
    with pytest.raises(kind, match=words) as raised:
        bench.design(fault)
    assert "only the last step is repeated" in raised.value.fix
    project = raised.value.fix.split()[1]
    assert project.startswith(str(bench.work))
    subprocess.run(["rm", "-r", project], timeout=10, check=True)
    assert bench.design().resources["LUT"] == 8220
    assert [step for step, _ in bench.begun] == ["synthesis"]


def test_a_dma_that_the_design_lacks_is_refused(bench):
    project = Path(bench.build().project)
    other = TENSORS[0]._replace(dma="idma7")
    with pytest.raises(ArtifactError, match="has no idma7; its blocks are idma0, odma0"):
        read_routed(project, part=PYNQ_Z2_PART, clock_mhz=100, tensors=(other,))


@pytest.mark.parametrize(
    "fault, words, fix",
    [
        ("slack", r"not met at 100 MHz: worst slack -0\.412 ns, 37 end points fail", "--clock-mhz 96 "),
        ("hold", r"hold timing is not met: slack -0\.021 ns", "another folding"),
    ],
)
def test_negative_slack_is_refused_with_the_clock_that_would_do(bench, fault, words, fix):
    timing = bench.design(fault).timing
    assert not timing.met and timing.slack_ns < 0
    with pytest.raises(TimingNotMet, match=words) as raised:
        check_timing(timing, 100)
    assert fix in raised.value.fix and "--accept-timing" in raised.value.fix
    assert raised.value.exit_code == 4


def test_a_build_that_hangs_is_ended_after_the_silence_with_all_it_started(bench, tmp_path):
    with pytest.raises(BuildStalled, match=r"sent nothing and wrote no log for 4 s in synthesis") as raised:
        bench.build("hang", silence_s=4.0)
    assert "--silence-minutes" in raised.value.fix
    assert left_behind(tmp_path) == []


def test_a_build_that_takes_too_long_is_ended_although_it_talks(bench, tmp_path):
    with pytest.raises(BuildStalled, match=r"took longer than 0\.0004\d+ h \(.+\) and was ended"):
        bench.build("hang", whole_s=1.5)
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_whole_tree_and_the_build_goes_on_afterwards(bench, tmp_path):
    def interrupt():
        deadline = time.monotonic() + 20
        while not list(bench.work.glob("finn/synthesis/*/vivado.log")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        bench.build("hang")
    watcher.join(30)
    assert left_behind(tmp_path) == []
    assert "partition" in bench.finished() and "synthesis" not in bench.finished()
    bench.build()
    assert [step for step, _ in bench.begun] == ["synthesis"]


def test_no_vivado_is_left_when_the_program_that_follows_is_killed(bench, tmp_path):
    script = (
        "import sys; from labd_host.vivado.job import BuildJob\n"
        "from labd_host.vivado.followed_build import run\n"
        "from labd_host.vivado.tools import environment, find_toolchain\n"
        "job = BuildJob('none.onnx', sys.argv[1], 'key', 'xc7z020clg400-1', 'Pynq-Z2', 100, 1)\n"
        "run(job, environment(find_toolchain()), module='support.stand_in_worker')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(bench.work)],
        env={**os.environ, "LABD_STAND_IN": "hang"},
    )
    deadline = time.monotonic() + 20
    while not list(bench.work.glob("finn/synthesis/*/vivado.log")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(left_behind(tmp_path)) > 2, "program, worker and Vivado"
    process.kill()
    process.wait(10)
    while left_behind(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left_behind(tmp_path) == []


def test_a_build_does_not_depend_on_where_it_was_started(bench, monkeypatch, tmp_path):
    spaced = tmp_path / "my designs"
    spaced.mkdir()
    monkeypatch.chdir(spaced)
    assert bench.design().resources["LUT"] == 8220
    assert list(spaced.iterdir()) == []


def test_another_key_begins_anew(bench):
    bench.build()
    bench.build()
    assert bench.begun == []
    bench.build(key="another network")
    assert [step for step, _ in bench.begun] == ["partition", "hls", "hls", "synthesis"]


def test_expected_times_are_those_of_the_last_build_on_this_machine(bench, tmp_path):
    bench.build()
    assert {expected for _, expected in bench.begun[:2]} == {None}, "nothing is known before the first"
    taken = json.loads((tmp_path / "cache" / TIMES_NAME).read_text())
    bench.build(key="again")
    assert dict(bench.begun)["synthesis"] == taken["synthesis"] > 0


def test_two_builds_do_not_share_a_folder(bench):
    with take(bench.work / "lock"):
        (bench.work / LOG_NAME).write_text("of the build that is at work")
        with pytest.raises(UsageError, match="another build is running in"):
            bench.build()
    assert (bench.work / LOG_NAME).read_text() == "of the build that is at work"


def test_a_folder_that_cannot_be_made_is_said(bench):
    bench.work.write_text("a file")
    with pytest.raises(SetupError, match=r"work cannot be written: File exists"):
        bench.build()


def test_what_the_build_prints_goes_to_its_log_and_is_no_message(bench):
    assert bench.build().project.endswith("vivado_zynq_proj_stand_in")
    assert "what FINN prints is no message" in (bench.work / LOG_NAME).read_text()
