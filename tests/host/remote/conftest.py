"""A board for the remote tests: an SSH server in this process over a temporary home, and a proxy that
cuts or stalls the link to it. Real paramiko and real bash on both ends; only the accelerator is missing.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import venv
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from labd_host import environments
from labd_host.machine import hostkeys
from labd_host.remote import inventory
from labd_host.remote.transport import Connection, Deadlines
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import ToolNotFound
from labd_shared.manifest import Expected, FileEntry, InputContract, Manifest
from labd_shared.tensors import make_tensor
from support.listeners import Kept

SELFTEST = """
import json, os, sys, time
from pathlib import Path
bundle = Path(__file__).resolve().parents[2] / "bundle"
verdict = (bundle / "golden.npz").read_bytes().split(b"!")[0]
if verdict == b"hang":
    (Path.home() / "hanging").write_text(str(os.getpid()))
    time.sleep(600)
if verdict == b"none":
    error = {"error": "NoGoldenSamples", "what": "it has no golden samples", "fix": "import it again", "facts": {}}
    print(json.dumps({"labd_error": error}), file=sys.stderr)
    sys.exit(3)
if verdict != b"good":
    error = {"error": "GoldenMismatch", "what": "golden sample 3 gave 7, the model says 2", "fix": "again", "facts": {}}
    print(json.dumps({"labd_error": error}), file=sys.stderr)
    sys.exit(7)
print(json.dumps({"samples": 16, "different": 0}))
"""
VALIDATE = """
import json, os, shutil, sys
print("batch 1 / 1 : total OK 3 NOK 1", file=sys.stderr if "--json" in sys.argv else sys.stdout)
print("euid", os.geteuid(), os.environ.get("XILINX_XRT"), os.environ.get("BOARD"), file=sys.stderr)
if "--json" in sys.argv:
    print(json.dumps({"accuracy_percent": 75.0, "arguments": sys.argv[1:]}))
if "--batchsize=666" in sys.argv:
    sys.exit("the accelerator fell over")
for argument in sys.argv:
    if argument.startswith("--predictions="):
        shutil.copyfile(os.path.expanduser("~/said.npz"), argument.split("=", 1)[1])
if "--min-accuracy=90" in sys.argv:
    error = {"error": "AccuracyTooLow", "what": "75 % is below 90 %", "fix": "train on", "facts": {}}
    print(json.dumps({"labd_error": error}), file=sys.stderr)
    sys.exit(7)
"""
CLASSIFY = """
import json, sys
from pathlib import Path
told = []
for path in sorted(Path(sys.argv[-1]).iterdir()):
    if path.read_bytes() == b"torn":
        error = {"error": "ArtifactError", "what": "%s cannot be read: torn" % path, "fix": "again", "facts": {}}
        print(json.dumps({"labd_error": error}), file=sys.stderr)
        sys.exit(5)
    print(path, path.read_text(), file=sys.stderr)
    told.append({"file": str(path), "label": 0, "class": path.read_text(), "best": []})
print(json.dumps({"network": "tfc-w1a1", "images": told, "arguments": sys.argv[1:-1]}))
"""


class BoardServer:
    """One board: home folder, host key, SSH server on a free port of 127.0.0.1."""

    def __init__(self, folder: Path, python_bin: Path, client_key: asyncssh.SSHKey) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        self.home.mkdir(parents=True)
        self.bin.mkdir()
        self.path = f"{self.bin}:{python_bin}:/usr/bin:/bin"
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.full_after_bytes: int | None = None
        self.kills_at_once = False  # what a command started, when its channel closes
        self.port = 0
        self._client_key = client_key
        self._connections: set[Any] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._acceptor: Any = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    @property
    def labd(self) -> Path:
        return self.home / "labd"

    @property
    def public_key(self) -> str:
        return " ".join(self.host_key.export_public_key().decode().split()[:2])

    def start(self) -> None:
        self._call(self._listen())

    def stop(self) -> None:
        async def close() -> None:
            self._acceptor.close()
            await asyncio.sleep(0)  # wait_closed waits for the connections, too, from Python 3.12 on

        self._call(close())

    def restart_with_another_key(self) -> None:
        self.stop()
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.start()

    def end(self) -> None:
        self.stop()

        async def drain() -> None:
            for connection in list(self._connections):
                connection.abort()
                await connection.wait_closed()
            if self._serving:  # commands end with their connection, as on a board
                await asyncio.wait(self._serving, timeout=5)
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.05)  # transports close one turn of the loop later

        self._call(drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        allowed = asyncssh.import_authorized_keys(self._client_key.export_public_key().decode())
        board = self

        class Files(asyncssh.SFTPServer):
            def __init__(self, channel: Any) -> None:
                super().__init__(channel)
                self._written = 0

            def write(self, file_obj: Any, offset: int, data: bytes) -> int:
                self._written += len(data)
                if board.full_after_bytes is not None and self._written > board.full_after_bytes:
                    raise asyncssh.SFTPFailure("No space left on device")
                return super().write(file_obj, offset, data)

        class Login(asyncssh.SSHServer):
            def connection_made(self, conn: Any) -> None:
                board._connections.add(conn)

        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=Login,
            server_host_keys=[self.host_key],
            authorized_client_keys=allowed,
            process_factory=self._serve,
            sftp_factory=Files,
            encoding=None,
        )
        self.port = self._acceptor.get_port()

    async def _serve(self, process: Any) -> None:
        """As sshd does: the command's streams end with the channel, nothing is killed."""
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        child = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            process.command or "true",
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": self.path, "LANG": "C.UTF-8"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

        async def kill() -> None:
            await process.channel.wait_closed()
            if self.kills_at_once:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)

        async def copy(source: Any, target: Any) -> None:
            with contextlib.suppress(OSError, asyncssh.Error):
                while data := await source.read(1 << 16):
                    target.write(data)
                    await target.drain()

        async def feed() -> None:
            with contextlib.suppress(OSError, asyncssh.Error):
                while data := await process.stdin.read(1 << 16):
                    child.stdin.write(data)
                    await child.stdin.drain()
            child.stdin.close()

        feeding = asyncio.ensure_future(asyncio.gather(feed(), kill()))
        await asyncio.gather(copy(child.stdout, process.stdout), copy(child.stderr, process.stderr))
        process.exit(await child.wait())
        await feeding


class Proxy:
    """A TCP proxy before a server: cuts or stalls the link after so many bytes from the client."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.cut_after: int | None = None
        self.stall_after: int | None = None
        self.passed = 0
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            for source, target, counts in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, target, counts), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if self.stall_after is not None and self.passed >= self.stall_after:
                    continue  # swallowed: a dead link, not a closed one
                if counts:
                    self.passed += len(data)
                    if self.cut_after is not None and self.passed >= self.cut_after:
                        break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@dataclass
class Lab:
    """Boards, their inventory, and what was said."""

    folder: Path
    key: Path
    servers: dict[str, BoardServer] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def listener(self) -> Kept:
        return Kept(self.said, self.lines)

    def write_inventory(self, **settings: Any) -> None:
        text = ""
        for number, server in self.servers.items():
            record = {"kind": "real", "host": "127.0.0.1", "port": server.port, "user": "xilinx"}
            record |= {"keys": [str(self.key)], **settings}
            text += f"[boards.{number}]\n"
            text += "".join(f"{name} = {json.dumps(value)}\n" for name, value in record.items())
        (self.folder / "boards.toml").write_text(text)

    def board(self, number: str = "03") -> inventory.BoardEntry:
        return inventory.load().board(number)

    def connect(self, number: str = "03", *, port: int = 0, silence_s: float = 6.0) -> Connection:
        board = self.board(number)
        if port:
            hostkeys.pin("127.0.0.1", port, self.servers[number].public_key)
            board = inventory.replace(board, port=port)
        return Connection(board, Deadlines(silence_s=silence_s, transfer_s=silence_s))


@pytest.fixture(scope="session")
def board_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a Python of the boards' own."""
    folder = tmp_path_factory.mktemp("board-python")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin"


@pytest.fixture
def own_board_python(tmp_path: Path) -> Path:
    """The same, for a test that writes into it."""
    venv.create(tmp_path / "own-python", with_pip=False, symlinks=True)
    return tmp_path / "own-python" / "bin"


@pytest.fixture
def make_board(places: Path, board_python: Path) -> Iterator[Callable[..., BoardServer]]:
    """Makes board servers and ends them."""
    made: list[BoardServer] = []
    key = asyncssh.generate_private_key("ssh-ed25519")

    def make(name: str, python_bin: Path = board_python) -> BoardServer:
        (places / "id_ed25519").write_bytes(key.export_private_key())
        (places / "id_ed25519").chmod(0o600)
        made.append(BoardServer(places / name, python_bin, key))
        return made[-1]

    yield make
    for server in made:
        server.end()


@pytest.fixture
def lab(places: Path, make_board: Callable[..., BoardServer], monkeypatch: pytest.MonkeyPatch) -> Lab:
    """One board, 03, in the inventory and enrolled."""
    made = Lab(places, places / "id_ed25519")
    made.servers["03"] = make_board("board-03")
    made.write_inventory()
    monkeypatch.setenv("LABD_BOARDS", str(places / "boards.toml"))
    hostkeys.pin("127.0.0.1", made.servers["03"].port, made.servers["03"].public_key)
    return made


@pytest.fixture
def proxy(lab: Lab) -> Iterator[Proxy]:
    """A proxy before board 03."""
    made = Proxy(lab.servers["03"].port)
    yield made
    made.end()


@pytest.fixture
def make_wheel(tmp_path: Path) -> Callable[[str], Path]:
    """A small stand-in for the labd-board wheel; *mark* makes wheels differ."""

    def make(mark: str = "") -> Path:
        wheel = tmp_path / f"labd_board-0.1.0{mark}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("labd_board/__init__.py", f"MARK = {mark!r}\n")
            archive.writestr("labd_board/selftest.py", SELFTEST)
            archive.writestr("labd_board/validate.py", VALIDATE)
            archive.writestr("labd_board/classify.py", CLASSIFY)
            archive.writestr("labd_shared/__init__.py", "")
            archive.writestr("labd_board-0.1.0.dist-info/METADATA", "Name: labd-board\n")
        return wheel

    return make


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """A bundle folder whose manifest is right and whose bitfile is noise; equal names give equal content."""

    def make(
        name: str,
        *,
        into: str = "",
        verdict: str = "good",
        target: str = "hw",
        size: int = 100_000,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / (into or name)
        folder.mkdir()
        noise = hashlib.shake_128(name.encode()).digest(size)
        contents = {"accel.bit": noise, "accel.hwh": b"<hwh/>", "golden.npz": f"{verdict}!{name}".encode()}
        if target == "emu":
            contents["network.npz"] = b"network"
        for file_name, content in contents.items():
            (folder / file_name).write_bytes(content)
        manifest = Manifest(
            network="tfc-w1a1",
            dataset="mnist",
            class_names=tuple("0123456789"),
            target=target,
            part=changes.get("part", PYNQ_Z2_PART),
            board="Pynq-Z2",
            clock_mhz=100.0,
            slack_ns=None,
            input_contract=InputContract("raw-uint8"),
            inputs=(make_tensor("in", "UINT8", (1, 784), (1, 16, 49), "NC", "idma0"),),
            outputs=(make_tensor("out", "UINT8", (1, 1), (1, 1, 1), "NC", "odma0"),),
            folding={},
            expected=Expected(98, 400, 1_020_408.0, "idma0"),
            accuracy=None,
            tools={},
            files={
                file_name: FileEntry(hashlib.sha256(content).hexdigest(), len(content))
                for file_name, content in contents.items()
            },
        )
        (folder / "manifest.json").write_text(manifest.to_json())
        return folder

    return make


def processes_with(token: str) -> list[int]:
    """Living processes, apart from this one, whose command line holds *token*."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if token.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def running() -> Callable[[str], list[int]]:
    """Finds processes by a word of their command line."""
    return processes_with


@pytest.fixture
def wait_until() -> Callable[..., bool]:
    """Waits until something holds, with a deadline; whether it did."""

    def wait(holds: Callable[[], bool], deadline_s: float = 5.0) -> bool:
        limit_s = time.monotonic() + deadline_s
        while time.monotonic() < limit_s:
            if holds():
                return True
            time.sleep(0.02)
        return holds()

    return wait


@pytest.fixture
def fab(places: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `fab` as a person does, without a terminal and with standard input closed."""
    root = Path(__file__).resolve().parents[3]

    def run(*arguments: str, deadline_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fabric", "--search-root", str(root), *arguments]
        return subprocess.run(
            command,
            cwd=places,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
            start_new_session=True,
        )

    return run


@pytest.fixture
def verified() -> Callable[[BoardServer], str]:
    """The current release's id, after every file of it was compared with its list; "" for none."""

    def verify(server: BoardServer) -> str:
        if not (server.labd / "current").is_symlink():
            return ""
        folder = (server.labd / "current").resolve()
        listing = json.loads((folder / "release.json").read_text())["files"]
        for path, (digest, size) in listing.items():
            content = (folder / path).read_bytes()
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (digest, size), path
        return folder.name

    return verify


@pytest.fixture
def old_python() -> Callable[[str], str]:
    """Finds an interpreter of an image's version, or skips by name."""

    def find(version: str) -> str:
        try:
            return str(environments.find_python(environments.environment("py" + version.replace(".", ""))))
        except ToolNotFound:
            pytest.skip(f"needs Python {version}")

    return find
