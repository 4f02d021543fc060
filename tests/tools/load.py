"""A class at work on this machine: many visitors over websockets, each moving a slider every few seconds.

python tests/tools/load.py --sessions 40 --seconds 300 [-- further options of `panel serve`]
Prints a table; ends with an error unless every session stayed and the median answer took under a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from served import faults, serve
from tornado.httpclient import AsyncHTTPClient
from visitor import Visitor

PAUSE = (2.0, 6.0)  # seconds between two moves of a visitor
PATIENCE = 60.0  # seconds until an answer counts as missing
MEDIAN = 1.0  # seconds that the median answer may take
SHORT = 20.0  # seconds that the second class stays


def memory(url: str) -> float:
    """Resident MiB of the server, with the processes that it started."""
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    found = [c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port]
    return sum(psutil.Process(pid).memory_info().rss for pid in set(found)) / 2**20


async def come_and_go(url: str, args: argparse.Namespace, seconds: float, seed: int) -> tuple[list, float]:
    """A class that comes, works and leaves; the visitors, and the memory just before they leave."""
    visitors = [Visitor(url, seed + i) for i in range(args.sessions)]
    end = time.monotonic() + seconds

    async def visit(place: int, visitor: Visitor) -> None:
        await asyncio.sleep(min(60, seconds / 3) * place / args.sessions)  # nobody comes at the same moment
        try:
            await visitor.open(PATIENCE)
            await visitor.stay(end, PAUSE, PATIENCE)
        except Exception as error:  # counted: the other visitors go on
            visitor.errors.append(repr(error))

    await asyncio.gather(*(visit(i, visitor) for i, visitor in enumerate(visitors)))
    full = memory(url)
    for visitor in visitors:
        if visitor.opened:
            await visitor.close()
    return visitors, full


async def measure(url: str, log: Path, args: argparse.Namespace) -> bool:
    AsyncHTTPClient.configure(None, max_clients=500)
    await asyncio.sleep(args.warm_up)
    start = memory(url)
    began, cpu = time.monotonic(), time.process_time()
    visitors, full = await come_and_go(url, args, args.seconds, seed=0)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    load = os.getloadavg()[1]
    await asyncio.sleep(args.forget)
    after = memory(url)
    second, again = await come_and_go(url, args, min(SHORT, args.seconds), seed=0)
    await asyncio.sleep(args.forget)
    left = memory(url)

    answers = sorted(answer for visitor in visitors for answer in visitor.answers)
    opened = sorted(visitor.opened for visitor in visitors)
    errors = Counter(error for visitor in visitors + second for error in visitor.errors)
    traced = faults(log.read_text())
    dropped = sum(visitor.dropped for visitor in visitors + second)
    if not answers:
        sys.exit(f"nothing was answered: {errors.most_common(3)}")
    median, slow = statistics.median(answers), answers[int(0.95 * len(answers))]
    rows = {
        "sessions, seconds": f"{args.sessions}, {args.seconds:.0f}",
        "moves answered": len(answers),
        "errors, tracebacks, dropped sessions": f"{errors.total()}, {traced}, {dropped}",
        "points after a move, median and 95 %": f"{median:.2f} s, {slow:.2f} s",
        "points after opening, median and 95 %": (
            f"{statistics.median(opened):.1f} s, {opened[int(0.95 * len(opened))]:.1f} s"
        ),
        "memory at start, with all, when they left": f"{start:.0f}, {full:.0f}, {after:.0f} MiB",
        "memory with a second class, when it left": f"{again:.0f}, {left:.0f} MiB",
        "memory of a session": f"{(again - after) / args.sessions:.1f} MiB",
        "visitors' own use of a core; load average": f"{share:.2f}; {load:.1f}",
    }
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    for error, times in errors.most_common(10):
        print(f"{times} x {error}")
    return not errors and not traced and not dropped and median < MEDIAN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--warm-up", type=float, default=20, help="seconds before anybody comes")
    parser.add_argument("--forget", type=float, default=90, help="seconds until sessions are forgotten")
    parser.add_argument("options", nargs="*", help="of `panel serve`")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serve(log, *args.options) as url:
            held = asyncio.run(measure(url, log, args))
            if not held:
                print(log.read_text()[-3000:])
    sys.exit(not held)


if __name__ == "__main__":
    main()
