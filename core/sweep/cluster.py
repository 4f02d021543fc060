"""The machines that a sweep runs on: this one's cores, or a Dask cluster by its address."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator

from distributed import Client, LocalCluster, WorkerPlugin

from core.utils.parallel import CORES

STARTS = 3  # attempts to start the workers of this machine


class LeaveInterruptsToParent(WorkerPlugin):
    """Ctrl-C in a terminal reaches every process of it; the one that started the workers stops them."""

    name = "leave-interrupts-to-parent"

    def setup(self, worker) -> None:
        # In a thread (a cluster within this process) there is no signal to be had, and no need.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def local_client(workers: int | None = None) -> Iterator[Client]:
    """A client of `workers` processes of one thread each, one a core by default; they end with the context.

    They listen on loopback alone. Should this process be killed, they notice and end.
    """
    with _local_cluster(workers or CORES) as cluster, Client(cluster) as client:
        client.register_plugin(LeaveInterruptsToParent())
        yield client


def _local_cluster(workers: int) -> LocalCluster:
    """ValueError if its processes cannot be started."""
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    for _ in range(STARTS):
        # A worker that dies later is started anew; one that dies while it starts ends the whole cluster.
        with contextlib.suppress(RuntimeError):
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                env=environment,
                silence_logs=logging.CRITICAL,  # rows tell what fails; a cancelled task is no news
            )
    raise ValueError(f"the {workers} worker processes end as they start; try fewer, as memory may be short")


@contextlib.contextmanager
def connected(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """A client of the cluster at `scheduler`, such as tcp://host:8786, or else of this machine's cores.

    ValueError if nobody answers there.
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
