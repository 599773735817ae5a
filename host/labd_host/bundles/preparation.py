"""What every bundle of a network begins with, whatever it is for: compiled, proven, its accuracy measured."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host import datasets
from labd_host.bundles.golden_samples import golden_arrays, golden_samples
from labd_host.dataflow.folding import FoldingSource
from labd_host.dataflow.layers import Mvau, Thresholding
from labd_host.flow import MANY_IMAGES, CompiledNetwork, compile_network, proof_images
from labd_host.flow.kept_answers import kept_outputs
from labd_host.machine.listener import Listener
from labd_host.networks import TrainedExport
from labd_host.networks.input_form import input_form
from labd_shared.answers import SIGN, VALUES, predicted_classes
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.dataset_table import UNKNOWN_LABEL, DatasetSpec
from labd_shared.digest import image_digest
from labd_shared.errors import UsageError
from labd_shared.frame_form import PIXEL
from labd_shared.manifest import Accuracy, Expected, InputContract, Manifest, OutputContract
from labd_shared.tensors import Tensor, count

BOARD = "Pynq-Z2"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A compiled network with its golden answers.

    Attributes:
        network, dataset: Their names.
        class_names: Of the data set.
        compiled: The stages and the golden model.
        golden: The content of golden.npz.
        contract: How a frame of the data set goes into it.
        accuracy: The golden model's, on the whole test split; None where its labels cannot judge the answers.
    """

    network: str
    dataset: str
    class_names: tuple[str, ...]
    contract: InputContract
    compiled: CompiledNetwork
    golden: dict[str, npt.NDArray[Any]]
    accuracy: Accuracy | None

    def manifest(
        self,
        target: str,
        *,
        clock_mhz: float,
        slack_ns: float | None,
        expected: Expected,
        tools: dict[str, str],
        accepted: Sequence[str] = (),
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
            input_contract=self.contract,
            inputs=self.compiled.inputs,
            outputs=self.compiled.outputs,
            folding={name: dict(values) for name, values in self.compiled.folding.items()},
            expected=expected,
            accuracy=self.accuracy,
            tools=tools,
            files={},
            output_contract=output_contract(self.compiled),
            accepted=(*self.compiled.ignored, *accepted),
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
    ignored: Collection[str] = (),
    listener: Listener,
) -> Prepared:
    """Compile a trained network and measure its golden model on the whole test split.

    Args:
        export: The network; its data set must be known.
        stages: The folder for the compiled stages and their proofs.
        folding: Where PE and SIMD of the layers come from.
        clock_mhz: For the frames a second of the stages' ``estimate.json``.
        ignored: Checks of the proof that may fail (`labd_host.flow.CHECKS`).
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
    form = input_form(export)
    found = datasets.read(export.dataset, "test", form)
    images = found.images
    for note in found.notes:
        listener.say(note)
    compiled = compile_network(
        export.file,
        folding=folding,
        out=stages,
        images=images[: proof_images(export.kind)],
        many_images=images[:MANY_IMAGES],
        entering=datasets.Entering.of(found.spec),
        classes=datasets.classes_of(found.spec, form.classes),
        clock_mhz=clock_mhz,
        ignored=ignored,
        listener=listener,
    )
    listener.say(f"golden model: {len(images)} images of {export.dataset}")
    return measure(export.name, found, compiled)


def measure(name: str, found: datasets.SplitFrames, compiled: CompiledNetwork) -> Prepared:
    """What the golden model of a compiled network answers to its test split, and to the golden samples.

    A user's own data set is kept on this machine: a bundle holds its name, but not its pictures.

    Args:
        name: The network's.
        found: The whole test split of its data set.
        compiled: The network, compiled.

    Raises:
        UsageError: the network takes frames of another size than the data set has.
        DataDamaged: a label is none of the network's classes.
    """
    spec, images, labels = found.spec, found.images, found.labels
    golden = compiled.golden
    source = golden.inputs[0]
    if count(source.normal) != count(spec.image_shape):
        raise UsageError(
            f"{name} takes {source.normal}, {spec.name} has images of {spec.image_shape}",
            fix="name the data set it was trained on: --dataset",
        )
    if not spec.forms:
        spec = datasets.with_classes(spec, name, golden.scores() or 0)
        datasets.keep(replace(found, spec=spec), "test")
    predictions, accuracy = _judged(compiled, images, labels, len(spec.class_names))
    class_names = spec.class_names if accuracy else _NAMES_OF.get(golden.network.answer, spec.class_names)
    samples, answers = golden_samples(golden, spec.image_shape)
    digests = np.array([image_digest(image.tobytes()) for image in images], np.uint64)
    order = np.argsort(digests)
    return Prepared(
        network=name,
        dataset=spec.name,
        class_names=class_names,
        contract=_contract(source, spec),
        compiled=compiled,
        golden=golden_arrays(samples, answers, digests[order], predictions[order])
        if predictions is not None
        else golden_arrays(samples, answers),
        accuracy=accuracy,
    )


_NAMES_OF = {SIGN: ("no", "yes"), VALUES: ()}


def _judged(
    compiled: CompiledNetwork, images: npt.NDArray[Any], labels: npt.NDArray[Any], classes: int
) -> tuple[npt.NDArray[np.int64] | None, Accuracy | None]:
    """Classes of *images*, None where the network gives none, and how many are right where labels can judge them."""
    golden = compiled.golden
    answer = golden.network.answer
    if answer == VALUES:
        return None, None
    predictions = predicted_classes(kept_outputs(golden, images))
    judged = labels != UNKNOWN_LABEL
    samples = int(judged.sum())
    if not samples or (answer == SIGN and classes != len(_NAMES_OF[SIGN])):
        return predictions, None
    right = int((predictions == labels)[judged].sum())
    return predictions, Accuracy(100.0 * right / samples, samples, "test", "golden model")


def output_contract(compiled: CompiledNetwork) -> OutputContract:
    """What the accelerator's output means: of values, the scale and offset that the first stage read off the export."""
    network, scores = compiled.golden.network, compiled.stages[0].proof.scores
    if network.answer != VALUES or scores is None:
        return OutputContract(network.answer)
    last = network.layers[-1]
    factor, shift = last.score_scale() or (1.0, 0.0)  # of what it gives, from a sum
    if isinstance(last, Mvau | Thresholding) and last.steps:  # it gives levels
        rise = 2.0 if last.output == "BIPOLAR" else 1.0
        factor, shift = rise, -1.0 if rise > 1 else float(last.offset)
    scales, offsets = scores.scales or (scores.scale,), scores.offsets or (scores.offset,)
    return OutputContract(
        VALUES,
        tuple(scale / factor for scale in scales),
        tuple(offset - scale / factor * shift for scale, offset in zip(scales, offsets, strict=True)),
    )


def _contract(source: Tensor, spec: DatasetSpec) -> InputContract:
    """How the frames of a data set go into the accelerator: as they are, pixels or integers of its own type."""
    kind = "raw-uint8" if source.datatype == PIXEL else "integers"
    told = bool(spec.forms) or source.normal[1:] == spec.image_shape
    return InputContract(kind, frame=() if told else spec.image_shape)
