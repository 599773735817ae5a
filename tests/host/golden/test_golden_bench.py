"""The short form of bench/bench_golden.py: the golden model beside onnxruntime in float."""

import json
import subprocess
import sys

from support.paths import ROOT


def test_the_golden_model_gives_onnxruntime_s_scores_and_is_much_faster():
    ended = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "bench_golden.py"), "--short"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    figures = [json.loads(line) for line in ended.stdout.splitlines()]
    names = [
        f"{name}, {form}, one core, scores equal"
        for name in ("cnv-w1a1", "tfc-w1a1")
        for form in ("compiled", "numpy")
    ]
    assert [figure["name"] for figure in figures] == names, ended.stderr
    assert figures[0]["value"] > 2, (
        "times onnxruntime's speed, of the same thread's processor time; 20 is usual"
    )
