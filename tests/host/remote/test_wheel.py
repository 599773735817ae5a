"""The wheel that is deployed: built once per content, read as files, its names checked."""

import shutil
import zipfile
from pathlib import Path

import pytest

from labd_host.remote import wheel
from labd_shared.errors import ArtifactError, SetupError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(places):
    """A small source tree with labd-board's setup.py."""
    tree = places / "checkout"
    for part, package in (("board", "labd_board"), ("shared", "labd_shared")):
        (tree / part / package).mkdir(parents=True)
        (tree / part / package / "__init__.py").write_text(f"NAME = {package!r}\n")
    shutil.copyfile(ROOT / "board" / "setup.py", tree / "board" / "setup.py")
    return tree


def test_the_wheel_is_built_once_per_content_and_leaves_the_checkout_alone(checkout):
    before = sorted(checkout.rglob("*"))
    first = wheel.board_wheel(checkout)
    stamp = first.stat().st_mtime_ns
    assert wheel.board_wheel(checkout) == first
    assert first.stat().st_mtime_ns == stamp
    assert sorted(checkout.rglob("*")) == before
    assert wheel.wheel_files(first)["labd_board/__init__.py"] == b"NAME = 'labd_board'\n"
    (checkout / "shared" / "labd_shared" / "__init__.py").write_text("NAME = 'changed'\n")
    second = wheel.board_wheel(checkout)
    assert second != first
    assert wheel.wheel_files(second)["labd_shared/__init__.py"] == b"NAME = 'changed'\n"


def test_a_wheel_that_cannot_be_built_shows_why(checkout):
    (checkout / "board" / "setup.py").write_text("raise SystemExit('no compiler in sight')\n")
    with pytest.raises(SetupError, match="building the labd-board wheel failed") as caught:
        wheel.board_wheel(checkout)
    assert any("no compiler in sight" in line for line in caught.value.facts["log_tail"])


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "/etc/evil.py", "labd_board/../../evil.py", "other/evil.py", "labd_board/evil.so", "a.py"],
)
def test_a_wheel_with_a_strange_name_in_it_is_refused(make_wheel, name):
    path = make_wheel()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "evil")
    with pytest.raises(ArtifactError, match="which is no module of labd"):
        wheel.wheel_files(path)


def test_what_is_no_wheel_is_refused(tmp_path):
    (tmp_path / "x.whl").write_text("text")
    with pytest.raises(ArtifactError, match="cannot be read"):
        wheel.wheel_files(tmp_path / "x.whl")
    with zipfile.ZipFile(tmp_path / "y.whl", "w") as archive:
        archive.writestr("labd_board/__init__.py", "")
    with pytest.raises(ArtifactError, match="lacks labd_board or labd_shared"):
        wheel.wheel_files(tmp_path / "y.whl")
