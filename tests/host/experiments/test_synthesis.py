"""Builds with Vivado: never more at once than licences, gone on with, and a failed one is a sentence.

What builds is a stand-in here; tests/host/vivado/test_hardware_build.py has the build itself.
"""

import json
import os
import sys
import threading
from dataclasses import replace

import pytest

from labd_host.bundles.bundle_writer import write_bundle
from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import Resources
from labd_host.experiments.builds import read_builds
from labd_host.experiments.request import PART3, read_request
from labd_host.experiments.study_plan import plan
from labd_host.experiments.synthesis import build_all, bundle_of, is_built, licences
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.errors import UsageError
from support.bundles import make_manifest

BUILDER = """
import json, os, sys, time
from pathlib import Path
network, *options = sys.argv[1:]
given = dict(zip(options[::2], options[1::2]))
out = Path(given["-o"])
log = os.open(str(out.parent.parent / "events"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, b"began\\n")
time.sleep(0.2)
os.write(log, b"ended\\n")
folding = json.loads(Path(given["--folding"]).read_text())
if folding["MVAU_hls_1"]["PE"] == 1:
    sys.stderr.write("timing is not met: WNS -0.3 ns\\n  fix: a slower clock\\n")
    sys.exit(4)
out.mkdir()
(out / "manifest.json").write_text(json.dumps([network, given["--target"], given["--clock-mhz"]]))
"""


@pytest.fixture(scope="module")
def foldings():
    study = plan(replace(read_request(PART3), networks=("tfc-w1a1",)))
    return list({each.key: each for each in study.experiments}.values())


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_HOME", str(tmp_path / "home"))
    (tmp_path / "builder.py").write_text(BUILDER)
    return [sys.executable, "-S", str(tmp_path / "builder.py")]


def most_at_once(*folders):
    """From the order of the builders' lines; both studies log into one file."""
    at_work = most = 0
    for line in (folders[0] / "hardware" / "events").read_text().splitlines():
        at_work += 1 if line == "began" else -1
        most = max(most, at_work)
    return most


def test_two_studies_share_the_licences_of_the_machine(tmp_path, foldings, command):
    folder, allowed = tmp_path / "study", licences(2, 64.0)
    halves = foldings[:3], foldings[3:]
    threads = [threading.Thread(target=build_all, args=(half, folder, allowed, command)) for half in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert most_at_once(folder) == 2
    done = [each for each in foldings if is_built(folder, each)]
    assert len(done) >= 3
    assert all(each.settings["MVAU_hls_1"]["PE"] != 1 for each in done)
    told = json.loads((bundle_of(folder, done[0]) / "manifest.json").read_text())
    assert told == ["tfc-w1a1", "hw", "100"]


def test_what_is_built_is_not_built_again_and_what_fails_says_why(tmp_path, foldings, command):
    folder = tmp_path / "study"
    exp1 = next(each for each in foldings if each.name == "Exp1")
    good = next(each for each in foldings if each.settings["MVAU_hls_1"]["PE"] != 1)
    for _ in range(2):
        faults = build_all([exp1, good], folder, licences(1, 64.0), command)
        assert list(faults) == [exp1.key]
        assert "timing is not met: WNS -0.3 ns" in faults[exp1.key]
    assert (folder / "hardware" / "events").read_text().count("began") == 3


def test_a_licence_is_held_until_the_tool_has_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_HOME", str(tmp_path))
    allowed = licences(1, 64.0)
    with allowed.take() as held:
        assert allowed.take() is None
        inherited = os.dup(held.fileno())  # as a process that was started with it has
    assert allowed.take() is None
    os.close(inherited)
    with allowed.take() as again:
        assert again is not None


def test_builds_that_do_not_fit_into_the_memory_are_refused():
    with pytest.raises(UsageError, match="3 builds with Vivado take 24 GB of memory, there are 16") as caught:
        licences(3, 16.0)
    assert "--vivado 2" in caught.value.fix


def test_the_cells_of_labd_s_own_build_are_read_from_its_bundle(tmp_path, foldings):
    experiment = foldings[0]
    cells = {"LUT": 8220, "FF": 11000, "BRAM18": 10, "DSP": 0}

    def fill(making):
        (making / "hardware.json").write_text(json.dumps({"resources": {"built": cells}}))
        for name in ("accel.bit", "accel.hwh", "golden.npz"):
            (making / name).write_bytes(b"x")
        return make_manifest({})._replace(
            network="tfc-w1a1", target="hw", clock_mhz=100.0,
            folding={name: dict(values) for name, values in experiment.settings.items()},
        )  # fmt: skip

    write_bundle(tmp_path / "bundle", fill)
    builds = read_builds([tmp_path / "bundle"], part_of(PYNQ_Z2_DEVICE))
    assert builds.cells(experiment) == Resources(8220, 11000, 10, 0)
    assert builds.bundle(experiment, "hw").folder == tmp_path / "bundle"
    assert builds.cells(foldings[1]) is None
