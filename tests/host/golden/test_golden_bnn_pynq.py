"""The golden model with a network that others trained and decoded: BNN-PYNQ's cnvW1A1 on CIFAR-10."""

import os
from pathlib import Path

import pytest

from labd_host.golden.golden_model import GoldenModel
from labd_shared.datasets import read_official
from support.bnn_pynq import cnv_w1a1


def test_the_parameters_of_bnn_pynq_give_79_37_percent(official_archives):
    folder = Path(os.environ.get("LABD_BNN_PYNQ") or "-")
    if not (folder / "layers.json").is_file():
        pytest.skip("needs BNN-PYNQ's parameters: set LABD_BNN_PYNQ to the folder with layers.json")
    cifar10 = official_archives("cifar10", "cifar-10-binary.tar.gz").parent
    images, labels = read_official(cifar10, "cifar10", "test")
    scores = GoldenModel(cnv_w1a1(folder)).run(images).logits[:, :10]
    assert (len(labels), int((scores.argmax(axis=1) == labels).sum())) == (10000, 7937)
