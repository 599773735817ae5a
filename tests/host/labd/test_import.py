"""What `import labd` loads, and what it exports."""

import subprocess
import sys

import labd

GIANTS = {"finn", "qonnx", "torch", "brevitas", "numba", "llvmlite", "onnx", "onnxruntime", "fabric", "paramiko",
          "asyncssh", "matplotlib", "scipy", "rich", "pynq"}  # fmt: skip


def test_importing_labd_loads_no_giant():
    script = f"import labd, sys; print(sorted({GIANTS!r} & set(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "[]\n", ended.stderr


def test_every_exported_name_is_there_and_documented():
    for name in labd.__all__:
        assert hasattr(labd, name)
        if name not in ("SILENT", "__version__"):
            assert getattr(labd, name).__doc__
