"""The worker: lines that match, one by one."""

import os

from trio_folk.worker import Worker, current_call

worker = Worker()


@worker.method
def search(path, text):
    size = os.path.getsize(path)
    read = 0
    with open(path, "rb") as file:  # closed when nobody wants more, too
        for number, line in enumerate(file, 1):
            read += len(line)
            current_call().progress(read, size)
            if text in line.decode(errors="replace"):
                yield {"line": number, "text": line.decode(errors="replace").strip()}
