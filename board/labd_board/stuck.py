"""What a run that does not end says about itself: which side is stuck, and why that may be."""

from typing import Any, Dict, NamedTuple, Sequence, Tuple, Type

from labd_board.dma import DmaEngine
from labd_shared.errors import CountWrong, DmaTimeout, InputStuck, OutputStuck


class Waited(NamedTuple):
    """How long a run was waited for."""

    frames: int
    expected_s: float  # by the cycle model
    device_s: float
    wall_s: float


def timeout_error(sources: Sequence[DmaEngine], sinks: Sequence[DmaEngine], waited: Waited) -> DmaTimeout:
    """The error for a run that is not done in time.

    Args:
        sources, sinks: The input and output DMAs, all of them started.
        waited: How long.

    Returns:
        `CountWrong`, `InputStuck` or `OutputStuck`, with every register of every DMA.
    """
    engines = list(sources) + list(sinks)
    late = [engine.name for engine in engines if not engine.is_done()]
    registers = {engine.name: engine.registers() for engine in engines}
    kind, cause = _cause(sources, sinks, waited.frames)
    listed = "; ".join(
        "{}: {}".format(name, ", ".join("{} {}".format(key, values[key]) for key in sorted(values)))
        for name, values in sorted(registers.items())
    )
    facts: Dict[str, Any] = {
        "registers": registers,
        "waited_s": waited.device_s,
        "wall_s": waited.wall_s,
        "expected_s": waited.expected_s,
        "input_done": all(engine.is_done() for engine in sources),
        "late": late,
    }
    outputs = [engine.name for engine in sinks if engine.name in late]
    return kind(
        "{} is not done {:.2f} s after it was started with {} frames, {:.4f} s were expected ({}; {})".format(
            " and ".join(outputs or late),
            max(waited.device_s, 0.0),
            waited.frames,
            waited.expected_s,
            cause,
            listed,
        ),
        fix="program it again and run the golden samples: python3 -m labd_board.selftest",
        **facts,
    )


def _cause(
    sources: Sequence[DmaEngine], sinks: Sequence[DmaEngine], frames: int
) -> Tuple[Type[DmaTimeout], str]:
    for engine in list(sources) + list(sinks):
        counted = engine.repetitions()
        if counted != engine.started_with:
            return CountWrong, "{} counts {} frames, it was told {}".format(
                engine.name, counted, engine.started_with
            )
    stopped = [engine.name for engine in sources if not engine.is_done()]
    if stopped:
        return InputStuck, (
            "{} is not done either, so the accelerator stopped taking input: "
            "it hangs itself, or all behind it is full: python3 -m labd_board.selftest tells which".format(
                " and ".join(stopped)
            )
        )
    return OutputStuck, (
        "{} delivered all its frames, so the output side is stuck: a FIFO, or fewer frames out".format(
            " and ".join(engine.name for engine in sources)
        )
    )
