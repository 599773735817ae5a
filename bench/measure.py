"""How a figure of the bench is measured and printed.

Ratios are measured in pairs, interleaved in one run, so that whatever else the machine does hits
both sides; the median of the paired ratios counts. Each figure ends as one JSON line.
"""

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable


def paired_ratio(
    theirs: Callable[[], object], ours: Callable[[], object], *, pairs: int, inner: int = 1
) -> float:
    """Median of time(theirs) / time(ours) over *pairs* interleaved pairs; *inner* calls of ours a pair."""
    theirs()
    ours()
    ratios = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(pairs):
            began_s = time.thread_time()
            theirs()
            middle_s = time.thread_time()
            for _ in range(inner):
                ours()
            ratios.append((middle_s - began_s) * inner / (time.thread_time() - middle_s))
    finally:
        gc.enable()
    return statistics.median(ratios)


def figure(name: str, value: float, unit: str, goal: str) -> bool:
    """Print one figure; *goal* is "<= 1.2" or ">= 25". Whether it was reached."""
    sign, bound = goal.split()
    reached = value <= float(bound) if sign == "<=" else value >= float(bound)
    record = {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "ok": reached}
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()
    return reached
