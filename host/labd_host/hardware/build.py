"""`labd build --target emu`: from a trained network to a bundle for virtual boards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labd_host import datasets, networks
from labd_host.flow import MANY_IMAGES, Compiled, compile_network, load_folding, proof_images
from labd_host.hardware.bitfile_writer import write_bit
from labd_host.hardware.bundle import NETWORK_NAME, write_bundle
from labd_host.hardware.golden_samples import golden_arrays, golden_samples
from labd_host.hardware.hwh_writer import write_hwh
from labd_shared.answers import predicted_classes
from labd_shared.arrays import save_npz
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.bundle import Bundle
from labd_shared.datasets import dataset_spec
from labd_shared.digest import file_sha256, image_digest
from labd_shared.errors import UsageError
from labd_shared.manifest import Accuracy, Expected, InputContract, Manifest
from labd_shared.tensors import count

Say = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """A bundle and how it came about."""

    bundle: Bundle
    compiled: Compiled


def build_emulation(
    network: str, folder: Path, *, folding: str, clock_mhz: float, say: Say, model: Path | None = None
) -> Built:
    """Compile a network of the table, measure its golden model on the whole test split, write a bundle.

    Args:
        network: A name of the table, or a user's own network (NAME.toml).
        folder: The bundle's folder; the compiled stages and their proofs go beside it, into FOLDER.stages.
        folding: A preset's name or FINN's folding JSON.
        clock_mhz: What the accelerator is to run at.
        say: Told what happens.
        model: A trained export of that network, from `labd train`; the one that ships when None.

    Raises:
        UsageError: unknown names, or a clock the dividers do not reach.
        DataMissing: the data set is not to be had.
        BuildError: a stage failed or changed a result.
    """
    entry = networks.network(network)
    spec = dataset_spec(entry.dataset)
    chosen = load_folding(folding, entry.name)
    images, labels = datasets.load(entry.dataset, "test")
    folder = folder.absolute()
    stages = folder.with_name(folder.name + ".stages")  # beside the bundle: they are its proof
    compiled = compile_network(
        model or networks.resolve(network)[0],
        folding=chosen,
        out=stages,
        images=images[: proof_images(entry.kind)],
        many_images=images[:MANY_IMAGES],
        say=say,
    )
    golden = compiled.golden
    if count(golden.inputs[0].normal) != count(spec.image_shape):
        raise UsageError(
            f"{entry.name} takes {golden.inputs[0].normal}, {spec.name} has images of {spec.image_shape}",
            fix="correct the data set in the network's table entry",
        )
    say(f"golden model: {len(images)} images of {spec.name}")
    predictions = predicted_classes(golden.run(images).outputs[0])
    right = int((predictions == labels).sum())
    samples, answers = golden_samples(golden, spec.image_shape)
    digests = np.array([image_digest(image.tobytes()) for image in images], np.uint64)
    order = np.argsort(digests)

    def fill(making: Path) -> Manifest:
        shutil.copyfile(compiled.network_file, making / NETWORK_NAME)
        write_bit(making / "accel.bit", network_sha256=file_sha256(making / NETWORK_NAME))
        achieved_mhz = write_hwh(
            making / "accel.hwh", clock_mhz=clock_mhz, inputs=compiled.inputs, outputs=compiled.outputs
        )
        save_npz(
            making / "golden.npz",
            golden_arrays(samples, answers, digests[order], predictions[order]),
        )
        estimate = compiled.estimate
        return Manifest(
            network=entry.name,
            dataset=spec.name,
            class_names=spec.class_names,
            target="emu",
            part=PYNQ_Z2_PART,
            board="Pynq-Z2",
            clock_mhz=achieved_mhz,
            slack_ns=None,
            input_contract=InputContract("raw-uint8"),
            inputs=compiled.inputs,
            outputs=compiled.outputs,
            folding={name: dict(values) for name, values in compiled.folding.items()},
            expected=Expected(
                estimate.cycles_per_frame,
                estimate.latency_cycles,
                estimate.frames_per_s(achieved_mhz),
                estimate.bottleneck,
            ),
            accuracy=Accuracy(100.0 * right / len(labels), len(labels), "test", "golden model"),
            tools=dict(compiled.tools),
            files={},
        )

    return Built(write_bundle(folder, fill), compiled)
