"""Why an experiment is as fast, as large and as slow as it is: sentences made of its own figures.

Every number in a sentence is one of the experiment's result, of its baseline's, or the quotient of two.
What there is to say depends on them: which stage is the slowest and what it does in a cycle, who waits for
it, what it costs, what would come next.
"""

from __future__ import annotations

import math

from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.layers import WidthConverter
from labd_host.dataflow.parts import part_of
from labd_host.experiments.case import DMA, Case
from labd_host.experiments.study_model import BoardMeasurement, ExperimentOutcome, LayerResult, Simulated
from labd_host.experiments.wording import (
    SAME,
    alike,
    capital,
    counted,
    difference,
    fraction,
    listed,
    percent,
    rate,
    times,
)
from labd_shared.rates import frames_per_s
from labd_shared.timing import GAP_CYCLES, requests

NOTABLE = 0.02  # a prediction further off is explained
LEAST_WAIT = 0.05  # of the time
MOST_CHANGES = 4  # layers named one by one
FROM_RESTART = 0.1  # of the interval
BALANCED = 0.9  # of the interval: a stage that takes as much is no faster than the slowest to speak of


def explain(outcome: ExperimentOutcome, baseline: ExperimentOutcome | None, design: FoldedChain) -> list[str]:
    """Paragraphs about *outcome*, none where it has no result.

    Args:
        outcome: The experiment.
        baseline: What it is compared with; None, or the outcome itself: nothing.
        design: The network of both, in any folding.
    """
    if outcome.result is None:
        return []
    case = Case(outcome.experiment, outcome.result, design)
    base = None
    if baseline is not None and baseline.result is not None and baseline is not outcome:
        base = Case(baseline.experiment, baseline.result, design)
    paragraphs = (
        [_changes(case, base)] if base else [],
        [_limit(case, base), _waiting(case)],
        [_rate(case, base), _effect(case, base), _simulation(case), _measurement(case)],
        [_cost(case, base), _fit(case), _built(case)],
        [_next(case)],
    )
    return [" ".join(filter(None, sentences)) for sentences in paragraphs if any(sentences)]


# --- what changed


def _changes(case: Case, base: Case) -> str:
    changed = [row for row in case.stages if _folds(case, row.name) != _folds(base, row.name)]
    clock = ""
    if case.clock_mhz != base.clock_mhz:
        clock = f" Its clock is {case.clock_mhz:g} MHz in place of {base.clock_mhz:g} MHz."
    if not changed:
        return f"{case.name} is folded like {base.name}.{clock}"
    shown = sorted(changed, key=lambda row: -_moved(case, base, row))[:MOST_CHANGES]
    words = [f"{case.called(row)} {_change(case, base, row)}" for row in case.stages if row in shown]
    rest = len(changed) - len(shown)
    more = (
        f" {counted(rest, 'other stage')} {'is' if rest == 1 else 'are'} folded otherwise, too."
        if rest
        else ""
    )
    return f"Compared with {base.name}: {'; '.join(words)}.{more}{clock}"


def _folds(case: Case, name: str) -> dict[str, object]:
    return dict(case.experiment.settings.get(name, {}))


def _moved(case: Case, base: Case, row: LayerResult) -> float:
    """How far the cycles of a stage moved, as a factor of at least 1."""
    before = base.row(row.name)
    if before is None:
        return 1.0
    cycles = sorted((row.interval_cycles, before.interval_cycles))
    return cycles[1] / max(1, cycles[0])


def _change(case: Case, base: Case, row: LayerResult) -> str:
    now, before = _folds(case, row.name), _folds(base, row.name)
    keys = sorted(now.keys() | before.keys(), key=lambda key: (key not in ("PE", "SIMD"), key))
    words = [
        f"{key} {before[key]} → {now[key]}"
        if key in before and key in now
        else f"{key} {now.get(key, 'unset')}"
        for key in keys
        if now.get(key) != before.get(key)
    ]
    return ", ".join(words)


# --- what limits


def _limit(case: Case, base: Case | None) -> str:
    first, *equal = case.slowest
    what = f"{capital(case.called(first))} {_why(case, first)}"
    before = base.row(first.name) if base else None
    if base and before and before.interval_cycles < first.interval_cycles:
        what += f", {times(first.interval_cycles, before.interval_cycles)} {base.name}'s {before.interval_cycles:,}"
    elif base and before and before.interval_cycles > first.interval_cycles:
        what += f", where {base.name} takes {before.interval_cycles:,}"
    what += "."
    restart = case.layers[first.name].restart_cycles if first.name in case.layers else 0
    if restart > FROM_RESTART * first.interval_cycles:
        part = percent(restart / first.interval_cycles)
        what += f" The restart is {part} of that, and no PE or SIMD makes it shorter."
    if equal:
        names = listed([case.called(row) for row in equal])
        what += (
            f" {capital(names)} {'takes' if len(equal) == 1 else 'take'} as many, so speeding up one of "
            f"them alone would change nothing."
        )
    return what


def _why(case: Case, row: LayerResult) -> str:
    """What a stage does in a cycle, and so how many it takes."""
    interval = f"{row.interval_cycles:,} cycles a frame"
    if row.op == DMA:
        moved = case.predicted.input_bytes if row is case.stages[0] else case.predicted.output_bytes
        wide = moved / row.interval_cycles
        return f"moves {moved:,} bytes, {wide:g} a cycle, and so takes {interval}, whatever the folding"
    if row.op == WidthConverter.op:
        return _converts(case, row, interval)
    layer = case.layers[row.name]
    restart = layer.restart_cycles
    worked = row.interval_cycles - restart
    takes = f"{worked:,} cycles and {restart} more to start again, {row.interval_cycles:,} a frame"
    if not restart:
        takes = interval
    return f"{layer.work(worked)}, {takes}"


def _converts(case: Case, row: LayerResult, interval: str) -> str:
    """What a width converter does in a round, after which words end together on both sides."""
    nodes = [each.name for each in case.result.layers]
    before, behind = (nodes[nodes.index(row.name) + step] for step in (-1, 1))
    taken, given = case.layers[before].words[1], case.layers[behind].words[0]
    values = math.lcm(taken, given)
    return (
        f"makes words of {given} values for {behind} out of words of {taken} from {before}: for {values:,} values "
        f"{counted(values // taken, 'word')} in and {values // given:,} out, of which it does no more than one of "
        f"each in the same cycle, {interval}"
    )


def _waiting(case: Case) -> str:
    """Who waits for the slowest stage, from the simulation."""
    if case.simulated is None:
        return ""
    at = case.stages.index(case.slowest[0])
    waits = []
    if at > 0 and (before := case.stages[at - 1]).blocked >= LEAST_WAIT:
        waits.append(f"{before.name} in front of it is blocked for {percent(before.blocked)} of the time")
    if at + 1 < len(case.stages) and (behind := case.stages[at + 1]).starved >= LEAST_WAIT:
        of = "it" if waits else "the time"
        waits.append(f"{behind.name} behind it starves for {percent(behind.starved)} of {of}")
    if not waits:
        return ""
    frames = counted(case.experiment.frames, "frame")
    return (
        f"A pipeline is as fast as its slowest stage, and the others wait: in the simulation of {frames} "
        f"{listed(waits)}."
    )


# --- how fast


def _rate(case: Case, base: Case | None) -> str:
    predicted = case.predicted
    words = (
        f"{case.clock_mhz:g} MHz / {predicted.interval_cycles:,} cycles = "
        f"{rate(predicted.frames_per_s)} frames/s"
    )
    if base:
        before = base.predicted.frames_per_s
        if alike(predicted.frames_per_s, before):
            words += f", as predicted of {base.name}"
        elif predicted.frames_per_s > before:
            words += f", {times(predicted.frames_per_s, before)} {base.name}'s {rate(before)}"
        else:
            words += f", {fraction(predicted.frames_per_s, before)} {base.name}'s {rate(before)}"
    return words + "."


def _effect(case: Case, base: Case | None) -> str:
    """Why a change of the folding changes no rate."""
    if base is None or not alike(case.predicted.frames_per_s, base.predicted.frames_per_s):
        return ""
    changed = {row.name for row in case.stages if _folds(case, row.name) != _folds(base, row.name)}
    if not changed or changed & {row.name for row in case.slowest}:
        return ""
    return (
        f"What changed does not touch the slowest stage, {case.slowest[0].name}, so the rate is the same: "
        f"what is faster waits longer, what is slower has time left."
    )


def _simulation(case: Case) -> str:
    found = case.result.simulated
    if found is None:
        return ""
    if found.fault:
        return f"The simulation shows nothing: {found.fault}"
    predicted = case.predicted.interval_cycles
    said = (
        f"The simulation says {rate(found.frames_per_s)}, a frame every {found.interval_cycles:,.10g} cycles"
    )
    off = found.interval_cycles / predicted - 1
    if abs(off) <= NOTABLE:
        return said + "."
    said += f", {percent(abs(off))} {'more' if off > 0 else 'fewer'} than predicted"
    return f"{said}. {_why_slower(case, found) if off > 0 else _why_faster(case)}"


def _why_faster(case: Case) -> str:
    first = case.slowest[0]
    if first.name in case.layers and case.layers[first.name].cycles_count_filling:
        return "FINN's formula adds the filling of a sliding window to its output, and the window does both at once."
    frames = counted(case.experiment.frames, "frame")
    return f"Until the FIFOs are full frames come faster, and {frames} are too few to fill them."


def _why_slower(case: Case, found: Simulated) -> str:
    """Full FIFOs, or what the models do not know."""
    predicted, free = case.predicted.interval_cycles, found.free_interval_cycles
    reasons = []
    if 0 < free < found.interval_cycles * (1 - NOTABLE):
        reasons.append(
            f"The FIFOs are too small as FINN sizes them: were they never full, it would be {free:,.10g} cycles. "
            f"labd simulate {case.experiment.network} --size-fifos finds better ones."
        )
    if max(free, 0) > predicted * (1 + NOTABLE) or not reasons:
        busiest = max(case.stages, key=lambda row: row.working)
        reasons.append(
            f"No stage works all the time, {busiest.name} most, {percent(busiest.working)}: words come in bursts, "
            f"or {counted(case.experiment.frames, 'frame')} are too few to show the steady state."
        )
    return " ".join(reasons)


def _measurement(case: Case) -> str:
    found = case.result.measured
    if found is None:
        return ""
    said = f"{capital(found.where)} measured {rate(found.frames_per_s)} frames/s in batches of {found.batchsize:,}"
    off = found.frames_per_s / case.predicted.frames_per_s - 1
    if abs(off) <= NOTABLE:
        return f"{said}."
    said += f", {percent(abs(off))} {'more' if off > 0 else 'fewer'} than predicted"
    reasons = list(_why_measured_otherwise(case, found))
    return f"{said}{': ' if reasons else ', and nothing here explains it'}{'; '.join(reasons)}."


def _why_measured_otherwise(case: Case, found: BoardMeasurement) -> list[str]:
    reasons = []
    if not alike(found.clock_mhz, case.clock_mhz):
        reasons.append(f"its clock was {found.clock_mhz:g} MHz and not {case.clock_mhz:g} MHz")
    interval = float(case.predicted.interval_cycles)
    if case.slowest[0].op == DMA:
        asked = requests(found.batchsize)
        gaps = asked * GAP_CYCLES / found.batchsize
        interval += gaps
        reasons.append(
            f"the DMA asks the memory {asked:,} times a batch and waits about {GAP_CYCLES} cycles for each "
            f"answer, {gaps:.3g} cycles a frame"
        )
    left_us = found.batchsize * (1e6 / found.frames_per_s - interval / found.clock_mhz)
    if left_us > 0:
        reasons.append(
            f"{left_us:,.0f} us of each batch remain, for the first frame's way through and for starting "
            f"the DMAs from Python"
        )
    return reasons


# --- what it costs


def _cost(case: Case, base: Case | None) -> str:
    cells, band = case.predicted.expected, case.predicted.plus_minus
    words = f"It is expected to take {cells.lut:,.0f} LUT, give or take {band.lut:,.0f}, and {cells.bram18:,.0f} BRAM18"
    if base is None:
        return words + "."
    before = base.predicted.expected
    if cells.lut == before.lut and cells.bram18 == before.bram18:
        return f"{words}, as {base.name} does."
    words += f"; {base.name} takes {before.lut:,.0f} and {before.bram18:,.0f}. {_verdict(case, base)}"
    return words + _where_cells_went(case, base)


def _verdict(case: Case, base: Case) -> str:
    """Speed against LUTs; the simulation's speed, where there is one."""
    speed, source = case.predicted.frames_per_s / base.predicted.frames_per_s, ""
    if case.simulated and base.simulated:
        speed, source = case.simulated.frames_per_s / base.simulated.frames_per_s, " in the simulation"
    lut = case.predicted.expected.lut / base.predicted.expected.lut
    cells = "as many LUT" if alike(lut, 1) else f"{difference(lut)} {'more' if lut > 1 else 'fewer'} LUT"
    if alike(speed, 1):
        return "Neither the rate nor the LUTs change." if alike(lut, 1) else f"The same rate for {cells}."
    if speed > 1:
        with_ = "with" if lut <= 1 + SAME else "for"
        return f"{capital(times(speed, 1))} the frames{source} {with_} {cells}."
    if lut >= 1 - SAME:
        return f"{capital(fraction(speed, 1))} the frames{source}, and that with {cells}."
    only = " only" if lut > speed else ""
    return (
        f"The rate falls to {fraction(speed, 1)} {base.name}'s{source}, the LUTs by {difference(lut)}{only}."
    )


def _where_cells_went(case: Case, base: Case) -> str:
    """Why LUTs do not follow the rate: the layer that changed most, and what no folding of it moves."""
    changes = [
        (row, before)
        for row in case.stages
        if (before := base.row(row.name)) is not None and row.expected.lut != before.expected.lut
    ]
    if not changes:
        return ""
    row, before = max(changes, key=lambda pair: abs(pair[0].expected.lut - pair[1].expected.lut))
    rest = case.predicted.expected.lut - sum(each.expected.lut for each in case.stages)
    return (
        f" {capital(case.called(row))} goes from {before.expected.lut:,.0f} to {row.expected.lut:,.0f} LUT; "
        f"{rest:,.0f} of this design's are shell, DMAs, FIFOs and width converters."
    )


def _fit(case: Case) -> str:
    part = part_of(case.experiment.part)
    needs = case.predicted.expected
    over, above = [], []
    for cell, name in (("lut", "LUT"), ("ff", "FF"), ("bram18", "BRAM18"), ("dsp", "DSP")):
        many, most = float(getattr(needs, cell)), float(getattr(part.holds, cell))
        if many > most:
            over.append(f"{many:,.0f} {name} of {most:,.0f}")
        elif many > float(getattr(part.recommended, cell)):
            above.append(f"{many:,.0f} {name} of {float(getattr(part.recommended, cell)):,.0f}")
    if over:
        return f"That does not fit the {part.name}: {listed(over)}."
    if above:
        return (
            f"It fits the {part.name}, but takes more than AMD recommends where timing is to close: "
            f"{listed(above)}."
        )
    return f"It fits the {part.name}, {percent(needs.lut / part.holds.lut)} of its LUT."


def _built(case: Case) -> str:
    built = case.result.built
    if built is None:
        return ""
    off = abs(built.lut - case.predicted.expected.lut)
    within = "within" if off <= case.predicted.plus_minus.lut else "outside"
    return (
        f"A build of this folding reported {built.lut:,.0f} LUT and {built.bram18:,.0f} BRAM18 after synthesis, "
        f"{within} the band."
    )


# --- what would come next


def _next(case: Case) -> str:
    if any(row.op == DMA for row in case.slowest):
        return _behind_the_dma(case)
    interval = case.predicted.interval_cycles
    following = case.others[0]  # the DMAs at least
    steps: dict[str, list[str]] = {}
    for row in case.slowest:
        steps.setdefault(_more(case, row), []).append(row.name)
    asked = listed([how.format(listed(names)) for how, names in steps.items()])
    words = (
        f"The next step is to {asked}. The next slowest stage, {case.called(following)}, "
        f"takes {following.interval_cycles:,} cycles: until then the rate can rise to "
        f"{rate(frames_per_s(case.clock_mhz, following.interval_cycles))} frames/s, "
        f"{times(interval, following.interval_cycles)} this one."
    )
    near = [row for row in case.stages if row.interval_cycles >= BALANCED * interval]
    if len(near) > len(case.slowest):
        words += (
            f" {len(near)} of {len(case.stages)} stages take {percent(BALANCED)} of the slowest's cycles or more: to "
            f"be much faster, all of them need more."
        )
    dma = case.predicted.dma_interval_cycles
    if following.op == DMA:
        return f"{words} Beyond that no folding helps."
    return (
        f"{words} The DMA ends it at {dma:,} cycles, {rate(frames_per_s(case.clock_mhz, dma))} frames/s, "
        f"{times(interval, dma)} this rate."
    )


def _behind_the_dma(case: Case) -> str:
    words = "No folding makes this faster: only fewer bits a frame or a higher clock would."
    if any(row.op != DMA for row in case.slowest):
        return words
    layer = next(row for row in case.others if row.op != DMA)
    return (
        f"{words} The slowest layer, {layer.name}, needs {layer.interval_cycles:,} of the "
        f"{case.predicted.interval_cycles:,} cycles: with less PE and SIMD every layer could take them all, at "
        f"the same rate."
    )


def _more(case: Case, row: LayerResult) -> str:
    """What makes a stage faster; its name goes into the braces."""
    if row.op == WidthConverter.op:
        return "fold the layers beside {} to widths of which one is a multiple of the other"
    layer = case.layers[row.name]
    folded = [key for key, has in (("PE", hasattr(layer, "pe")), ("SIMD", hasattr(layer, "simd"))) if has]
    return f"give {{}} more {' or '.join(folded)}"
