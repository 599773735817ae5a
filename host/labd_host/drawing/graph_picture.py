"""What a picture of a stage's graph shows, as plain data: `labd_host.flow` fills it in from ONNX."""

from dataclasses import dataclass

KEPT, ADDED, CHANGED = "kept", "added", "changed"


@dataclass(frozen=True)
class Box:
    """One operation, or the network's input or output.

    Attributes:
        name: The node's name, as the model has it.
        op: "MatMul", "MVAU_hls", ...
        kind: What sort of operation, one of `graph_colours.KINDS`.
        lines: Parameters, folding, cycles: a line each.
        state: KEPT, ADDED or CHANGED since the stage before.
        changes: What changed, a line each ("PE 1 → 16").
        facts: Every attribute, for who points at the box.
        output: Shape and datatype of what it gives ("1×64 BINARY"), "" for none.
        inside: It runs on the FPGA (drawn inside the partition's frame).
        slowest: It sets the frame rate.
        proven: What it gives was compared with the stage before, and is equal.
    """

    name: str
    op: str
    kind: str
    lines: tuple[str, ...] = ()
    state: str = KEPT
    changes: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    output: str = ""
    inside: bool = False
    slowest: bool = False
    proven: bool = False


@dataclass(frozen=True)
class Wire:
    """A tensor from one box to another, by their places in `GraphPicture.boxes`; source < target."""

    source: int
    target: int


@dataclass(frozen=True)
class Gone:
    """An operation of the stage before that this one does not have.

    Attributes:
        name, op, kind: As in `Box`.
        near: The box it stood next to, by its place.
        into: What became of it ("now in MVAU_0"), "" if nothing is known.
    """

    name: str
    op: str
    kind: str
    near: int
    into: str = ""


@dataclass(frozen=True)
class GraphPicture:
    """A stage's graph.

    Attributes:
        stage, title: As in `labd_host.flow.stages`.
        before: The stage that the changes are counted from, "" for the first.
        boxes: In an order in which they can run.
        wires: Between them.
        gone: In the order they had.
        frame: What the frame around the boxes inside is called, "" for no frame.
    """

    stage: str
    title: str
    before: str
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    gone: tuple[Gone, ...] = ()
    frame: str = ""

    @property
    def summary(self) -> str:
        """What the transformation did, in numbers."""
        if not self.before:
            return "the first stage: nothing to compare it with"
        counts = (
            (sum(box.state == ADDED for box in self.boxes), "added"),
            (sum(box.state == CHANGED for box in self.boxes), "changed"),
            (len(self.gone), "removed"),
            (sum(box.inside for box in self.boxes) if self.frame else 0, "cut out for the FPGA"),
        )
        said = ", ".join(f"{count} {what}" for count, what in counts if count) or "no operation differs"
        return f"since {self.before}: {said}"
