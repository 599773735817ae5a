"""Jobs on a real Slurm of one node (tests/support/real_slurm.py), skipped by name where it is not installed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from labd_host.experiments.slurm import Demand
from labd_host.experiments.slurm_queue import SlurmQueue, how_to_return
from labd_host.experiments.store import Store
from labd_shared.errors import SetupError
from support import real_slurm, slurm_worker
from support.facts import lacking

WORKER = (sys.executable, slurm_worker.__file__)
VIVADO = Demand(memory_gb=0.25, licenses="vivado:1", minutes=5)
PATIENCE_S = 90.0  # a deadline only: nothing here takes seconds on a free machine


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("submitit", reason="submitit hands jobs to Slurm: pip install submitit")
    if lacking := real_slurm.missing():
        pytest.skip(f"the tests on a real Slurm: {lacking}")
    with real_slurm.cluster("vivado:2") as environment:
        yield environment


@pytest.fixture
def study(cluster, tmp_path, monkeypatch):
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    return Study(tmp_path)


class Study:
    """A folder with things to do, and what was done there."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("todo", "results"):
            (folder / name).mkdir()
        self.queue = SlurmQueue(folder, WORKER)

    def add(self, *todo):
        keys = [hashlib.sha256(f"{index} {each}".encode()).hexdigest() for index, each in enumerate(todo)]
        for key, each in zip(keys, todo, strict=True):
            (self.folder / "todo" / key).write_text(each)
        return keys

    def finished(self, key):
        return (self.folder / "results" / key).exists()

    def submit(self, keys, demand=VIVADO):
        return self.queue.submit(keys, demand, self.finished)

    def follow(self, keys):
        return self.queue.follow(keys, self.finished, lambda standings: None, wait_s=PATIENCE_S, settle_s=0.5)

    def events(self):
        path = self.folder / "events"
        return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []

    def begun(self):
        return [key for event, key, _ in self.events() if event == "began"]

    def wait_for_begun(self, key):
        deadline = time.monotonic() + PATIENCE_S
        while key not in self.begun():
            assert time.monotonic() < deadline, self.queue.standings([key])
            time.sleep(0.05)
        return int(next(pid for event, each, pid in self.events() if (event, each) == ("began", key)))

    def job(self, key):
        return self.queue.standings([key])[key].job


def test_never_more_run_than_there_are_licences_and_each_once(study):
    keys = study.add(*["until go"] * 5)
    assert study.submit(keys) == keys

    def tell(standings):
        texts = [each.text for each in standings.values()]
        if texts.count("all licences are taken") == 3 and len(study.begun()) == 2:
            (study.folder / "go").touch()

    assert study.queue.follow(keys, study.finished, tell, wait_s=PATIENCE_S) == {}
    running, most = set(), 0
    for event, key, _ in study.events():
        running = running | {key} if event == "began" else running - {key}
        most = max(most, len(running))
    assert most == 2
    assert sorted(study.begun()) == sorted(keys)


def test_what_is_cancelled_or_killed_is_told_and_done_at_the_next_start(study):
    cancelled, killed, well = keys = study.add("until go", "until go", "work 0")
    study.submit(keys, Demand(memory_gb=0.25))
    study.wait_for_begun(cancelled)
    subprocess.run(["scancel", study.job(cancelled).identity], check=True, timeout=10)
    os.kill(study.wait_for_begun(killed), signal.SIGKILL)
    faults = study.follow(keys)
    assert list(faults) == [cancelled, killed] or list(faults) == [killed, cancelled]
    assert faults[cancelled].endswith("was cancelled")
    assert faults[killed].endswith("failed (FAILED): its worker was ended by SIGKILL")

    (study.folder / "go").touch()
    assert study.submit(keys) == [cancelled, killed]
    assert study.follow(keys) == {}
    assert study.begun().count(well) == 1


def test_who_follows_may_be_killed_and_the_next_one_adopts_the_jobs(study):
    keys = study.add(*["until go"] * 3)
    script = (
        "import sys; from pathlib import Path\n"
        "from labd_host.experiments.slurm import Demand\n"
        "from labd_host.experiments.slurm_queue import SlurmQueue\n"
        "queue, never = SlurmQueue(Path(sys.argv[1]), sys.argv[2:4]), lambda key: False\n"
        "queue.submit(sys.argv[4:], Demand(memory_gb=0.25, licenses='vivado:1'), never)\n"
        "queue.follow(sys.argv[4:], never, lambda standings: None)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", script, str(study.folder), *WORKER, *keys])
    try:
        study.wait_for_begun(keys[0])
    finally:
        first.kill()
        first.wait(10)
    assert study.submit(keys) == []
    (study.folder / "go").touch()
    assert study.follow(keys) == {}
    assert sorted(study.begun()) == sorted(keys)


def test_a_job_that_takes_too_much_memory_is_told_as_that(study):
    (key,) = study.add("memory 0.5")
    study.submit([key], Demand(memory_gb=0.125))
    faults = study.follow([key])
    assert faults[key].endswith("was killed for using more than 0.125 GB of memory")


def test_what_a_worker_said_last_is_told(study):
    (key,) = study.add("raise no such folding")
    study.submit([key])
    assert study.follow([key])[key].endswith("failed (FAILED): ValueError: no such folding")


def test_what_slurm_refuses_is_told_in_its_words_and_leaves_nothing(study):
    keys = study.add("work 0")
    with pytest.raises(SetupError, match="Slurm does not take the jobs: .*Invalid license specification"):
        study.submit(keys, Demand(licenses="questa:1"))
    assert study.queue.standings(keys) == {}


def test_the_way_back_names_the_jobs(study):
    keys = study.add("until go", "until go")
    study.submit(keys)
    told = how_to_return(study.queue.standings(keys).values())
    array = study.job(keys[0]).identity.partition("_")[0]
    assert lacking(told, "the same command", f"scancel {array}") == []
    subprocess.run(["scancel", array], check=True, timeout=10)


def test_a_study_that_was_copied_does_not_take_the_jobs_of_the_other(study, tmp_path_factory):
    keys = study.add("until go")
    study.submit(keys)
    copy = tmp_path_factory.mktemp("copy")
    subprocess.run(["cp", "-r", f"{study.folder}/.", str(copy)], check=True, timeout=10)
    assert SlurmQueue(copy, WORKER).standings(keys) == {}
    subprocess.run(["scancel", study.job(keys[0]).identity], check=True, timeout=10)


STUDY = """
name = "mine"
networks = ["tfc-w1a1"]
[[experiments]]
name = "baseline"
folding = "lab"
[[experiments]]
name = "Exp1"
folding = "lab"
change = { "layer 2" = { PE = 1, SIMD = 1 } }
"""


def test_a_study_done_by_slurm_is_the_one_done_here(study, tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    found = []
    for executor in ("slurm", "local"):
        command = [
            sys.executable, "-m", "labd_host.cli.main", "experiments", str(tmp_path / "study.toml"),
            "-o", str(tmp_path / executor), "--executor", executor, "--timeout-s", "60",
        ]  # fmt: skip
        answer = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert answer.returncode == 0, answer.stderr
        results = [
            json.loads(path.read_text()) for path in sorted((tmp_path / executor / "results").iterdir())
        ]
        assert [result.pop("seconds") > 0 for result in results] == [True, True]
        found.append((answer.stdout, results))
    assert found[0] == found[1]


def test_ctrl_c_leaves_the_jobs_and_the_study_goes_on_here(study, tmp_path, ctrl_c):
    """All licences are taken by other jobs, so that the study has to wait."""
    busy = study.add("until go", "until go")
    study.submit(busy)
    for key in busy:
        study.wait_for_begun(key)
    (tmp_path / "study.toml").write_text(STUDY)
    here = [
        sys.executable, "-m", "labd_host.cli.main", "experiments", str(tmp_path / "study.toml"),
        "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    there = [*here, "--executor", "slurm", "--slurm-licenses", "vivado:1"]
    with subprocess.Popen(there, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = threading.Timer(PATIENCE_S, process.kill)
        deadline.start()
        for line in process.stderr:
            if "2 wait: all licences are taken" in line:
                break
        deadline.cancel()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert lacking(told, "the same command", "scancel") == []
    status = subprocess.run(
        [*there, "--status"], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert status.stdout.count("waiting  all licences are taken") == 2

    local = subprocess.run(here, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert local.returncode == 0, local.stderr
    (study.folder / "go").touch()
    store = Store(tmp_path / "out")
    queue, keys = SlurmQueue(store.folder), [path.stem for path in (store.folder / "results").iterdir()]
    deadline = time.monotonic() + PATIENCE_S
    while any(standing.job.live for standing in queue.standings(keys).values()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert {standing.job.state for standing in queue.standings(keys).values()} == {"COMPLETED"}
    events = [json.loads(line) for line in (store.folder / "events.jsonl").read_text().splitlines()]
    assert sorted(each["key"] for each in events if each["event"] == "started") == sorted(keys)
