"""Releases: what is sent, verified, switched, taken back and kept."""

import json
import shutil
import subprocess

import pytest

from labd_host.remote import releases
from labd_host.remote.agent import Session, session
from labd_shared.bundle import open_bundle
from labd_shared.errors import (
    ArtifactError,
    BoardBusy,
    BoardDiskFull,
    BoardError,
    BoardLost,
    GoldenMismatch,
    WrongPart,
    WrongTarget,
)
from support.listeners import Calls


@pytest.fixture
def deploy(lab, make_wheel):
    """Deploys a bundle folder to board 03."""

    def run(bundle, *, port=0, mark="", reserve_bytes=1 << 20):
        wanted = releases.plan(open_bundle(bundle), make_wheel(mark))
        with lab.connect(port=port) as connection, session(connection) as opened:
            return releases.deploy(opened, wanted, listener=lab.listener, reserve_bytes=reserve_bytes)

    return run


def test_a_first_deploy_brings_bundle_and_code_and_proves_them(lab, deploy, make_bundle, verified):
    done = deploy(make_bundle("a"))
    board = lab.servers["03"]
    assert verified(board) == done.release
    assert (done.previous, done.unchanged, done.selftest) == ("", False, {"samples": 16, "different": 0})
    assert sorted(path.name for path in (board.labd / "current" / "bundle").iterdir()) == [
        "accel.bit",
        "accel.hwh",
        "golden.npz",
        "manifest.json",
    ]
    assert (board.labd / "current" / "site" / "labd_board" / "selftest.py").is_file()
    assert not (board.labd / "pending").exists()
    assert not (board.labd / ".owner").exists()


def test_the_same_again_sends_nothing_and_says_so(deploy, make_bundle):
    first = deploy(make_bundle("a"))
    again = deploy(make_bundle("a", into="elsewhere"))
    assert (again.sent_bytes, again.sent_files, again.unchanged) == (0, 0, True)
    assert again.release == first.release


def test_new_code_alone_sends_only_what_changed(deploy, make_bundle):
    bundle = make_bundle("a")
    first = deploy(bundle)
    second = deploy(bundle, mark="x")
    assert second.sent_files == 1
    assert second.previous == first.release


def test_an_imported_bundle_without_golden_samples_is_deployed_and_called_not_proven(
    lab, deploy, make_bundle, verified
):
    done = deploy(make_bundle("imported", verdict="none"))
    assert verified(lab.servers["03"]) == done.release
    assert done.selftest == {"samples": 0}
    assert "not proven: it has no golden samples" in lab.said
    assert not (lab.servers["03"].labd / "pending").exists()


def test_a_release_that_fails_its_golden_samples_is_taken_back(lab, deploy, make_bundle, verified):
    good = deploy(make_bundle("good"))
    with pytest.raises(GoldenMismatch, match="golden sample 3 gave 7") as caught:
        deploy(make_bundle("bad", verdict="bad"))
    assert caught.value.facts["current"] == good.release
    assert verified(lab.servers["03"]) == good.release
    assert f"the golden samples failed; current is {good.release} again" in lab.said


def test_a_first_release_that_fails_leaves_none(lab, deploy, make_bundle):
    with pytest.raises(GoldenMismatch):
        deploy(make_bundle("bad", verdict="bad"))
    assert not (lab.servers["03"].labd / "current").exists()


@pytest.mark.parametrize("kills_at_once", [False, True], ids=["as sshd", "a server that kills"])
def test_the_board_takes_a_release_back_when_the_host_vanishes(
    kills_at_once, lab, deploy, make_bundle, make_wheel, verified, wait_until
):
    good = deploy(make_bundle("good"))
    board = lab.servers["03"]
    board.kills_at_once = kills_at_once
    wanted = releases.plan(open_bundle(make_bundle("next")), make_wheel())
    connection = lab.connect().open()
    opened = Session(connection)
    opened.lock("deploy")
    releases.upload_missing(opened, wanted.files.values(), listener=lab.listener, reserve_bytes=0)
    opened.ask(
        "release",
        release=wanted.release,
        files={k: [c.sha256, c.size_bytes] for k, c in wanted.files.items()},
    )
    opened.ask("switch", release=wanted.release)
    assert verified(board) == wanted.release
    connection.abandon("the test cuts it")
    assert wait_until(lambda: verified(board) == good.release)
    connection.close()


def test_a_whole_deploy_works_on_python_3_6(lab, deploy, make_bundle, verified, old_python):
    lab.write_inventory(python=old_python("3.6"))
    done = deploy(make_bundle("a"))
    assert verified(lab.servers["03"]) == done.release
    assert deploy(make_bundle("b")).previous == done.release


def test_a_power_cut_after_the_switch_is_repaired_by_the_next_lock(lab, deploy, make_bundle, verified):
    good = deploy(make_bundle("good"))
    board = lab.servers["03"]
    other = deploy(make_bundle("other"))
    assert verified(board) == other.release
    (board.labd / "pending").write_text(json.dumps({"previous": good.release}))
    with lab.connect() as connection, session(connection) as opened:
        opened.lock("validate")
    assert verified(board) == good.release


def test_a_file_changed_on_the_board_is_put_right(lab, deploy, make_bundle, verified):
    bundle = make_bundle("a")
    deploy(bundle)
    site = lab.servers["03"].labd / "current" / "site" / "labd_board"
    (site / "validate.py").write_text("hacked = True\n")
    (site / "stranger.py").write_text("")
    again = deploy(bundle)
    assert sorted(again.mended) == ["site/labd_board/stranger.py", "site/labd_board/validate.py"]
    assert again.sent_bytes == 0
    verified(lab.servers["03"])


def test_a_spoilt_store_is_not_believed(lab, deploy, make_bundle, verified):
    bundle = make_bundle("a")
    deploy(bundle)
    store = lab.servers["03"].labd / "store"
    for content in store.glob("[0-9a-f]*"):
        content.chmod(0o644)
        content.write_bytes(b"x" * content.stat().st_size)
    shutil.rmtree(lab.servers["03"].labd / "releases")
    done = deploy(bundle)
    assert done.sent_files == done.files - 1  # an empty file cannot be spoilt
    assert verified(lab.servers["03"]) == done.release


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 0.99])
def test_wherever_the_link_is_cut_the_old_release_stays_and_the_next_try_completes(
    lab, proxy, deploy, make_bundle, verified, share
):
    good = deploy(make_bundle("good"))
    bundle = make_bundle("next", size=1_500_000)
    proxy.cut_after = int(1_540_000 * share)
    with pytest.raises(BoardLost):
        deploy(bundle, port=proxy.port)
    assert verified(lab.servers["03"]) == good.release
    parts = sum(part.stat().st_size for part in (lab.servers["03"].labd / "store" / "part").iterdir())
    proxy.cut_after = None
    done = deploy(bundle, port=proxy.port)
    assert verified(lab.servers["03"]) == done.release
    assert done.sent_bytes <= 1_500_000 + 40_000 - parts


def test_a_cut_while_the_golden_samples_run_takes_the_release_back(
    lab, proxy, deploy, make_bundle, verified, wait_until, running
):
    import threading

    good = deploy(make_bundle("good"))
    board = lab.servers["03"]
    cutter = threading.Thread(
        target=lambda: (
            wait_until(lambda: (board.home / "hanging").exists(), 10) and setattr(proxy, "cut_after", 0)
        )
    )
    cutter.start()
    with pytest.raises(BoardLost):
        deploy(make_bundle("hangs", verdict="hang"), port=proxy.port)
    cutter.join()
    assert wait_until(lambda: verified(board) == good.release)
    pid = int((board.home / "hanging").read_text())
    assert wait_until(lambda: pid not in running("labd_board.selftest"))


def test_no_room_is_refused_before_anything_is_sent(lab, deploy, make_bundle, verified):
    good = deploy(make_bundle("good"))
    with pytest.raises(BoardDiskFull, match=r"board 03 has [\d.]+ MB free, [\d.]+ MB are needed") as caught:
        deploy(make_bundle("next"), reserve_bytes=1 << 60)
    assert "du -xh" in caught.value.fix
    assert verified(lab.servers["03"]) == good.release


def test_a_disk_that_fills_up_meanwhile_leaves_the_old_release_and_no_torso(
    lab, deploy, make_bundle, verified
):
    good = deploy(make_bundle("good"))
    board = lab.servers["03"]
    board.full_after_bytes = 400_000
    bundle = make_bundle("next", size=900_000)
    with pytest.raises(BoardDiskFull, match="board 03 has"):
        deploy(bundle)
    assert verified(board) == good.release
    assert sum(part.stat().st_size for part in (board.labd / "store" / "part").iterdir()) < 50_000
    board.full_after_bytes = None
    assert verified(board) != deploy(bundle).release == verified(board)


@pytest.fixture
def small_disk(lab):
    """Board 03's labd folder on a disk of its own, 4 MB."""
    folder = lab.servers["03"].labd
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "labd-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_real_disk_that_fills_up_meanwhile_ends_the_same_way(
    small_disk, lab, make_bundle, make_wheel, verified
):
    def fill_when_sending(text):
        if text.startswith("sending 1."):
            (small_disk / "filler").write_bytes(bytes(2_600_000))

    good = releases.plan(open_bundle(make_bundle("good")), make_wheel())
    wanted = releases.plan(open_bundle(make_bundle("next", size=1_500_000)), make_wheel())
    with lab.connect() as connection, session(connection) as opened:
        releases.deploy(opened, good, listener=lab.listener, reserve_bytes=0)
    full = pytest.raises(BoardDiskFull, match=r"board 03 has 0\.\d MB free")
    with lab.connect() as connection, session(connection) as opened, full:
        releases.deploy(opened, wanted, listener=Calls(fill_when_sending), reserve_bytes=0)
    assert verified(lab.servers["03"]) == good.release


def test_a_path_on_the_board_that_cannot_be_used_is_named(lab, deploy, make_bundle):
    deploy(make_bundle("good"))
    store = lab.servers["03"].labd / "store"
    shutil.rmtree(store)
    store.write_text("not a folder")
    with pytest.raises(BoardError, match=r"/labd/store/part.* on the board"):
        deploy(make_bundle("next"))


def test_an_emulation_bundle_is_refused_on_a_real_board_before_any_write(lab, deploy, make_bundle):
    with pytest.raises(WrongTarget, match="built for target emu, board 03 is a real one") as caught:
        deploy(make_bundle("emu", target="emu"))
    assert "labd build tfc-w1a1 --target hw" in caught.value.fix
    assert not lab.servers["03"].labd.exists()


def test_a_hardware_bundle_without_its_network_is_refused_on_a_virtual_board(lab, make_bundle, make_wheel):
    wanted = releases.plan(open_bundle(make_bundle("hw")), make_wheel())
    virtual = releases.BoardEntry("03", "virtual", "127.0.0.1", 1, "xilinx")
    with pytest.raises(WrongTarget, match="has no network.npz") as caught:
        releases.check_identity(wanted, virtual, {"model": ""})
    assert caught.value.fix.endswith("labd attach-network BUNDLE network.npz")


def test_a_bundle_for_another_part_or_board_is_refused(lab, deploy, make_bundle, make_wheel):
    with pytest.raises(WrongPart, match="for part xczu9eg-ffvb1156-2-e, board 03 has xc7z020clg400-1"):
        deploy(make_bundle("zu9", part="xczu9eg-ffvb1156-2-e"))
    wanted = releases.plan(open_bundle(make_bundle("a")), make_wheel())
    with pytest.raises(WrongPart, match="built for Pynq-Z2, board 03 says it is a Ultra96"):
        releases.check_identity(wanted, lab.board(), {"model": "Ultra96"})


def test_a_deploy_waits_for_nobody_who_holds_the_board(lab, deploy, make_bundle, verified):
    good = deploy(make_bundle("good"))
    with lab.connect() as connection, session(connection) as holder:
        holder.lock("throughput")
        with pytest.raises(BoardBusy, match=r"\(throughput\)"):
            deploy(make_bundle("next"))
    assert verified(lab.servers["03"]) == good.release


def test_three_releases_are_kept_and_what_only_older_ones_needed_is_removed(lab, deploy, make_bundle):
    done = [deploy(make_bundle(f"bundle{number}")).release for number in range(5)]
    board = lab.servers["03"]
    assert {path.name for path in (board.labd / "releases").iterdir()} == set(done[-3:])
    needed = set()
    for release in done[-3:]:
        listing = json.loads((board.labd / "releases" / release / "release.json").read_text())["files"]
        needed |= {digest for digest, _ in listing.values()}
    assert {path.name for path in (board.labd / "store").glob("[0-9a-f]*")} == needed


def test_rollback_goes_back_one_release_and_proves_it(lab, deploy, make_bundle, verified):
    one, two = deploy(make_bundle("one")), deploy(make_bundle("two"))
    with lab.connect() as connection, session(connection) as opened:
        back = releases.roll_back(opened, listener=lab.listener)
    assert (back.release, back.previous) == (one.release, two.release)
    assert verified(lab.servers["03"]) == one.release


def test_rollback_without_an_earlier_release_says_what_to_do(lab, deploy, make_bundle):
    deploy(make_bundle("only"))
    nothing = pytest.raises(ArtifactError, match="board 03 has no release before")
    with lab.connect() as connection, session(connection) as opened, nothing:
        releases.roll_back(opened, listener=lab.listener)


def test_rollback_to_a_damaged_release_is_refused(lab, deploy, make_bundle, verified):
    one, two = deploy(make_bundle("one")), deploy(make_bundle("two"))
    (lab.servers["03"].labd / "releases" / one.release / "bundle" / "accel.hwh").write_text("<other/>")
    damaged = pytest.raises(
        ArtifactError, match=f"release {one.release} on the board is damaged: bundle/accel.hwh"
    )
    with lab.connect() as connection, session(connection) as opened, damaged:
        releases.roll_back(opened, listener=lab.listener)
    assert verified(lab.servers["03"]) == two.release


def test_the_release_is_named_by_its_content(make_bundle, make_wheel):
    bundle = open_bundle(make_bundle("a"))
    first, second = releases.plan(bundle, make_wheel()), releases.plan(bundle, make_wheel())
    assert first.release == second.release
    assert releases.plan(bundle, make_wheel("x")).release != first.release
