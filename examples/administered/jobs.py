"""The worker: something that takes a while, and now and then is fatal."""

import os
import random
import signal
import time

from trio_folk.worker import Worker

worker = Worker()


@worker.method
def resize(number):
    if random.random() < 0.002:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(random.uniform(0.02, 0.15))
    return number
