"""Where the checkout keeps what tests use."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED_BUNDLE = ROOT / "bitfiles" / "tfc-w1a1-emu"
