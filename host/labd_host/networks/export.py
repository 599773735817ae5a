"""A trained model as QONNX. Train environment only."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from brevitas.export import export_qonnx

from labd_host.networks.table import NetworkSpec
from labd_host.networks.ties import keep_off_sums
from labd_shared.files import replacing

PRODUCER = "labd"


def export(model: torch.nn.Module, network: NetworkSpec, path: Path) -> None:
    """Write *model* to *path* as QONNX for a batch of one: float32 (1, channels, height, width), 0 to 1.

    Thresholds within a rounding error of a sum are moved off it (`ties`). The same weights give the
    same bytes: what the exporter notes about this machine (stack traces with its paths) is taken out.
    The file is replaced in one step.
    """
    height, width, channels = network.input_shape
    model.eval()
    with replacing(path) as making:
        with _quiet():
            export_qonnx(
                model,
                torch.zeros(1, channels, height, width),
                str(making),
                verbose=False,
                optimize=True,
                external_data=False,
                keep_initializers_as_inputs=False,  # weights are constants, not inputs
            )
        graph = onnx.load(str(making))
        _forget_this_machine(graph)
        keep_off_sums(graph)
        making.write_bytes(graph.SerializeToString(deterministic=True))


def _forget_this_machine(model: onnx.ModelProto) -> None:
    _strip(model)
    model.producer_name = PRODUCER
    model.producer_version = ""


def _strip(message: Any) -> None:
    """Drop doc strings and metadata, on every level."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for each in value if isinstance(value, Iterable) else [value]:
                _strip(each)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks on standard output, which is the report channel here, and in the root log."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(level)
