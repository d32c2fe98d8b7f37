# myapp/jobs.py: runs in the worker; trio is imported there only when a method is async
from trio_folk.worker import Worker

worker = Worker()


@worker.method
def shrink(path, width):
    """Write a PPM picture once more, this many pixels wide, and say where."""
    with open(path, "rb") as file:
        kind, size, depth = file.readline(), file.readline(), file.readline()
        old, height = map(int, size.split())
        pixels = file.read()
    step = old // width
    chosen = [3 * (y * old + x * step) for y in range(0, height, step) for x in range(width)]
    with open(f"small-{path}", "wb") as file:
        file.write(kind + b"%d %d\n" % (width, len(chosen) // width) + depth)
        file.writelines(pixels[start : start + 3] for start in chosen)
    return file.name
