"""YAML files as people write them: what YAML takes for something else is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import yaml


class _Loader(yaml.SafeLoader):
    """Plain values only; of two equal keys YAML itself would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is there twice; give one list of all its values", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> object:
    """The values of a YAML file; ValueError with the place where it is none."""
    try:
        return yaml.load(path.read_bytes(), _Loader)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, " ".join(str(error.problem).split())
        tabs = "; indent with spaces" if "'\\t'" in problem else ""
        place = f"line {mark.line + 1}, column {mark.column + 1}"
        raise ValueError(f"{path} is not readable as YAML in {place}: {problem}{tabs}") from error
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} is not readable as YAML: {' '.join(str(error).split())}") from error
