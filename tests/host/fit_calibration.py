"""Fit the coefficients that ship: python tests/host/fit_calibration.py FOLDER_OF_MEASURED > .../calibration.json

The builds of the lab's TFC (finn-plus 1.4.0 and earlier, Vivado 2022.1, xc7z020) lie in LABD_MEASURED. What they
do not have, a few published figures stand in for: sliding windows (Vivado, after synthesis) and MVAUs of more
bits of public builds; their spread is 0.5, "nobody knows".
"""

import sys
from dataclasses import replace
from pathlib import Path

from labd_host.explore.build_reports import read_build
from labd_host.explore.calibration import CELLS, Calibration, Fit, Sample, fitted, to_json
from labd_host.explore.design import design_of
from labd_host.explore.parts import part_of
from labd_host.explore.resources import Resources
from labd_host.networks import NETWORKS

BUILDS = "five builds of the lab's TFC for the xc7z020, post-synthesis"
PUBLISHED = "single figures of public builds, post-synthesis"
BINARY_INPUT = "tfc_w1a1_pynqz1_784"  # takes images of 1 bit

WINDOWS = (  # bits and words of the buffer, LUTs and flip-flops
    (36, 14, 136, 94),
    (36, 16, 125, 90),
    (72, 13, 134, 121),
)
NARROW = ((7612, 8084), (5804, 6477), (2755, 3140), (571, 537))  # W2A3: FINN's LUTs and Vivado's
WIDE = ((18172, 5875),)  # W2A8
POOL_LUT, PADDING_LUT, THROUGH = 126, 30, 461 / 216  # the last: 72 to 54 bits, through 216


def networks_of(measured):
    """Every build with its network."""
    network = design_of(NETWORKS["tfc-w1a1"])
    first, *hidden, last, choice = network.layers
    # these builds made the sums as narrow as 64 columns allow
    edge = (replace(last, output="UINT7"), replace(choice, input="UINT7"))
    network = replace(network, layers=(first, *hidden, *edge))
    binary = replace(network, layers=(replace(first, input="BINARY"), *hidden, *edge))
    for folder in sorted((measured / "builds").iterdir()):
        yield read_build(folder, part_of("xc7z020")), binary if folder.name == BINARY_INPUT else network


def published():
    from labd_host.explore.inventory import memory_luts

    for bits, words, lut, ff in WINDOWS:
        exact = Resources(lut=memory_luts(bits, words))
        yield Sample("window", {"one": 1, "bits": bits}, exact, Resources(lut=lut, ff=ff))
    for kind, figures in (("mvau", NARROW), ("wide mvau", WIDE)):
        for finn, lut in figures:
            yield Sample(kind, {"finn": finn}, Resources(), Resources(lut=lut, ff=1.5 * lut))
    for kind, lut in (("pool", POOL_LUT), ("padding", PADDING_LUT)):
        yield Sample(kind, {"one": 1}, Resources(), Resources(lut=lut, ff=lut))


def fit(measured):
    builds = fitted(
        (sample for report, network in networks_of(measured) for sample in report.samples(network)),
        None,
        BUILDS,
    )
    others = fitted(published(), None, PUBLISHED)
    unsure = {kind: replace(each, spread=dict.fromkeys(CELLS, 0.5)) for kind, each in others.kinds.items()}
    kinds = {**unsure, **builds.kinds}
    converter = kinds["converter"]
    through = {cell: {**converter.coefficients[cell], "through": round(THROUGH, 2)} for cell in CELLS}
    kinds["converter"] = Fit(through, converter.spread, converter.foldings, converter.source)
    return Calibration(kinds)


if __name__ == "__main__":
    made = {"by": "tests/host/fit_calibration.py", "part": "xc7z020", "vivado": "2022.1"}
    sys.stdout.write(to_json(fit(Path(sys.argv[1])), made))
