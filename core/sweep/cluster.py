"""The machines that a sweep runs on: this one's cores, or a Dask cluster at an address."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator

from distributed import Client, LocalCluster, WorkerPlugin

from core.utils.parallel import CORES

STARTS = 3  # attempts to start the workers of this machine


class LeaveInterruptsToParent(WorkerPlugin):
    """A plugin that makes workers ignore Ctrl-C, which a terminal sends to every process.

    The process that started the workers stops them.
    """

    name = "leave-interrupts-to-parent"

    def setup(self, worker) -> None:
        # A worker in a thread (a cluster within this process) cannot set signals and need not.
        """Ignore SIGINT in the worker."""
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def local_client(workers: int | None = None) -> Iterator[Client]:
    """Yield a client of `workers` processes with one thread each, by default one per core.

    They end with the context, and also if this process is killed. They listen on loopback alone.
    """
    with _local_cluster(workers or CORES) as cluster, Client(cluster) as client:
        client.register_plugin(LeaveInterruptsToParent())
        yield client


def _local_cluster(workers: int) -> LocalCluster:
    """Start the processes; ValueError if they cannot be started."""
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    for _ in range(STARTS):
        # Dask restarts a worker that dies later, but one that dies at its start ends the whole cluster.
        with contextlib.suppress(RuntimeError):
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                env=environment,
                silence_logs=logging.CRITICAL,  # the rows report failures; cancelled tasks are normal
            )
    raise ValueError(f"the {workers} worker processes end as they start; try fewer, as memory may be short")


@contextlib.contextmanager
def connected(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """Yield a client of the cluster at `scheduler`, such as tcp://host:8786, else of this machine's cores.

    ValueError if no scheduler answers.
    """
    if scheduler is None:
        with local_client(workers) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no Dask scheduler answers at {scheduler}; start one with `dask scheduler`"
        ) from error
    with client:
        yield client
