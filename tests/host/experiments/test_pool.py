"""Workers, and what happens when one dies: nothing is lost, nothing is done twice, no limit is broken."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from labd_host.experiments import worker_pool as pools
from labd_host.experiments.outcomes import keys_of
from labd_host.experiments.request import PART3, Asked, read_request
from labd_host.experiments.store import Claim, Store
from labd_host.experiments.study_plan import plan
from labd_host.experiments.worker import run_one
from labd_host.experiments.worker_pool import PoolLimits, WorkerPool, limits
from labd_shared.errors import ArtifactError, BuildError, SetupError, UsageError

REQUEST = read_request(PART3)
WAIT_S = 60.0


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "study")


@pytest.fixture(scope="module")
def tfc():
    return plan(replace(REQUEST, networks=("tfc-w1a1",)))


@pytest.fixture(scope="module")
def slow():
    """An experiment that takes minutes: whoever is at work on it can be killed in the middle."""
    exp1 = next(asked for asked in REQUEST.experiments if asked.name == "Exp1")
    return plan(replace(REQUEST, networks=("cnv-w1a1",), experiments=(Asked("baseline"), exp1), frames=1000))


def events(store):
    path = store.folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(true):
    """Wait for something to become true; what it is."""
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        if found := true():
            return found
        time.sleep(0.01)
    raise AssertionError("waited too long")


def run_in_thread(pool, keys):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(pool.run(keys)))
    thread.start()
    return thread, answers


def test_a_study_is_done_once_within_the_limit(store, tfc):
    keys = keys_of(tfc)
    store.add(tfc.experiments)
    done = []
    assert WorkerPool(store, PoolLimits(2, WAIT_S), done.append).run(keys) == {}
    assert sorted(done) == sorted(keys)
    assert all(store.result(key).key == key for key in keys)
    at_work, most = set(), 0
    for event in events(store):
        (at_work.add if event["event"] == "started" else at_work.discard)(event["key"])
        most = max(most, len(at_work))
    assert 1 <= most <= 2
    assert Counter(each["key"] for each in events(store) if each["event"] == "started") == Counter(keys)

    done.clear()
    WorkerPool(store, PoolLimits(2, WAIT_S), done.append).run(keys)  # all of it is known
    assert sorted(done) == sorted(keys)
    assert sum(each["event"] == "started" for each in events(store)) == len(keys)


def test_two_explorers_on_one_study_do_nothing_twice(store, tfc):
    keys = keys_of(tfc)
    store.add(tfc.experiments)
    pools_of_two = [WorkerPool(store, PoolLimits(1, WAIT_S), lambda key: None) for _ in range(2)]
    threads = [run_in_thread(pool, keys) for pool in pools_of_two]
    for thread, answers in threads:
        thread.join(WAIT_S)
        assert answers == [{}]
    assert Counter(each["key"] for each in events(store) if each["event"] == "started") == Counter(keys)


def test_a_command_killed_in_the_middle_goes_on_where_it_was(tmp_path, tfc):
    folder = tmp_path / "study"
    command = [
        sys.executable,
        "-m",
        "labd_host.cli.main",
        "experiments",
        "--network",
        "tfc-w1a1",
        "-o",
        str(folder),
    ]
    environment = {**os.environ, "LABD_DATASETS": ""}
    with subprocess.Popen(
        [*command, "--jobs", "1"], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as first:
        store = Store(folder)
        until(lambda: any(each["event"] == "finished" for each in events(store)))
        first.kill()
    again = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert again.returncode == 0, again.stderr
    keys = keys_of(tfc)
    assert Counter(each["key"] for each in events(store) if each["event"] == "finished") == Counter(keys)


def test_a_worker_that_keeps_dying_is_given_up_with_the_cause(store, slow):
    baseline, exp1 = slow.experiments
    store.add([exp1])
    left = Claim(pid=1, host="elsewhere", attempt=2)
    (store.folder / "claims" / exp1.key).write_text(json.dumps(left.__dict__))
    thread, answers = run_in_thread(WorkerPool(store, PoolLimits(1, WAIT_S), lambda key: None), [exp1.key])
    holder = until(lambda: (found := store.holder(exp1.key)) and found.attempt == 3 and found)
    os.kill(holder.pid, signal.SIGKILL)
    thread.join(WAIT_S)
    assert answers == [{}]
    assert "its worker died 3 times, at last: it was killed (signal 9)" in store.failure(exp1.key).what
    assert [each["event"] for each in events(store)] == ["started", "died"]

    store.forget([exp1.key])
    assert store.failure(exp1.key) is None
    with store.claim(exp1.key) as claim:
        assert claim.attempt == 1


def test_an_experiment_that_takes_too_long_is_ended_and_the_others_go_on(store, slow, tfc):
    _, exp1 = slow.experiments
    quick, other = tfc.experiments[:2]
    store.add([exp1, quick, other])
    run_one(store.folder, other.key)  # the simulator is compiled now, wherever the tests run
    WorkerPool(store, PoolLimits(1, 3.0), lambda key: None).run([exp1.key, quick.key])
    assert store.failure(exp1.key).what == "it took longer than 3 s"
    assert store.result(quick.key) is not None


def test_ctrl_c_ends_the_workers_and_counts_no_attempt(store, slow):
    _, exp1 = slow.experiments
    store.add([exp1])
    held = []

    class Interrupted(WorkerPool):
        def _overdue(self, key, pid, host):
            held.append(pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted(store, PoolLimits(1, WAIT_S), lambda key: None).run([exp1.key])
    with pytest.raises(ProcessLookupError):
        os.kill(held[0], 0)
    with store.claim(exp1.key) as claim:
        assert claim.attempt == 1


def test_nobody_waits_without_end_for_another_s_work(store, tfc):
    key = tfc.experiments[0].key
    store.add(tfc.experiments)
    with store.claim(key):
        abandoned = WorkerPool(store, PoolLimits(1, 0.2), lambda key: None).run([key])
    assert f"process {os.getpid()}" in abandoned[key]
    assert store.failure(key) is None


def test_workers_that_cannot_even_begin_are_no_endless_loop(store, tfc, monkeypatch):
    monkeypatch.setattr(pools, "WORKER", "labd_host.experiments.no_such_module")
    with pytest.raises(BuildError, match="3 workers ended before they did anything, .*No module named"):
        WorkerPool(store, PoolLimits(1, WAIT_S), lambda key: None).run([tfc.experiments[0].key])


def test_a_failure_is_a_sentence_and_is_not_tried_again(store, tfc):
    strange = replace(tfc.experiments[0], network_sha256="0" * 64)
    store.add([strange])
    assert run_one(store.folder, strange.key) is None
    assert "not the network any more" in store.failure(strange.key).what
    run_one(store.folder, strange.key)
    assert [each["event"] for each in events(store)] == ["started", "failed"]


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"key": 1}', "\0" * 10, "[" * 100_000])
def test_a_damaged_result_is_noticed_and_made_again(store, tfc, damage):
    experiment = tfc.experiments[0]
    store.add([experiment])
    whole = run_one(store.folder, experiment.key)
    path = store.folder / "results" / f"{experiment.key}.json"
    path.write_text(damage)
    assert store.result(experiment.key) is None
    assert store.is_damaged(experiment.key)
    assert replace(run_one(store.folder, experiment.key), seconds=whole.seconds) == whole


def test_a_result_under_another_key_is_not_believed(store, tfc):
    first, second = tfc.experiments[:2]
    store.add([first, second])
    run_one(store.folder, first.key)
    results = store.folder / "results"
    (results / f"{second.key}.json").write_bytes((results / f"{first.key}.json").read_bytes())
    assert store.result(second.key) is None


def test_a_key_is_no_path(store):
    for key in ("../../etc/passwd", "", "A" * 64):
        with pytest.raises(ArtifactError, match="is no key of an experiment"):
            store.result(key)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written"):
        Store(tmp_path / "file" / "study")


@pytest.mark.parametrize(
    ("jobs", "memory_gb", "expected"), [(8, 2.0, 4), (1, 2.0, 1), (3, 64.0, 3), (None, 0.5, 1)]
)  # fmt: skip
def test_no_more_workers_than_fit_into_the_memory(jobs, memory_gb, expected):
    assert limits(jobs, memory_gb, 1.0).jobs == expected


def test_too_little_memory_is_refused():
    with pytest.raises(UsageError, match="hold no worker"):
        limits(1, 0.3, 1.0)
