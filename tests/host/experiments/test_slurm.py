"""What is made of Slurm's answers, with stand-ins for its commands (tests/support/slurm_stand_in.py)."""

import contextlib
import hashlib
import importlib.util
import json
import signal
import stat
import sys
import threading

import pytest
from click.testing import CliRunner

from labd_host.cli.experiments import experiments
from labd_host.experiments import slurm, slurm_queue
from labd_host.experiments.slurm import Demand, Submission
from labd_host.experiments.slurm_pool import SlurmPool, summary
from labd_host.experiments.slurm_queue import SlurmQueue, how_to_return
from labd_host.experiments.slurm_states import GONE, SlurmJob, ending, read_sacct, read_squeue, waiting
from labd_host.experiments.store import Store
from labd_host.machine.typed_records import to_record
from labd_shared.errors import ArtifactError, SetupError, ToolNotFound, UsageError
from support.facts import lacking
from support.listeners import Calls
from support.slurm_stand_in import Slurm

KEYS = [hashlib.sha256(bytes([index])).hexdigest() for index in range(3)]
NAME = "labd-0123456789abcdef"
with_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None,
    reason="submitit hands jobs to Slurm: pip install submitit",
)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    found = Slurm(tmp_path / "slurm-stand-in")
    monkeypatch.setenv("PATH", found.path)
    return found


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    return folder


class Clock:
    """Time that passes when somebody sleeps; `at` says what happens when."""

    def __init__(self, **at):
        self.now = 0.0
        self.at = {float(when[1:]): what for when, what in at.items()}

    def now_s(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        for when in [each for each in self.at if each <= self.now]:
            self.at.pop(when)()


def submitted(study, keys=KEYS, name=NAME, number=1, **other):
    """A submission's record, as another start left it."""
    where = study / "slurm" / f"{number:04}"
    (study / "slurm").mkdir(mode=0o700, exist_ok=True)
    where.mkdir()
    record = Submission(name, tuple(keys), ("worker",), str(study), Demand(minutes=7), 1.7e9)
    (where / "submission.json").write_text(json.dumps({**to_record(record), **other}))
    return where


def follow(study, keys, clock, finished=lambda key: False, **limits):
    told = []
    faults = SlurmQueue(study).follow(
        keys, finished, told.append, now_s=clock.now_s, sleep=clock.sleep, **limits
    )
    return faults, told


@pytest.mark.parametrize(
    "line, text",
    [
        ("PENDING|Licenses", "all licences are taken"),
        ("PENDING|Resources", "no node has room"),
        ("PENDING|JobHeldUser", "it is held: scontrol release 12_3"),
        ("PENDING|launch failed requeued held", "it is held: scontrol release 12_3"),
        ("PENDING|QOSMaxJobsPerUserLimit", "QOSMaxJobsPerUserLimit"),
        ("PENDING|", "Slurm says no reason"),
    ],
)
def test_why_a_job_waits_is_said_in_words(line, text):
    (job,) = read_squeue(f"{NAME}|12_3|{line}\n")
    assert (job.live, job.waits, job.index) == (True, True, 3)
    assert waiting(job) == text


@pytest.mark.parametrize(
    "state, log, text",
    [
        ("OUT_OF_MEMORY", "", "Slurm's job 12_3 was killed for using more than 4 GB of memory"),
        (
            "FAILED",
            "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.batch.\n",
            "Slurm's job 12_3 was killed for using more than 4 GB of memory",
        ),
        (
            "TIMEOUT",
            "slurmstepd: error: *** JOB 12 DUE TO TIME LIMIT ***",
            "Slurm's job 12_3 was ended after its 7 min",
        ),
        ("CANCELLED", "slurmstepd: error: *** JOB 12 ***", "Slurm's job 12_3 was cancelled"),
        ("NODE_FAIL", "", "Slurm's job 12_3 lost its node (NODE_FAIL)"),
        ("PREEMPTED", "", "Slurm's job 12_3 had to give way to another (PREEMPTED)"),
        ("COMPLETED", "", "Slurm's job 12_3 ended well and left no result"),
        ("FAILED", "a\nOSError: b\n\n", "Slurm's job 12_3 failed (FAILED): OSError: b"),
        (
            "FAILED",
            "Command '['w']' died with <Signals.SIGKILL: 9>.\n    raise FailedJobError(stderr) from subprocess_error\n"
            "submitit.core.utils.FailedJobError\nslurmstepd-vm: error: something of its own\n",
            "Slurm's job 12_3 failed (FAILED): its worker was ended by SIGKILL",
        ),
        ("DEADLINE", "", "Slurm's job 12_3 failed (DEADLINE)"),
        (GONE, "", "Slurm no longer knows the job, and it left no result"),
    ],
)
def test_how_a_job_ended_is_said_in_words(state, log, text):
    assert ending(SlurmJob(NAME, "12_3", 3, state), log, memory_gb=4.0, minutes=7) == text


def test_accounts_are_read_with_their_additions_and_without_what_has_not_begun():
    text = f"{NAME}|12_[3-7]|PENDING\n{NAME}|12_1|CANCELLED by 1000\n{NAME}|12_1.batch|CANCELLED\n{NAME}|13|COMPLETED\n"
    assert list(read_sacct(text)) == [
        SlurmJob(NAME, "12_1", 1, "CANCELLED"),
        SlurmJob(NAME, "13", 0, "COMPLETED"),
    ]


def test_lines_that_are_no_jobs_are_left_out():
    assert list(read_squeue("slurm_load_jobs error: Invalid job id\n\na|b|c|d\n")) == []


def test_only_what_was_submitted_has_a_standing(stand_in, study):
    submitted(study, KEYS[:2])
    stand_in.show(f"{NAME}|12_0|RUNNING|None", f"{NAME}|12_1|PENDING|Priority")
    found = SlurmQueue(study).standings(KEYS)
    assert {key: each.text for key, each in found.items()} == {
        KEYS[0]: "",
        KEYS[1]: "jobs of higher priority come first",
    }


def test_of_several_jobs_of_an_experiment_the_last_one_counts(stand_in, study):
    submitted(study, KEYS[:2])
    submitted(study, KEYS[1:2], "labd-fedcba9876543210", number=2)
    stand_in.show(f"{NAME}|12_1|FAILED|NonZeroExitCode", "labd-fedcba9876543210|13|RUNNING|None")
    assert SlurmQueue(study).standings(KEYS[1:2])[KEYS[1]].job.identity == "13"


def test_what_squeue_has_forgotten_is_looked_up_in_the_accounts(stand_in, study):
    submitted(study)
    stand_in.show(accounts=[f"{NAME}|12_0|TIMEOUT", f"{NAME}|12_1|OUT_OF_MEMORY"])
    found = SlurmQueue(study).standings(KEYS)
    assert [found[key].job.state for key in KEYS] == ["TIMEOUT", "OUT_OF_MEMORY", GONE]
    assert found[KEYS[0]].text == "Slurm's job 12_0 was ended after its 7 min"


def test_the_log_of_the_element_explains_its_end(stand_in, study):
    where = submitted(study)
    (where / "12_1_0_log.err").write_text("ValueError: of element 1\n")
    (where / "12_11_0_log.err").write_text("of element 11\n")
    stand_in.show(*(f"{NAME}|12_{index}|FAILED|NonZeroExitCode" for index in range(3)))
    texts = [each.text for each in SlurmQueue(study).standings(KEYS).values()]
    assert texts == [
        "Slurm's job 12_0 failed (FAILED)",
        "Slurm's job 12_1 failed (FAILED): ValueError: of element 1",
        "Slurm's job 12_2 failed (FAILED)",
    ]


def test_who_follows_waits_through_a_lost_node_until_the_result_is_there(stand_in, study):
    submitted(study, KEYS[:1])
    stand_in.show(f"{NAME}|12|NODE_FAIL|None")
    results = set()
    clock = Clock(
        _4=lambda: stand_in.show(f"{NAME}|12|PENDING|BeginTime"),
        _40=lambda: stand_in.show(f"{NAME}|12|COMPLETED|None"),
        _45=lambda: results.add(KEYS[0]),  # seen here a little later
    )
    faults, told = follow(study, KEYS[:1], clock, results.__contains__)
    assert faults == {}
    assert "Slurm starts it again in a moment" in [each[KEYS[0]].text for each in told]
    assert len(told) < 20, "Slurm is asked more and more rarely"


def test_a_job_that_ended_is_told_once_its_result_had_time_to_come(stand_in, study):
    submitted(study, KEYS[:1])
    stand_in.show(f"{NAME}|12|COMPLETED|None")
    clock = Clock()
    faults, _ = follow(study, KEYS[:1], clock, settle_s=10.0)
    assert faults == {KEYS[0]: "Slurm's job 12 ended well and left no result"}
    assert 10.0 <= clock.now < 13.0


def test_an_experiment_that_was_never_submitted_is_told(stand_in, study):
    assert follow(study, KEYS[:1], Clock())[0] == {KEYS[0]: "nobody is at work on it any more"}


def test_a_controller_that_restarts_is_waited_for_but_not_for_ever(stand_in, study):
    submitted(study, KEYS[:1])
    stand_in.show(f"{NAME}|12|RUNNING|None")
    clock = Clock(_1=lambda: stand_in.set("down"))
    with pytest.raises(SetupError, match="Slurm does not answer: .*Unable to contact slurm controller"):
        follow(study, KEYS[:1], clock)
    assert slurm_queue.SILENCE_S < clock.now < slurm_queue.SILENCE_S + 60

    results = set()
    clock = Clock(_200=(stand_in.folder / "down").unlink, _230=lambda: results.add(KEYS[0]))
    assert follow(study, KEYS[:1], clock, results.__contains__)[0] == {}


def test_following_ends_at_its_deadline_and_leaves_the_jobs(stand_in, study):
    submitted(study, KEYS[:1])
    stand_in.show(f"{NAME}|12|PENDING|Licenses")
    with pytest.raises(SetupError, match="after 100 s 1 of 1 experiments are not finished"):
        follow(study, KEYS[:1], Clock(), wait_s=100.0)


def test_a_command_that_hangs_is_given_up(stand_in, study):
    submitted(study, KEYS[:1])
    stand_in.set("silent")
    with pytest.raises(SetupError, match=r"Slurm does not answer: squeue .* 0\.2 s"):
        SlurmQueue(study, patience_s=0.2).standings(KEYS)


def test_the_way_back_names_the_live_arrays_only(stand_in, study):
    submitted(study)
    stand_in.show(f"{NAME}|12_0|RUNNING|None", f"{NAME}|12_1|FAILED|None", f"{NAME}|9_2|RUNNING|None")
    told = how_to_return(SlurmQueue(study).standings(KEYS).values())
    assert lacking(told, "the same command", "scancel 9 12") == []


@with_submitit
def test_each_missing_experiment_is_one_element_that_asks_for_what_it_needs(stand_in, study):
    demand = Demand(2.5, 3, 90, "vivado:1", "long", "lab", 7)
    assert SlurmQueue(study, ("a worker",)).submit(KEYS, demand, KEYS[:1].__contains__) == KEYS[1:]
    (script,) = stand_in.scripts()
    asked = {line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")}
    assert asked >= {
        "array=0-1%2", "licenses=vivado:1", "mem=2560M", "cpus-per-task=3", "time=90", "partition=long", "account=lab",
    }  # fmt: skip
    assert "USR" not in script and "srun" not in script


@with_submitit
def test_a_submission_that_was_killed_before_slurm_knew_it_is_made_again(stand_in, study):
    submitted(study)
    assert SlurmQueue(study).submit(KEYS, Demand(), set().__contains__) == KEYS


@with_submitit
def test_nothing_is_submitted_twice(stand_in, study):
    queue = SlurmQueue(study)
    never = set().__contains__
    assert queue.submit(KEYS[:2], Demand(), never) == KEYS[:2]
    assert queue.submit(KEYS, Demand(), never) == KEYS[2:]
    assert queue.submit(KEYS, Demand(), never) == []
    stand_in.show(*(line.replace("101_1|PENDING|None", "101_1|CANCELLED|None") for line in stand_in.known()))
    assert queue.submit(KEYS, Demand(), never) == KEYS[1:2]


@with_submitit
def test_two_that_submit_at_once_submit_each_experiment_once(stand_in, study):
    answers = []

    def submit():
        answers.append(SlurmQueue(study).submit(KEYS, Demand(), set().__contains__))

    both = [threading.Thread(target=submit) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert sorted(answers) == [[], KEYS]
    assert len(stand_in.scripts()) == 1


@with_submitit
def test_what_slurm_refuses_is_told_in_its_words_and_forgotten(stand_in, study):
    stand_in.set("refusal", "Invalid partition name specified")
    with pytest.raises(SetupError, match="Slurm does not take the jobs: .*Invalid partition name specified"):
        SlurmQueue(study).submit(KEYS, Demand(), set().__contains__)
    assert SlurmQueue(study).standings(KEYS) == {}


@with_submitit
def test_what_the_jobs_run_is_the_users_alone(stand_in, study):
    SlurmQueue(study).submit(KEYS, Demand(), set().__contains__)
    assert stat.S_IMODE((study / "slurm").stat().st_mode) == 0o700
    (study / "slurm").chmod(0o770)
    with pytest.raises(UsageError, match=r"slurm can be .* by others \(mode 770"):
        SlurmQueue(study).submit(KEYS, Demand(), set().__contains__)


@pytest.mark.parametrize("text", ["vivado:1\nreboot", "--wrap=reboot", "a;b", "a b"])
def test_what_would_be_another_line_of_the_script_is_refused(text):
    with pytest.raises(UsageError, match="licence, partition or account"):
        Demand(licenses=text)


def test_a_folder_whose_name_slurm_would_change_is_refused(stand_in, tmp_path):
    folder = tmp_path / "100%"
    folder.mkdir()
    with pytest.raises(UsageError, match="Slurm cannot write logs into .*100%"):
        SlurmQueue(folder).submit(KEYS, Demand(), set().__contains__)


@with_submitit
def test_what_somebody_is_at_work_on_is_not_submitted_but_waited_for(stand_in, study):
    results = set()
    queue = SlurmQueue(study)
    assert queue.submit(KEYS[:2], Demand(), results.__contains__, KEYS[:1].__contains__) == KEYS[1:2]
    stand_in.show(*(line.replace("PENDING", "RUNNING") for line in stand_in.known()))
    clock = Clock(_50=lambda: results.update(KEYS[:2]))
    claimed = KEYS[:1].__contains__
    told = []
    waits = {"now_s": clock.now_s, "sleep": clock.sleep, "claimed": claimed}
    assert queue.follow(KEYS[:2], results.__contains__, told.append, **waits) == {}
    assert list(told[0]) == KEYS[1:2]


def test_a_job_that_died_is_counted_and_its_cause_kept(stand_in, tmp_path):
    store = Store(tmp_path / "study")
    with contextlib.suppress(OSError), store.claim(KEYS[0]):
        raise OSError("as if it was killed")
    submitted(store.folder, KEYS[:1])
    stand_in.show(f"{NAME}|12|OUT_OF_MEMORY|None")
    faults = SlurmQueue(store.folder).follow(
        KEYS[:1], lambda key: False, lambda standings: None, settle_s=0.0, sleep=lambda seconds: None
    )
    store.blame(KEYS[0], faults[KEYS[0]])
    with store.claim(KEYS[0]) as claim:
        assert (claim.attempt, claim.cause) == (
            2,
            "Slurm's job 12 was killed for using more than 1 GB of memory",
        )


@with_submitit
def test_a_study_on_slurm_tells_what_it_found_and_what_became_of_it(stand_in, tmp_path):
    store = Store(tmp_path / "study")
    submitted(store.folder, KEYS[:1])
    stand_in.show(f"{NAME}|12|RUNNING|None")
    store.fail(KEYS[2], "no such layer", 1)
    done, said = [], []

    def say(line):
        said.append(line)
        if line == "Slurm: 1 run; 1 wait: Slurm has not looked at it yet":
            store.fail(KEYS[0], "too slow", 1)
            store.fail(KEYS[1], "too slow", 1)

    assert SlurmPool(store, Demand(), done.append, Calls(say)).run(KEYS) == {}
    assert said[0] == "Slurm: 1 submitted, 1 found at work"
    assert done == [KEYS[2], KEYS[0], KEYS[1]]


@with_submitit
def test_ctrl_c_goes_on_after_the_way_back_was_told(stand_in, tmp_path, ctrl_c):
    said = []

    def say(line):
        said.append(line)
        if line.startswith("Slurm: 3 wait"):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        SlurmPool(Store(tmp_path / "study"), Demand(), lambda key: None, Calls(say)).run(KEYS)
    assert lacking(said[-1], "the same command", "scancel 101") == []


def test_what_runs_and_waits_is_told_in_a_line(stand_in, study):
    submitted(study)
    stand_in.show(
        f"{NAME}|12_0|RUNNING|None", f"{NAME}|12_1|PENDING|Licenses", f"{NAME}|12_2|PENDING|Licenses"
    )
    assert summary(SlurmQueue(study).standings(KEYS)) == "1 run; 2 wait: all licences are taken"
    stand_in.show(*(f"{NAME}|12_{index}|COMPLETED|None" for index in range(3)))
    assert summary(SlurmQueue(study).standings(KEYS)) == ""


def test_options_of_slurm_without_slurm_are_refused(tmp_path):
    answer = CliRunner().invoke(experiments, ["-o", str(tmp_path), "--slurm-partition", "long"])
    assert isinstance(answer.exception, UsageError)
    assert answer.exception.fix == "add --executor slurm"


def test_without_submitit_it_says_what_to_install(stand_in, study, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(SetupError, match="submitit, .* cannot be imported"):
        slurm.submit(submitted(study) / "submission.json")


def test_a_machine_without_slurm_says_so(study, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolNotFound, match="sbatch is not on PATH"):
        SlurmQueue(study).submit(KEYS, Demand(), set().__contains__)
    submitted(study)
    with pytest.raises(ToolNotFound, match="squeue cannot be started"):
        SlurmQueue(study).standings(KEYS)


@pytest.mark.parametrize(
    "damage, reason",
    [
        ({"keys": ["--wrap=reboot"]}, "keys are not all digests"),
        ({"name": "labd-1,other"}, "name is 'labd-1,other'"),
        ({"demand": {"cpus": 1}}, "demand.memory_gb is missing"),
        ({"more": 1}, "more is unknown"),
        ({"submitted_unix_s": float("nan")}, "submitted_unix_s is nan"),
        ({"demand": {**to_record(Demand()), "account": "a b"}}, "'a b' is no licence"),
    ],
)
def test_a_record_that_is_damaged_is_refused(stand_in, study, damage, reason):
    submitted(study, **damage)
    with pytest.raises(ArtifactError, match=f"submission.json: {reason}"):
        SlurmQueue(study).standings(KEYS)
