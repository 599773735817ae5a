"""Foldings that ship with labd: network -> name -> node -> attributes.

"lab" of tfc-w1a1 is the folding the lab course starts from, the one FINN's notebook and AMD's
finn-examples use too ((PE, SIMD) of the four MVAUs, PE 49 for the input thresholding).
"""

PRESETS: dict[str, dict[str, dict[str, dict[str, int]]]] = {
    "tfc-w1a1": {
        "lab": {
            "Thresholding_rtl_0": {"PE": 49},
            "MVAU_hls_0": {"PE": 16, "SIMD": 49},
            "MVAU_hls_1": {"PE": 8, "SIMD": 8},
            "MVAU_hls_2": {"PE": 8, "SIMD": 8},
            "MVAU_hls_3": {"PE": 10, "SIMD": 8},
        },
    },
}
