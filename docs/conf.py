"""How the documentation is built: ``nox -s docs``; every warning is an error, every reference must be there."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).parents[1]))

PUBLIC = ["trio_folk", "trio_folk.abc", "trio_folk.worker", "trio_folk.testing"]
VERSION_FILE = Path(__file__).parents[1] / "trio_folk" / "_version.py"

project = "trio_folk"
copyright = "The trio_folk authors"  # noqa: A001
release = re.search(r'"([^"]+)"', VERSION_FILE.read_text()).group(1)

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
    "myst_parser",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "trio_folk"

nitpicky = True
myst_heading_anchors = 3
default_role = "literal"  # the docstrings' `names` are plain in help(), and not each of them is a page
add_module_names = False  # the headings of the page say which module it is
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the Args sections say it in words; the signature stays readable
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Of other packages there are no pages here, and a build must not need the network to find theirs.
nitpick_ignore_regex = [
    ("py:.*", r"(abc|collections|contextlib|contextvars|enum|logging|outcome|trio|typing)\..*"),
    ("py:.*", r"trio_folk\..*\.T"),  # a type variable is nobody's page
    ("py:class", r"trio_folk\.runtimes\._wired\..*"),  # what the runtimes share is nobody's page
    ("py:class", r"trio_folk\.testing\._contract_.*"),  # the parts of RuntimeContract
]


def keep_colons(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Tell napoleon what it would take for something else: it reads before napoleon does.

    The docstring of an attribute begins with its type there, up to a colon; ours have no types in words. And
    in a list of attributes it knows one name a line.
    """
    if what == "attribute":
        lines[:0] = ["..", ""]  # an empty comment; an empty line alone it would skip
    elif what in ("class", "exception"):
        lines[:] = [each for line in lines for each in one_name_a_line(line)]


def one_name_a_line(line: str) -> list[str]:
    match = re.fullmatch(r"(\s+)(\w+(?:, \w+)+): (.*)", line)
    if match is None:
        return [line]
    indent, names, text = match.groups()
    return [f"{indent}{name}: {text}" for name in names.split(", ")]


def find_public(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """Lead a reference to where a name is defined to the page where users meet it."""
    target = node.get("reftarget", "")
    package, _, name = target.rpartition(".")
    if package and not package.startswith("trio_folk."):
        return None
    home = next((public for public in PUBLIC if name in importlib.import_module(public).__all__), None)
    if home is None or target == f"{home}.{name}":
        return None
    python = env.domains["py"]
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", f"{home}.{name}", node, contnode)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    app.connect("missing-reference", find_public)
