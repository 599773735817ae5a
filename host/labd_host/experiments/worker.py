"""``python -m labd_host.experiments.worker FOLDER KEY...``: does experiments of a study that nobody else does.

Any number of workers may be given the same keys: each takes what is neither done nor claimed. A process that
starts one needs to know nothing of it but its exit code; what came of it stands in the study's folder.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from labd_host.experiments.assess import assess
from labd_host.experiments.store import MAX_ATTEMPTS, Store
from labd_host.experiments.study_model import Result
from labd_shared.errors import LabdError

STARTED, FINISHED, FAILED = "started", "finished", "failed"


def run_one(folder: Path, key: str) -> Result | None:
    """The result of *key*, computed now or found; None where another process is at work on it, or it failed."""
    store = Store(folder)
    with store.claim(key) as claim:
        if claim is None:
            return None
        if (found := store.result(key)) is not None or store.failure(key) is not None:
            return found
        if claim.attempt > MAX_ATTEMPTS:
            reason = claim.cause or "nobody saw why"
            store.fail(key, f"its worker died {MAX_ATTEMPTS} times, at last: {reason}", MAX_ATTEMPTS)
            return None
        store.note(STARTED, key, attempt=claim.attempt)
        try:
            result = assess(store.experiment(key))
        except LabdError as error:
            store.fail(key, error.what, claim.attempt)
            store.note(FAILED, key)
            return None
        store.keep(result)
        store.note(FINISHED, key)
        return result


def main(arguments: list[str]) -> int:
    """Do what is left of the keys in *arguments*, behind the folder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder, *keys = arguments
    for key in keys:
        run_one(Path(folder), key)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
