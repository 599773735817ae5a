"""Foldings that ship with labd: network -> name -> node -> attributes.

"lab" of tfc-w1a1 and cnv-w1a1 are the foldings the lab course starts from, those of FINN's notebooks
and of AMD's finn-examples: (PE, SIMD) of the MVAUs. Where AMD's CNV has a StreamingMaxPool, which knows
no folding, FINN now builds a window and a pool, whose SIMD and PE must be equal; here they are wide
enough not to slow the network down. vgg9-w1a1 is CNV with a hundred classes and is folded alike, and so are
the relatives of two bits, whose layers are as large.
"""

Preset = dict[str, dict[str, int]]
LAB = "lab"


def _convolutional() -> Preset:
    mvaus = ((16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1))
    windows = (3, 32, 4, 32, 32, 2, 32, 32)  # the third and the sixth feed a pool
    return {
        "Thresholding_rtl_0": {"PE": 1},
        **{f"MVAU_hls_{index}": {"PE": pe, "SIMD": simd} for index, (pe, simd) in enumerate(mvaus)},
        **{f"ConvolutionInputGenerator_rtl_{index}": {"SIMD": simd} for index, simd in enumerate(windows)},
        "Pool_hls_0": {"PE": 4},
        "Pool_hls_1": {"PE": 2},
        "LabelSelect_hls_0": {"PE": 1},
    }


_TFC: Preset = {
    "Thresholding_rtl_0": {"PE": 49},
    "MVAU_hls_0": {"PE": 16, "SIMD": 49},
    "MVAU_hls_1": {"PE": 8, "SIMD": 8},
    "MVAU_hls_2": {"PE": 8, "SIMD": 8},
    "MVAU_hls_3": {"PE": 10, "SIMD": 8},
}

PRESETS: dict[str, dict[str, Preset]] = {
    "tfc-w1a1": {LAB: _TFC},
    "tfc-w1a2": {LAB: _TFC},
    "tfc-w2a2": {LAB: _TFC},
    "cnv-w1a1": {LAB: _convolutional()},
    "cnv-w1a2": {LAB: _convolutional()},
    "cnv-w2a2": {LAB: _convolutional()},
    "vgg9-w1a1": {LAB: _convolutional()},
}
