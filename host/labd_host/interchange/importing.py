"""`labd import`: a bundle from what others built. Nothing of it is executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from labd_host.bundles.bundle_writer import (
    check_same_tensors,
    expected_of,
    golden_model,
    write_bundle,
)
from labd_host.bundles.golden_samples import draw_golden, no_golden_samples
from labd_host.interchange.design_files import DesignFiles, read_design
from labd_host.interchange.findings import Findings
from labd_host.interchange.import_manifest import PATIENCE_S, manifest_of
from labd_host.interchange.import_options import ImportOptions
from labd_shared.arrays import save_npz
from labd_shared.bundle import BundleFiles
from labd_shared.manifest import BIT_NAME, GOLDEN_NAME, HWH_NAME, NETWORK_NAME, Manifest
from labd_shared.weight_files import read_words

REPORT_NAME = "import.json"


@dataclass(frozen=True)
class ImportedBundle:
    """A bundle, and all that was found on the way, which `REPORT_NAME` in the bundle holds as well."""

    bundle: BundleFiles
    findings: Findings


def import_design(path: Path, folder: Path, options: ImportOptions) -> ImportedBundle:
    """Make a bundle of somebody else's design.

    Args:
        path: A deploy folder, the notebook's .zip or folder, a settings.json, or a bare .bit.
        folder: The bundle's folder.
        options: What no file says.

    Raises:
        UsageError: options that do not go together, or no such path.
        ArtifactError: a part is missing, damaged, for something else, or contradicts another; weights
            are read by a DMA.
        WrongPart: .bit and .hwh are for two devices.
        WrongTarget: the network file computes something else.
    """
    design = read_design(path, options)
    manifest = manifest_of(design, options, path)

    def fill(making: Path) -> Manifest:
        (making / BIT_NAME).write_bytes(design.bit_bytes)
        (making / HWH_NAME).write_bytes(design.hwh_bytes)
        for name, content in design.weights.items():
            (making / name).parent.mkdir(exist_ok=True)
            (making / name).write_bytes(content)
            read_words(making / name, name)
        if design.network is None:
            made = _without_network(making, design, options, manifest)
        else:
            made = _with_network(making, design.network, design, options, manifest)
        (making / REPORT_NAME).write_text(json.dumps(design.findings.as_records(), indent=2) + "\n")
        return made

    return ImportedBundle(write_bundle(folder, fill), design.findings)


def _without_network(
    making: Path, design: DesignFiles, options: ImportOptions, manifest: Manifest
) -> Manifest:
    """Write golden.npz without samples; the manifest."""
    findings = design.findings
    findings.doubt("golden samples", "none: nothing will prove what a board computes with this bundle")
    if options.cycles is None:
        findings.assumed(
            "cycles",
            f"at least {manifest.expected.cycles_per_frame} a frame, what {manifest.expected.bottleneck} needs; "
            f"a run is given up after about {10 * PATIENCE_S:.0f} s",
        )
    save_npz(making / GOLDEN_NAME, no_golden_samples(manifest.inputs[0], manifest.outputs[0]))
    return manifest


def _with_network(
    making: Path, network: bytes, design: DesignFiles, options: ImportOptions, manifest: Manifest
) -> Manifest:
    """Write *network* and the golden samples it draws; the manifest, with the cycles of its cycle model."""
    findings = design.findings
    (making / NETWORK_NAME).write_bytes(network)
    model = golden_model(making, design.weights)
    check_same_tensors(NETWORK_NAME, model, manifest.inputs, manifest.outputs)
    golden = draw_golden(model, manifest.dataset, manifest.input_contract)
    findings.checked("network", "its tensors are the design's")
    if [each.folded for each in model.inputs] != [each.folded for each in manifest.inputs]:
        findings.doubt(
            "network", f"it was folded {model.inputs[0].folded}, the design {manifest.inputs[0].folded}"
        )
    if not len(golden["images"]):
        findings.doubt("golden samples", "none: raw pixels do not go into this network as they are")
    save_npz(making / GOLDEN_NAME, golden)
    if options.cycles is not None:
        return manifest
    expected = design.clock.in_fclk0(expected_of(model, 1.0))
    findings.checked("cycles", f"{expected.cycles_per_frame} a frame by the network's cycle model")
    return manifest._replace(expected=expected)
