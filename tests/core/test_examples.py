"""The examples in core's docstrings give what they say, each on its own as a reader would paste it."""

import ast
import doctest
from pathlib import Path

import pytest

import core

ROOT = Path(core.__file__).parent
LEAST = 15  # examples; fewer would mean that they are not found any more


def examples() -> list:
    """Read the docstrings with examples, without importing their modules."""
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        source = file.read_text()
        for node in ast.walk(ast.parse(source)) if ">>>" in source else ():
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if ">>>" in text:
                    name = f"{file.relative_to(ROOT)}:{getattr(node, 'name', 'module')}"
                    found.append(pytest.param(text, id=name))
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("docstring", EXAMPLES)
def test_an_example_gives_what_it_says(docstring):
    test = doctest.DocTestParser().get_doctest(docstring, {}, "example", None, 0)
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(said)


def test_there_are_examples():
    assert len(EXAMPLES) >= LEAST
