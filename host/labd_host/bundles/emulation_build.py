"""`labd build --target emu`: from a trained network to a bundle for virtual boards."""

from __future__ import annotations

import shutil
from pathlib import Path

from labd_host.bundles.bitfile_writer import write_bit
from labd_host.bundles.bundle_writer import write_bundle
from labd_host.bundles.hwh_writer import write_hwh
from labd_host.bundles.preparation import Prepared
from labd_host.bundles.writable_layers import writable_layers
from labd_shared.arrays import save_npz
from labd_shared.bundle import BundleFiles
from labd_shared.digest import file_sha256
from labd_shared.manifest import BIT_NAME, GOLDEN_NAME, HWH_NAME, NETWORK_NAME, Manifest


def write_emulation(prepared: Prepared, folder: Path, clock_mhz: float) -> BundleFiles:
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
        write_bit(making / BIT_NAME, network_sha256=file_sha256(making / NETWORK_NAME))
        achieved_mhz = write_hwh(
            making / HWH_NAME,
            clock_mhz=clock_mhz,
            inputs=compiled.inputs,
            outputs=compiled.outputs,
            memories={each.file.block: each.range_bytes for each in writable},
        )
        for each in writable:
            path = making / each.file.name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(each.content(network.weights(each.layer)))
        save_npz(making / GOLDEN_NAME, prepared.golden)
        return prepared.manifest(
            "emu",
            clock_mhz=achieved_mhz,
            slack_ns=None,
            expected=prepared.expected(achieved_mhz),
            tools=dict(compiled.tools),
        )

    return write_bundle(folder, fill)
