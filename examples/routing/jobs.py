# jobs.py: the worker. It keeps what it has loaded, for the next call that needs it.
import functools
import os
import time

from trio_folk.worker import Worker

worker = Worker()


@functools.lru_cache(maxsize=100)
def history(customer):
    time.sleep(0.02)  # a large query
    return [f"{customer} bought this", f"{customer} bought that"]


@worker.method
def advise(customer):
    before = history.cache_info().misses
    last = history(customer)[-1]
    return {"advice": last, "loaded": history.cache_info().misses > before, "pid": os.getpid()}
