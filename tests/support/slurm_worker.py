"""What the jobs of the Slurm tests run: `slurm_worker.py FOLDER KEY` does what FOLDER/todo/KEY says, and keeps a log.

An event is a line "began KEY PID" or "ended KEY PID" of FOLDER/events; a result is the file FOLDER/results/KEY.
"""

import os
import sys
import time
from pathlib import Path

LONGEST_S = 60.0


def note(folder, *words):
    line = " ".join(map(str, words)) + "\n"
    handle = os.open(str(folder / "events"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line.encode("ascii"))
    os.close(handle)


def main(folder, key):
    todo = (folder / "todo" / key).read_text().split()
    note(folder, "began", key, os.getpid())
    if todo[0] == "work":
        time.sleep(float(todo[1]))
    elif todo[0] == "until":  # a file is there
        deadline = time.monotonic() + LONGEST_S
        while not (folder / todo[1]).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    elif todo[0] == "memory":
        taken = bytearray(int(float(todo[1]) * 2**30))
        taken[:: os.sysconf("SC_PAGESIZE")] = b"\1" * len(taken[:: os.sysconf("SC_PAGESIZE")])
        time.sleep(LONGEST_S)
    elif todo[0] == "raise":
        raise ValueError(" ".join(todo[1:]))
    note(folder, "ended", key, os.getpid())
    (folder / "results" / key).write_text(key)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
