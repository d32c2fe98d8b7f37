"""``trio-folk map``: results, errors, orders, retries and exit statuses, by real processes."""

from __future__ import annotations

import base64

import pytest


def test_function_is_mapped_over_the_words(command) -> None:
    """Each item is given as one str, each result is one line of JSON, and the status is 0."""
    done = command("map", "jobs:double", "a", "ü")
    assert sorted(done.lines, key=str) == [{"item": "a", "result": "aa"}, {"item": "ü", "result": "üü"}]
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("target", ["os.path:getsize", "os.path.getsize"])
def test_function_of_the_library_is_mapped(command, target) -> None:
    """A target is written with a colon or with dots alone."""
    (command.folder / "four").write_bytes(b"1234")
    assert command("map", target, "four").results == [4]


def test_options_stand_anywhere_and_items_may_begin_with_a_dash(command) -> None:
    """Options are understood after items; after ``--`` everything is an item."""
    done = command(
        "map", "--ordered", "jobs:double", "a", "--workers", "1", "b", "--", "-c", "--", "--ordered"
    )
    assert [line["item"] for line in done.lines] == ["a", "b", "-c", "--", "--ordered"]


def test_lines_of_standard_input_are_items(command) -> None:
    """Without words the lines are read, empty ones left out, a last one without newline taken."""
    done = command("map", "jobs:double", "--ordered", stdin="a\n\nb c\nd")
    assert done.results == ["aa", "b cb c", "dd"]


def test_input_is_read_as_it_comes(command) -> None:
    """A result is written while the input is still open."""
    with command.start("map", "jobs:double") as process:
        process.stdin.write("a\n")
        process.stdin.flush()
        assert process.stdout.readline() == '{"item": "a", "result": "aa"}\n'
        process.stdin.close()
        assert process.wait() == 0


def test_item_that_is_not_utf8_reaches_the_function_unharmed(command) -> None:
    """A file's name may hold any byte."""
    name = "\udcff.txt"
    (command.folder / name).write_bytes(b"12")
    done = command("map", "os.path:getsize", name)
    assert done.lines == [{"item": name, "result": 2}]


def test_ordered_keeps_the_order_of_the_items(command) -> None:
    """The first item ends last, and its line comes first."""
    done = command("map", "jobs:late_first", "0", "1", "2", "3", "--ordered", "--workers", "2")
    assert done.results == [0, 1, 2, 3]


def test_unordered_results_come_as_they_end(command) -> None:
    """The first item ends last, and its line comes last."""
    done = command("map", "jobs:late_first", "0", "1", "2", "3", "--workers", "2")
    assert done.results[-1] == 0
    assert sorted(done.results) == [0, 1, 2, 3]


def test_json_items_are_parsed(command) -> None:
    """With --json a function gets what the item means."""
    done = command("map", "math:fsum", "--json", "[1, 2.5]")
    assert done.lines == [{"item": [1, 2.5], "result": 3.5}]


def test_item_that_is_not_json_fails_alone(command) -> None:
    """What cannot be parsed is a failed item, never tried again, and the others go on."""
    done = command("map", "math:sqrt", "--json", "--retries", "2", "4", "four", "NaN")
    errors = {line["item"]: line["error"]["message"] for line in done.lines if "error" in line}
    assert errors.keys() == {"four", "NaN"}
    assert all("not JSON" in message for message in errors.values())
    assert (done.results, done.status) == ([2.0], 1)
    assert "retried" not in done.err


def test_method_of_a_worker_is_mapped(command) -> None:
    """A map becomes keyword arguments, a list positional ones, anything else one."""
    items = ['{"path": "p", "width": 1}', '["q", 2]', '"r"']
    done = command("map", "jobs:worker.shrink", "--json", "--ordered", *items)
    assert done.results == [["p", 1], ["q", 2], ["r", 64]]


@pytest.mark.parametrize(("target", "result"), [("jobs:worker.shout", "A"), ("jobs:nap", "a")])
def test_async_targets_run(command, target, result) -> None:
    """Async methods and async functions run under trio in the worker."""
    assert command("map", target, "a").results == [result]


def test_results_that_json_cannot_hold_are_marked(command) -> None:
    """Bytes become base64, anything else its repr, and the line says which."""
    done = command("map", "jobs:odd", "--ordered", "bytes", "set", "nan", "list")
    raw, a_set, nan, a_list = done.lines
    assert (base64.b64decode(raw["result"]), raw["encoding"]) == (b"\x00\xff", "base64")
    assert (a_set["result"], a_set["encoding"]) == ("{1}", "repr")
    assert (nan["result"], nan["encoding"]) == ("nan", "repr")
    assert a_list == {"item": "list", "result": [1, None]}


def test_failed_items_are_reported_and_counted(command) -> None:
    """The line has type, message and traceback; standard error has them short; the status is 1."""
    done = command("map", "jobs:fail", "good", "bad one", "--ordered")
    good, bad = done.lines
    assert good == {"item": "good", "result": "good"}
    assert (bad["error"]["type"], bad["error"]["message"]) == ("ValueError", "it is bad one")
    assert bad["error"]["traceback"].startswith("Traceback")
    assert "remote.py" not in bad["error"]["traceback"]  # it begins in the user's own function
    assert 'failed "bad one": ValueError: it is bad one' in done.err
    assert 'raise ValueError(f"it is {text}")' in done.err
    assert "Traceback" not in done.err
    assert "1 done, 1 failed in" in done.err
    assert done.status == 1


def test_whole_traceback_is_shown_when_asked_for(command) -> None:
    """--traceback shows it all on standard error."""
    assert "Traceback (most recent call last)" in command("map", "jobs:fail", "bad", "--traceback").err


def test_quiet_says_nothing_but_the_results(command) -> None:
    """--quiet leaves standard error empty, what workers print included."""
    done = command("map", "jobs:fail", "bad", "--quiet")
    assert (done.status, done.err, len(done.lines)) == (1, "", 1)
    assert command("map", "jobs:chatter", "a", "--quiet").err == ""


def test_what_a_function_prints_never_mixes_with_the_results(command) -> None:
    """It goes to standard error, with the worker's id."""
    done = command("map", "jobs:chatter", "a", "--workers", "1")
    assert done.results == ["a"]
    assert "[map/0.1 stdout] said a" in done.err
    assert "[map/0.1 stderr] cried a" in done.err


def test_sys_exit_of_a_function_fails_its_item(command) -> None:
    """It ends neither the worker nor the map."""
    done = command("map", "jobs:leave", "a")
    assert done.lines[0]["error"]["type"] == "SystemExit"
    assert done.status == 1


def test_death_of_a_worker_fails_its_item_alone(command) -> None:
    """The line names the worker and the signal; the other items have results."""
    done = command(
        "map", "jobs:die", "a", "die", "b", "die", "die", "die", "die", "c", "--workers", "1", "--ordered"
    )
    assert done.results == ["a", "b", "c"]
    error = done.lines[1]["error"]
    assert (error["type"], error["signal"], error["worker"]) == ("WorkerDied", "SIGKILL", "map/0.1")
    assert "3 done, 5 failed" in done.err


def test_item_that_takes_too_long_is_ended(command) -> None:
    """Its worker is replaced, and the next item runs."""
    done = command("map", "jobs:hang", "hang", "a", "--timeout", "0.5", "--workers", "1", "--ordered")
    assert done.lines[0]["error"]["type"] == "ExecTimeout"
    assert done.results == ["a"]


def test_failed_items_are_tried_again(command) -> None:
    """A retry that succeeds is a result; the line and the last words tell the count."""
    done = command("map", "jobs:second_time", "a", "b", "--retries", "1", "--ordered")
    assert done.lines == [{"item": text, "result": text, "attempts": 2} for text in "ab"]
    assert "2 done, 0 failed, 2 retried" in done.err
    assert done.status == 0


def test_deaths_and_timeouts_are_tried_again(command) -> None:
    """An item that always kills its worker, or always hangs, fails after its last attempt."""
    dead = command("map", "jobs:die", "die", "--retries", "2")
    assert dead.lines[0]["attempts"] == 3
    assert "1 failed, 2 retried" in dead.err
    late = command("map", "jobs:hang", "hang", "--retries", "1", "--timeout", "0.3")
    assert late.lines[0]["attempts"] == 2


def test_max_jobs_replaces_workers(command) -> None:
    """With one item a worker, each item sees another process."""
    done = command("map", "jobs:pid", "a", "b", "c", "--max-jobs", "1", "--workers", "1")
    assert len(set(done.results)) == 3


def test_memory_replaces_workers(command) -> None:
    """A worker above the limit is replaced after its item."""
    done = command("map", "jobs:pid", "a", "b", "--memory", "1", "--workers", "1")
    assert len(set(done.results)) == 2
