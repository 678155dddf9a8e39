"""Workers as jobs of a cluster, through submitit: an executor like any other.

Submitit is an optional dependency, asked for when a cluster is. Jobs that are wanted at about the same time become one
array. What it is handed is the name of a function of ours and plain words, and what comes back are plain words.
"""

import concurrent.futures
import functools
import importlib
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

POLL = 0.5  # seconds between two looks at the jobs
LOGGING = "SUBMITIT_LOG_LEVEL"
MISSING = "jobs of a cluster need submitit: pip install 'attention-particles[slurm]'"


class Cluster(concurrent.futures.Executor):
    """Jobs of a cluster.

    Parameters
    ----------
    folder : for the files of the jobs; every machine of the cluster must see it. It is made with the first job.
    kind : "slurm"; "local" for processes of this machine, or "debug" for one after another.
    options : of the jobs: `timeout_min`, `mem_gb`, `cpus_per_task`, `gpus_per_node`, `name`, or any of Slurm's, such as
        `partition`, `account`, `qos`, `time`, `constraint`.

    Raises
    ------
    ModuleNotFoundError
        If submitit is not installed.
    ValueError
        If there is no Slurm, or an option does not exist.
    """

    def __init__(self, folder: pathlib.Path, kind: str, options: Mapping[str, Any]):
        submitit = _submitit()
        if kind == "slurm" and shutil.which("srun") is None:
            raise ValueError("there is no Slurm on this machine: its `srun` is not on the path. Use local workers")
        common = submitit.AutoExecutor._typed_parameters()  # those that are no matter of Slurm's alone
        spelled = {name if name in common else f"slurm_{name}": value for name, value in options.items()}
        try:
            submitit.AutoExecutor(folder, cluster="debug").update_parameters(**spelled)  # which makes no file
        except (NameError, AssertionError) as error:
            raise ValueError(f"an option of the jobs is wrong: {str(error).partition(chr(10))[0]}") from None
        self._made = functools.partial(_submitter, submitit, folder, kind, spelled)
        self._new: list[tuple[concurrent.futures.Future, tuple[Any, ...]]] = []
        self._lock, self._closed = threading.Lock(), False
        self._thread: threading.Thread | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future:
        """Puts a call in the queue of the cluster."""
        future: concurrent.futures.Future = concurrent.futures.Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("this executor was shut down")
            self._new.append((future, (functools.partial(fn, **kwargs) if kwargs else fn, *args)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, args=(self._made(),), daemon=True)
                self._thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more jobs; those it has are waited for, or taken out of the queue."""
        with self._lock:
            self._closed, thread = True, self._thread
            if cancel_futures:
                for future, _ in self._new:
                    future.cancel()
        if wait and thread is not None:
            thread.join()

    def _watch(self, submitter: Any) -> None:
        """Submits what is new and looks after what is not done, until there is nothing left of either."""
        jobs: list[_Job] = []
        while True:
            time.sleep(POLL)
            with self._lock:
                new, self._new = self._new, []
                if self._closed and not new and not jobs:
                    return
            wanted = [(future, call) for future, call in new if not _taken_back(future)]
            jobs = [job for job in [*jobs, *_submitted(submitter, wanted)] if not job.settled()]


class _Job:
    """A job of submitit, and the future that stands for it."""

    def __init__(self, future: concurrent.futures.Future, job: Any):
        self.future, self.job, self.left = future, job, False

    def settled(self) -> bool:
        """Whether the job has ended; its future then tells how. One taken back before it began is cancelled."""
        if not self.left and _taken_back(self.future):
            self.left = True
            self.job.cancel(check=False)
        if not self.job.done():
            if not self.left and not self.future.running() and self.job.state == "RUNNING":
                self.left = not self.future.set_running_or_notify_cancel()
            return False
        if not self.left and (self.future.running() or self.future.set_running_or_notify_cancel()):
            try:
                self.future.set_result(self.job.result())
            except Exception as error:  # that of the job, for whoever asks for its result
                self.future.set_exception(error)
        return True


def _taken_back(future: concurrent.futures.Future) -> bool:
    """Whether nobody waits for a call any more; whoever waits for its future is told."""
    return future.cancelled() and not future.set_running_or_notify_cancel()


def _submitit() -> Any:
    """Imports submitit, or raises ModuleNotFoundError with what to install.

    By itself it would configure the logging of this process, and write to standard output.
    """
    quiet = {} if LOGGING in os.environ else {LOGGING: "NOCONFIG"}
    os.environ |= quiet
    try:
        return importlib.import_module("submitit")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING) from error
    finally:
        for name in quiet:  # the logs of its jobs are welcome
            del os.environ[name]


def _submitter(submitit: Any, folder: pathlib.Path, kind: str, options: Mapping[str, Any]) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    submitter = submitit.AutoExecutor(folder, cluster=kind)
    submitter.update_parameters(**options)
    return submitter


def _submitted(submitter: Any, new: list[tuple[concurrent.futures.Future, tuple[Any, ...]]]) -> list[_Job]:
    """Calls as jobs, one array of them where there are several; a cluster that refuses them answers for each."""
    if not new:
        return []
    try:
        with submitter.batch():
            jobs = [submitter.submit(*call) for _, call in new]
    except Exception as error:
        for future, _ in new:
            future.set_exception(error)
        return []
    return [_Job(future, job) for (future, _), job in zip(new, jobs, strict=True)]
