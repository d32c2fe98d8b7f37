"""Targets: a Worker, or one sentence that says why not, with the name that was probably meant."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_child import Child

from trio_folk._wire import Notify
from trio_folk.worker import Worker
from trio_folk.worker._target import TargetError, load_target

MODULES = {
    "shop/__init__.py": "",
    "shop/thumbnails.py": """
        from trio_folk.worker import Worker
        class Box: pass
        worker = Worker()
        Box.inner = worker
        number = 5
        """,
    "shop/broken.py": "import shop.no_such_thing",
    "shop/raises.py": "def deep():\n    raise RuntimeError('no licence')\ndeep()",
    "shop/script.py": "import sys\nsys.exit(2)",
    "shop/syntax.py": "def (",
    "shop/silent.py": "",
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import textwrap

    (tmp_path / "shop").mkdir()
    for name, text in MODULES.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.mark.parametrize("target", ["shop.thumbnails:worker", "shop.thumbnails:Box.inner"])
def test_target_names_a_worker(shop: Path, target: str) -> None:
    """Dots are allowed on both sides of the colon."""
    assert isinstance(load_target(target), Worker)


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        ("shop.thumbnails", "ValueError", "a target is written 'module:object', e.g."),
        ("shop:", "ValueError", "a target is written"),
        (":worker", "ValueError", "a target is written"),
        ("a b:c", "ValueError", "a target is written"),
        ("a:b:c", "ValueError", "a target is written"),
        ("shpo.thumbnails:worker", "ModuleNotFoundError", "No module named 'shpo'; did you mean 'shop'?"),
        (
            "shop.thumnails:worker",
            "ModuleNotFoundError",
            "'shop.thumnails' could not be imported: No module named 'shop.thumnails'; did you mean 'shop.thumbnails'?",
        ),
        ("shop.thumbnails.x:y", "ModuleNotFoundError", "'shop.thumbnails' is not a package"),
        ("shop.broken:worker", "ModuleNotFoundError", "No module named 'shop.no_such_thing'"),
        ("shop.thumbnails:wroker", "AttributeError", "has no attribute 'wroker'; did you mean 'worker'?"),
        ("shop.thumbnails:zzz", "AttributeError", "'zzz'; did you mean 'shop.thumbnails:worker'?"),
        (
            "shop.thumbnails:Box.iner",
            "AttributeError",
            "a type has no attribute 'iner'; did you mean 'inner'?",
        ),
        (
            "shop.thumbnails:number",
            "TypeError",
            "is an int, not a trio_folk.worker.Worker; did you mean 'shop.thumbnails:worker'?",
        ),
        ("shop.raises:worker", "RuntimeError", "'shop.raises' could not be imported: no licence"),
        ("shop.script:worker", "SystemExit", "'shop.script' called sys.exit(2) while it was imported"),
        ("shop.syntax:worker", "SyntaxError", "'shop.syntax' could not be imported"),
        ("shop.silent:worker", "AttributeError", "the module 'shop.silent' has no attribute 'worker'"),
    ],
)
def test_target_that_leads_nowhere_says_why(shop: Path, target: str, kind: str, message: str) -> None:
    """One sentence, the class of the trouble, and what was probably meant."""
    with pytest.raises(TargetError) as caught:
        load_target(target)
    assert message in caught.value.message
    assert caught.value.kind == kind


def test_traceback_of_an_import_begins_in_the_users_code(shop: Path) -> None:
    """Neither our frames nor the import system's are shown."""
    with pytest.raises(TargetError) as caught:
        load_target("shop.raises:worker")
    first = caught.value.traceback.splitlines()[1]
    assert "raises.py" in first
    assert "RuntimeError: no licence" in caught.value.traceback


def refusal(child: Child) -> dict[str, str]:
    message = child.control.receive()
    assert isinstance(message, Notify)
    assert message.method == "folk.failed"
    assert child.control.receive() is None
    assert child.end() == (1, "", "")
    params = message.params
    assert isinstance(params, dict)
    return params


def test_child_tells_a_failed_import_over_the_wire_and_not_twice(shop: Path) -> None:
    """The message and the traceback come at once; stderr stays empty; the status is 1."""
    with Child("shop.raises:worker", path=[shop]) as child:
        params = refusal(child)
    assert params["type"] == "RuntimeError"
    assert params["message"] == "the module 'shop.raises' could not be imported: no licence"
    assert "in deep" in params["traceback"]


def test_child_tells_a_mistyped_target(shop: Path) -> None:
    """Without a traceback, for nothing raised."""
    with Child("shop.thumbnails", path=[shop]) as child:
        params = refusal(child)
    assert params["message"].startswith("a target is written")
    assert params["traceback"] == ""


def test_refusal_fits_into_the_smallest_frame(shop: Path) -> None:
    """A long traceback is cut at its beginning, where it says least."""
    (shop / "shop/long.py").write_text("raise ValueError('x' * 100_000)")
    with Child("shop.long:worker", path=[shop], env={"FOLK_MAX_FRAME": "1024"}) as child:
        params = refusal(child)
    assert params["type"] == "ValueError"
    assert params["message"].startswith("the module 'shop.long' could not be imported")
