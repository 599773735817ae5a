"""FINN's own estimate of what each node takes.

It is rough: it leaves out the shell, DMAs and FIFOs, and misses LUTs by tens of percent either way.
Source: finn-plus 1.6.1, analysis/fpgadataflow/res_estimation.py.
"""

from pathlib import Path

from labd_host.flow.finn_door import Finn


def estimate_resources(folded: Path, part: str) -> dict[str, dict[str, int]]:
    """Node name -> {"LUT": ..., "BRAM18": ..., "DSP": ...} of the folded dataflow graph in the file *folded*.

    Raises:
        ArtifactError: it is no model.
        StageFailed: FINN cannot tell.
    """
    with Finn() as finn:
        return finn.estimated_resources(finn.load(folded), part)
