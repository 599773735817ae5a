"""What a command pays for before it works."""

import json
import subprocess
import sys

NEEDED_LATER = {"bz2", "difflib", "hashlib", "lzma", "pynq", "shutil", "tempfile", "zipfile"}
NEW_MODULES = """
import json, sys
import numpy
before = set(sys.modules)
import labd_board.validate, labd_board.pynq_device
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_runtime_imports_compressors_hashes_and_pynq_when_it_needs_them_only():
    new = json.loads(subprocess.check_output([sys.executable, "-c", NEW_MODULES], timeout=60).decode())
    assert "labd_board.validate" in new
    assert not NEEDED_LATER & set(new)
