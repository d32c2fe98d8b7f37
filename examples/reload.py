"""Hot reload: a pool serves a module while it is rewritten, and a mistake in it stops nothing."""

import tempfile
from pathlib import Path

import trio

import trio_folk

CODE = """\
from trio_folk.worker import Worker

worker = Worker()


@worker.method
def greet(name):
    return {greeting}
"""


def deploy(folder, greeting):
    Path(folder, "greeter.py").write_text(CODE.format(greeting=greeting))


async def check(worker):
    """What must be true of new code before it serves. The worker is a lease: only we can call it."""
    if await worker.execute("greet", ["Ada"]) == "Ada":
        raise ValueError("that is no greeting")


async def main():
    with tempfile.TemporaryDirectory() as folder:
        deploy(folder, "'Hello, ' + name")
        runtime = trio_folk.ForkRuntime("greeter:worker", env={"PYTHONPATH": folder})
        async with trio_folk.open_pool(runtime, slots=2) as pool:
            print(await pool.execute("greet", ["Grace"]))
            for greeting in ["'Good evening, ' + name", "'Bonsoir, ' +", "name"]:
                deploy(folder, greeting)
                try:
                    report = await pool.reload(check)
                    print("--- generation", report.generation, "in", len(report.slots), "slots")
                except trio_folk.ReloadFailed as error:
                    print("---", error)
                print(await pool.execute("greet", ["Grace"]))


if __name__ == "__main__":
    trio.run(main)
