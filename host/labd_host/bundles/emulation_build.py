"""`labd build --target emu`: from a trained network to a bundle for virtual boards."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from labd_host.bundles.bitfile_writer import write_bit
from labd_host.bundles.bundle_writer import NETWORK_NAME, write_bundle
from labd_host.bundles.hwh_writer import write_hwh
from labd_host.bundles.preparation import Prepared, Say, prepare
from labd_host.bundles.writable_layers import writable_layers
from labd_host.dataflow.folding import FoldingSource
from labd_host.flow import CompiledNetwork
from labd_shared.arrays import save_npz
from labd_shared.bundle import Bundle
from labd_shared.digest import file_sha256
from labd_shared.manifest import Manifest


@dataclass(frozen=True)
class Built:
    """A bundle and how it came about."""

    bundle: Bundle
    compiled: CompiledNetwork


def build_emulation(
    network: str,
    folder: Path,
    *,
    folding: FoldingSource,
    clock_mhz: float,
    say: Say,
    model: Path | None = None,
) -> Built:
    """Compile a network of the table, measure its golden model on the whole test split, write a bundle.

    Args:
        network: A name of the table, or a user's own network (NAME.toml).
        folder: The bundle's folder; the compiled stages and their proofs go beside it, into FOLDER.stages.
        folding: Where PE and SIMD of the layers come from.
        clock_mhz: What the accelerator is to run at.
        say: Told what happens.
        model: A trained export of that network, from `labd train`; the one that ships when None.

    Raises:
        UsageError: unknown names, or a clock the dividers do not reach.
        DataMissing: the data set is not to be had.
        BuildError: a stage failed or changed a result.
    """
    folder = folder.absolute()
    stages = folder.with_name(folder.name + ".stages")  # beside the bundle: they are its proof
    prepared = prepare(network, stages, folding=folding, clock_mhz=clock_mhz, say=say, model=model)
    return Built(write_emulation(prepared, folder, clock_mhz), prepared.compiled)


def write_emulation(prepared: Prepared, folder: Path, clock_mhz: float) -> Bundle:
    """Write the bundle for virtual boards of a network that is prepared.

    Raises:
        UsageError: *folder* holds something else than a bundle, no divider reaches the clock, or the
            folding makes a layer writable that labd cannot write to.
    """
    compiled = prepared.compiled
    network = compiled.golden.network
    writable = writable_layers(network.layers, compiled.settings)

    def fill(making: Path) -> Manifest:
        shutil.copyfile(compiled.network_file, making / NETWORK_NAME)
        write_bit(making / "accel.bit", network_sha256=file_sha256(making / NETWORK_NAME))
        achieved_mhz = write_hwh(
            making / "accel.hwh",
            clock_mhz=clock_mhz,
            inputs=compiled.inputs,
            outputs=compiled.outputs,
            memories={each.file.block: each.range_bytes for each in writable},
        )
        for each in writable:
            path = making / each.file.name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(each.content(network.weights(each.layer)))
        save_npz(making / "golden.npz", prepared.golden)
        return prepared.manifest(
            "emu",
            clock_mhz=achieved_mhz,
            slack_ns=None,
            expected=prepared.expected(achieved_mhz),
            tools=dict(compiled.tools),
        )

    return write_bundle(folder, fill)
