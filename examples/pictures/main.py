# main.py
import trio
from myapp.files import hash_file

import trio_folk


def draw(path, size=256):
    with open(path, "wb") as file:
        file.write(b"P6\n%d %d\n255\n" % (size, size))
        file.writelines(bytes((x, y, ord(path[0]))) for y in range(size) for x in range(size))


async def main():
    paths = ["cat.ppm", "dog.ppm", "tortoise.ppm"]
    for path in paths:
        draw(path)
    runtime = trio_folk.PipeRuntime.python("myapp.jobs:worker")
    async with trio_folk.open_pool(runtime, slots=4) as pool:
        # a named method of the worker
        thumb = await pool.execute("shrink", {"path": "cat.ppm", "width": 64})
        # any importable function
        digest = await pool.run_sync(hash_file, thumb)
        print(thumb, digest)
        # lazy, windowed, cancellable
        async with pool.map(hash_file, paths) as results:
            async for result in results:
                print(result)


if __name__ == "__main__":
    trio.run(main)
