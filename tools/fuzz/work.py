"""All configurations of a run of the fuzzer, shared among processes, each on a CPU of its own."""

from __future__ import annotations

import os
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path
from random import Random

from tools.fuzz import cases
from tools.fuzz.configs import Case, case_of, spec_of
from tools.fuzz.lists import draw_lists
from tools.fuzz.minimise import minimise
from tools.fuzz.report import Found, Report
from tools.fuzz.run import Result, Run

CONFIGS_PER_SPEC = 10
_over = get_context("spawn").Event()  # in a process of the pool, one that it shares with the others


@dataclass(frozen=True, slots=True)
class Order:
    """What one process has to do: the configurations of one spec."""

    seed: int
    spec: int
    configs: range
    packets: int  # of each configuration
    deadline: float
    keep: Path | None


def fuzz_spec(order: Order) -> Report:
    """Compile a spec and try its configurations, until one of them differs."""
    spec = spec_of(order.seed, order.spec)
    if _over.is_set():
        return Report()
    report = Report(specs=1)
    report.on.update(spec.features())
    run = Run(spec, f"fuzz-{os.getpid()}")
    try:
        for config in order.configs:
            if time.time() >= order.deadline or _over.is_set():
                break
            rng = Random(f"{order.seed} config {config}")
            case = case_of(spec, rng)
            if spec.prefixes:
                case = replace(case, lists=draw_lists(rng))
            result = run.fuzz(case, order.packets, rng)
            report.configs += 1
            if result:
                report.found.append(_look_closer(run, order, config, case, result))
                break
    finally:
        run.close()
    report.packets, report.met = run.tally.packets, run.tally.met
    return report


def _look_closer(run: Run, order: Order, config: int, case: Case, result: Result) -> Found:
    difference, steps = result
    small = minimise(run, case, steps)
    if small is None:
        return Found(order.spec, config, f"{difference} (not seen again when the frames were sent once more)")
    case, steps, difference = small
    text = f"{difference.what}\n  expected {_clip(difference.expected)}\n  got      {_clip(difference.got)}"
    text += "".join(f"\n  frame in state {state}: {_clip(frame.hex())}" for state, frame in steps[-6:])
    text += f"\n  compiled in: {' '.join(case.spec.features())}"
    kept = str(cases.keep(order.keep, case, steps, difference)) if order.keep else ""
    return Found(order.spec, config, text, kept)


def _clip(text: str) -> str:
    return text if len(text) < 500 else f"{text[:400]}... ({len(text)} characters)"


def fuzz(seed: int, packets: int, configs: int, seconds: float, jobs: int, keep: Path | None, stop: bool) -> Report:
    """Try so many configurations in so many processes, each on a CPU of its own."""
    began = time.time()
    report = Report()
    numbers = [range(at, min(at + CONFIGS_PER_SPEC, configs)) for at in range(0, configs, CONFIGS_PER_SPEC)]
    orders = [Order(seed, n, part, packets // configs, began + seconds, keep) for n, part in enumerate(numbers)]
    cpus = sorted(os.sched_getaffinity(0))
    context = get_context("spawn")
    free: SimpleQueue[int] = context.SimpleQueue()
    for number in range(jobs):
        free.put(cpus[number % len(cpus)])
    over = context.Event()
    with ProcessPoolExecutor(jobs, context, _begin, (free, over)) as pool:
        waiting = {pool.submit(fuzz_spec, order) for order in orders}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                report.add(future.result())
            if time.time() > began + seconds or (stop and report.found):
                over.set()
    report.seconds = time.time() - began
    return report


def _begin(cpus: SimpleQueue[int], over: Event) -> None:
    global _over
    os.sched_setaffinity(0, {cpus.get()})
    _over = over
