"""What goes wrong ends in its time with one sentence, the next command, the right exit code, and nothing lost."""

import json
import shutil

import pytest

from labd_host.bundles.bitfile_writer import write_bit
from labd_host.machine import hostkeys
from labd_host.remote import inventory
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.digest import file_sha256
from support.paths import SHIPPED_BUNDLE
from support.shell import BOARD

SOON_S = 30.0


def check(said, code, *words):
    """One sentence, a fix, no traceback, in time."""
    assert said.code == code, said.err
    assert "Traceback" not in said.err
    assert "fix: " in said.err
    for word in words:
        assert word in said.err
    assert said.seconds < SOON_S


def copy_of_the_bundle(folder, change=None, **files):
    """The shipped bundle after *change* to its manifest's record and with other *files*, digests corrected."""
    shutil.copytree(SHIPPED_BUNDLE, folder)
    record = json.loads((folder / "manifest.json").read_text())
    for name, write in files.items():
        path = folder / name.replace("_", ".")
        write(path)
        record["files"][path.name] = {"sha256": file_sha256(path), "size_bytes": path.stat().st_size}
    if change:
        change(record)
    (folder / "manifest.json").write_text(json.dumps(record))
    return str(folder)


@pytest.fixture
def unchanged(deployed):
    """Whatever the test does, the release that was current still is, and still works."""
    before = deployed.current()
    yield deployed
    assert deployed.current() == before
    assert deployed.fab("selftest", "--board", BOARD).code == 0


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["selftest", "--board", "3"], ["no board named '3'", "did you mean '03'?"]),
        (["selftest", "--board", "03; rm -rf ~"], ["a board is two digits"]),
        (["validate", "--board", BOARD, "--dataset", "mnits"], ["did you mean 'mnist'?"]),
        (["throughput", "--board", BOARD, "--deadline", "soon"], ["soon"]),
    ],
)
def test_names_that_nobody_has_are_usage_errors(deployed, arguments, words):
    check(deployed.fab(*arguments), 2, *words)


def test_a_virtual_board_that_is_down_is_started_and_has_nothing_deployed(deployed):
    said = deployed.fab("validate", "--board", "98")
    check(said, 5, "nothing is deployed on board 98")
    assert "virtual board 98 is up" in said.err
    deployed.labd("board", "down", "98")


def test_damaged_truncated_and_swapped_files_never_reach_the_board(unchanged, tmp_path):
    def damage(name, content):
        shutil.copytree(SHIPPED_BUNDLE, tmp_path / name)
        for file, data in content.items():
            (tmp_path / name / file).write_bytes(data)
        return unchanged.fab("deploy", "--board", BOARD, "--bundle", str(tmp_path / name))

    bit, hwh = ((SHIPPED_BUNDLE / name).read_bytes() for name in ("accel.bit", "accel.hwh"))
    check(damage("damaged", {"accel.bit": bit[:-1] + b"\1"}), 5, "accel.bit has sha256")
    check(damage("truncated", {"accel.hwh": hwh[:100]}), 5, "accel.hwh has 100 bytes, the manifest says")
    check(damage("swapped", {"accel.bit": hwh, "accel.hwh": bit}), 5, "the manifest says")
    check(damage("cut", {"manifest.json": b'{"format": "labd-bun'}), 5, "manifest.json: not JSON")


def test_a_bitfile_for_another_part_is_refused(unchanged, tmp_path):
    network = file_sha256(SHIPPED_BUNDLE / "network.npz")
    other = copy_of_the_bundle(
        tmp_path / "z010",
        accel_bit=lambda path: write_bit(path, network_sha256=network, part="xc7z010clg400-1"),
    )
    check(unchanged.fab("deploy", "--board", BOARD, "--bundle", other), 5, "7z010", PYNQ_Z2_PART)


def test_shapes_that_do_not_fit_the_datatype_are_refused(unchanged, tmp_path):
    wrong = copy_of_the_bundle(tmp_path / "wrong", lambda record: record["inputs"][0].update(datatype="INT4"))
    check(unchanged.fab("deploy", "--board", BOARD, "--bundle", wrong), 5, "packs to (1, 16, 25)")


def test_a_network_that_is_not_the_bitfile_s_is_refused(unchanged, tmp_path):
    mixed = copy_of_the_bundle(
        tmp_path / "mixed", accel_bit=lambda path: write_bit(path, network_sha256="0" * 64)
    )
    check(unchanged.fab("deploy", "--board", BOARD, "--bundle", mixed), 5, "network.npz has sha256")


def test_a_hardware_bundle_without_a_network_names_the_way_to_add_one(unchanged, tmp_path):
    def for_hardware(record):
        record["target"] = "hw"
        record["files"].pop("network.npz")

    bundle = copy_of_the_bundle(tmp_path / "hw", for_hardware)
    (tmp_path / "hw" / "network.npz").unlink()
    check(unchanged.fab("deploy", "--board", BOARD, "--bundle", bundle), 5, "labd attach-network")


def test_an_emulation_bundle_is_refused_on_a_real_board(unchanged, tmp_path):
    board = inventory.endpoint(inventory.load().board(BOARD))
    (tmp_path / "boards.toml").write_text(
        f'[boards.{BOARD}]\nkind = "real"\nhost = "127.0.0.1"\nport = {board.port}\nuser = "xilinx"\n'
        f"keys = [{json.dumps(str(board.keys[0]))}]\n"
    )
    said = unchanged.fab(
        "deploy", "--board", BOARD, "--bundle", str(SHIPPED_BUNDLE), LABD_BOARDS=str(tmp_path / "boards.toml")
    )
    check(said, 5, "emu")


def test_a_changed_host_key_is_refused_with_both_fingerprints(deployed):
    board = inventory.endpoint(inventory.load().board(BOARD))
    known = hostkeys.path().read_text()
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 42 + "B"
    try:
        hostkeys.pin(board.host, board.port, key)
        check(deployed.fab("selftest", "--board", BOARD), 6, "SHA256:", "fab enroll --board 61")
    finally:
        hostkeys.path().write_text(known)


def test_missing_data_and_no_network_say_what_to_put_where(shell, tmp_path):
    said = shell.labd(
        "build", "tfc-w1a1", "--target", "emu", "-o", str(tmp_path / "b"), LABD_DATASETS=str(tmp_path)
    )
    check(said, 3, "t10k-images-idx3-ubyte.gz", "LABD_DATASETS")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("fault", ["stuck-odma", "stuck-idma"])
def test_a_dma_that_never_finishes_ends_in_time_and_the_board_recovers(unchanged, fault):
    assert unchanged.labd("board", "up", BOARD, "--fault", fault).code == 0
    try:
        check(unchanged.fab("validate", "--board", BOARD), 6, "odma0 is not done", "CONTROL 0x", "selftest")
    finally:
        assert unchanged.labd("board", "up", BOARD, "--fault", "none").code == 0


@pytest.mark.parametrize(
    "fault, code, words", [("wrong-results", 7, "golden sample"), ("stuck-odma", 6, "odma0 is not done")]
)
def test_a_deploy_whose_golden_samples_fail_is_taken_back(unchanged, tmp_path, fault, code, words):
    other = copy_of_the_bundle(
        tmp_path / "other", lambda record: record.update(class_names=list("abcdefghij"))
    )
    assert unchanged.labd("board", "up", BOARD, "--fault", fault).code == 0
    try:
        check(unchanged.fab("deploy", "--board", BOARD, "--bundle", other), code, words)
    finally:
        assert unchanged.labd("board", "up", BOARD, "--fault", "none").code == 0


def test_answers_that_differ_from_the_golden_model_are_a_result_of_their_own(unchanged):
    assert unchanged.labd("board", "up", BOARD, "--fault", "wrong-results").code == 0
    try:
        check(unchanged.fab("selftest", "--board", BOARD), 7, "the golden model says")
        check(
            unchanged.fab("validate", "--board", BOARD, "--min-accuracy", "90"),
            7,
            "at least 90.00 % was demanded",
        )
    finally:
        assert unchanged.labd("board", "up", BOARD, "--fault", "none").code == 0
