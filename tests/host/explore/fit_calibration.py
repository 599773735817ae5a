"""Fit the coefficients that ship: python tests/host/explore/fit_calibration.py FOLDER > .../calibration.json

The builds of the lab's TFC (finn-plus 1.4.0 and earlier, Vivado 2022.1, xc7z020) lie in LABD_MEASURED. What they
do not have, others stand in for: sliding windows and thresholds of several levels synthesised by yosys, and a few
published figures of MVAUs of more bits, of a pool and a padding; the spread of those is 0.5, "nobody knows".
"""

import sys
from dataclasses import replace
from pathlib import Path

from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.layers import Thresholding
from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import Resources
from labd_host.explore.build_reports import read_build
from labd_host.explore.calibration import CELLS, Calibration, Sample, fitted, to_json
from labd_host.networks import NETWORKS
from labd_shared.bitfile import PYNQ_Z2_DEVICE

BUILDS = "five builds of the lab's TFC for the xc7z020, post-synthesis"
SYNTHESISED = "finn-plus 1.6.1's RTL in yosys 0.70, scaled by three figures of Vivado"
SEARCHED = "FINN's RTL in yosys 0.70, scaled by one figure of Vivado; less where thresholds become memories"
PUBLISHED = "single figures of public builds, post-synthesis"
BINARY_INPUT = "tfc_w1a1_pynqz1_784"  # takes images of 1 bit

# finn-plus 1.6.1's RTL of windows in yosys 0.70 (read_slang, synth_xilinx -family xc7 -flatten): bits of the counter
# of a frame's words, bits of registers for words, LUTs without those of memories ("Estimated number of LCs"), FFs.
WINDOWS = (
    (8, 36, 105, 96),
    (7, 36, 95, 89),
    (5, 72, 77, 121),
    (11, 0, 134, 82),
    (10, 0, 129, 78),
    (12, 0, 155, 87),
    (9, 0, 114, 78),
    (12, 0, 141, 101),
    (13, 0, 157, 88),
    (10, 64, 120, 134),
    (13, 0, 146, 91),
    (11, 0, 135, 87),
    (8, 0, 102, 65),
)
WHOLE_WINDOWS = ((10, 216, 76, 278), (10, 576, 74, 638), (10, 704, 78, 766), (8, 1152, 67, 1203))
# Vivado's LUTs of the first three for yosys', both without the memory's 24, 24 and 48.
VIVADO_FOR_YOSYS = ((136 - 24) / 105 + (125 - 24) / 95 + (134 - 48) / 77) / 3
UNSURE = {"hls converter": 1.0}
WINDOW_SPREAD = 0.2  # at least: yosys stands in for Vivado
# The same of its thresholding: levels of the search, bits of a threshold, lanes, LUTs where the thresholds may not
# become memories (as in finn-plus 1.4.0), LUTs where they may (1.6.1), FFs without the queue's, which are SRLs.
THRESHOLDS = (
    (2, 9, 1, 32, 19, 64),
    (4, 9, 1, 92, 45, 138),
    (6, 9, 1, 302, 103, 218),
    (8, 9, 1, 1197, 186, 308),
    (8, 9, 3, 3578, 564, 866),
    (4, 9, 16, 1403, 703, 1923),
    (4, 17, 1, 156, 73, 226),
    (8, 17, 1, 2226, 278, 492),
)
# Vivado's LUTs of the one with three lanes, in the build of a network for images of 12x12x3 with finn-plus 1.4.0.
VIVADO_THRESHOLDS = 5435
NARROW = ((7612, 8084), (5804, 6477), (2755, 3140), (571, 537))  # W2A3: FINN's LUTs and Vivado's
WIDE = ((18172, 5875),)  # W2A8
POOL_LUT, PADDING_LUT = 126, 30
HLS_CONVERTER = (
    216,
    461,
)  # 72 to 54 bits, through 216: the only figure, so what others take is anyone's guess


def networks_of(measured):
    """Every build with its network."""
    network = design_of(NETWORKS["tfc-w1a1"])
    first, *hidden, last, choice = network.layers
    # these builds made the sums as narrow as 64 columns allow
    edge = (replace(last, output="UINT7"), replace(choice, input="UINT7"))
    network = replace(network, layers=(first, *hidden, *edge))
    binary = replace(network, layers=(replace(first, input="BINARY"), *hidden, *edge))
    for folder in sorted((measured / "builds").iterdir()):
        yield read_build(folder, part_of(PYNQ_Z2_DEVICE)), binary if folder.name == BINARY_INPUT else network


def published():
    for kind, figures in (("mvau", NARROW), ("wide mvau", WIDE)):
        for finn, lut in figures:
            yield Sample(kind, {"finn": finn}, Resources(), Resources(lut=lut, ff=1.5 * lut))
    through, lut = HLS_CONVERTER
    yield Sample("hls converter", {"through": through}, Resources(), Resources(lut=lut, ff=lut))
    for kind, lut in (("pool", POOL_LUT), ("padding", PADDING_LUT)):
        yield Sample(kind, {"one": 1}, Resources(), Resources(lut=lut, ff=lut))


def synthesised():
    for kind, table in (("window", WINDOWS), ("whole window", WHOLE_WINDOWS)):
        for counted, registered, lut, ff in table:
            drivers = {"one": 1, "counted": counted, "registered": registered}
            yield Sample(kind, drivers, Resources(), Resources(lut=lut * VIVADO_FOR_YOSYS, ff=ff))


def searches():
    """Samples of thresholds of several levels, and how much less they take where they become memories."""
    scale = VIVADO_THRESHOLDS / next(lut for _, _, lanes, lut, _, _ in THRESHOLDS if lanes == 3)
    samples, less = [], []
    for levels, bits, lanes, lut, in_memories, ff in THRESHOLDS:
        layer = Thresholding("", lanes, 1, lanes, 2**levels - 1, f"UINT{bits - 1}", f"UINT{levels}", 0)
        measured = Resources(lut=lut * scale, ff=ff)
        samples.append(Sample("threshold search", layer.cost_unit({}).drivers, Resources(), measured))
        less.append(1 - in_memories / measured.lut)
    return samples, max(less)


def fit(measured):
    builds = fitted(
        (sample for report, network in networks_of(measured) for sample in report.samples(network)),
        None,
        BUILDS,
    )
    others = fitted(published(), None, PUBLISHED)
    unsure = {
        kind: replace(each, spread=dict.fromkeys(CELLS, UNSURE.get(kind, 0.5)))
        for kind, each in others.kinds.items()
    }
    windows = {
        kind: replace(each, spread={cell: max(WINDOW_SPREAD, each.spread[cell]) for cell in CELLS})
        for kind, each in fitted(synthesised(), None, SYNTHESISED).kinds.items()
    }
    samples, less = searches()
    (search,) = fitted(samples, None, SEARCHED).kinds.values()
    spread = {"lut": round(less, 2), "ff": max(WINDOW_SPREAD, search.spread["ff"])}
    return Calibration(
        {**unsure, **windows, **builds.kinds, "threshold search": replace(search, spread=spread)}
    )


if __name__ == "__main__":
    made = {"by": "tests/host/explore/fit_calibration.py", "part": PYNQ_Z2_DEVICE, "vivado": "2022.1"}
    sys.stdout.write(to_json(fit(Path(sys.argv[1])), made))
