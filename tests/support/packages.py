"""FINN packages of every generation, written by hand: the tiny network of `support.emulated` as FINN would ship it."""

import json

from labd_host.bundles.bitfile_writer import write_bit
from labd_host.bundles.hwh_writer import write_hwh
from labd_host.dataflow.layers import DataflowGraph, LabelSelect
from labd_host.golden.golden_model import GoldenModel
from labd_shared.bitfile import PYNQ_Z2_PART
from support.emulated import INPUT, OUTPUT, PIXELS

SCALARS_2021 = """
import argparse
import numpy as np
from driver_base import FINNExampleOverlay
from finn.core.datatype import DataType

# what the accelerator takes and gives
io_shape_dict = {
    "idt" : DataType.UINT8,
    "odt" : DataType.UINT8,
    "ishape_normal" : (1, 200),
    "oshape_normal" : (1, 1),
    "ishape_folded" : (1, 4, 50),
    "oshape_folded" : (1, 1, 1),
    "ishape_packed" : (1, 4, 50),
    "oshape_packed" : (1, 1, 1),
    "input_dma_name" : 'idma0',
    "number_of_external_weights": 0
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--platform", default="zynq-iodma")
    raise SystemExit("a driver that is read is not run")
"""

LISTS = """
from qonnx.core.datatype import DataType
from driver_base import FINNExampleOverlay

io_shape_dict = {
    "idt" : [DataType['UINT8']],
    "odt" : [DataType['UINT8']],
    "ishape_normal" : [(1, 200)],
    "oshape_normal" : [(1, 1)],
    "ishape_folded" : [(1, 4, 50)],
    "oshape_folded" : [(1, 1, 1)],
    "ishape_packed" : [(1, 4, 50)],
    "oshape_packed" : [(1, 1, 1)],
    "input_dma_name" : ['idma0'],
    "output_dma_name" : ['odma0'],
    "number_of_external_weights": 0,
    "num_inputs" : 1,
    "num_outputs" : 1,
}
platform = "zynq-iodma"
accel = FINNExampleOverlay("x.bit", platform, io_shape_dict, fclk_mhz=100.0)
"""


def settings(**changes):
    """A settings.json of finn-plus; *changes* replace entries of its driver_information."""
    told = {
        "driver_type": "FINNDMAOverlay",
        "platform": "zynq-iodma",
        "fclk_mhz": 100.0,
        "io_shape_dict": {
            "idt": ["DataType['UINT8']"],
            "idma_names": ["idma0"],
            "ishape_normal": [[1, 200]],
            "ishape_folded": [[1, 4, 50]],
            "ishape_packed": [[1, 4, 50]],
            "odt": ["DataType['UINT8']"],
            "odma_names": ["odma0"],
            "oshape_normal": [[1, 1]],
            "oshape_folded": [[1, 1, 1]],
            "oshape_packed": [[1, 1, 1]],
            "num_inputs": 1,
            "num_outputs": 1,
            "number_of_external_weights": "0",
            "external_weights_input_shapes": {},
        },
        "external_weights": False,
        "runtime_weights": False,
    }
    return json.dumps({"driver_information": {**told, **changes}, "experiment_information": {}})


def write_design(folder, stem="finn-accel", part=PYNQ_Z2_PART, clock_mhz=100.0, network_sha256=None):
    """A bitfile and its .hwh in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    write_bit(folder / f"{stem}.bit", network_sha256=network_sha256, part=part)
    write_hwh(folder / f"{stem}.hwh", clock_mhz=clock_mhz, inputs=(INPUT,), outputs=(OUTPUT,))
    return folder / f"{stem}.bit"


def write_deploy(folder, driver=LISTS, **design):
    """A deploy folder with a driver.py, and the empty runtime_weights that FINN always makes."""
    write_design(folder / "bitfile", **design)
    (folder / "driver" / "runtime_weights").mkdir(parents=True)
    (folder / "driver" / "driver.py").write_text(driver)
    return folder


def write_settings_deploy(folder, text=None, **design):
    """A deploy folder of finn-plus."""
    write_design(folder / "bitfile", **design)
    (folder / "driver").mkdir()
    (folder / "driver" / "settings.json").write_text(text or settings())
    return folder


def write_network(path):
    """The golden model of the tiny network."""
    layer = LabelSelect("LabelSelect_0", PIXELS, 1, "UINT8", "UINT8")
    GoldenModel(DataflowGraph("brightest", (layer,), (INPUT,), (OUTPUT,), {})).save(path)
    return path
