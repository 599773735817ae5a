"""A training step in the fused form beside the same one in the plain form: VGG9, batch 125, bfloat16, one thread.

The step goes from images to new weights. Both forms compute the same in float32 (tests/train/test_fused.py).
Beside it, what the convolutions alone take, which is the limit of the fused form. Needs the train environment
and a processor that computes with bfloat16 (AVX512-BF16 or AMX); skipped by name without.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

BATCH, PAIRS, STEPS = 125, 7, 2
NETWORK = "vgg9-w1a1"
SHAPE = [1, 1], [0, 0], [1, 1], False, [0, 0], 1  # stride 1, no padding


def best_s(work, repeats=PAIRS):
    """The least processor time of this thread that *work* took."""
    work()
    least = float("inf")
    for _ in range(repeats):
        began_s = time.thread_time()
        work()
        least = min(least, time.thread_time() - began_s)
    return least


def convolutions_s(wanted):
    """Processor time of the convolutions of one step: forward, and both gradients of all but the first layer."""
    import torch

    back = torch.ops.aten.convolution_backward
    total_s = 0.0
    height, width, channels = wanted.input_shape
    for number, conv in enumerate(wanted.convs):
        if (height, width) == (3, 3):
            break  # a matrix product
        last = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}
        x = torch.randn(BATCH, channels, height, width).to(**last)
        weight = torch.randn(conv.channels, channels, 3, 3).to(**last)
        height, width, channels = height - 2, width - 2, conv.channels
        gradient = torch.randn(BATCH, channels, height, width).to(**last)
        total_s += best_s(lambda x=x, weight=weight: torch.nn.functional.conv2d(x, weight))
        wants = [number > 0, True, False]
        total_s += best_s(lambda of=(gradient, x, weight), wants=wants: back(*of, None, *SHAPE, wants))
        if conv.pool:
            height, width = height // 2, width // 2
    return total_s


def measured():
    """In the train environment: whether the goals were reached."""
    import torch
    from measure import figure, paired_ratio

    from labd_host.networks import brevitas_model as models
    from labd_host.networks import network
    from labd_host.networks.fused import Fused, can_compile, prepare_compiler
    from labd_host.networks.training import as_input

    torch.set_num_threads(1)
    torch.utils.deterministic.fill_uninitialized_memory = False
    prepare_compiler(1)
    compiled = can_compile("cpu")
    if not compiled:
        sys.stderr.write("there is no C++ compiler: the fused form is measured without\n")
    wanted = network(NETWORK)
    planes = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, wanted.classes, (BATCH,))

    def step_of(forward, model, optimizer):
        def step():
            for _ in range(STEPS):
                loss = torch.nn.functional.cross_entropy(forward(planes), labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                models.clip_weights(model)

        return step

    def prepared():
        torch.manual_seed(1)
        return models.build(wanted, latent_scale=0.1).to(memory_format=torch.channels_last)

    plain, fused = prepared(), prepared()

    def plainly(planes):
        with torch.autocast("cpu", torch.bfloat16):
            return plain(as_input(planes).contiguous(memory_format=torch.channels_last)).float()

    theirs = step_of(plainly, plain, torch.optim.Adam(plain.parameters(), lr=0.005))
    ours = step_of(
        Fused(fused, wanted, torch.bfloat16, compiled=compiled),
        fused,
        torch.optim.Adam(fused.parameters(), lr=0.005, fused=True),
    )
    ratio = paired_ratio(theirs, ours, pairs=PAIRS)
    step_s = best_s(ours) / STEPS
    sys.stderr.write(
        f"{1 / step_s:.2f} steps a second of one core, {ratio:.2f} times those of the plain form\n"
    )
    title = f"{NETWORK}, a training step at batch {BATCH} in bfloat16, one core"
    return [
        figure(title, ratio, "x the plain form", ">= 1.5"),
        figure(title, step_s / convolutions_s(wanted), "x its convolutions alone", "<= 1.35"),
    ]


def main():
    if "--here" in sys.argv:
        return 0 if all(measured()) else 1
    from labd_host.networks.launch import find_python
    from labd_shared.errors import SetupError

    try:
        python = find_python()
    except SetupError as missing:
        sys.stderr.write(f"skipped the training step: {missing}\n")
        return 0
    if not {"avx512_bf16", "amx_bf16"} & set(Path("/proc/cpuinfo").read_text().split()):
        sys.stderr.write("skipped the training step: this processor does not compute with bfloat16\n")
        return 0
    environment = {**os.environ, "BREVITAS_JIT": "0", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run([python, __file__, "--here"], env=environment, check=False, timeout=900).returncode


if __name__ == "__main__":
    sys.exit(main())
