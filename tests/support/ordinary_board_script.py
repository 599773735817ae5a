"""A script as people write it for a PYNQ-Z2; nothing in it knows of an emulator.

Writes, as JSON, how many of 16 answers were right with all cache operations, and without each one.
"""

import json
import sys

import numpy as np
from pynq import Overlay, allocate
from pynq.ps import Clocks

FRAMES, PIXELS = 16, 200
overlay = Overlay(sys.argv[1])
idma, odma = overlay.idma0, overlay.odma0
source = allocate(shape=(FRAMES, PIXELS), dtype=np.uint8, cacheable=True)
target = allocate(shape=(FRAMES, 1), dtype=np.uint8, cacheable=True)
rng = np.random.default_rng(7)


def right_answers(flush=True, invalidate=True):
    images = rng.integers(0, 256, source.shape).astype(np.uint8)
    source[:] = images
    if flush:
        source.flush()
    assert odma.read(0x00) & 0x4, "not idle"
    for dma, buffer in ((odma, target), (idma, source)):
        dma.write(0x10, buffer.device_address)
        dma.write(0x1C, FRAMES)
        dma.write(0x00, 1)
    while not odma.read(0x00) & 0x2:
        pass
    if invalidate:
        target.invalidate()
    return int((target[:, 0] == images.argmax(axis=1)).sum())


results = {"with both": right_answers(), "again": right_answers()}
results["without flush"] = right_answers(flush=False)
results["without invalidate"] = right_answers(invalidate=False)
results["blocks"] = sorted(overlay.ip_dict)
results["clock_mhz"] = Clocks.fclk0_mhz
sys.stdout.write(json.dumps(results))
