"""The traps of sudo, the virtual environment and XRT, before pynq is imported."""

import platform
import subprocess
import sys

import pytest

from labd_board.surroundings import BOARD_NAME, VENV, XRT, Surroundings, prepare, right_command
from labd_shared.errors import PermissionMissing, SetupError

TYPED = ["-m", "labd_board.validate", "--dataset", "dir:my pictures"]


@pytest.fixture
def image(tmp_path):
    """The root of a board with image 3.1."""
    for name in (VENV, XRT, BOARD_NAME):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / BOARD_NAME).write_text("Pynq-Z1\0")
    return tmp_path


def around(root, **changes):
    usual = Surroundings("armv7l", 0, {}, root, TYPED, True)
    return usual._replace(**changes)


def test_the_command_to_type_is_the_one_that_was_typed_as_root_in_the_image_s_python(image):
    assert right_command(around(image)) == (
        "sudo env XILINX_XRT=/usr BOARD=Pynq-Z1 /usr/local/share/pynq-venv/bin/python3 "
        "-m labd_board.validate --dataset 'dir:my pictures'"
    )


def test_an_image_without_a_virtual_environment_has_the_system_s_python(tmp_path):
    assert right_command(around(tmp_path, variables={"BOARD": "Pynq-Z2"})).startswith(
        "sudo env XILINX_XRT=/usr BOARD=Pynq-Z2 python3 -m labd_board.validate"
    )


def test_a_plain_ssh_command_is_told_that_root_is_needed(image):
    with pytest.raises(
        PermissionMissing, match="runs as user id 1000, programming the logic needs root"
    ) as caught:
        prepare(around(image, user_id=1000))
    assert caught.value.fix == right_command(around(image))


def test_sudo_with_the_system_s_python_is_told_which_python_has_pynq(image):
    with pytest.raises(SetupError, match="pynq is not installed in this Python") as caught:
        prepare(around(image, has_pynq=False))
    assert sys.executable in caught.value.what and VENV in caught.value.fix


def test_sudo_that_dropped_the_variables_gets_them_back(image):
    bare = around(image)
    prepare(bare)
    assert bare.variables == {"XILINX_XRT": "/usr", "BOARD": "Pynq-Z1"}


def test_variables_that_are_set_stay(image):
    kept = {"XILINX_XRT": "/opt/xilinx/xrt", "BOARD": "mine"}
    prepare(around(image, variables=kept))
    assert kept == {"XILINX_XRT": "/opt/xilinx/xrt", "BOARD": "mine"}


def test_an_image_before_xrt_needs_no_variable_of_it(tmp_path):
    old = around(tmp_path)
    prepare(old)
    assert old.variables == {"BOARD": "Pynq-Z2"}


def test_a_virtual_board_needs_neither_root_nor_variables(tmp_path):
    virtual = around(tmp_path, machine="x86_64", user_id=1000)
    prepare(virtual)
    assert virtual.variables == {}


def test_a_process_knows_its_own_surroundings(tmp_path):
    script = tmp_path / "probe.py"
    script.write_text(
        "from labd_board.surroundings import own\nprint(own().machine, *own().command, sep='|')\n"
    )
    said = subprocess.check_output([sys.executable, str(script), "--dataset", "a b"], timeout=60)
    assert said.decode().strip().split("|") == [platform.machine(), str(script), "--dataset", "a b"]
