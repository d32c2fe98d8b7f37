"""Nothing is left behind by any test."""

import pytest

from trio_folk.testing import assert_nothing_left


@pytest.fixture(autouse=True)
def nothing_left():
    """Fail the test that leaves a process, a descriptor, a task, a thread or a file."""
    with assert_nothing_left():
        yield
