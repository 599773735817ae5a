"""A number that keeps its unit and its origin."""

from __future__ import annotations

from typing import Any, Self

MODELLED = "modelled"
SIMULATED = "simulated"
GOLDEN_MODEL = "golden model"


class Figure(float):
    """A number with its unit and where it comes from; computes and prints like any float.

    Its repr shows all three: ``93.12 % (golden model)``.

    Attributes:
        unit: "%", "frames/s", "cycles", "us", ...
        origin: "modelled", "simulated", "golden model", "measured on board 03", "virtual board 03", ...
    """

    unit: str
    origin: str

    def __new__(cls, value: float, unit: str, origin: str) -> Self:
        made = super().__new__(cls, value)
        made.unit, made.origin = unit, origin
        return made

    def __repr__(self) -> str:
        shown = f"{self:,.0f}" if self.is_integer() or abs(self) >= 1000 else f"{self:,.4g}"
        return f"{shown} {self.unit} ({self.origin})"

    def __str__(self) -> str:
        return float.__repr__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (float(self), self.unit, self.origin)
