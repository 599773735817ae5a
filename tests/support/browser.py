"""Open a page in a real browser, without a window."""

import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--enable-logging=stderr", "--window-size=1400,1000",
)  # fmt: skip


def find_browser():
    """A browser's program, or a skip that names what is missing."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs a browser on the path: {', '.join(NAMES)}")
    return found


def opened(browser, page, profile, *flags):
    """The page as the browser has it after loading, and what it logged."""
    finished = subprocess.run(
        [browser, *FLAGS, *flags, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    complaints = [line for line in finished.stderr.splitlines() if ":CONSOLE" in line]
    return finished.stdout, complaints
