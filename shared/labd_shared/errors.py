"""Every error labd raises on purpose, and how it crosses the wire.

Standard library only. An error says *what* happened in one sentence with both values, the *fix*
(the next command to type) and the *facts* behind it for programs. Anything that is not a
`LabdError` is a bug of ours and shows its traceback.
"""

from typing import Any, Dict, Iterable, List, Type


class LabdError(Exception):
    """Root of the tree.

    Args:
        what: One sentence naming what happened, with both values.
        fix: The next command to type, or what to change.
        facts: JSON-able values behind the sentence.
    """

    exit_code = 1

    def __init__(self, what: str, fix: str = "", **facts: Any) -> None:
        super(LabdError, self).__init__(what)
        self.what = what
        self.fix = fix
        self.facts: Dict[str, Any] = facts

    def __str__(self) -> str:
        return "{}\n  fix: {}".format(self.what, self.fix) if self.fix else self.what

    def to_wire(self) -> Dict[str, Any]:
        """The error as a JSON-able dictionary; `from_wire` raises the same class again."""
        return {"error": type(self).__name__, "what": self.what, "fix": self.fix, "facts": self.facts}


class UsageError(LabdError, ValueError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class ShapeError(UsageError):
    """An array does not have the shape the accelerator was built for."""


class DatatypeError(UsageError):
    """A datatype is unknown, or a value does not fit in it."""


class UnknownName(UsageError):
    """No board, network, dataset or block of that name."""


class SetupError(LabdError):
    """This machine lacks something: a tool, a package, data, a variable."""

    exit_code = 3


class ToolNotFound(SetupError):
    """A program or an interpreter is not there."""


class WrongVersion(SetupError):
    """A library or image is of a version that cannot be used."""


class DataMissing(SetupError):
    """A data set is neither on this machine nor to be had."""


class NoGoldenSamples(SetupError):
    """A bundle carries no golden samples, so nothing can prove what a board computes with it."""


class PermissionMissing(SetupError):
    """The process may not touch the hardware (root, XRT environment, ...)."""


class BuildError(LabdError):
    """A stage of the build gave up."""

    exit_code = 4


class StageFailed(BuildError):
    """A stage of the flow raised; ``facts["stage"]`` names it."""


class StageMismatch(BuildError):
    """A stage computes something else than the stage before it."""


class IllegalFolding(BuildError):
    """A PE or SIMD value does not divide what it folds."""


class DoesNotFit(BuildError):
    """The design needs more of something than the part has."""


class TimingNotMet(BuildError):
    """The built design is too slow for the clock it was built for."""


class ToolFailed(BuildError):
    """Vivado or Vitis HLS gave up; the facts name its log."""


class BuildStalled(BuildError, TimeoutError):
    """A build told nothing for too long, or took too long, and was ended."""


class ArtifactError(LabdError):
    """A bundle, bitfile, data file or model is missing, damaged or of another kind."""

    exit_code = 5


class ManifestInvalid(ArtifactError):
    """A manifest does not say what a manifest must, or contradicts itself."""


class DigestMismatch(ArtifactError):
    """A file is not the one its manifest names."""


class WrongPart(ArtifactError):
    """A bitfile was built for another device."""


class WrongTarget(ArtifactError):
    """An emulation bundle on a real board, or the other way round."""


class DataDamaged(ArtifactError):
    """A data set's files do not have the structure of their format."""


class BoardError(LabdError):
    """The board, its memory or its link misbehaved."""

    exit_code = 6


class BoardUnreachable(BoardError, ConnectionError):
    """Nothing answers at that address."""


class BoardLost(BoardError, ConnectionError):
    """The link to the board broke while something ran."""


class HostKeyUnknown(BoardError):
    """The board's host key was never enrolled."""


class HostKeyChanged(BoardError):
    """The board presents another host key than the one enrolled."""


class LoginRefused(BoardError):
    """The board does not accept the user or the key."""


class BoardBusy(BoardError):
    """Somebody else holds the board; ``facts["owner"]`` says who."""


class BoardDiskFull(BoardError):
    """No room on the board for what has to be written."""


class CommandTimeout(BoardError, TimeoutError):
    """A command on the board did not end within its deadline."""


class CommandFailed(BoardError):
    """A command on the board ended with an exit code of its own; the error carries the same one."""


class BusFault(BoardError):
    """An address at which nothing answers was read or written."""


class DmaBusy(BoardError):
    """A DMA was started while it was still running."""


class DmaTimeout(BoardError, TimeoutError):
    """A DMA did not raise its done bit in time; the facts hold its registers."""


class InputStuck(DmaTimeout):
    """An input DMA did not get rid of all its frames."""


class OutputStuck(DmaTimeout):
    """All input was taken, and an output DMA still waits for frames."""


class FifoStuck(DmaTimeout):
    """One frame goes through the accelerator, many do not: a FIFO inside is too small."""


class CountWrong(DmaTimeout):
    """A DMA counts to another number of frames than it was told."""


class WeightsNotWritten(BoardError):
    """Weights that were written at run time are read back as something else."""


class ClockRefused(BoardError):
    """The board did not set the clock that was asked for."""


class OutOfMemory(BoardError, MemoryError):
    """The board has no contiguous memory (CMA) left for a buffer."""


class ResultError(LabdError):
    """It ran, and the answer is not good enough."""

    exit_code = 7


class GoldenMismatch(ResultError):
    """The accelerator does not compute what the golden model does."""


class StaleAnswers(GoldenMismatch):
    """The answers are those of the batch before: a buffer that was not brought up to date."""


class OtherNetwork(GoldenMismatch):
    """Most answers are wrong, always in the same way: bitfile and golden samples are of different networks."""


class PreparationWrong(GoldenMismatch):
    """What reaches the accelerator is not what it should be given."""


class ClassWrong(GoldenMismatch):
    """Every wrong answer concerns one class."""


class AnswersVary(ResultError):
    """The accelerator gives the same image different answers."""


class AccuracyTooLow(ResultError):
    """The measured accuracy is below the demanded one."""


INTERRUPTED = 130  # exit code after Ctrl-C, as shells report it


def unknown_name(kind: str, name: str, known: Iterable[str], fix: str = "") -> UnknownName:
    """An `UnknownName` that offers the nearest known name.

    >>> print(unknown_name("network", "tfc-w1a", ["tfc-w1a1", "cnv-w1a1"]))
    no network named 'tfc-w1a'; known: cnv-w1a1, tfc-w1a1
      fix: did you mean 'tfc-w1a1'?
    """
    import difflib  # where there is something to say only

    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, 1)
    hint = "did you mean {!r}?".format(near[0]) if near else fix
    listed = ", ".join(choices) if choices else "none"
    return UnknownName(
        "no {} named {!r}; known: {}".format(kind, name, listed), fix=hint, name=name, known=choices
    )


def _classes(root: Type[LabdError]) -> Dict[str, Type[LabdError]]:
    found = {root.__name__: root}
    todo: List[Type[LabdError]] = [root]
    while todo:
        for child in todo.pop().__subclasses__():
            found[child.__name__] = child
            todo.append(child)
    return found


def from_wire(record: Dict[str, Any]) -> LabdError:
    """Rebuild what the other end raised; a name this version does not know becomes a `LabdError`."""
    kind = _classes(LabdError).get(str(record.get("error")), LabdError)
    facts = record.get("facts")
    error = kind(str(record.get("what", "")), fix=str(record.get("fix", "")))
    error.facts = dict(facts) if isinstance(facts, dict) else {}
    return error
