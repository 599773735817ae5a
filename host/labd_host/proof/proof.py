"""A stage against the stage before it, on real images."""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import DataflowGraph
from labd_host.golden.golden_model import GoldenResult
from labd_host.machine.typed_records import from_record
from labd_host.proof.observe import FLOAT_ROUNDINGS, Integers, Observation, ObservedPoint, Scores
from labd_shared.answers import CLASS, SIGN, VALUES
from labd_shared.errors import StageFailed, StageMismatch
from labd_shared.records import Value

KINDS = ("levels", "sums", "label")
# What `--ignore-check` can be given to go on although the proof says no.
CHECKS = {
    "halves": "float32's roundings decide on levels in more images than can be left out",
    "answers": "the golden model answers otherwise than the export in onnxruntime",
}
ANSWERS = "answers"  # the stage that compares with onnxruntime
MAX_SENTENCE = 4000
LEFT_OUT = 30  # images that a proof may leave out
MANY_IMAGES = 1000  # on which the golden model is compared with the export; the stages take fewer
# Scores that differ by less, of the largest, are one score: their order in float32 is that of its roundings.
TIE = 1e-6
_FEW_IMAGES = {"fc": 100, "cnv": 4}  # FINN's executors take seconds for an image of a convolutional network


@dataclass(frozen=True)
class Compared:
    """One tensor that was compared.

    Attributes:
        kind: "levels", "sums" or "label" (see `labd_host.proof.observe`).
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

    A class is equal to any class with the same score: which of them float32 puts first is an accident.

    Attributes:
        stage: The stage that was checked.
        against: The stage before it, "" for the first.
        images: Number of images.
        compared: The tensors, in the order of the stream.
        scores: The affine from logits to scores.
        ties: In how many images several classes share the best score; the accelerator takes the lowest.
        undecided: Images left out, since float32's rounding of a sum decided on a level in the stage before;
            of the first stage, those in which it did.
        mismatches: Values that differ: none, unless a check was ignored.
        ignored: What was found and ignored: name of the check -> sentence.
        missing: Why nothing was compared; "" where it was.
    """

    stage: str
    against: str
    images: int
    compared: tuple[Compared, ...]
    scores: Scores | None
    ties: int = 0
    undecided: tuple[int, ...] = ()
    mismatches: int = 0
    ignored: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""

    @property
    def tensors(self) -> int:
        """Tensors compared."""
        return len(self.compared)

    @property
    def elements(self) -> int:
        """Values compared, over all images."""
        return self.images * sum(entry.values for entry in self.compared)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know besides the numbers, a sentence each."""
        found = [f"{self.stage}: not compared: {self.missing}"] if self.missing else []
        if self.ties:
            found.append(
                f"{self.stage}: in {self.ties} of {self.images} images several classes share the best score (or the "
                "one score is 0); the accelerator takes the lowest class"
            )
        if self.undecided and self.against and not self.ignored:  # the first stage is compared with nothing
            found.append(
                f"{self.stage}: {len(self.undecided)} of {self.images} images left out: float32's rounding of a sum "
                "decides on a level there"
            )
        return (
            *found,
            *(f"{self.stage}: --ignore-check {name}: {said}" for name, said in self.ignored.items()),
        )

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
            "scores": None if self.scores is None else self.scores.record(),
            "ties": self.ties,
            "undecided": list(self.undecided),
            "ignored": dict(self.ignored),
            "missing": self.missing,
        }


def proof_of(value: Value) -> Proof:
    """The proof whose `Proof.record` is *value*.

    Raises:
        ArtifactError: it is not such a record.
    """
    record = value.fields(_FIELDS)
    return Proof(
        stage=record["stage"].text(),
        against=record["against"].text(),
        images=record["images"].integer(0),
        compared=tuple(from_record(Compared, each) for each in record["compared"].list()),
        scores=None if record["scores"].raw is None else from_record(Scores, record["scores"]),
        ties=record["ties"].integer(0),
        undecided=tuple(each.integer(0) for each in record["undecided"].list()),
        mismatches=record["mismatches"].integer(0),
        ignored={name: said.text(MAX_SENTENCE) for name, said in record["ignored"].entries().items()},
        missing=record["missing"].text(MAX_SENTENCE),
    )


_FIELDS = (
    "stage", "against", "images", "tensors", "elements", "mismatches", "compared", "scores", "ties", "undecided",
    "ignored", "missing",
)  # fmt: skip


def proof_images(kind: str) -> int:
    """How many images every stage of a network of *kind* ("fc", "cnv") is compared on unless told otherwise."""
    return _FEW_IMAGES[kind]


def first_proof(stage: str, observed: Observation) -> Proof:
    """The proof of the first stage: only its scores were checked, against its own logits."""
    images = len(observed.points[0].values)
    return Proof(stage, "", images, (), observed.scores, _ties(observed), observed.undecided)


def missing_proof(stage: str, against: str, why: str) -> Proof:
    """The proof of a stage that could not be compared with *against*."""
    return Proof(stage, against, 0, (), None, missing=why)


def compare(
    stage: str,
    observed: Observation,
    against: str,
    before: Observation,
    *,
    moves_scales: bool = False,
    ignored: Collection[str] = (),
) -> Proof:
    """Compare a stage with the stage before it.

    Args:
        stage, observed: The stage and what it computed.
        against, before: The stage before and what that computed.
        moves_scales: A channel's sums may have changed sign, all of them together, and the scores
            their scale and offset.
        ignored: Names of `CHECKS` that may fail.

    Raises:
        StageMismatch: a tensor differs, or there is one more or less; the first of the stream is named.
    """
    partners = _partners(stage, observed, against, before)
    found: dict[str, str] = {}
    excused: set[int] = set()
    mismatches = 0
    for point in observed.points:
        partner = partners[id(point)]
        wrong = _differences(point, partner, may_negate=moves_scales and point.kind == "sums")
        if wrong is not None and point.kind == "label" and wrong.size:
            wrong &= ~_shared(observed, point.values, partner.values)
        if wrong is not None and wrong.size:
            undecided = [image for image in before.undecided if wrong[image].any()]
            excused.update(undecided)
            wrong[undecided] = False
        if wrong is None or (wrong.size and not wrong.any()):
            continue
        error = _mismatch(stage, point, against, partner, wrong)
        if stage != ANSWERS or ANSWERS not in ignored:
            raise error
        mismatches += int(wrong.sum())
        found.setdefault(ANSWERS, error.what)
    if observed.answer == CLASS:
        _check_scores(stage, observed.scores, against, before.scores, moves_scales=moves_scales)
    images = len(observed.points[0].values)
    if len(excused) > LEFT_OUT or len(excused) == images:
        found["halves"] = (
            f"in {len(excused)} of {images} images float32's rounding decides on a level: sums lie on a half between "
            "two levels, on scales that float32 does not hold exactly"
        )
        if "halves" not in ignored:
            raise StageMismatch(
                f"stage {stage} cannot be compared with stage {against}: {found['halves']}",
                fix="export with scales that are powers of two, or go on knowingly: --ignore-check halves",
                stage=stage,
                against=against,
                images=len(excused),
            )
    compared = tuple(
        Compared(point.kind, point.layer, partners[id(point)].layer, point.values.shape[1])
        for point in observed.points
    )
    return Proof(
        stage,
        against,
        images,
        compared,
        observed.scores,
        _ties(observed),
        tuple(sorted(excused)),
        mismatches,
        found,
    )


def _partners(
    stage: str, observed: Observation, against: str, before: Observation
) -> dict[int, ObservedPoint]:
    """For the id of each point that of the stage before."""
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
    return partners


def differing_images(ours: Observation, theirs: Observation) -> tuple[int, ...]:
    """The images in which two observations of the same points differ by more than a tie."""
    found: set[int] = set()
    for point, partner in zip(ours.points, theirs.points, strict=True):
        wrong = _differences(point, partner, may_negate=False)
        if wrong is not None and point.kind == "label":
            wrong &= ~_shared(ours, point.values, partner.values)
        if wrong is not None:
            found.update(np.flatnonzero(wrong.any(axis=1)).tolist())
    return tuple(sorted(found))


def _best(observed: Observation) -> npt.NDArray[np.bool_] | None:
    """Which scores of each image are its best; None where the last sums are not the scores."""
    sums = observed.of_kind("sums")
    if observed.scores is None or not sums or observed.answer != CLASS:
        return None
    scores = sums[-1].values
    least = scores.max(axis=1, keepdims=True) - TIE * np.abs(scores).max(axis=1, keepdims=True)
    best: npt.NDArray[np.bool_] = scores >= least
    return best


def _zeros(observed: Observation) -> npt.NDArray[np.bool_] | None:
    """Which images have the one score 0 (N, 1); None for a network of other answers."""
    sums = observed.of_kind("sums")
    if observed.answer != SIGN or observed.scores is None or not sums:
        return None
    moved, offset = observed.scores.scale * sums[-1].values, observed.scores.offset
    zero: npt.NDArray[np.bool_] = np.abs(moved + offset) <= TIE * np.maximum(np.abs(moved), abs(offset))
    return zero


def _ties(observed: Observation) -> int:
    """In how many images several classes share the best score."""
    zeros = _zeros(observed)
    if zeros is not None:
        return int(zeros.sum())
    best = _best(observed)
    return 0 if best is None or not observed.of_kind("label") else int((best.sum(axis=1) > 1).sum())


def _shared(observed: Observation, ours: Integers, theirs: Integers) -> npt.NDArray[np.bool_]:
    """Where two classes (N, 1) of the same image both have the best score."""
    zeros = _zeros(observed)
    if zeros is not None:
        return zeros
    best = _best(observed)
    if best is None or ours.shape[1] != 1 or max(ours.max(), theirs.max()) >= best.shape[1]:
        return np.zeros(ours.shape, dtype=np.bool_)
    return np.take_along_axis(best, ours, axis=1) & np.take_along_axis(best, theirs, axis=1)


def observe_answers(
    network: DataflowGraph,
    answer: str,
    result: GoldenResult,
    exported: npt.NDArray[np.float32],
    scores: Scores | None,
) -> tuple[Observation, Observation]:
    """The golden model's logits and answers, and the exported network's, in comparable form.

    Args:
        network: The golden model's.
        answer: What it answers with (`labd_host.flow.answer_kind`).
        result: What it gave.
        exported: The exported network's output (N, classes) or (N, channels, height, width) for the same images.
        scores: What that output is of the logits; None where it is no scale and offset: then the
            classes alone are compared.

    Raises:
        StageFailed: the output is values, and not a scale and an offset of integers.
    """
    outputs = result.outputs[0].reshape(len(exported), -1).astype(np.int64)
    scored = np.moveaxis(exported, 1, -1).reshape(len(exported), -1).astype(np.float64)
    ours, theirs = _labels(network, answer, outputs, scored)
    last = network.layers[-2 if answer == CLASS and len(network.layers) > 1 else -1]
    logits = outputs if answer == VALUES else result.logits
    if scores is None and answer == VALUES:
        raise StageFailed(
            f"the output of {network.name} is not a scale and an offset of integers",
            fix="let the network end in a quantised layer",
        )
    if scores is None or logits is None:
        return Observation(ours, answer=answer), Observation(theirs, answer=answer)
    kind, values = list(last.points(logits.astype(np.int64), logits.astype(np.int64)))[-1]
    steps = scores.steps(scored)
    room = np.maximum(
        0.5, FLOAT_ROUNDINGS * np.finfo(np.float32).eps * np.abs(steps)
    )  # of float32, in large sums
    back = np.where(np.abs(steps - values) <= room, values, np.rint(steps))
    return (
        Observation((ObservedPoint(kind, last.name, values), *ours), scores, answer=answer),
        Observation(
            (ObservedPoint(kind, scores.tensor, back.astype(np.int64)), *theirs), scores, answer=answer
        ),
    )


def _labels(
    network: DataflowGraph, answer: str, outputs: Integers, scored: npt.NDArray[np.float64]
) -> tuple[tuple[ObservedPoint, ...], tuple[ObservedPoint, ...]]:
    """The classes or signs that the golden model answers with, and those that the export's scores give."""
    if answer == VALUES:
        return (), ()
    best = scored.argmax(axis=1)[:, np.newaxis] if answer == CLASS else (scored > 0).astype(np.int64)
    return (ObservedPoint("label", network.layers[-1].name, outputs),), (
        ObservedPoint("label", "exported", best),
    )


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
    if stage == ANSWERS:
        fix = "report this with the exported network, or go on knowingly: --ignore-check answers"
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
