"""What Vivado makes of a unit: LUTs and flip-flops, linear in its drivers, with how far off they may be.

The coefficients that ship (calibration.json, which says how they were made) were fitted to the
post-synthesis reports of public builds. `labd calibrate` fits them again to the user's own: every
report counts as one, and the coefficients that were there before hold as firmly as two reports do, so
that a single build cannot turn over what it says nothing about. No coefficient is negative.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from labd_host.dataflow.resources import CostUnit, Resources
from labd_host.machine import places
from labd_shared.errors import ArtifactError
from labd_shared.records import MAX_NAME, Origin, Value, read_json

SHIPPED = Path(__file__).with_name("calibration.json")
MAX_FILE_BYTES = 8 << 20
CELLS = ("lut", "ff")
PRIOR_REPORTS = 2.0  # how many reports the coefficients from before weigh
LEAST_SPREAD, UNKNOWN_SPREAD = 0.05, 0.5


@dataclass(frozen=True)
class Sample:
    """A unit of a finished build.

    Attributes:
        kind, drivers: The unit's.
        exact: What needed no fit.
        measured: After synthesis.
    """

    kind: str
    drivers: Mapping[str, float]
    exact: Resources
    measured: Resources


@dataclass(frozen=True)
class Fit:
    """One kind of unit.

    Attributes:
        coefficients: "lut" and "ff" -> driver -> cells for one of it.
        spread: "lut" and "ff" -> relative error to expect (root mean square, each folding predicted
            from the others; 0.5 where there were too few to tell).
        foldings: Different ones it was fitted to.
        source: Where they come from.
    """

    coefficients: Mapping[str, Mapping[str, float]]
    spread: Mapping[str, float]
    foldings: int
    source: str


@dataclass(frozen=True)
class Calibration:
    """Coefficients of every kind.

    Attributes:
        kinds: Kind -> its fit.
        reports: Digests of the user's reports it was fitted to; none in what ships.
    """

    kinds: Mapping[str, Fit]
    reports: tuple[str, ...] = field(default=())

    def cost(self, unit: CostUnit) -> Resources:
        """Cells of *unit*, rounded to whole ones.

        Raises:
            ArtifactError: no coefficients for its kind.
        """
        fit = self._fit(unit.kind)
        fitted = {
            cell: round(
                sum(fit.coefficients[cell].get(key, 0) * value for key, value in unit.drivers.items())
            )
            for cell in CELLS
        }
        return unit.exact + Resources(**fitted)

    def spread(self, unit: CostUnit) -> Resources:
        """How far `cost` may be off, LUTs and flip-flops."""
        cost, fit = self.cost(unit), self._fit(unit.kind)
        return Resources(lut=cost.lut * fit.spread["lut"], ff=cost.ff * fit.spread["ff"])

    def _fit(self, kind: str) -> Fit:
        if kind not in self.kinds:
            raise ArtifactError(
                f"the calibration has no coefficients for {kind}", fix="labd calibrate --reset"
            )
        return self.kinds[kind]


def fitted(samples: Iterable[Sample], before: Calibration | None, source: str) -> Calibration:
    """*before*, its kinds that *samples* have fitted again; None: from nothing."""
    kinds: dict[str, list[Sample]] = {}
    for sample in samples:
        kinds.setdefault(sample.kind, []).append(sample)
    fits = dict(before.kinds) if before else {}
    for kind, found in kinds.items():
        fits[kind] = _fit_kind(found, fits.get(kind), source)
    return Calibration(fits, before.reports if before else ())


def _fit_kind(samples: Sequence[Sample], prior: Fit | None, source: str) -> Fit:
    names = sorted({name for sample in samples for name in sample.drivers})
    foldings = _by_folding(samples, names)
    coefficients, spread = {}, {}
    for cell in CELLS:
        drivers = np.array(list(foldings), float)
        cells = np.array(
            [np.mean([_fitted_part(sample, cell) for sample in found]) for found in foldings.values()]
        )
        weights = np.array([math.sqrt(len(found)) if prior else 1.0 for found in foldings.values()])
        known = None if prior is None else np.array([prior.coefficients[cell].get(name, 0) for name in names])
        solved = _solve(drivers, cells, weights, known)
        coefficients[cell] = {name: float(f"{value:.4g}") for name, value in zip(names, solved, strict=True)}
        spread[cell] = _spread(drivers, cells, weights, known)
        if len(cells) == 1:  # nothing to leave out: how far reports of the same thing are apart
            same = [_fitted_part(sample, cell) / cells[0] - 1 for sample in samples]
            known_spread = prior.spread[cell] if prior else UNKNOWN_SPREAD
            spread[cell] = max(float(np.std(same)), LEAST_SPREAD) if len(same) > 2 else known_spread
    return Fit(coefficients, spread, len(foldings), source)


def _fitted_part(sample: Sample, cell: str) -> float:
    return float(max(1, getattr(sample.measured, cell) - getattr(sample.exact, cell)))


def _by_folding(samples: Sequence[Sample], names: Sequence[str]) -> dict[tuple[float, ...], list[Sample]]:
    found: dict[tuple[float, ...], list[Sample]] = {}
    for sample in samples:
        found.setdefault(tuple(sample.drivers.get(name, 0) for name in names), []).append(sample)
    return found


def _solve(drivers: Any, cells: Any, weights: Any, known: Any) -> Any:
    """Coefficients, none negative, with the least squares of relative errors."""
    from scipy.optimize import nnls

    rows, wanted = drivers * (weights / cells)[:, None], weights.astype(float)
    if known is not None:  # each coefficient is drawn back by its share of the cost
        share = np.sqrt(PRIOR_REPORTS * np.mean((drivers / cells[:, None]) ** 2, axis=0))
        rows = np.vstack([rows, np.diag(share)])
        wanted = np.concatenate([wanted, share * known])
    return nnls(rows, wanted)[0]


def left_out(drivers: Any, cells: Any, weights: Any, known: Any = None) -> Any:
    """Relative error of each folding, predicted from the others."""
    errors = []
    for each in range(len(cells)):
        others = np.arange(len(cells)) != each
        solved = _solve(drivers[others], cells[others], weights[others], known)
        errors.append(float(drivers[each] @ solved) / cells[each] - 1)
    return np.array(errors)


def _spread(drivers: Any, cells: Any, weights: Any, known: Any) -> float:
    if len(cells) < 2 or (known is None and len(cells) <= drivers.shape[1] + 1):  # too few to leave one out
        return UNKNOWN_SPREAD
    found = float(np.sqrt(np.mean(left_out(drivers, cells, weights, known) ** 2)))
    return round(max(found, LEAST_SPREAD), 3)


def to_json(calibration: Calibration, made: Mapping[str, Any]) -> str:
    """*calibration* as its file; *made* says how it was made."""
    kinds = {
        kind: {
            "lut": dict(fit.coefficients["lut"]),
            "ff": dict(fit.coefficients["ff"]),
            "spread": dict(fit.spread),
            "foldings": fit.foldings,
            "source": fit.source,
        }
        for kind, fit in sorted(calibration.kinds.items())
    }
    record = {"version": 1, "made": dict(made), "reports": list(calibration.reports), "kinds": kinds}
    return json.dumps(record, indent=1) + "\n"


def users_file() -> Path:
    """Where `labd calibrate` keeps what it fitted."""
    return places.home() / SHIPPED.name


def load() -> Calibration:
    """The user's calibration where there is one, else what ships.

    Raises:
        ArtifactError: the file is no calibration.
    """
    mine = users_file()
    return read(mine if mine.is_file() else SHIPPED)


def read(path: Path) -> Calibration:
    """The calibration in *path*.

    Raises:
        ArtifactError: it is none.
    """
    record = read_json(path, MAX_FILE_BYTES, Origin(str(path), "labd calibrate --reset")).fields(
        ("kinds", "reports"), None
    )
    kinds = {kind: _fit(entry) for kind, entry in record["kinds"].entries().items()}
    return Calibration(kinds, tuple(digest.text(64) for digest in record["reports"].list()))


def _fit(value: Value) -> Fit:
    entry = value.fields((*CELLS, "spread", "foldings", "source"), None)
    spread = entry["spread"].fields(CELLS)
    return Fit(
        {cell: _numbers(entry[cell].entries()) for cell in CELLS},
        _numbers(spread),
        entry["foldings"].integer(0),
        entry["source"].text(MAX_NAME),
    )


def _numbers(entries: Mapping[str, Value]) -> dict[str, float]:
    return {key: value.number(0.0) for key, value in entries.items()}


def lut_error(calibration: Calibration, samples: Sequence[Sample]) -> float:
    """Mean relative error of the LUTs of *samples*."""
    costs = (
        calibration.cost(CostUnit("", sample.kind, sample.drivers, sample.exact)).lut for sample in samples
    )
    return float(
        np.mean(
            [abs(cost / max(1, sample.measured.lut) - 1) for cost, sample in zip(costs, samples, strict=True)]
        )
    )


def with_reports(calibration: Calibration, digests: Iterable[str]) -> Calibration:
    """*calibration*, which has seen the reports with these digests."""
    return replace(calibration, reports=tuple(sorted({*calibration.reports, *digests})))
