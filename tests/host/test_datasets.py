"""Where data sets come from: folder, cache, mirrors; every wait ends."""

import gzip
import hashlib
import http.server
import socket
import struct
import threading
import time

import numpy as np
import pytest

from labd_host import datasets
from labd_host.datasets import SOURCES, Source
from labd_host.machine.downloads import DownloadLimits
from labd_shared.datasets import DATASETS, SPLITS
from labd_shared.errors import DataDamaged, DataMissing, UnknownName
from support.cifar_files import split_of, write_official
from support.facts import lacking

QUICK = DownloadLimits(connect_s=2.0, silence_s=0.3, file_s=0.6, file_bytes=1 << 20)


def idx(array):
    head = struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def official(split, count):
    """The two files of an MNIST split, by name."""
    images = (np.arange(count * 784) % 251).astype(np.uint8).reshape(count, 28, 28)
    labels = (np.arange(count) % 10).astype(np.uint8)
    image_name, label_name = DATASETS["mnist"].forms[0].files[split]
    return {image_name: idx(images), label_name: idx(labels)}


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no folder of the user's, and no proxy between us and the loopback."""
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LABD_DATASETS", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "datasets" / "mnist"


@pytest.fixture
def mirror():
    """A web server on the loopback; ``mirror.files`` is what it serves, by name."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            data = server.files.get(self.path.lstrip("/"))
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            try:
                for part in data if isinstance(data, list) else [data]:
                    if callable(part):
                        part()
                    else:
                        self.wfile.write(part)
                        self.wfile.flush()
            except OSError:
                pass  # the client has had enough

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.asked = {}, []
    server.address = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def sources_of(files, *addresses):
    return {
        name: Source(hashlib.sha256(data).hexdigest(), tuple(address + name for address in addresses))
        for name, data in files.items()
    }


def test_the_users_folder_comes_before_the_cache(tmp_path, cache, monkeypatch):
    put(cache, official("test", 3))
    put(tmp_path / "own" / "mnist", official("test", 5))
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "own"))
    assert datasets.find("mnist", "test") == tmp_path / "own" / "mnist"
    images, labels = datasets.load("mnist", "test")
    assert (images.shape, labels.tolist()) == ((5, 28, 28, 1), [0, 1, 2, 3, 4])


def test_the_cache_helps_out_where_the_users_folder_lacks_a_split(tmp_path, cache, monkeypatch):
    put(cache, {**official("test", 3), **official("train", 4)})
    put(tmp_path / "own" / "mnist", official("test", 5))
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "own"))
    assert datasets.find("mnist") == cache
    assert len(datasets.load("mnist", "train")[1]) == 4


def test_what_is_nowhere_is_downloaded_and_kept(cache, mirror, capfd):
    files = official("test", 3)
    mirror.files = dict(files)
    found = datasets.find("mnist", "test", sources=sources_of(files, mirror.address))
    assert found == cache
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == files
    assert "downloading t10k-images-idx3-ubyte.gz" in capfd.readouterr().err
    mirror.files.clear()  # from now on the cache does
    assert datasets.find("mnist", "test", sources={}) == cache


def test_only_the_missing_file_is_downloaded(cache, mirror):
    files = official("test", 3)
    mirror.files = dict(files)
    put(cache, {name: data for name, data in files.items() if "labels" in name})
    datasets.find("mnist", "test", sources=sources_of(files, mirror.address))
    assert mirror.asked == ["/t10k-images-idx3-ubyte.gz"]


def test_a_mirror_that_sends_something_else_is_passed_over(cache, mirror):
    files = official("test", 3)
    mirror.files = {"bad/" + name: data[:-1] for name, data in files.items()}
    mirror.files.update({"good/" + name: data for name, data in files.items()})
    sources = sources_of(files, closed_port(), mirror.address + "bad/", mirror.address + "good/")
    assert datasets.find("mnist", "test", sources=sources) == cache
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == files


def test_without_network_and_data_the_error_says_what_to_put_where(cache):
    files = official("test", 3)
    began_s = time.monotonic()
    with pytest.raises(DataMissing) as raised:
        datasets.find("mnist", "test", sources=sources_of(files, closed_port()))
    assert time.monotonic() - began_s < 10
    assert raised.value.what.startswith("mnist is not on this machine (LABD_DATASETS is not set; ")
    assert "no connection" in raised.value.what
    files = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    assert lacking(raised.value.fix, *files, str(cache), "folder mnist", "LABD_DATASETS") == []
    assert not cache.exists() or not list(cache.iterdir())


def test_the_error_names_the_folder_the_variable_points_at(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "typo"))
    with pytest.raises(DataMissing) as raised:
        datasets.find("mnist", "test", sources={})
    assert f"LABD_DATASETS is '{tmp_path / 'typo'}'" in raised.value.what
    assert f"{tmp_path / 'typo' / 'mnist'} lacks t10k-images-idx3-ubyte.gz" in raised.value.what


def test_bad_answers_of_mirrors_are_named_and_leave_nothing(cache, mirror):
    files = official("test", 3)
    mirror.files = {"bad/" + name: b"something else" for name in files}
    sources = sources_of(files, mirror.address + "gone/", mirror.address + "bad/")
    with pytest.raises(DataMissing) as raised:
        datasets.find("mnist", "test", sources=sources)
    assert "answered 404 Not Found" in raised.value.what
    assert "sent a file with another checksum" in raised.value.what
    assert list(cache.iterdir()) == []


def test_a_silent_mirror_is_given_up(cache, mirror):
    files = official("test", 3)
    release = threading.Event()
    mirror.files = {name: [data[:10], lambda: release.wait(20), data[10:]] for name, data in files.items()}
    began_s = time.monotonic()
    try:
        with pytest.raises(DataMissing, match="Read timed out"):
            datasets.find("mnist", "test", sources=sources_of(files, mirror.address), limits=QUICK)
    finally:
        release.set()
    assert time.monotonic() - began_s < 5
    assert list(cache.iterdir()) == []


def test_a_mirror_that_only_trickles_is_given_up(cache, mirror):
    files = official("test", 3)
    release = threading.Event()
    drops = [part for _ in range(400) for part in (b"x", lambda: release.wait(0.05))]
    mirror.files = dict.fromkeys(files, drops)
    began_s = time.monotonic()
    try:
        with pytest.raises(DataMissing, match=r"bytes came within 0\.6 s and no end"):
            datasets.find("mnist", "test", sources=sources_of(files, mirror.address), limits=QUICK)
    finally:
        release.set()
    assert time.monotonic() - began_s < 5


def test_a_mirror_that_never_stops_sending_is_given_up(cache, mirror):
    files = official("test", 3)
    mirror.files = dict.fromkeys(files, [b"x" * 65536] * 100)
    with pytest.raises(DataMissing, match="and no end"):
        datasets.find("mnist", "test", sources=sources_of(files, mirror.address), limits=QUICK)
    assert list(cache.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_to_be_removed(cache):
    files = official("test", 3)
    name = DATASETS["mnist"].forms[0].files["test"][0]
    put(cache, {**files, name: files[name][:-40]})
    with pytest.raises(DataDamaged) as raised:
        datasets.load("mnist", "test")
    assert raised.value.fix == f"remove {cache}, then again: it is downloaded anew"


def test_an_unknown_data_set_and_an_unknown_split_get_a_suggestion(cache):
    with pytest.raises(UnknownName, match="did you mean 'mnist'"):
        datasets.find("minst")
    with pytest.raises(UnknownName, match="no split of mnist named 'tset'"):
        datasets.load("mnist", "tset")


def test_either_distribution_of_cifar_is_taken_and_the_preferred_one_downloaded(
    tmp_path, cache, mirror, monkeypatch
):
    own, cifar_cache = tmp_path / "own", cache.parent / "cifar10"
    archive = write_official(tmp_path / "made", "cifar10")
    mirror.files = {archive.name: archive.read_bytes()}
    found = datasets.find("cifar10", sources=sources_of(mirror.files, mirror.address))
    assert found == cifar_cache and mirror.asked == ["/cifar-10-binary.tar.gz"]
    write_official(own / "cifar10", "cifar10", "python")
    monkeypatch.setenv("LABD_DATASETS", str(own))
    assert datasets.find("cifar10") == own / "cifar10"
    images, labels = datasets.load_official("cifar10", "train", sources={})
    wanted_images, wanted_labels = split_of("cifar10", "train")
    assert np.array_equal(images, wanted_images) and np.array_equal(labels, wanted_labels)


def test_cifar_100_without_training_images_says_so_only_when_they_are_asked_for(tmp_path, cache, monkeypatch):
    write_official(tmp_path / "own" / "cifar100", "cifar100", splits=("test",))
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "own"))
    assert datasets.find("cifar100", sources={}) == tmp_path / "own" / "cifar100"
    assert len(datasets.load_official("cifar100", "test", sources={})[1]) == 20
    with pytest.raises(DataMissing, match="holds no cifar-100-binary/train.bin") as raised:
        datasets.load_official("cifar100", "train", sources={})
    assert raised.value.fix.startswith(f"put cifar-100-binary.tar.gz into {cache.parent / 'cifar100'}; or")


def test_what_the_users_archive_lacks_comes_from_the_cache_or_a_mirror(tmp_path, cache, mirror, monkeypatch):
    write_official(tmp_path / "own" / "cifar100", "cifar100", splits=("test",))
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "own"))
    whole = write_official(tmp_path / "whole", "cifar100")
    mirror.files = {whole.name: whole.read_bytes()}
    images, _ = datasets.load_official("cifar100", "train", sources=sources_of(mirror.files, mirror.address))
    assert np.array_equal(images, split_of("cifar100", "train")[0])
    assert len(datasets.load_official("cifar100", "train", sources={})[0]) == len(images)


def test_a_damaged_archive_in_the_cache_is_to_be_removed(cache):
    archive = write_official(cache.parent / "cifar10", "cifar10")
    archive.write_bytes(archive.read_bytes()[:-20000])
    with pytest.raises(DataDamaged) as raised:
        datasets.load_official("cifar10", "test", sources={})
    assert raised.value.fix == f"remove {archive.parent}, then again: it is downloaded anew"


def test_every_official_file_has_pinned_addresses():
    for spec in DATASETS.values():
        for split in SPLITS:
            for name in spec.forms[0].handed_out(split):
                source = SOURCES[name]
                assert len(source.sha256) == 64
                assert source.urls and all(
                    url.startswith("https://") and url.endswith(name) for url in source.urls
                )
