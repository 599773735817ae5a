"""Starting, following and ending a training process; no torch here, the process is a script."""

import importlib.util
import json
import os
import stat
import sys
import textwrap
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from labd_host.cli.train import train
from labd_host.machine.listener import Listener
from labd_host.networks import launch, network, trained_record
from labd_host.networks.trained import TRAINED
from labd_host.networks.training_progress import Progress
from labd_shared.errors import BuildError, DataMissing, SetupError, UsageError
from support.listeners import Kept
from support.training import empty_mnist

TFC = network("tfc-w1a1")
PROGRESS = {
    "epoch": 2, "epochs": 3, "step": 4, "steps": 10, "loss": 0.5, "train_percent": 90.0,
    "validation_percent": 88.0, "best_percent": 89.0,
}  # fmt: skip


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with files of the names MNIST's have: enough for a process that never opens them."""
    empty_mnist(tmp_path / "data")
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "data"))
    monkeypatch.setenv("LABD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def process(tmp_path):
    """Makes a stand-in for the train environment's Python that does what *body* says."""

    def make(body):
        path = tmp_path / "python"
        head = f"#!{sys.executable}\nimport json, os, signal, sys, time\nfrom pathlib import Path\n"
        path.write_text(head + "out = Path(sys.argv[sys.argv.index('--out') + 1])\n" + textwrap.dedent(body))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def test_progress_and_notes_arrive_and_the_record_is_returned(tmp_path, data, process):
    python = process(f"""
        print(json.dumps({{"note": " ".join(sys.argv[1:])}}))
        print("a stray line of some library")
        print(json.dumps({{"progress": json.loads({json.dumps(PROGRESS)!r})}}), flush=True)
        (out / "tfc-w1a1.json").write_bytes(Path({str(TRAINED / "tfc-w1a1.json")!r}).read_bytes())
        print(json.dumps({{"trained": True}}))
    """)
    heard = Kept()
    out = tmp_path / "out"
    record = launch.train(TFC, out, epochs=3, threads=2, listener=heard, python=python)
    assert record == trained_record("tfc-w1a1")
    now = Progress(**PROGRESS)
    assert heard.progressed == [("training", now.done_steps, now.all_steps, str(now))]
    assert heard.said == [
        f"-m labd_host.networks.train_process tfc-w1a1 --out {out} --epochs 3 --seed 0 --precision float32 --threads 2"
    ]
    assert json.loads((out / "run.json").read_text()) == {
        "network": "tfc-w1a1", "epochs": 3, "seed": 0, "precision": "float32", "pretrained": False,
        "start": "", "teacher": "", "recipe": [], "dataset": "",
    }  # fmt: skip


def test_the_process_sees_our_packages_and_nothing_beside_them(tmp_path, data, process):
    python = process("""
        folder = Path(os.environ["PYTHONPATH"])
        print(json.dumps({"note": repr(sorted(os.listdir(folder)))}))
        print(json.dumps({"note": repr((folder / "labd_host" / "networks" / "table.toml").is_file())}))
        sys.exit(3)
    """)
    noted = []
    with pytest.raises(BuildError, match="the training process ended with exit code 3"):
        launch.train(TFC, tmp_path / "out", listener=Kept(noted), python=python)
    assert noted == ["['labd_host', 'labd_shared']", "True"]


def test_an_error_of_the_process_is_raised_as_its_own_class(tmp_path, data, process):
    python = process("""
        error = {"error": "DataMissing", "what": "no data", "fix": "bring some", "facts": {}}
        print(json.dumps({"labd_error": error}))
        sys.exit(3)
    """)
    with pytest.raises(DataMissing) as raised:
        launch.train(TFC, tmp_path / "out", python=python)
    assert str(raised.value) == "no data\n  fix: bring some"


def test_a_killed_process_is_told_from_a_failed_one(tmp_path, data, process):
    with pytest.raises(BuildError) as raised:
        launch.train(TFC, tmp_path / "out", python=process("os.kill(os.getpid(), signal.SIGKILL)"))
    assert raised.value.what == "the training process was ended by signal 9"
    assert "--resume" in raised.value.fix


def test_an_interrupt_lets_the_process_save_and_leaves_none_behind(tmp_path, data, process):
    python = process(f"""
        def save(number, frame):
            (out / "last.pt").write_text(str(os.getpid()))
            sys.exit(130)
        signal.signal(signal.SIGTERM, save)
        print(json.dumps({{"progress": json.loads({json.dumps(PROGRESS)!r})}}), flush=True)
        time.sleep(60)
    """)

    class Interrupts(Listener):
        def progress(self, task, done, total=None, note=""):
            raise KeyboardInterrupt

    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch.train(TFC, tmp_path / "out", listener=Interrupts(), python=python)
    assert time.monotonic() - began_s < 20
    number = int((tmp_path / "out" / "last.pt").read_text())
    assert not Path(f"/proc/{number}").exists()


def test_training_again_into_the_same_folder_is_refused(tmp_path, data):
    (tmp_path / "last.pt").touch()
    with pytest.raises(UsageError) as raised:
        launch.train(TFC, tmp_path)
    assert raised.value.what == f"{tmp_path} holds a training already"
    assert raised.value.fix == f"labd train tfc-w1a1 --resume -o {tmp_path}, or another folder after -o"


def test_resuming_nothing_is_refused(tmp_path, data):
    with pytest.raises(UsageError, match="there is no training to resume in"):
        launch.train(TFC, tmp_path, resume=True)


def test_finishing_goes_with_resuming(tmp_path, data, process):
    with pytest.raises(UsageError, match="there is nothing to finish"):
        launch.train(TFC, tmp_path / "out", finish=True)
    out = tmp_path / "begun"
    out.mkdir()
    (out / "last.pt").touch()
    (out / "run.json").write_text('{"network": "tfc-w1a1", "epochs": 3, "seed": 7, "precision": "float32"}')
    noted = []
    with pytest.raises(BuildError):
        python = process('print(json.dumps({"note": sys.argv[-1]})); sys.exit(1)')
        launch.train(TFC, out, resume=True, finish=True, listener=Kept(noted), python=python)
    assert noted == ["--finish"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [({"epochs": 5}, "has epochs 3, asked for is 5"), ({"seed": 2}, "has seed 7, asked for is 2")],
)
def test_resuming_with_other_settings_is_refused(tmp_path, data, asked, says):
    (tmp_path / "last.pt").touch()
    (tmp_path / "run.json").write_text(
        '{"network": "tfc-w1a1", "epochs": 3, "seed": 7, "precision": "float32"}'
    )
    with pytest.raises(UsageError, match=says):
        launch.train(TFC, tmp_path, resume=True, **asked)


def test_resuming_takes_the_settings_it_was_started_with(tmp_path, data, process):
    (tmp_path / "last.pt").touch()
    (tmp_path / "run.json").write_text(
        '{"network": "tfc-w1a1", "epochs": 3, "seed": 7, "precision": "float32"}'
    )
    noted = []
    with pytest.raises(BuildError):
        python = process('print(json.dumps({"note": " ".join(sys.argv[-8:])})); sys.exit(1)')
        launch.train(TFC, tmp_path, resume=True, listener=Kept(noted), python=python)
    assert noted == ["--epochs 3 --seed 7 --precision float32 --threads 1"]


RUN = '{"network": "tfc-w1a1", "epochs": 3, "seed": 7, "precision": "float32"}'


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        (RUN, "", "not JSON: Expecting value"),
        (RUN, "[]", "the content is a list of 0 entries, an object is wanted"),
        ('"epochs": 3, ', "", "epochs is missing"),
        ("3,", '"3",', "epochs is '3', a whole number from 0 on is wanted"),
        ("3,", "NaN,", "epochs is nan, a finite number"),
        ("3,", "1" + "0" * 400 + ",", "not JSON: the number 10000000000000000000... has more than 64 bits"),
        ("3,", "[" * 10_000 + ",", "lists and objects are nested more than 32 deep"),
        ("seed", "epochs", "not JSON: the key 'epochs' stands twice"),
        ("seed", "seeds", "seeds is unknown; known: dataset, epochs, network, "),
        ("tfc-w1a1", "../tfc", "network is '../tfc', a name of a to z, 0 to 9 and . _ -, "),
        ("float32", "float16", "precision is 'float16', one of auto, float32, bfloat16 is wanted"),
        ("7", '7, "start": "mine.pt"', "start is 'mine.pt', a sha256 is wanted"),
        ("7", '7, "teacher": "wide"', "teacher is 'wide', a name and a sha256 is wanted"),
        ("7", '7, "recipe": [1]', "recipe[0] is 1, text is wanted"),
    ],
)
def test_a_damaged_run_file_is_refused_by_what_is_wrong(tmp_path, data, was, becomes, says):
    (tmp_path / "last.pt").touch()
    (tmp_path / "run.json").write_text(RUN.replace(was, becomes))
    with pytest.raises(UsageError) as raised:
        launch.train(TFC, tmp_path, resume=True)
    assert raised.value.what.startswith(f"{tmp_path / 'run.json'}: {says}")
    assert raised.value.fix == f"start again: remove {tmp_path}"


def test_progress_that_is_wrong_ends_the_training(tmp_path, data, process):
    wrong = {"progress": {**PROGRESS, "loss": "low"}}
    python = process(f"print(json.dumps({wrong!r}), flush=True); time.sleep(60)")
    with pytest.raises(BuildError, match="training process: loss is 'low', a number is wanted"):
        launch.train(TFC, tmp_path / "out", python=python)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed here")
def test_without_the_train_environment_the_error_says_how_to_make_it(tmp_path, data):
    with pytest.raises(SetupError) as raised:
        launch.train(TFC, tmp_path / "out")
    assert raised.value.fix.startswith("make train-env")
    assert not (tmp_path / "out").exists()


def test_the_command_passes_errors_on_to_the_command_line(tmp_path, data):
    result = CliRunner().invoke(train, ["tfc-w1a1x", "-o", str(tmp_path)])
    assert "did you mean 'tfc-w1a1'?" in str(result.exception)
    result = CliRunner().invoke(train, ["tfc-w1a1", "--epochs", "0"])
    assert (result.exit_code, "0 is not in the range x>=1" in result.output) == (2, True)


def test_the_first_epoch_has_no_validation_to_show():
    first = Progress(**{**PROGRESS, "epoch": 1, "validation_percent": None, "best_percent": None})
    assert str(first) == "epoch 1 of 3, loss 0.500, training 90.00 %"
    assert (first.done_steps, first.all_steps) == (4, 30)


def test_nothing_of_the_environment_is_lost_but_the_python_path(tmp_path, data, process, monkeypatch):
    monkeypatch.setenv("LABD_PROBE", "kept")
    noted = []
    python = process('print(json.dumps({"note": os.environ["LABD_PROBE"]})); sys.exit(1)')
    with pytest.raises(BuildError):
        launch.train(TFC, tmp_path / "out", listener=Kept(noted), python=python)
    assert (noted, os.environ["LABD_PROBE"]) == (["kept"], "kept")


def arguments_of(out, process, **settings):
    """What the training process is started with, as a list."""
    noted = []
    python = process('print(json.dumps({"note": json.dumps(sys.argv[1:])})); sys.exit(1)')
    with pytest.raises(BuildError):
        launch.train(TFC, out, listener=Kept(noted), python=python, **settings)
    return json.loads(noted[0])


def test_settings_of_the_recipe_are_passed_on_and_kept(tmp_path, data, process):
    out = tmp_path / "out"
    settings = ["learning_rate=0.003", "augment=true"]
    assert arguments_of(out, process, recipe=settings, device="cpu")[-6:] == [
        "--recipe", "learning_rate=0.003", "--recipe", "augment=true", "--device", "cpu",
    ]  # fmt: skip
    (out / "last.pt").touch()
    assert arguments_of(out, process, resume=True)[-4:] == [
        "--recipe", "learning_rate=0.003", "--recipe", "augment=true",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="has recipe .*learning_rate=0.003.*, asked for is .*0.004"):
        launch.train(TFC, out, resume=True, recipe=["learning_rate=0.004"])


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("lr=0.1", "no key in --recipe lr=0.1 named 'lr'; known: augment, batch, "),
        ("learning_rate", "--recipe learning_rate: not TOML: Invalid"),
        ("learning_rate=fast", "--recipe learning_rate=fast: not TOML"),
        ("learning_rate=0", "--recipe learning_rate=0: learning_rate is 0, a number above 0 is wanted"),
        ("learning_rate=nan", "learning_rate is nan, a finite number"),
        ("learning_rate=inf", "learning_rate is inf, a finite number"),
        (f"batch={10**400}", "batch is a number of 1329 bits"),
        (f"batch={'[' * 40}{']' * 40}", "nested more than 32 deep"),
        ("batch=2\nepochs=3", "epochs is unknown; known: batch"),
        ("batch=2\nbatch=3", "not TOML: Cannot overwrite a value"),
        ("epochs=3", "no key in --recipe epochs=3 named 'epochs'"),
        ("label_smoothing=2", "label_smoothing is 2, a number from 0 to 1 is wanted"),
        ("warmup_steps=-1", "warmup_steps is -1, a whole number from 0 on is wanted"),
        ("float_epochs=300", "float_epochs is 300, a number below epochs (300) is wanted"),
    ],
)
def test_a_setting_that_is_not_possible_is_refused_before_anything_is_made(tmp_path, data, setting, says):
    with pytest.raises(UsageError) as raised:
        launch.train(TFC, tmp_path / "out", recipe=[setting])
    assert says in raised.value.what
    assert not (tmp_path / "out").exists()


def test_what_a_kill_left_of_a_copy_of_weights_is_not_started_with(tmp_path, data, process):
    (tmp_path / "mine.pt").write_bytes(b"weights")
    out = tmp_path / "out"
    out.mkdir()
    (out / "start-mine.pt.0123456789abcdef").write_bytes(b"wei")
    assert arguments_of(out, process, start=tmp_path / "mine.pt")[-2:] == [
        "--start",
        str(out / "start-mine.pt"),
    ]
    assert [path.name for path in out.glob("start-*")] == ["start-mine.pt"]


def test_weights_to_start_with_are_copied_and_known_when_it_is_resumed(tmp_path, data, process):
    weights, out = tmp_path / "mine.pt", tmp_path / "out"
    weights.write_bytes(b"weights")
    assert arguments_of(out, process, start=weights)[-2:] == ["--start", str(out / "start-mine.pt")]
    assert (out / "start-mine.pt").read_bytes() == b"weights"
    (out / "last.pt").touch()
    weights.unlink()
    assert arguments_of(out, process, resume=True)[-2:] == ["--start", str(out / "start-mine.pt")]
    weights.write_bytes(b"others")
    with pytest.raises(UsageError, match="has start .*, asked for is "):
        launch.train(TFC, out, resume=True, start=weights)
    assert (out / "start-mine.pt").read_bytes() == b"weights"
    with pytest.raises(UsageError, match="two kinds of weights to begin with"):
        launch.train(TFC, tmp_path / "other", start=weights, pretrained=True)


def test_a_teacher_is_copied_from_the_folder_of_its_training(tmp_path, data, process):
    teacher, out = tmp_path / "teacher", tmp_path / "out"
    with pytest.raises(UsageError, match=r"run\.json cannot be read"):
        launch.train(TFC, out, teacher=teacher)
    teacher.mkdir()
    (teacher / "run.json").write_text('{"network": "wide", "epochs": 3, "seed": 7, "precision": "float32"}')
    with pytest.raises(UsageError, match=r"there is no trained network in .*teacher: best\.pt is missing"):
        launch.train(TFC, out, teacher=teacher)
    (teacher / "best.pt").write_bytes(b"weights")
    assert arguments_of(out, process, teacher=teacher)[-3:] == ["--teacher", "wide", str(out / "teacher.pt")]
    (teacher / "wide.toml").write_text("name = 'wide'")
    again = tmp_path / "again"
    given = ["--teacher", str(again / "teacher-wide.toml"), str(again / "teacher.pt")]
    assert arguments_of(again, process, teacher=teacher)[-3:] == given
    assert (again / "teacher.pt").read_bytes() == b"weights"


@pytest.mark.parametrize(("flags", "settled"), [("fma avx512_bf16", "bfloat16"), ("fma avx2", "float32")])
def test_the_precision_auto_is_settled_by_the_processor(tmp_path, data, process, monkeypatch, flags, settled):
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    monkeypatch.setattr(launch, "CPU_INFO", tmp_path / "cpuinfo")
    arguments = arguments_of(tmp_path / "out", process, precision="auto")
    assert arguments[arguments.index("--precision") + 1] == settled
