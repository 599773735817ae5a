"""A Slurm of one node in a folder of its own: its own key, ports and state, nothing in /etc, nothing left behind.

The daemons are those of Debian's packages slurmctld, slurmd and munge (slurm-wlm 22.05); any user may run them.
They are looked for on PATH, or in LABD_SLURM: a folder in which the packages were unpacked (.ci/run).
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun", "sinfo", "scancel", "setpriv")
START_TIMEOUT_S, END_TIMEOUT_S, COMMAND_TIMEOUT_S = 30.0, 10.0, 20.0

# EnableIPv6: otherwise no port is opened where the loopback is the only network.
# The accounting plug-in measures memory and ends what takes too much: cgroups would need root and leave folders.
CONFIGURATION = """
ClusterName=labd
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
CommunicationParameters=EnableIPv6
{plugins}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
PlugStackConfig={folder}/plugstack.conf
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
KillWait=2
ReturnToService=2
SlurmdParameters=config_overrides
Licenses={licences}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb}
PartitionName=main Nodes={host} Default=YES State=UP
"""


def missing() -> str:
    """What this machine lacks for it, "" for nothing."""
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=_places()["PATH"])]
    if lacking:
        return f"needs {', '.join(lacking)}: apt install slurmctld slurmd slurm-client munge"
    for daemon in ("munged", "slurmctld", "slurmd"):
        answer = subprocess.run(
            [daemon, "-V"],
            env={**os.environ, **_places()},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        if answer.returncode:
            return f"needs a {daemon} that runs: {answer.stderr.strip()}"
    return ""


@contextlib.contextmanager
def cluster(licences: str, cpus: int = 8, memory_mb: int = 4096) -> Iterator[dict[str, str]]:
    """Run it; the environment in which Slurm's commands and submitit find it."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        folder = Path(name)
        environment = {"SLURM_CONF": str(folder / "slurm.conf"), **_places()}
        host = socket.gethostname().partition(".")[0]
        _configure(folder, host, licences, cpus, memory_mb)
        daemons: list[subprocess.Popen[bytes]] = []

        def start(*arguments: str) -> None:
            with (folder / f"{arguments[0]}.log").open("wb") as log:
                daemons.append(
                    subprocess.Popen(
                        ["setpriv", "--pdeathsig", "KILL", *arguments],  # should the tests be killed
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, **environment},
                        start_new_session=True,
                    )
                )

        try:
            files = {
                "key": "key-file",
                "munge.socket": "socket",
                "munge.pid": "pid-file",
                "seed": "seed-file",
            }
            places = [f"--{option}={folder / file}" for file, option in files.items()]
            start("munged", "--foreground", "--force", *places)
            _wait(lambda: (folder / "munge.socket").exists(), folder, daemons)
            start("slurmctld", "-D")
            step_daemon = shutil.which("slurmstepd", path=environment["PATH"])
            start("slurmd", "-D", "-N", host, *(["-d", step_daemon] if step_daemon else []))
            _wait(
                lambda: _ask(environment, "sinfo", "--noheader", "--format=%T").strip() == "idle",
                folder,
                daemons,
            )
            yield environment
        finally:
            _end(environment, daemons)


def _places() -> dict[str, str]:
    """Where programs and their libraries are."""
    unpacked = Path(os.environ.get("LABD_SLURM", "/"))
    folders = [os.environ.get("PATH", os.defpath), f"{unpacked}/usr/bin", f"{unpacked}/usr/sbin"]
    places = {"PATH": os.pathsep.join(folders)}
    if "LABD_SLURM" in os.environ:
        libraries = sorted({path.parent for path in unpacked.glob("usr/lib/**/lib*.so*")})
        places["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
    return places


def _configure(folder: Path, host: str, licences: str, cpus: int, memory_mb: int) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").touch(0o600)
    (folder / "key").write_bytes(secrets.token_bytes(128))
    (folder / "plugstack.conf").touch()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        controller_port, node_port = one.getsockname()[1], other.getsockname()[1]
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=host,
            controller_port=controller_port,
            node_port=node_port,
            user=subprocess.run(
                ["id", "-un"], capture_output=True, text=True, timeout=5, check=True
            ).stdout.strip(),
            folder=folder,
            plugins=_plugins(),
            licences=licences,
            cpus=cpus,
            memory_mb=memory_mb,
        )
    )


def _plugins() -> str:
    """The line that names their folder, "" for the built-in one."""
    found = Path(os.environ.get("LABD_SLURM", "/dev/null")).glob("usr/lib/*/slurm*/auth_munge.so")
    return next((f"PluginDir={path.parent}" for path in found), "")


def _ask(environment: dict[str, str], *arguments: str) -> str:
    try:
        return subprocess.run(
            arguments,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired:
        return ""


def _wait(ready, folder: Path, daemons: "list[subprocess.Popen[bytes]]") -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in daemons):
            logs = "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in folder.glob("*.log"))
            raise TimeoutError(f"Slurm did not come up within {START_TIMEOUT_S:g} s\n{logs}")
        time.sleep(0.05)


def _end(environment: dict[str, str], daemons: "list[subprocess.Popen[bytes]]") -> None:
    """End the jobs through Slurm, then the daemons, then whatever of it is still there."""
    _ask(environment, "scancel", f"--user={os.getuid()}", "--signal=KILL", "--full")
    _ask(environment, "scancel", f"--user={os.getuid()}")
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(END_TIMEOUT_S)
    mark = f"SLURM_CONF={environment['SLURM_CONF']}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


if __name__ == "__main__":  # to try Slurm by hand: python -m support.real_slurm COMMAND...
    with cluster("vivado:2") as found:
        sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **found}, check=False).returncode)
