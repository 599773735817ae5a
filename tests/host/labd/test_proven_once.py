"""What compile proved, no other command proves again."""

from labd_host.cli.main import run
from labd_host.flow.stage_records import STAGE_NAMES
from labd_host.judge.golden_cache import golden_file
from labd_host.networks import resolve
from support.listeners import Kept


def test_a_study_and_validate_use_the_stages_that_compile_proved(tmp_path, monkeypatch, mnist_folder):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    assert run(["compile", "tfc-w1a1", "-o", str(tmp_path / "stages")]) == 0
    told = Kept()
    golden_file(resolve("tfc-w1a1"), told)
    again = [line.partition(":")[0] for line in told.said if line.endswith("finished before, used again")]
    assert again == list(STAGE_NAMES), told.said
