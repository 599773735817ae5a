"""The golden model beside onnxruntime in float32 on the same core, and beside what the core could do at most.

Every pair's results are compared before they are timed. Figures of one core are of the processor's time,
so another program may run; two cores over one is wall time and wants an idle machine. `--short` leaves out
what takes long, for the tests.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from golden_networks import CNV, binary_network, bit_products, float_model
from measure import figure, paired_ratio
from numba import njit, types
from numba.extending import intrinsic
from threadpoolctl import threadpool_limits

from labd_host import datasets
from labd_host.dataflow.layers import DataflowGraph, Mvau
from labd_host.golden import kernels
from labd_host.golden.golden_model import GoldenModel
from labd_shared.errors import DataMissing
from labd_shared.manifest import NETWORK_NAME

IMAGE = (32, 32, 3)
ACCELERATOR_FPS = 3052  # CNV-w1a1 with the lab's folding at 100 MHz, by the cycle model
RNG = np.random.default_rng(1)
FRAMES = {"compiled": 256, "numpy": 32}  # timed at once; a hundred times as many of a small network
WORDS = 1024  # of 64 bits: 8 kB, twice, fits into every L1 cache


@intrinsic
def popcount(_, word):
    """The bits of a 64-bit word that are set."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@njit
def xor_and_count(ones, others, rounds):
    """Xor and popcount of what lies in the L1 cache, as plainly as it can be said."""
    total = np.uint64(0)
    for turn in range(rounds):
        for index in range(len(ones)):
            total += popcount(ones[index] ^ others[index])
        ones[turn] += np.uint64(1)  # or one round would do for all
    return total


def roofline() -> float:
    """Bit products a second of this core at most, 10^9: the plain loop, or the golden model's innermost
    one without anything around it, whichever is faster."""
    ones, others = RNG.integers(0, 2**62, (2, WORDS)).astype(np.uint64)
    assert xor_and_count(ones.copy(), others, 1) == np.bitwise_count(ones ^ others).sum()
    plain = 64 * WORDS * WORDS / best_s(lambda: xor_and_count(ones, others, WORDS))
    rows, words = 2048, 18
    maps = RNG.integers(0, 2**32, 256).astype(np.uint32)
    weights = RNG.integers(-(2**31), 2**31, (1, words, kernels.LANES)).astype(np.int32)
    starts, offsets = 4 * (np.arange(rows, dtype=np.int32) % 128), 4 * np.arange(words, dtype=np.int32)
    out, middle = np.zeros(rows, np.uint32), np.full((1, kernels.LANES), 16 * words, np.int32)

    def product() -> None:
        kernels.product_reaches(True, maps, starts, rows, offsets, weights, middle, 1, out)

    inner = rows * words * 32 * kernels.LANES / best_s(product, 200)
    sys.stderr.write(f"roofline: {plain / 1e9:.0f} Gbit/s plainly, {inner / 1e9:.0f} in registers\n")
    return max(plain, inner) / 1e9


def best_s(work: Callable[[], object], repeats: int = 30) -> float:
    """The least processor time of this thread that *work* took."""
    work()
    least = float("inf")
    for _ in range(repeats):
        began_s = time.thread_time()
        work()
        least = min(least, time.thread_time() - began_s)
    return least


def in_float(network: DataflowGraph) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """onnxruntime on one core, from pixels as it wants them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(float_model(network), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"x": pixels})[0]


def in_batches(
    run: Callable[[npt.NDArray[np.float32]], object], pixels: npt.NDArray[np.float32], size: int
) -> None:
    """Run *pixels*, whole batches of *size* only."""
    for first in range(0, len(pixels) - size + 1, size):
        run(pixels[first : first + size])


def on_one_core(
    network: DataflowGraph, sizes: Sequence[int], *, goal: str, numpy_goal: str, pairs: int
) -> list[bool]:
    """Both forms in multiples of onnxruntime at that of its batch *sizes* where it is best, their scores compared."""
    theirs = in_float(network)
    last = next(layer for layer in reversed(network.layers) if isinstance(layer, Mvau))
    height, width, channels = network.inputs[0].normal[1:]
    images = RNG.integers(0, 256, (max(sizes), height, width, channels)).astype(np.uint8)
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)
    reached = []
    for form, wanted in (("compiled", goal), ("numpy", numpy_goal)):
        model = GoldenModel(network, form=form)
        assert np.array_equal(2 * model.run(images).logits - last.mw, theirs(pixels).astype(np.int64))
        many = FRAMES[form] * (1 if height > 28 else 100)
        ours = images[np.arange(many) % len(images)]
        ratios = {}
        for size in sizes:
            theirs_whole = partial(in_batches, theirs, pixels, size)
            ratio = paired_ratio(theirs_whole, partial(model.run, ours, threads=1), pairs=pairs)
            ratios[size] = ratio * many / (len(pixels) // size * size)
        size = min(ratios, key=ratios.__getitem__)
        title = f"{network.name}, {form}, one core, scores equal"
        reached.append(figure(title, ratios[size], f"x onnxruntime float at batch {size}", wanted))
    return reached


def share_of_roofline(network: DataflowGraph, bound: float) -> list[bool]:
    """How much of the roofline is used, and how far the accelerator is."""
    model = GoldenModel(network, form="compiled")
    images = RNG.integers(0, 256, (256, *IMAGE)).astype(np.uint8)
    frame_s = best_s(lambda: model.run(images, threads=1)) / len(images)
    used = 100 * bit_products(network) / frame_s / 1e9 / bound
    return [
        figure(f"{network.name}, whole network, one core", used, "% of the popcount roofline", ">= 50"),
        figure(
            f"{network.name}, one core", 1 / frame_s / ACCELERATOR_FPS, "x the accelerator's 3,052/s", ">= 1"
        ),
    ]


def size_for_time(small: DataflowGraph) -> bool:
    """What a product takes in a network nine times as large."""
    large = binary_network(
        "CNV, 3 times as wide", IMAGE, [(3 * each, pool) for each, pool in CNV], (1536, 1536), 10
    )
    images = RNG.integers(0, 256, (64, *IMAGE)).astype(np.uint8)
    times = [
        best_s(lambda: GoldenModel.run(model, images, threads=1), 10) / bit_products(network)  # noqa: B023
        for network in (small, large)
        for model in [GoldenModel(network, form="compiled")]
    ]
    more = bit_products(large) / bit_products(small)
    return figure(
        f"time of a product in a network {more:.1f} times as large", times[1] / times[0], "x", "<= 1.1"
    )


def two_cores(network: DataflowGraph) -> list[bool]:
    """Wall time of one thread over that of two, the best of each: nothing else should run."""
    if len(os.sched_getaffinity(0)) < 2:
        sys.stderr.write("skipped two cores: there is one\n")
        return []
    model = GoldenModel(network, form="compiled")
    images = RNG.integers(0, 256, (4096, *IMAGE)).astype(np.uint8)
    best = {1: float("inf"), 2: float("inf")}
    for _ in range(15):
        for threads in best:
            began_s = time.monotonic()
            model.run(images, threads=threads)
            best[threads] = min(best[threads], time.monotonic() - began_s)
    sys.stderr.write(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    return [figure(f"{network.name}, two cores", best[1] / best[2], "x one core, wall time", ">= 1.7")]


# VmHWM, not ru_maxrss: that one begins with what the parent had when it forked.
PEAK = """
import atexit, sys
def tell():
    lines = open("/proc/self/status").read().splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")))
atexit.register(tell)
"""
FIRST = """
import numpy as np
from labd_host.golden.golden_model import GoldenModel
model = GoldenModel.load(sys.argv[1], form="compiled")
model.run(np.zeros((1, *model.inputs[0].normal[1:]), np.uint8))
"""
COMMAND = """
import runpy
runpy.run_module("labd_host.cli.main", run_name="__main__")
"""


def fresh(code: str, *arguments: str, cache: str) -> tuple[float, float]:
    """Wall time in s and most memory in MB of an interpreter of its own."""
    began_s = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", PEAK + code, *arguments],
        env={**os.environ, "LABD_CACHE": cache},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    took_s = time.monotonic() - began_s
    return took_s, int(ended.stdout.splitlines()[-1]) / 1024


def from_the_start(network: DataflowGraph) -> list[bool]:
    """The first run ever, the first of a later process, and `labd validate` of CIFAR-10, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, NETWORK_NAME))
        GoldenModel(network).save(file)
        cache = str(Path(folder, "cache"))
        reached = [
            figure(
                "the first run ever, compilation included",
                fresh(FIRST, file, cache=cache)[0],
                "s",
                "<= 20",
            ),
            figure("the first run of a later process", fresh(FIRST, file, cache=cache)[0], "s", "<= 5"),
        ]
        try:
            datasets.find("cifar10")
        except DataMissing as missing:
            sys.stderr.write(f"skipped labd validate: {missing}\n")
            return reached
        took_s, peak_mb = fresh(COMMAND, "validate", file, "--dataset", "cifar10", cache=cache)
        reached.append(
            figure("labd validate, 10,000 images of CIFAR-10", took_s, "s, start-up included", "<= 5")
        )
        reached.append(figure("labd validate, memory at most", peak_mb, "MB", "<= 500"))
        return reached


def main(arguments: Sequence[str]) -> int:
    short = "--short" in arguments
    pairs = 5 if short else 11
    cnv = binary_network("cnv-w1a1", IMAGE, CNV, (512, 512), 10)
    tfc = binary_network("tfc-w1a1", (28, 28, 1), (), (64, 64, 64), 10)
    with threadpool_limits(1):
        reached = on_one_core(
            cnv, (1, 16) if short else (1, 16, 100), goal=">= 6", numpy_goal=">= 0.8", pairs=pairs
        )
        reached += on_one_core(tfc, (100, 1000), goal=">= 1", numpy_goal=">= 0.8", pairs=pairs)
        if not short:
            vgg9 = binary_network("vgg9-w1a1", IMAGE, CNV, (512, 512), 100)
            bound = roofline()
            reached += on_one_core(vgg9, (1, 16, 100), goal=">= 6", numpy_goal=">= 0.8", pairs=pairs)
            reached += share_of_roofline(cnv, bound) + share_of_roofline(vgg9, bound)
            reached.append(size_for_time(cnv))
    if not short:
        reached += two_cores(cnv) + from_the_start(cnv)
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
