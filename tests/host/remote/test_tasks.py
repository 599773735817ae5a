"""The tasks on one and on several boards: results, errors side by side, data sets, enrolment, sudo."""

import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from labd_host import datasets
from labd_host.machine import hostkeys
from labd_host.remote import data, enrolment, look, passwords, scratch, tasks
from labd_host.remote.agent import session
from labd_host.remote.transport import Deadlines
from labd_shared.datasets import DATASETS, DatasetSpec, PackedDataset, write_packed
from labd_shared.digest import image_digest
from labd_shared.errors import (
    AccuracyTooLow,
    ArtifactError,
    BoardBusy,
    BoardDiskFull,
    BoardUnreachable,
    CommandFailed,
    DataDamaged,
    GoldenMismatch,
    HostKeyChanged,
    HostKeyUnknown,
    PermissionMissing,
    UnknownName,
    UsageError,
)
from labd_shared.predictions import ABOUT_KEYS, Predictions, save_predictions
from support.cifar_files import split_of, write_official
from support.facts import lacking

CANARY = "canary-7f3a-password"


@pytest.fixture
def two_boards(lab, make_board):
    """Board 04 beside 03."""
    lab.servers["04"] = make_board("board-04")
    hostkeys.pin("127.0.0.1", lab.servers["04"].port, lab.servers["04"].public_key)
    lab.write_inventory()
    return lab


def test_a_deploy_says_which_inventory_it_took_and_installs_labd_pth(
    lab, make_board, own_board_python, make_bundle, make_wheel
):
    lab.servers["03"] = server = make_board("own", own_board_python)
    hostkeys.pin("127.0.0.1", server.port, server.public_key)
    lab.write_inventory()
    report = tasks.deploy(["03"], bundle=str(make_bundle("a")), wheel=make_wheel(), listener=lab.listener)
    done = report.outcomes[0].result
    assert report.exit_code == 0
    assert lab.said[0] == f"inventory: {lab.folder / 'boards.toml'} (LABD_BOARDS)"
    assert (done.pth, done.deploy.board, done.dataset_sent_bytes) == ("written", "03", None)
    pth = next(own_board_python.parent.glob("lib/python3.*/site-packages/labd.pth"))
    assert pth.read_text() == f"{server.labd}/current/site\n"
    assert any("the board lacks data set mnist" in line for line in lab.said)
    assert tasks.set_up(["03"], listener=lab.listener).outcomes[0].result.state == "there"
    with lab.connect() as connection:  # as somebody who logged in: any directory, no PYTHONPATH
        ended = connection.run(["bash", "-c", "cd / && python3 -m labd_board.selftest"], deadline_s=10)
    assert json.loads(ended.stdout) == {"samples": 16, "different": 0}


def test_two_boards_are_deployed_side_by_side_and_one_that_fails_does_not_stop_the_other(
    two_boards, make_bundle, make_wheel, verified
):
    two_boards.servers["03"].stop()
    try:
        report = tasks.deploy(
            ["03", "04"], bundle=str(make_bundle("a")), wheel=make_wheel(), listener=two_boards.listener
        )
    finally:
        two_boards.servers["03"].start()
    failed, done = report.outcomes
    assert isinstance(failed.error, BoardUnreachable)
    assert verified(two_boards.servers["04"]) == done.result.deploy.release
    assert report.exit_code == BoardUnreachable.exit_code
    assert any(line.startswith("[04] release ") for line in two_boards.said)


def test_an_unknown_board_among_several_stops_the_task_before_anything_is_done(lab, make_bundle, make_wheel):
    with pytest.raises(UnknownName, match="no board named '3'") as caught:
        tasks.deploy(["03", "3"], bundle=str(make_bundle("a")), wheel=make_wheel(), listener=lab.listener)
    assert caught.value.fix == "did you mean '03'?"
    assert not lab.servers["03"].labd.exists()


@pytest.mark.parametrize("boards", [[], ()])
def test_no_board_at_all_says_how_to_name_one(lab, make_bundle, make_wheel, boards):
    with pytest.raises(UsageError, match="no board was named") as caught:
        tasks.deploy(boards, bundle=str(make_bundle("a")), wheel=make_wheel(), listener=lab.listener)
    assert caught.value.fix == "fab deploy --board 03"


@pytest.fixture
def deployed(lab, make_bundle, make_wheel):
    """A lab whose board 03 has a release."""
    report = tasks.deploy(["03"], bundle=str(make_bundle("a")), wheel=make_wheel(), listener=lab.listener)
    assert report.exit_code == 0
    lab.said.clear()
    return lab


def test_a_command_shows_its_lines_or_gives_its_data(deployed):
    shown = tasks.run_command(
        "validate", ["03"], {"batchsize": 300}, as_data=False, listener=deployed.listener
    )
    assert deployed.lines == ["batch 1 / 1 : total OK 3 NOK 1"]
    assert shown.outcomes[0].result.report is None
    deployed.lines.clear()
    ran = tasks.run_command(
        "validate",
        ["03"],
        {"batchsize": 300, "limit": None, "compare": "", "sweep": (), "resume": False},
        as_data=True,
        listener=deployed.listener,
    )
    assert ran.outcomes[0].result.report == {
        "accuracy_percent": 75.0,
        "arguments": ["--batchsize=300", "--json"],
    }
    assert deployed.lines == []
    assert "batch 1 / 1 : total OK 3 NOK 1" in deployed.said


def test_a_command_that_falls_over_keeps_exit_code_and_words(deployed):
    report = tasks.run_command(
        "validate", ["03"], {"batchsize": 666}, as_data=False, listener=deployed.listener
    )
    error = report.outcomes[0].error
    assert isinstance(error, CommandFailed)
    assert (
        lacking(error.what, "labd_board.validate", "board 03", "exit code 1", "the accelerator fell over")
        == []
    )
    assert report.exit_code == 1


def test_without_a_release_a_command_says_so(lab):
    report = tasks.run_command("selftest", ["03"], {}, as_data=False, listener=lab.listener)
    assert isinstance(report.outcomes[0].error, ArtifactError)
    assert str(report.outcomes[0].error).startswith("nothing is deployed on board 03\n  fix: fab deploy")


def test_a_command_waits_for_nobody_who_holds_the_board(deployed):
    with deployed.connect() as connection, session(connection) as holder:
        holder.lock("throughput")
        report = tasks.run_command("validate", ["03"], {}, as_data=False, listener=deployed.listener)
        seen = look.look(["03"], listener=deployed.listener).outcomes[0].result
    assert isinstance(report.outcomes[0].error, BoardBusy)
    assert seen.owner.endswith(": throughput")


def test_options_go_to_the_board_in_the_form_its_commands_take(deployed):
    options = {"sweep": (1, 100), "min-accuracy": 90.5, "recover": True, "passes": 0}
    ran = tasks.run_command("validate", ["03"], options, as_data=True, listener=deployed.listener)
    assert ran.outcomes[0].result.report["arguments"] == [
        "--sweep=1,100",
        "--min-accuracy=90.5",
        "--recover",
        "--passes=0",
        "--json",
    ]


def test_rollback_is_a_task(deployed, make_bundle, make_wheel, verified):
    first = verified(deployed.servers["03"])
    tasks.deploy(["03"], bundle=str(make_bundle("b")), wheel=make_wheel(), listener=deployed.listener)
    report = tasks.rollback(["03"], listener=deployed.listener)
    assert report.outcomes[0].result.release == first == verified(deployed.servers["03"])


def test_a_data_set_is_sent_once_and_replaced_when_it_differs(lab, tmp_path):
    images = np.arange(40 * 784, dtype=np.uint32).astype(np.uint8).reshape(40, 28, 28, 1)
    labels = np.arange(40, dtype=np.uint8) % 10
    packed = write_packed(tmp_path / "packed", DATASETS["mnist"], "test", images, labels)

    def push():
        with lab.connect() as connection, session(connection) as opened:
            opened.lock("data")
            return data.push_dataset(opened, packed, listener=lab.listener).sent_bytes

    assert push() == sum(path.stat().st_size for path in packed.iterdir())
    assert push() == 0
    there = lab.servers["03"].labd / "datasets" / "mnist" / "test"
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in packed.iterdir()
    }
    assert list((lab.servers["03"].labd / "store").glob("[0-9a-f]*")) == []
    (there / "labels.u8").chmod(0o644)
    (there / "labels.u8").write_bytes(b"torn")
    assert push() > 0
    write_packed(tmp_path / "packed", DATASETS["mnist"], "test", images[::-1].copy(), labels[::-1].copy())
    assert push() > 0
    assert (there / "labels.u8").read_bytes() == labels[::-1].tobytes()


def test_the_coarse_labels_of_cifar_100_go_along(lab, tmp_path):
    packed = write_packed(tmp_path / "packed", DATASETS["cifar100"], "test", *split_of("cifar100", "test"))

    def push():
        with lab.connect() as connection, session(connection) as opened:
            opened.lock("data")
            return data.push_dataset(opened, packed, listener=lab.listener).sent_bytes

    assert push() == sum(path.stat().st_size for path in packed.iterdir())
    there = lab.servers["03"].labd / "datasets" / "cifar100" / "test"
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in packed.iterdir()
    }
    assert push() == 0
    (there / "coarse.u8").unlink()
    assert push() > 0 and (there / "coarse.u8").is_file()


def test_fab_data_packs_and_sends_the_test_split_only(lab, tmp_path, monkeypatch):
    write_official(tmp_path / "own" / "cifar100", "cifar100", "python")
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "own"))
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    report = tasks.push_data(["03"], "cifar100", "test", listener=lab.listener)
    assert report.outcomes[0].result.sent_bytes > 0
    there = lab.servers["03"].labd / "datasets"
    assert sorted(str(path.relative_to(there)) for path in there.rglob("*.u8")) == [
        f"cifar100/test/{name}.u8" for name in ("coarse", "images", "labels")
    ]
    assert (there / "cifar100" / "test" / "labels.u8").read_bytes() == split_of("cifar100", "test")[
        1
    ].tobytes()


def test_validate_brings_the_data_set_the_board_lacks(deployed, mnist_folder, monkeypatch):
    monkeypatch.setenv("LABD_DATASETS", str(mnist_folder.parent))
    tasks.run_command("validate", ["03"], {}, as_data=False, dataset="", listener=deployed.listener)
    there = deployed.servers["03"].labd / "datasets" / "mnist" / "test"
    assert (there / "labels.u8").stat().st_size == 10_000
    deployed.said.clear()
    tasks.run_command("validate", ["03"], {}, as_data=False, dataset="mnist", listener=deployed.listener)
    assert not any("sending" in line for line in deployed.said)


def test_data_of_this_machine_is_packed_for_the_network_there_and_sent_first(
    deployed, tmp_path, monkeypatch, rng
):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    images = rng.randint(0, 256, (6, 28, 28)).astype(np.uint8)
    np.savez(str(tmp_path / "Mine.npz"), images=images, labels=np.arange(6))
    text = f"npz:{tmp_path}/Mine.npz"

    def validate():
        options = {"dataset": text, "limit": 3}
        ran = tasks.run_command(
            "validate", ["03"], options, as_data=True, dataset=text, listener=deployed.listener
        )
        return ran.outcomes[0]

    assert validate().result.report["arguments"] == ["--dataset=mine", "--limit=3", "--json"]
    there = deployed.servers["03"].labd / "datasets" / "mine" / "test"
    assert (there / "frames.bin").read_bytes() == images.tobytes()
    deployed.said.clear()
    validate()
    assert not any("sending" in line for line in deployed.said), "the board has the same"
    np.savez(str(tmp_path / "Mine.npz"), images=images.reshape(6, 14, 56), labels=np.arange(6))
    error = validate().error
    assert isinstance(error, DataDamaged) and "(6, 14, 56), tfc-w1a1 takes uint8 (n, 28, 28, 1)" in error.what


def test_labd_data_sends_data_of_this_machine(lab, tmp_path, monkeypatch, rng):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    np.savez(
        str(tmp_path / "v.npz"), images=rng.randint(-9, 9, (6, 5)).astype(np.int8), labels=np.arange(6) % 2
    )
    report = tasks.push_data(["03"], f"npz:{tmp_path}/v.npz", "test", listener=lab.listener)
    assert report.outcomes[0].result.sent_bytes > 0
    with PackedDataset(lab.servers["03"].labd / "datasets" / "v" / "test") as dataset:
        assert (dataset.spec.datatype, dataset.count, dataset.dtype) == ("INT8", 6, np.int8)


def test_a_bundle_s_own_data_go_with_it_unless_another_set_has_taken_their_name(
    lab, tmp_path, monkeypatch, rng
):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    images = rng.randint(0, 256, (6, 4, 4, 1)).astype(np.uint8)
    spec = DatasetSpec("mine", (4, 4, 1), ("0", "1"), ())
    datasets.keep(datasets.SplitFrames(spec, images, np.arange(6) % 2), "test")
    digests = [image_digest(image.tobytes()) for image in images]

    def bring(measured_on):
        with lab.connect() as connection, session(connection) as opened:
            opened.lock("data")
            return data.bring_dataset(opened, "mine", measured_on=measured_on, listener=lab.listener)

    assert bring(digests[1:]) is None
    assert any("mine on this machine is another one" in line for line in lab.said)
    assert bring(digests).sent_bytes > 0 and bring(digests).sent_bytes == 0


@pytest.fixture
def pictures(tmp_path):
    """Two pictures in a folder and one beside it; the class the board's stand-in says is what is in them."""
    (tmp_path / "some" / "deep").mkdir(parents=True)
    for name, said in (("some/b.png", "seven"), ("some/deep/a.PNG", "one"), ('it\'s a "b".npy', "two")):
        (tmp_path / name).write_text(said)
    return tmp_path


def test_pictures_are_sent_and_told_by_their_names_here(deployed, pictures):
    odd, folder = str(pictures / 'it\'s a "b".npy'), pictures / "some"
    report = tasks.classify(["03"], [odd, str(folder)], as_data=False, listener=deployed.listener)
    assert report.exit_code == 0, report
    assert [tuple(re.split("  +", line)) for line in deployed.lines] == [
        (odd, "two"), (f"{folder}/b.png", "seven"), (f"{folder}/deep/a.PNG", "one")
    ]  # fmt: skip
    assert not (deployed.servers["03"].labd / "scratch").exists()
    assert not any("seven" in line for line in deployed.said), "each picture is told once"
    deployed.lines.clear()
    report = tasks.classify(["03"], [odd], invert=True, as_data=True, listener=deployed.listener)
    told = report.outcomes[0].result.report
    assert [(each["file"], each["class"]) for each in told["images"]] == [(odd, "two")]
    assert told["arguments"] == ["--json", "--invert"] and deployed.lines == []
    assert f"{odd} two" in deployed.said


def test_a_picture_the_board_cannot_read_is_named_as_it_is_called_here(deployed, pictures):
    (pictures / "some" / "b.png").write_text("torn")
    report = tasks.classify(["03"], [str(pictures / "some")], as_data=True, listener=deployed.listener)
    error = report.outcomes[0].error
    assert isinstance(error, ArtifactError) and error.what == f"{pictures}/some/b.png cannot be read: torn"


def test_what_is_no_picture_is_refused_before_a_board_is_asked(lab, pictures):
    def classify(*names):
        tasks.classify(["03"], names, as_data=True, listener=lab.listener)

    with pytest.raises(UsageError, match="no picture was named"):
        classify()
    with pytest.raises(ArtifactError, match="there is no picture at nowhere"):
        classify("nowhere")
    with (pictures / "large.png").open("wb") as handle:
        handle.truncate((64 << 20) + 1)
    with pytest.raises(ArtifactError, match="large.png has 67108865 bytes, more than 67108864"):
        classify(str(pictures / "large.png"))
    assert lab.said == []


def test_pictures_for_which_there_is_no_room_are_not_sent(deployed, pictures, monkeypatch):
    monkeypatch.setattr(scratch, "RESERVE_BYTES", 1 << 60)
    report = tasks.classify(["03"], [str(pictures / "some")], as_data=True, listener=deployed.listener)
    assert isinstance(report.outcomes[0].error, BoardDiskFull)
    assert not any("sending" in line for line in deployed.said)


@pytest.fixture
def predictions(tmp_path):
    """A file of predictions, as `validate` writes it on a board."""
    rows = np.arange(4)
    said = Predictions(
        dict.fromkeys(ABOUT_KEYS, "x"), rows, rows.astype(np.uint64), rows, np.minimum(rows, 2)
    )
    save_predictions(tmp_path / "said.npz", said)
    return (tmp_path / "said.npz").read_bytes()


def validate_into(lab, path, boards=("03",), **options):
    return tasks.run_command(
        "validate", boards, options, as_data=True, predictions=str(path), listener=lab.listener
    )


def test_predictions_come_back_and_nothing_of_them_stays_on_the_board(deployed, predictions, tmp_path):
    (deployed.servers["03"].home / "said.npz").write_bytes(predictions)
    assert validate_into(deployed, tmp_path / "here.npz").exit_code == 0
    assert (tmp_path / "here.npz").read_bytes() == predictions
    assert f"what was said of 4 images: {tmp_path / 'here.npz'}" in deployed.said
    assert not (deployed.servers["03"].labd / "scratch").exists()


def test_predictions_come_back_of_a_run_that_was_not_good_enough_too(deployed, predictions, tmp_path):
    (deployed.servers["03"].home / "said.npz").write_bytes(predictions)
    report = validate_into(deployed, tmp_path / "here.npz", **{"min-accuracy": "90"})
    assert isinstance(report.outcomes[0].error, AccuracyTooLow) and report.exit_code == 7
    assert (tmp_path / "here.npz").read_bytes() == predictions


def test_of_several_boards_each_has_a_file_of_its_own(
    two_boards, predictions, tmp_path, make_bundle, make_wheel
):
    tasks.deploy(["03", "04"], bundle=str(make_bundle("a")), wheel=make_wheel(), listener=two_boards.listener)
    for server in two_boards.servers.values():
        (server.home / "said.npz").write_bytes(predictions)
    assert validate_into(two_boards, tmp_path / "here.npz", ["03", "04"]).exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("here*")) == ["here-03.npz", "here-04.npz"]


def test_a_board_that_sends_something_else_spoils_no_file(deployed, tmp_path):
    (deployed.servers["03"].home / "said.npz").write_bytes(b"no predictions")
    (tmp_path / "here.npz").write_bytes(b"of another run")
    error = validate_into(deployed, tmp_path / "here.npz").outcomes[0].error
    assert isinstance(error, ArtifactError) and "here.npz" in error.what and "cannot be read" in error.what
    assert (tmp_path / "here.npz").read_bytes() == b"of another run"
    assert [path.name for path in tmp_path.glob("here*")] == ["here.npz"]


def test_predictions_that_cannot_be_written_here_are_refused_before_a_board_is_asked(lab, tmp_path):
    with pytest.raises(UsageError, match="none/here.npz cannot be written"):
        validate_into(lab, tmp_path / "none" / "here.npz")
    assert lab.said == []


def test_boards_are_looked_at_all_at_once_and_a_silent_one_delays_nobody(lab, make_board):
    import socket

    lab.servers["04"] = make_board("board-04")
    lab.write_inventory()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with (lab.folder / "boards.toml").open("a") as text:
            text.write(
                f'[boards.05]\nkind = "real"\nhost = "127.0.0.1"\nport = {mute.getsockname()[1]}\nuser = "xilinx"\n'
            )
        started_s = time.monotonic()
        report = look.look(listener=lab.listener, deadlines=Deadlines(banner_s=1))
        took_s = time.monotonic() - started_s
    rows = {outcome.board: outcome.result for outcome in report.outcomes}
    assert took_s < look.LOOK_S
    assert (rows["03"].state, rows["03"].release, rows["03"].python[:2]) == ("up", "", "3.")
    assert (rows["04"].state, rows["05"].state) == ("not enrolled", "down")
    assert "fab enroll --board 04" in rows["04"].problem
    assert rows["05"].problem.startswith("board 05 at 127.0.0.1:")
    assert report.exit_code == 0


def test_enrolling_asks_and_pins_what_was_trusted(lab):
    server, asked = lab.servers["03"], []
    hostkeys.path().unlink()

    def answer(yes):
        return lambda text: asked.append(text) or yes

    refused = enrolment.enroll(["03"], ask=answer(False), listener=lab.listener).outcomes[0]
    assert isinstance(refused.error, HostKeyUnknown)
    assert hostkeys.lookup("127.0.0.1", server.port) == ()
    done = enrolment.enroll(["03"], ask=answer(True), listener=lab.listener).outcomes[0].result
    assert done.fingerprint == hostkeys.fingerprint(server.public_key)
    assert done.fingerprint in asked[0]
    lab.connect().open().close()
    enrolment.enroll(["03"], ask=answer(False), listener=lab.listener)
    assert len(asked) == 2  # nothing new to ask


def test_enrolling_without_a_terminal_needs_the_fingerprint(lab):
    lab.servers["03"].restart_with_another_key()
    key = lab.servers["03"].public_key
    shown = hostkeys.fingerprint(key)
    alone = enrolment.enroll(["03"], ask=None, listener=lab.listener).outcomes[0]
    assert isinstance(alone.error, HostKeyUnknown)
    assert alone.error.fix.endswith(f"fab enroll --board 03 --fingerprint {shown}")
    wrong = enrolment.enroll(["03"], fingerprint="SHA256:other", ask=None, listener=lab.listener).outcomes[0]
    assert isinstance(wrong.error, HostKeyChanged)
    assert hostkeys.lookup("127.0.0.1", lab.servers["03"].port) != (key,)
    right = enrolment.enroll(["03"], fingerprint=shown, ask=None, listener=lab.listener)
    assert right.exit_code == 0
    assert hostkeys.lookup("127.0.0.1", lab.servers["03"].port) == (key,)


def test_two_boards_with_one_host_key_are_pointed_out(two_boards):
    one, two = two_boards.servers["03"], two_boards.servers["04"]
    two.stop()
    two.host_key = one.host_key
    two.start()
    done = enrolment.enroll(["04"], ask=lambda text: True, listener=two_boards.listener).outcomes[0].result
    assert done.shared_with == ("03",)
    assert any("their SD cards are copies of one" in line for line in two_boards.said)


@pytest.fixture
def sudo_board(deployed):
    """Board 03 asks for a password: a sudo that takes it from standard input alone, as `sudo -S` does, and
    notes every command line on the board meanwhile."""
    board = deployed.servers["03"]
    sudo = board.bin / "sudo"
    sudo.write_text(
        "#!/bin/bash\n"
        'if [ "$1" = -n ]; then echo "sudo: a password is required" >&2; exit 1; fi\n'
        "for file in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do tr '\\0' ' ' <$file; echo; done "
        f">>{board.home}/argv 2>/dev/null\n"
        f"read -r password\n"
        f'if [ "$password" != {CANARY} ]; then echo "Sorry, try again." >&2; exit 1; fi\n'
        "while [ $1 != -- ]; do shift; done; shift\n"
        f'echo "$@" >>{board.home}/as-root\n'
        'exec "$@"\n'
    )
    sudo.chmod(0o755)
    deployed.write_inventory(sudo=True, xilinx_xrt="/usr")
    passwords._answers.clear()
    yield deployed
    passwords._answers.clear()


def password_file(lab, monkeypatch, text, mode=0o600) -> Path:
    path = lab.folder / "password"
    path.write_text(text + "\n")
    path.chmod(mode)
    monkeypatch.setenv("LABD_SUDO_PASSWORD_FILE", str(path))
    return path


def test_root_commands_go_through_sudo_with_xrt_and_board_and_the_password_shows_nowhere(
    sudo_board, monkeypatch, capfd, caplog
):
    caplog.set_level(0)
    password_file(sudo_board, monkeypatch, CANARY)
    report = tasks.run_command("validate", ["03"], {}, as_data=True, listener=sudo_board.listener)
    assert report.exit_code == 0
    assert any(line.startswith("euid ") and line.endswith(" /usr Pynq-Z2") for line in sudo_board.said)
    home = sudo_board.servers["03"].home
    assert "labd_board.validate" in (home / "as-root").read_text()
    seen = (home / "argv").read_text()
    assert "sudo -S -p" in seen
    told = capfd.readouterr()
    for text in (seen, str(report), repr(sudo_board.said), told.out, told.err, caplog.text):
        assert CANARY not in text


def test_a_wrong_password_is_a_refusal_that_does_not_repeat_it(sudo_board, monkeypatch):
    password_file(sudo_board, monkeypatch, "wrong-" + CANARY)
    error = (
        tasks.run_command("validate", ["03"], {}, as_data=False, listener=sudo_board.listener)
        .outcomes[0]
        .error
    )
    assert isinstance(error, PermissionMissing)
    assert error.what == "sudo on board 03 refused: Sorry, try again."
    assert CANARY not in repr(error.__dict__)


def test_a_password_file_that_others_can_read_is_not_read(sudo_board, monkeypatch):
    path = password_file(sudo_board, monkeypatch, CANARY, 0o644)
    error = (
        tasks.run_command("validate", ["03"], {}, as_data=False, listener=sudo_board.listener)
        .outcomes[0]
        .error
    )
    assert isinstance(error, PermissionMissing)
    assert lacking(error.what, str(path), "private file", "644") == []
    assert error.fix.startswith(f"chmod 600 {path}")


def test_a_command_through_sudo_dies_with_its_link_too(sudo_board, monkeypatch, running, wait_until):
    password_file(sudo_board, monkeypatch, CANARY)
    connection = sudo_board.connect().open()
    thread = threading.Thread(target=lambda: run_quietly(connection), daemon=True)
    thread.start()
    assert wait_until(lambda: len(running("sleep 98770")) > 0)
    connection.abandon("the test cuts it")
    thread.join(5)
    connection.close()
    assert wait_until(lambda: not running("98770"))


def run_quietly(connection):
    with pytest.raises(ConnectionError):
        connection.run(["sleep", "98770"], deadline_s=60, root=True)


def test_setup_writes_labd_pth_as_root_where_the_user_may_not(
    sudo_board, monkeypatch, make_board, own_board_python
):
    password_file(sudo_board, monkeypatch, CANARY)
    server = sudo_board.servers["03"]
    packages = next(own_board_python.parent.glob("lib/python3.*/site-packages"))
    # The tests may run as root, whom no file mode stops: this Python refuses unless sudo started it.
    # Not as sitecustomize: Debian's own Python has one that comes first.
    (packages / "refusing_open.pth").write_text("import refusing_open\n")
    (packages / "refusing_open.py").write_text(
        "import builtins, os\n"
        "really_open = builtins.open\n"
        "def refusing_open(path, *rest, **named):\n"
        "    if str(path).endswith('labd.pth.new') and 'AS_ROOT' not in os.environ:\n"
        "        raise PermissionError(13, 'Permission denied', path)\n"
        "    return really_open(path, *rest, **named)\n"
        "builtins.open = refusing_open\n"
    )
    sudo = server.bin / "sudo"
    sudo.write_text(sudo.read_text().replace('exec "$@"', 'AS_ROOT=1 exec "$@"'))
    python = str(own_board_python / "python3")
    sudo_board.write_inventory(sudo=True, python=python)
    assert tasks.set_up(["03"], listener=sudo_board.listener).outcomes[0].result.state == "written"
    assert (packages / "labd.pth").read_text() == f"{server.labd}/current/site\n"
    (packages / "labd.pth").unlink()
    sudo_board.write_inventory(python=python)
    error = tasks.set_up(["03"], listener=sudo_board.listener).outcomes[0].error
    assert isinstance(error, UsageError)
    assert f"xilinx may not write {packages / 'labd.pth'} on board 03" in error.what
    assert "sudo = true" in error.fix


def test_a_password_does_not_print():
    secret = passwords.Password(CANARY)
    assert CANARY not in f"{secret} {secret!r} {[secret]}"


def test_golden_samples_that_fail_name_the_release_that_is_current(
    deployed, make_bundle, make_wheel, verified
):
    good = verified(deployed.servers["03"])
    report = tasks.deploy(
        ["03"], bundle=str(make_bundle("bad", verdict="bad")), wheel=make_wheel(), listener=deployed.listener
    )
    error = report.outcomes[0].error
    assert isinstance(error, GoldenMismatch)
    assert report.exit_code == 7 == AccuracyTooLow.exit_code
    assert verified(deployed.servers["03"]) == good
