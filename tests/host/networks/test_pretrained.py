"""Published weights: fetched over a loopback server, checked, handed to the process; none of Brevitas' own here."""

import hashlib
import http.server
import json
import socket
import threading
from dataclasses import replace

import pytest

from labd_host.machine.downloads import DownloadLimits
from labd_host.networks import NETWORKS, launch, network, trained_record
from labd_host.networks.pretrained import checksum, fetch
from labd_host.networks.table import parse_table
from labd_shared.errors import ArtifactError, DataMissing, DigestMismatch, UsageError
from support.listeners import Kept
from support.training import empty_mnist, train_python

WEIGHTS = b"any bytes: what is in them is not looked at here"
FILE = f"tfc_1w1a-{hashlib.sha256(WEIGHTS).hexdigest()[:8]}.pth"
QUICK = DownloadLimits(connect_s=2.0, silence_s=2.0, file_s=2.0, file_bytes=1 << 20)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no proxy between us and the loopback."""
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "pretrained"


@pytest.fixture
def server():
    """A web server on the loopback; ``server.data`` is what it gives to everybody, who asked is in ``asked``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            made.asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(made.data)

        def log_message(self, *arguments):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.data, made.asked = WEIGHTS, []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def published_at(server, file=FILE):
    return replace(network("tfc-w1a1"), pretrained=f"http://127.0.0.1:{server.server_port}/{file}")


def test_weights_are_fetched_once(cache, server):
    tfc = published_at(server)
    assert fetch(tfc, QUICK) == cache / FILE
    assert fetch(tfc, QUICK).read_bytes() == WEIGHTS
    assert server.asked == [f"/{FILE}"]


def test_weights_of_another_checksum_are_not_taken(cache, server):
    server.data = b"something else"
    with pytest.raises(
        DataMissing, match=r"could not be downloaded \(http.* sent a file with another checksum\)"
    ):
        fetch(published_at(server), QUICK)
    assert not (cache / FILE).exists()


def test_without_a_network_it_says_what_to_put_where(cache):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/{FILE}"
        with pytest.raises(DataMissing) as raised:
            fetch(replace(network("tfc-w1a1"), pretrained=url), QUICK)
    assert f"the published weights of tfc-w1a1 are not in {cache} and could not be" in raised.value.what
    assert "no connection" in raised.value.what
    assert raised.value.fix == f"fetch {url} where there is a network, and put it into {cache}"


def test_what_was_put_there_is_checked_and_kept(cache):
    cache.mkdir(parents=True)
    tfc = replace(network("tfc-w1a1"), pretrained=f"https://example.invalid/{FILE}")
    (cache / FILE).write_bytes(WEIGHTS)
    assert fetch(tfc, QUICK) == cache / FILE
    (cache / FILE).write_bytes(WEIGHTS[:-1])
    with pytest.raises(DigestMismatch, match=rf"has sha256 .*, its name says {checksum(tfc)}"):
        fetch(tfc, QUICK)
    assert (cache / FILE).exists(), "a user's file is not removed"


def test_where_none_were_published_it_says_so(cache):
    with pytest.raises(UsageError, match="there are no published weights of vgg9-w1a1"):
        fetch(network("vgg9-w1a1"), QUICK)
    assert {name for name, each in NETWORKS.items() if not each.pretrained} == {"vgg9-w1a1"}


@pytest.mark.parametrize(
    "address", ["ftp://x/tfc-45185b4d.pth", "https://x/tfc.pth", "https://x/tfc-45185b4d.zip"]
)
def test_an_address_without_a_checksum_is_refused(address):
    entry = 'kind="fc"\ndataset="mnist"\nclasses=10\ninput_shape=[28,28,1]\nin_bits=1\nweight_bits=1\nact_bits=1\n'
    with pytest.raises(
        ArtifactError, match=r"net\.pretrained is '.*', https://\.\.\./NAME-45185b4d\.pth is wanted"
    ):
        parse_table(f'[net]\n{entry}convs=[]\nhidden=[4]\npretrained="{address}"\n')


@pytest.mark.parametrize(("epochs", "asked"), [(None, 0), (7, 7)])
def test_the_process_gets_the_weights_and_resuming_knows(tmp_path, cache, server, monkeypatch, epochs, asked):
    empty_mnist(tmp_path / "data")
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path / "data"))
    python = train_python(tmp_path / "python", "tfc-w1a1", "$*")
    noted, out, tfc = [], tmp_path / "out", published_at(server)
    settings = {"listener": Kept(noted), "python": python}
    assert launch.train(tfc, out, epochs=epochs, pretrained=True, **settings) == trained_record("tfc-w1a1")
    launch.train(tfc, out, resume=True, **settings)
    given = f"--epochs {asked} --seed 0 --precision float32 --threads 1 --pretrained {cache / FILE}"
    assert [line.split(f"{out} ")[1] for line in noted] == [given, given]
    assert json.loads((out / "run.json").read_text())["pretrained"] is True
