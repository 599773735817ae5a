"""Pinned host keys: the file, its format, and what a fingerprint is."""

import subprocess
import threading

import asyncssh
import pytest

from labd_host.machine import hostkeys
from labd_shared.errors import UsageError


def new_key(kind="ssh-ed25519"):
    return " ".join(asyncssh.generate_private_key(kind).export_public_key().decode().split()[:2])


def test_a_pinned_key_is_found_under_its_port_only(places):
    key = new_key()
    hostkeys.pin("127.0.0.1", 20300, key + " a comment\n")
    assert hostkeys.lookup("127.0.0.1", 20300) == (key,)
    assert hostkeys.lookup("127.0.0.1", 20400) == ()
    assert hostkeys.path().read_text() == f"[127.0.0.1]:20300 {key}\n"
    assert hostkeys.path().stat().st_mode & 0o777 == 0o600


def test_pinning_again_replaces_and_leaves_the_others(places):
    old, new, other = new_key(), new_key("ecdsa-sha2-nistp256"), new_key()
    hostkeys.pin("a.example.org", 22, other)
    hostkeys.pin("127.0.0.1", 20300, old)
    hostkeys.pin("127.0.0.1", 20300, new)
    assert hostkeys.lookup("127.0.0.1", 20300) == (new,)
    assert hostkeys.lookup("a.example.org", 22) == (other,)


def test_many_at_once_lose_no_key(places):
    keys = {20000 + number: new_key() for number in range(12)}
    threads = [
        threading.Thread(target=hostkeys.pin, args=("127.0.0.1", port, key)) for port, key in keys.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {port: hostkeys.lookup("127.0.0.1", port) for port in keys} == {
        port: (key,) for port, key in keys.items()
    }


def test_the_fingerprint_is_openssh_s(places):
    key = asyncssh.generate_private_key("ssh-ed25519")
    assert hostkeys.fingerprint(key.export_public_key().decode()) == key.get_fingerprint("sha256")


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAA", "a b\nc d e"])
def test_what_is_no_key_is_not_pinned(places, text):
    with pytest.raises(UsageError, match="is no public host key"):
        hostkeys.pin("127.0.0.1", 20300, text)
    assert not hostkeys.path().exists()


def test_pinning_needs_neither_fabric_nor_paramiko(places):
    import sys

    code = "import sys, labd_host.machine.hostkeys; sys.exit(bool({'fabric', 'paramiko'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=20).returncode == 0
