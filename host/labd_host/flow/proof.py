"""A stage against the stage before it, on real images."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import DataflowGraph
from labd_host.flow.observe import Integers, Observation, ObservedPoint, Scores
from labd_host.golden.golden_model import GoldenResult
from labd_host.machine.typed_records import from_record
from labd_shared.errors import StageMismatch
from labd_shared.records import Value

KINDS = ("levels", "sums", "label")
MANY_IMAGES = 1000  # on which the golden model is compared with the export; the stages take fewer
_FEW_IMAGES = {"fc": 100, "cnv": 4}  # FINN's executors take seconds for an image of a convolutional network


@dataclass(frozen=True)
class Compared:
    """One tensor that was compared.

    Attributes:
        kind: "levels", "sums" or "label" (see `labd_host.flow.observe`).
        layer: Node in the stage.
        layer_before: Node in the stage before.
        values: Values a frame.
    """

    kind: str
    layer: str
    layer_before: str
    values: int


@dataclass(frozen=True)
class Proof:
    """What was compared, all of it equal: a difference raises instead.

    Attributes:
        stage: The stage that was checked.
        against: The stage before it, "" for the first.
        images: Number of images.
        compared: The tensors, in the order of the stream.
        scores: The affine from logits to scores.
    """

    stage: str
    against: str
    images: int
    compared: tuple[Compared, ...]
    scores: Scores | None

    @property
    def tensors(self) -> int:
        """Tensors compared."""
        return len(self.compared)

    @property
    def elements(self) -> int:
        """Values compared, over all images."""
        return self.images * sum(entry.values for entry in self.compared)

    @property
    def mismatches(self) -> int:
        """Values that differ: none, or there would be no proof."""
        return 0

    def record(self) -> dict[str, Any]:
        """The proof as JSON-able data."""
        return {
            "stage": self.stage,
            "against": self.against,
            "images": self.images,
            "tensors": self.tensors,
            "elements": self.elements,
            "mismatches": self.mismatches,
            "compared": [asdict(entry) for entry in self.compared],
            "scores": None if self.scores is None else asdict(self.scores),
        }


def proof_of(value: Value) -> Proof:
    """The proof whose `Proof.record` is *value*.

    Raises:
        ArtifactError: it is not such a record.
    """
    record = value.fields(
        ("stage", "against", "images", "tensors", "elements", "mismatches", "compared", "scores")
    )
    return Proof(
        stage=record["stage"].text(),
        against=record["against"].text(),
        images=record["images"].integer(0),
        compared=tuple(from_record(Compared, each) for each in record["compared"].list()),
        scores=None if record["scores"].raw is None else from_record(Scores, record["scores"]),
    )


def proof_images(kind: str) -> int:
    """How many images every stage of a network of *kind* ("fc", "cnv") is compared on unless told otherwise."""
    return _FEW_IMAGES[kind]


def first_proof(stage: str, observed: Observation) -> Proof:
    """The proof of the first stage: only its scores were checked, against its own logits."""
    return Proof(stage, "", len(observed.points[0].values), (), observed.scores)


def compare(
    stage: str, observed: Observation, against: str, before: Observation, *, moves_scales: bool = False
) -> Proof:
    """Compare a stage with the stage before it.

    Args:
        stage, observed: The stage and what it computed.
        against, before: The stage before and what that computed.
        moves_scales: A channel's sums may have changed sign, all of them together, and the scores
            their scale and offset.

    Raises:
        StageMismatch: a tensor differs, or there is one more or less; the first of the stream is named.
    """
    partners: dict[int, ObservedPoint] = {}
    for kind in KINDS:
        ours, theirs = observed.of_kind(kind), before.of_kind(kind)
        if len(ours) != len(theirs):
            raise StageMismatch(
                f"stage {stage} has {len(ours)} tensors of {kind}, stage {against} has {len(theirs)}",
                fix=f"compare the ONNX files of {against} and {stage} in the output folder",
                stage=stage,
                kind=kind,
            )
        partners.update({id(point): partner for point, partner in zip(ours, theirs, strict=True)})
    compared = []
    for point in observed.points:
        partner = partners[id(point)]
        wrong = _differences(point, partner, may_negate=moves_scales and point.kind == "sums")
        if wrong is not None:
            raise _mismatch(stage, point, against, partner, wrong)
        compared.append(Compared(point.kind, point.layer, partner.layer, point.values.shape[1]))
    _check_scores(stage, observed.scores, against, before.scores, moves_scales=moves_scales)
    return Proof(stage, against, len(observed.points[0].values), tuple(compared), observed.scores)


def observe_answers(
    network: DataflowGraph, result: GoldenResult, exported: npt.NDArray[np.float32], scores: Scores | None
) -> tuple[Observation, Observation]:
    """The golden model's logits and classes, and the exported network's, in comparable form.

    Args:
        network: The golden model's.
        result: What it gave.
        exported: The exported network's output (N, classes) for the same images.
        scores: What that output is of the logits; None where it is no scale and offset: then the
            classes alone are compared.
    """
    classes = result.outputs[0].reshape(len(exported), -1).astype(np.int64)
    ours = [ObservedPoint("label", network.layers[-1].name, classes)]
    theirs = [ObservedPoint("label", "exported", exported.argmax(axis=1)[:, np.newaxis])]
    last = next((layer for layer in reversed(network.layers) if layer.score_scale() is not None), None)
    if scores is not None and result.logits is not None and last is not None:
        logits = result.logits.astype(np.int64)
        ours.insert(0, ObservedPoint("sums", last.name, dict(last.points(logits, logits))["sums"]))
        back = np.rint((exported.astype(np.float64) - scores.offset) / scores.scale)
        theirs.insert(0, ObservedPoint("sums", scores.tensor, back.astype(np.int64)))
    return Observation(tuple(ours)), Observation(tuple(theirs))


def _check_scores(
    stage: str, ours: Scores | None, against: str, theirs: Scores | None, *, moves_scales: bool
) -> None:
    if theirs is None or (ours is not None and (moves_scales or _alike(ours, theirs))):
        return
    now = "no such function of them" if ours is None else f"{ours.scale:g} * logit {ours.offset:+g}"
    raise StageMismatch(
        f"stage {stage} computes something else than stage {against}: the scores were "
        f"{theirs.scale:g} * logit {theirs.offset:+g} and are {now}",
        fix=f"compare what follows the last matrix product in the ONNX files of {against} and {stage}",
        stage=stage,
        against=against,
        layer=theirs.tensor if ours is None else ours.tensor,
        kind="scores",
    )


def _alike(ours: Scores, theirs: Scores) -> bool:
    return math.isclose(ours.scale, theirs.scale, rel_tol=1e-6) and math.isclose(
        ours.offset, theirs.offset, rel_tol=1e-6, abs_tol=1e-6
    )


def _differences(
    point: ObservedPoint, partner: ObservedPoint, *, may_negate: bool
) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Where the two differ, or None."""
    ours, theirs = point.values, partner.values
    if ours.shape != theirs.shape:
        return np.ones((0, 0), dtype=np.bool_)
    wrong = ours != theirs
    if may_negate:
        turned = (ours == -theirs).all(axis=0)
        wrong &= ~turned
    return wrong if wrong.any() else None


def _mismatch(
    stage: str,
    point: ObservedPoint,
    against: str,
    partner: ObservedPoint,
    wrong: np.ndarray[Any, np.dtype[np.bool_]],
) -> StageMismatch:
    facts = {"stage": stage, "against": against, "layer": point.layer, "kind": point.kind}
    where = f"stage {stage} computes something else than stage {against}: {point.kind} of {point.layer}"
    fix = f"compare the ONNX files of {against} (node {partner.layer}) and {stage} in the output folder"
    ours: Integers = point.values
    if wrong.size == 0:
        return StageMismatch(
            f"{where} are {ours.shape[1]} values a frame, there they are {partner.values.shape[1]}",
            fix=fix,
            **facts,
        )
    image, element = (int(index) for index in np.argwhere(wrong)[0])
    count = int(wrong.sum())
    return StageMismatch(
        f"{where} differ in {count} of {wrong.size} values, first at image {image}, element {element}: "
        f"{int(ours[image, element])} where {int(partner.values[image, element])} was",
        fix=fix,
        **facts,
        mismatches=count,
        elements=int(wrong.size),
        image=image,
        element=element,
    )
