"""All changes that bring an export to what FINN's steps know, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labd_host.rewrites.flat_images import flatten_as_sent
from labd_host.rewrites.flat_quantisers import quantise_before_flattening
from labd_host.rewrites.pixels import take_whole_pixels
from labd_host.rewrites.pools import move_behind_quantisers
from labd_host.rewrites.scales import join_scales
from labd_host.rewrites.window_means import sum_windows
from labd_host.rewrites.windows import fit_windows

if TYPE_CHECKING:
    import onnx

_REWRITES = (
    sum_windows,
    fit_windows,
    join_scales,
    take_whole_pixels,
    move_behind_quantisers,
    quantise_before_flattening,
    flatten_as_sent,
)


def rewrite_for_finn(graph: onnx.GraphProto) -> list[str]:
    """Change *graph*, whose shapes are known, in place; a line for each change.

    Raises:
        ArtifactError: it holds what cannot be brought to such a form.
    """
    return [note for rewrite in _REWRITES for note in rewrite(graph)]
