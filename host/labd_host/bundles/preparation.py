"""What every bundle of a network begins with, whatever it is for: compiled, proven, its accuracy measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host import datasets
from labd_host.bundles.golden_samples import golden_arrays, golden_samples
from labd_host.dataflow.folding import FoldingSource
from labd_host.flow import MANY_IMAGES, CompiledNetwork, compile_network, proof_images
from labd_host.flow.kept_answers import kept_outputs
from labd_host.machine.listener import Listener
from labd_host.networks import TrainedExport
from labd_shared.answers import predicted_classes
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.datasets import dataset_spec
from labd_shared.digest import image_digest
from labd_shared.errors import UsageError
from labd_shared.manifest import Accuracy, Expected, InputContract, Manifest
from labd_shared.tensors import count

BOARD = "Pynq-Z2"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A compiled network with its golden answers.

    Attributes:
        network, dataset: Their names.
        class_names: Of the data set.
        compiled: The stages and the golden model.
        golden: The content of golden.npz.
        accuracy: The golden model's, on the whole test split.
    """

    network: str
    dataset: str
    class_names: tuple[str, ...]
    compiled: CompiledNetwork
    golden: dict[str, npt.NDArray[Any]]
    accuracy: Accuracy

    def manifest(
        self,
        target: str,
        *,
        clock_mhz: float,
        slack_ns: float | None,
        expected: Expected,
        tools: dict[str, str],
    ) -> Manifest:
        """The manifest of a bundle of this network; its list of files is empty."""
        return Manifest(
            network=self.network,
            dataset=self.dataset,
            class_names=self.class_names,
            target=target,
            part=PYNQ_Z2_PART,
            board=BOARD,
            clock_mhz=clock_mhz,
            slack_ns=slack_ns,
            input_contract=InputContract("raw-uint8"),
            inputs=self.compiled.inputs,
            outputs=self.compiled.outputs,
            folding={name: dict(values) for name, values in self.compiled.folding.items()},
            expected=expected,
            accuracy=self.accuracy,
            tools=tools,
            files={},
        )

    def expected(self, clock_mhz: float) -> Expected:
        """What the cycle model promises where the accelerator runs at *clock_mhz*."""
        estimate = self.compiled.estimate
        return Expected(
            estimate.cycles_per_frame,
            estimate.latency_cycles,
            estimate.frames_per_s(clock_mhz),
            estimate.bottleneck,
        )


def prepare(
    export: TrainedExport,
    stages: Path,
    *,
    folding: FoldingSource,
    clock_mhz: float,
    listener: Listener,
) -> Prepared:
    """Compile a trained network and measure its golden model on the whole test split.

    Args:
        export: The network; its data set must be known.
        stages: The folder for the compiled stages and their proofs.
        folding: Where PE and SIMD of the layers come from.
        clock_mhz: For the frames a second of the stages' ``estimate.json``.
        listener: Told what happens.

    Raises:
        UsageError: the data set is not known.
        DataMissing: it is not available.
        BuildError: a stage failed or changed a result.
    """
    if not export.dataset:
        raise UsageError(
            f"{export.name} is not in the network table, so its data set is not known",
            fix=f"say which: labd build {export.typed} --dataset mnist",
        )
    images, labels = datasets.load(export.dataset, "test")
    compiled = compile_network(
        export.file,
        folding=folding,
        out=stages,
        images=images[: proof_images(export.kind)],
        many_images=images[:MANY_IMAGES],
        clock_mhz=clock_mhz,
        listener=listener,
    )
    listener.say(f"golden model: {len(images)} images of {export.dataset}")
    return measure(export.name, export.dataset, compiled, images, labels)


def measure(
    name: str,
    dataset: str,
    compiled: CompiledNetwork,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
) -> Prepared:
    """What the golden model of a compiled network answers to its test split, and to the golden samples.

    Args:
        name: The network's.
        dataset: Name of its data set.
        compiled: The network, compiled.
        images, labels: The whole test split of its data set, (n, ...) and (n,).

    Raises:
        UsageError: the network takes frames of another size than the data set has.
    """
    spec = dataset_spec(dataset)
    golden = compiled.golden
    if count(golden.inputs[0].normal) != count(spec.image_shape):
        raise UsageError(
            f"{name} takes {golden.inputs[0].normal}, {spec.name} has images of {spec.image_shape}",
            fix="name the data set it was trained on: --dataset",
        )
    predictions = predicted_classes(kept_outputs(golden, images))
    right = int((predictions == labels).sum())
    samples, answers = golden_samples(golden, spec.image_shape)
    digests = np.array([image_digest(image.tobytes()) for image in images], np.uint64)
    order = np.argsort(digests)
    return Prepared(
        network=name,
        dataset=spec.name,
        class_names=spec.class_names,
        compiled=compiled,
        golden=golden_arrays(samples, answers, digests[order], predictions[order]),
        accuracy=Accuracy(100.0 * right / len(labels), len(labels), "test", "golden model"),
    )
