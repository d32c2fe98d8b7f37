"""The worker: something that keeps a processor busy, and says where it was done."""

import sys

from trio_folk.worker import Worker

worker = Worker()


@worker.method
def primes(below):
    sieve = bytearray([1]) * below
    for number in range(2, int(below**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, below, number)))
    return {"count": sum(sieve) - 2, "where": "Ray" if "ray" in sys.modules else "this machine"}
