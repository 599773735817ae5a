"""What a bitfile makes of the programmable logic of a virtual board.

Everything that silicon would refuse is refused here, and so is what only an emulator can miss: the
network it would have to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from labd_host.dataflow import layers
from labd_host.dataflow.layers import Mvau
from labd_host.dataflow.weight_memory import WORD_BYTES, line_words
from labd_host.virtual_board.weight_memory_block import Rewritable, WeightMemory
from labd_shared.bitfile import PYNQ_Z2_PART, check_part, read_bit
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, DigestMismatch, WrongPart, WrongTarget
from labd_shared.hwh import Block, Hwh, read_hwh
from labd_shared.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    NETWORK_NAME,
    Expected,
    Manifest,
    parse_manifest,
)
from labd_shared.packing import pack_tensor, unpack_tensor
from labd_shared.tensors import Tensor
from labd_shared.weight_files import FOLDER, parse_layer_file

CHUNK_FRAMES = 4096  # computed at once: bounds the memory of the unpacked values

Array = npt.NDArray[Any]
Frames = npt.NDArray[np.uint8]


class FrameComputer(Rewritable, Protocol):
    """What computes: `labd_host.golden.golden_model.GoldenModel`, or a stand-in of a test."""

    network: layers.DataflowGraph  # its layers, where the weights of some can be written


LoadNetwork = Callable[[Path], FrameComputer]


def load_golden_model(path: Path) -> FrameComputer:
    """The golden model in *path*."""
    from labd_host.golden.golden_model import GoldenModel  # numpy's linear algebra, when it is needed

    return GoldenModel.load(path)


@dataclass(frozen=True)
class Overlay:
    """A configured accelerator.

    Attributes:
        bitfile: Where it came from.
        blocks: What the processor can address, by name.
        input, outputs: What the DMAs move.
        expected: The cycle model's numbers.
        network: What computes, with the weights of the bitfile.
        writable: The layers whose weights can be written, by the block that takes them.
    """

    bitfile: Path
    blocks: dict[str, Block]
    input: Tensor
    outputs: tuple[Tensor, ...]
    expected: Expected
    network: FrameComputer
    writable: dict[str, Mvau]

    @property
    def depth_frames(self) -> int:
        """Frames that fit into the accelerator before its input stalls."""
        return max(1, -(-self.expected.latency_cycles // self.expected.cycles_per_frame))

    def memories(self) -> list[WeightMemory]:
        """The weight memories, as the bitfile leaves them."""
        return [
            WeightMemory(
                name,
                self.blocks[name].base,
                self.blocks[name].size,
                layer,
                self.network.network.weights(layer),
            )
            for name, layer in self.writable.items()
        ]

    def compute(self, packed: Frames, parts: Sequence[tuple[int, FrameComputer]]) -> list[Frames]:
        """Run frames: packed bytes (n, frame bytes) in, the same of every output out.

        Args:
            packed: The frames.
            parts: So many of them in turn are computed by this network.
        """
        results = [np.empty((len(packed), tensor.frame_bytes), np.uint8) for tensor in self.outputs]
        start = 0
        for frames, network in parts:
            for first in range(start, start + frames, CHUNK_FRAMES):
                part = slice(first, min(first + CHUNK_FRAMES, start + frames))
                shape = self.input.batched(self.input.packed, part.stop - part.start)
                values = unpack_tensor(packed[part].reshape(shape), self.input)
                for tensor, output, result in zip(
                    self.outputs, network.run(values).outputs, results, strict=True
                ):
                    result[part] = pack_tensor(np.asarray(output), tensor).reshape(len(values), -1)
            start += frames
        return results


def load_overlay(
    bitfile: Path, part: str = PYNQ_Z2_PART, load_network: LoadNetwork = load_golden_model
) -> Overlay:
    """Read what lies beside *bitfile* and check that it belongs together.

    Raises:
        WrongPart: bitfile or .hwh are for another device.
        WrongTarget: there is no network to compute with.
        DigestMismatch: the network is not the one the bitfile or the manifest names.
        ArtifactError: a file is missing or damaged, or a DMA of the manifest is not in the .hwh.
    """
    bit = read_bit(bitfile)
    check_part(bit, part)
    hwh = read_hwh(bitfile.with_suffix(".hwh"))
    if hwh.part != part:
        raise WrongPart(
            f"{bitfile.with_suffix('.hwh').name} is for {hwh.part}, the board has a {part}",
            fix="copy the .hwh that was built together with the bitfile",
            part=hwh.part,
        )
    folder = bitfile.parent
    network = folder / NETWORK_NAME
    if not network.is_file():
        raise WrongTarget(
            f"{folder.name} has no {NETWORK_NAME}: a virtual board has nothing to compute with",
            fix=f"labd attach-network {folder} {NETWORK_NAME}",
        )
    manifest = _manifest(folder)
    digest = file_sha256(network)
    entry = manifest.files.get(NETWORK_NAME)
    named = {bitfile.name: bit.network_sha256(), MANIFEST_NAME: entry.sha256 if entry else None}
    for source, wanted in named.items():
        if wanted is not None and wanted != digest:
            raise DigestMismatch(
                f"{NETWORK_NAME} has sha256 {digest[:12]}, {source} names {wanted[:12]}",
                fix="build or deploy the bundle again: its files do not belong together",
            )
    model = load_network(network)
    return Overlay(
        bitfile,
        hwh.blocks,
        _only(manifest.inputs, "inputs", manifest, hwh),
        (_only(manifest.outputs, "outputs", manifest, hwh),),
        manifest.expected,
        model,
        _writable(manifest, hwh, model),
    )


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    try:
        with path.open("rb") as handle:
            return parse_manifest(handle.read(MAX_MANIFEST_BYTES + 1))
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({error.strerror}): the virtual board does not know the tensors",
            fix="program the accel.bit inside a bundle: labd build NETWORK --target emu -o DIR",
        ) from error


def _only(tensors: Sequence[Tensor], noun: str, manifest: Manifest, hwh: Hwh) -> Tensor:
    if len(tensors) != 1:
        raise ArtifactError(
            f"{manifest.network} has {len(tensors)} {noun}, a virtual board computes networks with one: "
            "the graphs that labd compiles are chains",
            fix="run it on a real board; its driver takes any number",
        )
    return _with_block(tensors[0], hwh)


def _with_block(tensor: Tensor, hwh: Hwh) -> Tensor:
    if tensor.dma not in hwh.blocks:
        raise ArtifactError(
            f"the manifest moves {tensor.name!r} with {tensor.dma}, the .hwh has "
            f"{', '.join(sorted(hwh.blocks)) or 'no block'}",
            fix="build or deploy the bundle again: its files do not belong together",
        )
    return tensor


def _writable(manifest: Manifest, hwh: Hwh, model: FrameComputer) -> dict[str, Mvau]:
    """The layers that the manifest has weights to write for, by their block."""
    found: dict[str, Mvau] = {}
    for name in sorted(each for each in manifest.files if each.startswith(FOLDER)):
        file = parse_layer_file(name)
        if file is None:
            raise ArtifactError(
                f"{name} is read from memory by a DMA of its own, a virtual board has no such DMA",
                fix="run it on a real board, or build the design with these weights inside",
            )
        layers = {layer.name: layer for layer in model.network.layers if isinstance(layer, Mvau)}
        layer, block = layers.get(file.node), hwh.blocks.get(file.block)
        if layer is None or block is None or block.size < WORD_BYTES * layer.weight_words * line_words(layer):
            raise ArtifactError(
                f"{file.name} has no place: "
                + (
                    f"the network has no MVAU {file.node}"
                    if layer is None
                    else f"the .hwh has no {file.block} with room for {layer.weight_words * line_words(layer)} words"
                ),
                fix="build or deploy the bundle again: its files do not belong together",
            )
        found[file.block] = layer
    return found
