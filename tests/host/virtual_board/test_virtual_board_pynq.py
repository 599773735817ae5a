"""The real pynq library on a virtual board: as unforgiving as on silicon."""

import asyncio
import json
import os
from pathlib import Path

import asyncssh
import pytest

from labd_host.bundles import hwh_writer
from labd_host.machine import hostkeys
from labd_host.virtual_board import virtual_board
from labd_host.virtual_board.contiguous_memory import CMA_BYTES
from support.board_programs import board_without_ssh
from support.emulated import INPUT, OUTPUT, write_emulated_bundle
from support.facts import lacking
from support.paths import ROOT

ORDINARY = Path(__file__).parents[2] / "support" / "ordinary_board_script.py"

OPEN = """
import json, os, sys, warnings
import numpy as np
import pynq
from pynq import MMIO, Overlay, allocate

def error_of(action):
    try:
        action()
    except Exception as error:
        return [type(error).__mro__[1].__name__, str(error).splitlines()[0], error.labd_error]
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_emulated_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def blank(image_python, tmp_path_factory):
    """A board without a bitfile."""
    with board_without_ssh(tmp_path_factory.mktemp("board"), image_python) as board:
        yield board


@pytest.fixture
def board(blank, bundle):
    """A board that some other program has loaded a bitfile into."""
    blank.logic.configure(bundle / "accel.bit")
    return blank


def test_nothing_can_be_allocated_before_a_bitfile_is_loaded(image_python, tmp_path):
    with board_without_ssh(tmp_path, image_python) as board:
        seen = board.run(OPEN + "print(json.dumps(error_of(lambda: allocate(1, 'u1'))))")
    assert seen[1].startswith("Overlay is not downloaded")
    assert seen[2]["error"] == "BoardError"


def test_an_ordinary_script_is_right_with_flush_and_invalidate_and_wrong_without_either(board, bundle):
    process = board.start([ORDINARY], bundle / "accel.bit")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    results = json.loads(output)
    assert (results["with both"], results["again"]) == (16, 16)
    assert results["without flush"] < 4
    assert results["without invalidate"] < 4
    assert results["blocks"] == ["idma0", "odma0", "zynq_ps"]
    assert results["clock_mhz"] == 100.0


def test_registers_behave_through_pynqs_own_views(board, bundle):
    seen = board.run(
        OPEN
        + """
overlay = Overlay(sys.argv[1])
odma = overlay.odma0
odma.write(0x1C, 0)
odma.write(0x00, 1)
print(json.dumps({
    "status": [odma.read(0x00), odma.read(0x00)],
    "fields": repr(overlay.idma0.register_map.CTRL),
    "bytes": (odma.mmio.write(0x10, bytes([1, 0, 0, 0, 2, 0, 0, 0])), odma.read(0x10), odma.read(0x14))[1:],
    "long": odma.mmio.read(0x10, 8),
    "copied": np.copy(odma.mmio.array[4:6]).tolist(),
    "written as a slice": (odma.mmio.array.__setitem__(slice(4, 6), [7, 8]), odma.read(0x10), odma.read(0x14))[1:],
}))
""",
        bundle / "accel.bit",
    )
    assert seen["status"] == [0b1110, 0b0100], "done and ready clear when they are read"
    assert "AP_IDLE=1" in seen["fields"]
    assert seen["bytes"] == [1, 2]
    assert seen["long"] == 2 << 32 | 1
    assert seen["copied"] == [1, 2]
    assert seen["written as a slice"] == [7, 8]


def test_what_the_board_refuses_reaches_the_program_as_a_labd_error(board, bundle):
    seen = board.run(
        OPEN
        + """
overlay = Overlay(sys.argv[1])
overlay.odma0.write(0x1C, 1)
overlay.odma0.write(0x10, allocate(1, "u1").device_address)
overlay.odma0.write(0x00, 1)
print(json.dumps({
    "unmapped": error_of(lambda: MMIO(0x43C00000, 0x1000).read(0)),
    "busy": error_of(lambda: overlay.odma0.write(0x00, 1)),
    "memory": error_of(lambda: allocate(200 << 20, "u1", cacheable=True)),
}))
""",
        bundle / "accel.bit",
    )
    assert {name: (record[0], record[2]["error"]) for name, record in seen.items()} == {
        "unmapped": ("RuntimeError", "BusFault"),
        "busy": ("RuntimeError", "DmaBusy"),
        "memory": ("RuntimeError", "OutOfMemory"),
    }
    assert seen["unmapped"][1].startswith("nothing answers at address 0x43c00000")
    assert seen["memory"][1].startswith("BO allocation failed: 209715200 bytes")
    assert seen["memory"][2]["fix"].startswith("use a smaller --batchsize")


def test_a_refused_bitfile_reaches_the_program_as_a_labd_error(board, tmp_path):
    hardware = write_emulated_bundle(tmp_path / "hw", target="hw", network=False)
    other_part = write_emulated_bundle(tmp_path / "part", part="xc7z045ffg900-2")
    swapped = write_emulated_bundle(tmp_path / "swapped")
    (swapped / "network.npz").write_bytes(b"another network")
    seen = board.run(
        OPEN + "print(json.dumps([error_of(lambda: Overlay(path + '/accel.bit')) for path in sys.argv[1:]]))",
        *(hardware, other_part, swapped),
    )
    assert [record[2]["error"] for record in seen] == ["WrongTarget", "WrongPart", "DigestMismatch"]
    assert seen[0][2]["fix"] == f"labd attach-network {hardware} network.npz"


def test_the_clock_is_set_and_rounded_as_the_dividers_allow(board, bundle):
    seen = board.run(
        OPEN
        + """
from pynq.ps import Clocks
Overlay(sys.argv[1])
achieved = []
for wanted in (50.0, 150.0, 200.0):
    Clocks.fclk0_mhz = wanted
    achieved.append(Clocks.fclk0_mhz)
print(json.dumps([achieved, Clocks.cpu_mhz]))
""",
        bundle / "accel.bit",
    )
    assert seen == [[50.0, 142.857143, 200.0], 650.0]
    assert board.logic.facts()["fclk0_mhz"] == 200.0


def test_addresses_are_those_of_the_hwh_although_pynq_remembers_an_older_one(board, tmp_path, monkeypatch):
    """pynq 3 keeps what it read of a .hwh under the digest of the bitfile alone (PYNQ#1409, #1652)."""
    bundle = write_emulated_bundle(tmp_path / "moved")
    environment = {
        **board.environment(),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "board"), str(ROOT / "shared")]),
    }
    process = board.start(
        [
            "-c",
            OPEN
            + """
from pynq.pl_server import embedded_device, global_state
from labd_board.pynq_device import PynqDevice
bitfile, state = sys.argv[1:]
global_state.STATE_DIR, embedded_device.__file__ = state, state + "/embedded_device.py"
overlay, device = Overlay(bitfile), pynq.Device.active_device
embedded_device.EmbeddedDevice.gen_cache(device, overlay, overlay.parser)
print("remembered", flush=True)
input()

def remembered(device, bitfile, partial=False):
    parser = embedded_device._get_bitstream_handler(bitfile)._get_cache()
    parser.refresh_hierarchy_dict()
    return parser

type(device).get_bitfile_metadata = remembered
overlay = Overlay(bitfile)
seen = [overlay.ip_dict["odma0"]["phys_addr"], error_of(lambda: overlay.odma0.read(0))[1]]
ours = PynqDevice()
ours.program(bitfile)
print(json.dumps(seen + [ours.registers("odma0").read(0)]))
""",
        ],
        *(bundle / "accel.bit", tmp_path),
        environment=environment,
    )
    assert process.stdout.readline() == "remembered\n"
    monkeypatch.setattr(hwh_writer, "FIRST_ADDRESS", 0x43C0_0000)
    hwh_writer.write_hwh(bundle / "accel.hwh", clock_mhz=100.0, inputs=(INPUT,), outputs=(OUTPUT,))
    output, errors = process.communicate("\n", timeout=60)
    assert output, errors
    address, refused, control = json.loads(output)
    assert address == 0x4000_1000, "pynq's own view is stale"
    assert lacking(refused, "nothing answers at address 0x40001000") == []
    assert control == 0b0100, "idle"


def test_freed_buffers_return_to_the_contiguous_memory(board):
    seen = board.run(
        OPEN
        + """
device = pynq.Device.active_device
free = [device.cma_free_bytes()]
buffer = allocate((100, 784), "u1", cacheable=True)
view = buffer[10:20]
free.append(device.cma_free_bytes())
buffer.freebuffer()
buffer.freebuffer()
free.append(device.cma_free_bytes())
with allocate((100, 784), "u1") as other:
    pass
del buffer, view, other
free.append(device.cma_free_bytes())
for _ in range(1000):
    allocate(1 << 20, "u1")
free.append(device.cma_free_bytes())
print(json.dumps(free))
""",
    )
    taken = -(-78400 // 4096) * 4096
    assert seen == [CMA_BYTES, CMA_BYTES - taken, CMA_BYTES, CMA_BYTES, CMA_BYTES]


def test_buffers_hold_garbage_at_first_and_uncached_ones_need_no_flush(board):
    seen = board.run(
        OPEN
        + """
cached, plain = allocate(64, "u1", cacheable=True), allocate(64, "u1")
device = pynq.Device.active_device
shared = device.memory(cached.device_address, 64)
first = [int(cached[0]), int(shared[0]), int(plain[0])]
cached[:], plain[:] = 1, 2
before = int(shared[0])
cached[:32].flush()
half = [int(shared[0]), int(shared[32])]
shared[:] = 3
cached[32:].invalidate()
print(json.dumps([first, before, half, [int(cached[0]), int(cached[32])],
                  int(device.memory(plain.device_address, 64)[0])]))
""",
    )
    assert seen == [[0xA5, 0x5A, 0x5A], 0x5A, [1, 0x5A], [1, 3], 2]


def test_memory_of_a_program_that_dies_is_free_again(board):
    process = board.start(
        ["-c", OPEN + "buffer = allocate(1 << 20, 'u1'); print('ready', flush=True); input()"]
    )
    assert process.stdout.readline() == "ready\n"
    assert board.logic.facts()["cma_free_bytes"] == CMA_BYTES - (1 << 20)
    process.kill()
    process.communicate(timeout=10)
    free = board.run(
        OPEN
        + """
import time
device = pynq.Device.active_device
deadline = time.monotonic() + 10
while device.cma_free_bytes() < int(sys.argv[1]) and time.monotonic() < deadline:
    time.sleep(0.01)
print(device.cma_free_bytes())
""",
        CMA_BYTES,
    )
    assert free == CMA_BYTES


def test_two_programs_and_a_forked_child_have_memory_of_their_own(board):
    seen = board.run(
        OPEN
        + """
parent = allocate(4096, "u1")
reader, writer = os.pipe()
child = os.fork()
if not child:
    mine = allocate(4096, "u1")
    os.write(writer, json.dumps([mine.device_address, pynq.Device.active_device.cma_free_bytes()]).encode())
    del parent, mine
    os._exit(0)
address, free = json.loads(os.read(reader, 1000))
os.waitpid(child, 0)
print(json.dumps([parent.device_address != address, free, int(parent[0])]))
""",
    )
    assert seen == [True, CMA_BYTES - 2 * 4096, 0x5A]


def test_the_boards_clock_goes_on_while_a_dma_is_stuck(board, bundle):
    board.logic.set_faults(["stuck-odma"])
    try:
        seen = board.run(
            OPEN
            + """
import time
overlay, device = Overlay(sys.argv[1]), pynq.Device.active_device
source, target = allocate(200, "u1"), allocate(1, "u1")
for dma, buffer in ((overlay.odma0, target), (overlay.idma0, source)):
    dma.write(0x10, buffer.device_address); dma.write(0x1C, 1); dma.write(0x00, 1)
start = device.now_s()
while device.now_s() - start < 0.2 and not overlay.odma0.read(0) & 2:
    pass
print(json.dumps([device.now_s() - start >= 0.2, overlay.odma0.read(0), device.facts()["faults"]]))
""",
            bundle / "accel.bit",
        )
    finally:
        board.logic.set_faults([])
    assert seen == [True, 1, ["stuck-odma"]]


def test_pynq_writes_nothing_into_the_shared_environment(board, image_python, bundle):
    packages = next((image_python.parent.parent / "lib").glob("python3.*/site-packages"))
    folders = [packages / "pynq", packages / "pynqmetadata", packages / "pynqutils"]

    def listing():
        return {
            path: path.stat().st_mtime_ns
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }

    before = listing()
    seen = board.run(
        OPEN + "Overlay(sys.argv[1]); pynq.PL.reset(); print(json.dumps(sorted(os.listdir('.'))))",
        bundle / "accel.bit",
    )
    assert listing() == before
    assert seen == [], "nor into the working directory"


def test_a_python_without_a_board_finds_no_device(board):
    environment = board.environment()
    del environment["LABD_VIRTUAL_BOARD"]
    assert board.run(OPEN + "print(len(pynq.Device.devices))", environment=environment) == 0


def test_starting_a_python_that_does_not_use_pynq_costs_nothing(board):
    loaded = board.run("import sys; print(list(sys.modules).__repr__().replace(chr(39), chr(34)))")
    assert "labd_virtual_board.hook" in loaded
    assert not {"pynq", "numpy", "typing", "socket", "labd_virtual_board.emulated_device"} & set(loaded)


def test_a_board_that_is_gone_is_named_with_the_way_to_start_it(board, tmp_path):
    environment = {**board.environment(), "LABD_VIRTUAL_BOARD": str(tmp_path)}
    seen = board.run(OPEN + "print(json.dumps(error_of(lambda: allocate(1, 'u1'))))", environment=environment)
    assert seen[2]["error"] == "BoardLost"
    assert "labd board up" in seen[2]["fix"]


def test_the_same_script_runs_over_ssh(labd_home, image_python, bundle):
    running = virtual_board.up("61", python=image_python)

    async def session():
        async with (
            asyncssh.connect(
                running.host,
                running.port,
                username=running.user,
                client_keys=[str(running.client_key)],
                known_hosts=str(hostkeys.path()),
                config=None,
                agent_path=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            await sftp.put(str(bundle), "bundle", recurse=True)
            await sftp.put(str(ORDINARY), "script.py")
            return await connection.run(
                "python3 -W error::UserWarning script.py bundle/accel.bit", timeout=60
            )

    result = asyncio.run(session())
    virtual_board.down("61")  # the next one has another Python
    assert result.exit_status == 0, result.stderr
    assert json.loads(result.stdout)["with both"] == 16
