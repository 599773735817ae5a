"""Cycles, clock and frames a second. Nothing is imported: pages and commands use it without numpy."""


def frames_per_s(clock_mhz: float, cycles_per_frame: float) -> float:
    """Frames a second at one every *cycles_per_frame* cycles.

    >>> frames_per_s(100.0, 32768)
    3051.7578125
    """
    return clock_mhz * 1e6 / cycles_per_frame


def cycles_s(cycles: float, clock_mhz: float) -> float:
    """Seconds that *cycles* take."""
    return cycles / (clock_mhz * 1e6)
