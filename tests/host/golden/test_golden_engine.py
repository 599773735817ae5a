"""Both forms of the golden model against the slow one, where networks are odd and processors are other ones."""

import dataclasses
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from labd_host.dataflow.layers import DataflowGraph, Mvau
from labd_host.golden.golden_model import GoldenModel
from labd_host.machine.kernel_cache import cache_folder
from labd_shared.errors import UsageError
from labd_shared.tensors import make_tensor
from support.odd_networks import NETWORKS, network
from support.slow_golden import slow

FORMS = ["compiled", "numpy"]
COMPARE_ALL = """
import numpy as np
from labd_host.golden.golden_model import GoldenModel
from support.odd_networks import NETWORKS, network
for name in NETWORKS:
    found, images = network(name)
    ours, theirs = (GoldenModel(found, form=form).run(images) for form in ("compiled", "numpy"))
    np.testing.assert_array_equal(ours.outputs[0], theirs.outputs[0], err_msg=name)
    ours, theirs = (GoldenModel(found, form=f).run(images, intermediates=True) for f in ("compiled", "numpy"))
    for layer, values in theirs.intermediates.items():
        np.testing.assert_array_equal(ours.intermediates[layer], values, err_msg=name + ": " + layer)
from labd_host.golden import vectors
print(vectors.ROWS, vectors.COUNTS_WORDS)
"""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_of_an_odd_network_equals_the_slow_model(name, form):
    odd, images = network(name)
    wanted = [slow(odd, image) for image in images]
    model = GoldenModel(odd, form=form)
    traced, whole = model.run(images, intermediates=True), model.run(images)
    assert list(traced.intermediates) == list(wanted[0]), "the same tensors in the same order"
    for layer, values in traced.intermediates.items():
        assert values.tolist() == [frame[layer] for frame in wanted], layer
    last = odd.layers[-1].name
    for result in (traced, whole):
        assert result.outputs[0].reshape(len(images), -1).tolist() == [frame[last] for frame in wanted]
    if whole.logits is None:
        assert traced.logits is None
    else:
        np.testing.assert_array_equal(whole.logits, traced.logits)


def test_a_processor_without_wide_vectors_gives_the_same_answers():
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ","}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    ended = subprocess.run(
        [sys.executable, "-c", COMPARE_ALL],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "2 False\n"), ended.stderr


def test_without_numba_the_answers_come_from_numpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "labd_host.golden.compiled", None)
    odd, images = network("bits counted")
    found = GoldenModel(odd).run(images, threads=2).outputs[0]
    assert found.reshape(len(images), -1).tolist() == [slow(odd, image)["a"] for image in images]
    with pytest.raises(ImportError):
        GoldenModel(odd, form="compiled").run(images)


def test_compiled_code_is_kept_only_where_nobody_else_can_write(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "kernels.py"
    source.write_text("")
    folder = cache_folder(source)
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "cache")
    assert stat.S_IMODE(folder.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH) == 0
    folder.chmod(0o777)
    assert cache_folder(source) is None
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "file"))
    assert cache_folder(source) is None


def test_a_model_that_was_not_run_has_not_imported_numba():
    code = (
        "import sys; from labd_host.golden.golden_model import GoldenModel; from support.odd_networks import network;"
        "GoldenModel(network('signs')[0]); print('numba' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout == "False\n"


@pytest.mark.parametrize("mw", [4094, 4095, 4096])
def test_sums_at_the_edge_of_sharing_a_column_of_float32_are_exact(mw):
    weights = np.zeros((mw, 4), np.int64)
    weights[:, :2] = 1
    ends = [("in", "BINARY", mw, "idma0"), ("out", "UINT32", 4, "odma0")]
    tensors = [make_tensor(end, kind, (1, size), (1, size, 1), "NC", dma) for end, kind, size, dma in ends]
    layer = Mvau("a", mw, 4, 1, 1, 1, 0, True, "BINARY", "BINARY", "UINT32", 0)
    edge = DataflowGraph("edge", (layer,), (tensors[0],), (tensors[1],), {"a.weights": weights})
    images = np.ones((3, mw), np.int64)
    images[1] = 0
    images[2, 0] = 0  # an odd sum, if mw is even
    for form in FORMS:
        found = GoldenModel(edge, form=form).run(images)
        assert found.logits.tolist() == [slow(edge, image)["a"] for image in images]


def test_levels_that_do_not_fit_their_datatype_are_refused():
    odd, _ = network("bits counted")
    layers = (odd.layers[0], dataclasses.replace(odd.layers[1], offset=-1))
    with pytest.raises(UsageError, match="the levels of a reach from -1 to 2, INT2 holds -2 to 1"):
        GoldenModel(dataclasses.replace(odd, layers=layers))


def test_less_than_one_thread_is_refused():
    odd, images = network("signs")
    with pytest.raises(UsageError, match="0 threads"):
        GoldenModel(odd).run(images, threads=0)
