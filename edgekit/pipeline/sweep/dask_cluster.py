"""Crew of a Dask cluster (dask.distributed, extra ``dask``): one task, one worker, chosen by ``schedule``.

    task --JSON text--> Client.submit(run_text, workers=[...], resources={device: 1}) --JSON text--> reply

Workers announce devices with Dask's own resources (https://distributed.dask.org/en/stable/resources.html):
`dask worker tcp://... --resources "rpi5=1"`. A bench claims one of its device's, so that another sweep on the
same cluster waits for it too. What Dask pickles is the name of ``work.run_text`` and text: no code, no model
and no recipe of the user's travels that way.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from edgekit.errors import InputError, MissingBackendError, missing_extra
from edgekit.pipeline.sweep.schedule import Document, Task, Worker

_CONNECT_S = 20.0  # for the scheduler to answer
_RESTART_S = 20.0  # a nanny kills its worker and waits for the next one
_THERE = frozenset({"running", "paused"})  # paused: its memory is short, and what it does goes on
_MORE = "docs/sweep.md"


class DaskCluster:
    """The workers of the scheduler at ``address``.

    Raises:
        MissingBackendError: distributed is not installed, or nobody answers at ``address``.
        InputError: ``address`` is none.
    """

    def __init__(self, address: str, *, devices: Collection[str]) -> None:
        try:
            import distributed
        except ImportError as error:
            raise missing_extra("distributed", "dask", needed_for="--scheduler") from error
        if "://" not in address:
            raise InputError(
                f"--scheduler {address} is no address",
                why="Dask names a scheduler as tcp://host:port or tls://host:port",
                remedy=f"--scheduler tcp://{address}",
                more=_MORE,
            )
        self._devices = frozenset(devices)
        self._futures: dict[str, tuple[Task, Any]] = {}
        self._stopped: set[str] = set()
        self._came: queue.Queue[tuple[str, Any]] = queue.Queue()
        try:
            self._client = distributed.Client(
                address, set_as_default=False, timeout=_CONNECT_S, name="edgekit"
            )
        except (OSError, ValueError) as error:
            raise MissingBackendError(
                f"no Dask scheduler answers at {address}",
                why=str(error).splitlines()[0],
                remedy="dask scheduler  # and: dask worker ADDRESS --nthreads 1",
                more=_MORE,
            ) from error

    def workers(self) -> Mapping[str, Worker]:
        """As the scheduler knows them now; a lost one's task is taken back."""
        found = {
            address: Worker(str(said.get("host", address)), frozenset(said.get("resources") or ()))
            for address, said in self._known().items()
            if said.get("status", "running") in _THERE and address not in self._stopped
        }
        for address in [address for address in self._futures if address not in found]:
            _, future = self._futures.pop(address)
            future.cancel(force=True)
        return found

    def _known(self) -> Mapping[str, Any]:
        """Asked of the scheduler itself.

        ``Client.scheduler_info`` reads it out of a field that a timer fills without the workers (seen in
        distributed 2026.8.0: all of them gone for a moment).
        """
        try:
            said = self._client.sync(self._client.scheduler.identity, n_workers=-1)
        except TypeError:  # a scheduler from before it could be asked for a part of them
            said = self._client.sync(self._client.scheduler.identity)
        workers: Mapping[str, Any] = said["workers"]
        return workers

    def start(self, worker: str, task: Task) -> None:
        """Submit it to this worker and no other."""
        from edgekit.pipeline.sweep import work

        future = self._client.submit(
            work.run_text,
            json.dumps(task.document),
            key=f"edgekit-{task.id}-{uuid.uuid4().hex}",  # a key that was cancelled may not come again
            pure=False,
            workers=[worker],
            allow_other_workers=False,
            resources={task.device: 1} if task.device else None,
            retries=0,
        )
        self._futures[worker] = (task, future)
        future.add_done_callback(lambda done: self._came.put((worker, done)))

    def replies(self, wait_s: float) -> Sequence[tuple[str, Document]]:
        """What arrived; waits for the first at most ``wait_s``."""
        found: list[tuple[str, Document]] = []
        try:
            name, future = self._came.get(timeout=wait_s) if wait_s else self._came.get_nowait()
            while True:
                found += self._reply(name, future)
                name, future = self._came.get_nowait()
        except queue.Empty:
            return found

    def stop(self, worker: str) -> None:
        """Its nanny starts it again; one without a nanny leaves the cluster (a thread cannot be ended)."""
        _, future = self._futures.pop(worker)
        future.cancel(force=True)
        self._stopped.add(worker)
        if self._known().get(worker, {}).get("nanny"):
            self._client.restart_workers([worker], timeout=_RESTART_S, raise_for_error=False)
        else:
            # in a thread: the reply never comes, and a worker that hangs altogether does not even end
            threading.Thread(
                target=self._client.run,
                args=(os._exit, 1),
                kwargs={"workers": [worker], "on_error": "ignore"},
                daemon=True,
            ).start()

    def last_words(self, worker: str) -> str:
        """Dask keeps a lost worker's log where it ran."""
        del worker
        return ""

    def close(self) -> None:
        """Take back what runs, and leave."""
        for _, future in self._futures.values():
            future.cancel(force=True)
        self._futures.clear()
        self._client.close()

    def _reply(self, name: str, future: Any) -> list[tuple[str, Document]]:
        held = self._futures.get(name)
        if held is None or held[1] is not future:
            return []  # of a worker that had been lost
        if future.status in {"cancelled", "lost"}:
            del self._futures[name]
            return [(name, {"error": _unexpected(RuntimeError(f"the scheduler says {future.status}"))})]
        if future.status == "error":
            error = future.exception()
            if type(error).__name__ == "KilledWorker":
                return []  # ``workers`` notices
            del self._futures[name]
            return [(name, {"error": _unexpected(error)})]
        document: Document = json.loads(future.result())
        del self._futures[name]
        return [(name, document)]


def _unexpected(error: BaseException) -> dict[str, Any]:
    """``work.run_text`` raises nothing: what comes here is Dask's, or a worker without edgekit."""
    return {
        "what": f"the Dask worker could not run the task: {type(error).__name__}: {error}",
        "why": "it has no edgekit, or another version of Dask or Python",
        "remedy": "install the same edgekit on every worker",
        "more": _MORE,
        "exit_code": 6,
    }
