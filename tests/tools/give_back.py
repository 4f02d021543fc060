"""For `panel serve --setup`: gives freed memory back to the system, so that what a server uses is its memory.

The allocator keeps what is freed for the next large array: a gigabyte, after an hour of many networks.
"""

import ctypes
import gc
import threading
import time

SECONDS = 20.0


def give_back() -> None:
    """Collect and give back every few seconds, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        time.sleep(SECONDS)
        gc.collect()
        trim(0)


threading.Thread(target=give_back, daemon=True).start()
