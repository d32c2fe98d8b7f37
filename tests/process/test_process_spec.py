"""A spec that exists makes sense: every mistake is refused where it is made, with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_folk._process import ProcessSpec


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"argv": ()}, "at least the name of a program"),
        ({"argv": ("",)}, "at least the name of a program"),
        ({"argv": ("sh", "a\0b")}, "NUL"),
        ({"argv": (b"a\0b",)}, "NUL"),
        ({"env": {"A=B": "c"}}, "no '='"),
        ({"env": {"": "c"}}, "not empty"),
        ({"env": {"A": "b\0"}}, "NUL"),
        ({"cwd": ""}, "path of a directory"),
        ({"cwd": "a\0b"}, "path of a directory"),
        ({"fds": {2: 5}}, "begin at 3"),
        ({"fds": {3: -1}}, "not a descriptor"),
    ],
)
def test_senseless_value_is_refused_with_a_sentence(bad: dict, says: str) -> None:
    """Each value that the kernel would cut short or misread is a ValueError that names the mistake."""
    with pytest.raises(ValueError, match=says):
        ProcessSpec(**{"argv": ("sh",), **bad})


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"argv": "sh -c true"}, "not one string"),
        ({"argv": ("sh", 7)}, "str or bytes, not int"),
        ({"env": {"A": 1}}, "maps str to str"),
    ],
)
def test_wrong_type_is_refused_with_a_sentence(bad: dict, says: str) -> None:
    """A command line in one string, and numbers where words belong, are TypeErrors."""
    with pytest.raises(TypeError, match=says):
        ProcessSpec(**{"argv": ("sh",), **bad})


def test_spec_does_not_follow_later_changes_of_what_it_was_given() -> None:
    """What a spec says is fixed when it is made."""
    argv, env, fds = ["sh"], {"A": "1"}, {3: 7}
    spec = ProcessSpec(argv=argv, env=env, fds=fds, cwd=Path("/"))
    argv.append("x"), env.clear(), fds.clear()
    assert (spec.argv, spec.env, spec.fds) == (("sh",), {"A": "1"}, {3: 7})
