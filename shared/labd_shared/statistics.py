"""The few numbers a measurement is summed up with."""

import math
from typing import Dict, List, Tuple


def percentile(values: List[float], percent: float) -> float:
    """The *percent*-th percentile, linearly between the neighbours; *values* need no order."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100.0
    below = int(math.floor(place))
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values: List[float]) -> Dict[str, float]:
    """Median, 5th and 95th percentile."""
    return {"median": percentile(values, 50), "p5": percentile(values, 5), "p95": percentile(values, 95)}


def wilson_interval(hits: int, samples: int, z: float = 1.96) -> Tuple[float, float]:
    """The 95 % Wilson score interval of a proportion, as fractions.

    Source: E. B. Wilson, Probable inference, JASA 22 (1927), 209-212.
    """
    if samples == 0:
        return 0.0, 1.0
    share = hits / float(samples)
    scale = 1 + z * z / samples
    middle = (share + z * z / (2 * samples)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / samples + z * z / (4.0 * samples * samples))
    return max(0.0, middle - half), min(1.0, middle + half)
