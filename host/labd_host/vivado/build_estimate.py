"""Whether a design fits, before Vivado is asked: what the calibrated model expects of it, shell counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from labd_host.dataflow.folded_chain import read_design
from labd_host.dataflow.folding import read_folding
from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import Resources
from labd_host.explore import calibration
from labd_host.explore.cost_units import units_of
from labd_shared.errors import DoesNotFit


@dataclass(frozen=True)
class CellEstimate:
    """What a design is expected to take.

    Attributes:
        calibrated: All of it, with the shell, DMAs, FIFOs and converters; fitted to reports of real builds.
        finn: FINN's own figures, of the layers alone.
    """

    calibrated: Resources
    finn: Resources


def estimate_of(stages: Path, folding: Path) -> CellEstimate:
    """The estimate of the network in the compiled folder *stages*, as the file *folding* folds it.

    Raises:
        ArtifactError: no network there, or no calibration.
    """
    known = calibration.load()
    calibrated, finn = Resources(), Resources()
    for unit in units_of(read_design(stages).folded(read_folding(folding))):
        calibrated += known.cost(unit)
        finn += unit.finn or Resources()
    return CellEstimate(calibrated, finn)


def check_fits(estimate: CellEstimate, part: str, ignored: bool) -> str:
    """Refuse what is expected not to fit; where that is accepted, the sentence about it, else "".

    Raises:
        DoesNotFit: the part has less of something.
    """
    holds = asdict(part_of(part).holds)
    over = {name: number for name, number in asdict(estimate.calibrated).items() if number > holds[name]}
    if not over:
        return ""
    listed = ", ".join(f"{number:,.0f} {name.upper()} of {holds[name]:,}" for name, number in over.items())
    error = DoesNotFit(
        f"the design is expected to take {listed} that the {part} has",
        fix="fold the largest layers more (a smaller PE or SIMD); this is an estimate, to try nevertheless: "
        "--ignore-check fits",
        expected=over,
    )
    if not ignored:
        raise error
    return error.what
