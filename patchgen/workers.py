"""Processes that try the series on trees: tree-sitter and Python are what the time goes into.

What is shared between the trees is little (of the touched files of two neighbouring releases one in
five is the same), so the processes share nothing and nothing is kept from tree to tree.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, parent_process, util
from multiprocessing.context import BaseContext
from threading import Thread

from patchgen.engine.fragment import warm_up
from patchgen.engine.series import Series
from patchgen.errors import InternalError
from patchgen.matrix import Outcome, Prober, Task, broken
from patchgen.ui import Ui


class _Mine:
    """What a worker process has."""

    prober: Prober


def probe_all(series: Series, tasks: Mapping[str, Task], jobs: int, ui: Ui) -> dict[str, Outcome]:
    """The outcome of every task, by its key.

    :param jobs: processes; with 1 the work is done in this one
    """
    warm_up()
    jobs = min(jobs, len(tasks))
    if jobs > 1:
        return _in_processes(series, tasks, jobs, ui)
    found = {}
    prober = Prober(series)
    try:
        with ui.progress("trying the series on", len(tasks)) as meter:
            for done, (key, task) in enumerate(tasks.items()):
                meter.update(done, len(tasks), task.name)
                found[key] = prober.probe(task)
    finally:
        prober.close()
    return found


def _in_processes(
    series: Series, tasks: Mapping[str, Task], jobs: int, ui: Ui
) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    pool = _pool(series, jobs)
    try:
        # Submitted before the progress, whose thread a fork must not copy.
        futures = {pool.submit(_probe, task): key for key, task in tasks.items()}
        with ui.progress("trying the series on", len(tasks)) as meter:
            for future in as_completed(futures):
                key = futures[future]
                if (outcome := _outcome(future)) is not None:
                    found[key] = outcome
                meter.update(len(found), len(tasks), tasks[key].name)
    finally:
        # Interrupted, each worker ends when it is through with its tree.
        pool.shutdown(cancel_futures=True)
    for key in [key for key in tasks if key not in found]:
        found[key] = _alone(series, tasks[key])
    return found


def _alone(series: Series, task: Task) -> Outcome:
    """Try a tree during which a worker was killed once more: it may have been another's fault."""
    pool = _pool(series, 1)
    try:
        outcome = _outcome(pool.submit(_probe, task))
    finally:
        pool.shutdown(cancel_futures=True)
    if outcome is None:
        killed = InternalError(
            "the worker process was killed", "see whether memory is short: --jobs 1 needs least"
        )
        return broken(series, killed)
    return outcome


def _outcome(future: Future[Outcome]) -> Outcome | None:
    """What a future gives; ``None`` if a worker was killed, which ends the whole pool."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None


def _pool(series: Series, jobs: int) -> ProcessPoolExecutor:
    # A fork has all imports and the parsed series already: 0.3 s less than a new interpreter.
    methods: Iterable[str] = multiprocessing.get_all_start_methods()
    context: BaseContext = multiprocessing.get_context("fork" if "fork" in methods else None)
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(series,))


def _start(series: Series) -> None:
    """Make a worker: Ctrl-C is the parent's, and without a parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _Mine.prober = Prober(series)
    util.Finalize(None, _Mine.prober.close, exitpriority=10)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _probe(task: Task) -> Outcome:
    return _Mine.prober.probe(task)
