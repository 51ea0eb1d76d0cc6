"""The text of a configuration: YAML that is composed, never loaded, and ``{{name}}`` put in as data.

The nodes know their lines, repeated keys are still there, and nothing but single values is ever constructed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Layer = dict[str, tuple[Any, str]]
"""Key -> value and origin. A key within a section is written ``section.key``."""
Known = Mapping[str, str | Mapping[str, str]]
"""Key -> what is allowed; of a section, the same for its own keys."""

VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_MARKED = re.compile("\ue000([A-Za-z_]\\w*)\ue001")  # private characters: no YAML meaning, nobody types them


class Reader:
    """Reads texts into layers; every problem is added to ``problems``, with its line."""

    def __init__(self, known: Known, names: Mapping[str, Any], problems: list[str], lists: Sequence[str] = ()) -> None:
        self.known, self.names, self.problems = known, names, problems
        self.lists = lists  # keys that may have a list of single values

    def file(self, file: str) -> Layer:
        """Return the settings in a YAML file."""
        path = Path(file).expanduser()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self.problems.append(f"the file {file} cannot be read: {reason}.")
            return {}
        return self.text(text, lambda number: f"{path.name}, line {number + 1}")

    def text(self, text: str, where: Callable[[int], str]) -> Layer:
        """Return the keys of a YAML mapping with their origin.

        ``{{name}}`` is marked before and put in afterwards, so that no variable's content is read as YAML.
        """
        import yaml

        tabs = [number for number, line in enumerate(text.splitlines()) if re.match(r" *\t", line) and line.strip()]
        if tabs:
            self.problems += [f"{where(number)}: begins with a tab; YAML wants spaces." for number in tabs]
            return {}
        loader = None
        try:
            loader = yaml.SafeLoader(VARIABLE.sub("\ue000\\1\ue001", text))
            node = loader.get_single_node()
            if node is None:
                return {}
            if not isinstance(node, yaml.MappingNode):
                kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
                hint = " (a colon needs a space after it)" if isinstance(node, yaml.ScalarNode) else ""
                self.problems.append(f"{where(node.start_mark.line)}: is {kind}; write `key: value` lines{hint}.")
                return {}
            return self._pairs(node, loader, where, self.known, "")
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            place = where(mark.line) if mark else where(0)
            problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
            self.problems.append(f"{place}: is not YAML: {problem}.")
            return {}
        finally:
            if loader is not None:
                loader.dispose()

    def _pairs(self, node: Any, loader: Any, where: Callable[[int], str], known: Known, section: str) -> Layer:
        layer: Layer = {}
        for key_node, value_node in node.value:
            place, key = where(key_node.start_mark.line), str(getattr(key_node, "value", ""))
            allowed = known.get(key)
            if key_node.id != "scalar" or allowed is None:
                hint = near(key, list(known)) or f"allowed are {', '.join(known)}."
                self.problems.append(f"{place}: there is no setting {short(section + key)}; {hint}")
            elif section + key in layer:
                self.problems.append(f"{place}: `{section}{key}` is there twice, first in {layer[section + key][1]}.")
            elif isinstance(allowed, Mapping):
                if value_node.id == "mapping":
                    layer |= self._pairs(value_node, loader, where, allowed, f"{key}.")
                else:
                    said = f"allowed is a mapping of {', '.join(allowed)}"
                    self.problems.append(f"{place}: `{key}` is no mapping; {said}.")
            elif value_node.id == "sequence" and key in self.lists and all(n.id == "scalar" for n in value_node.value):
                layer[section + key] = ([self._value(each, loader, place) for each in value_node.value], place)
            elif value_node.id != "scalar":
                kind = "a list" if value_node.id == "sequence" else "a mapping"
                self.problems.append(f"{place}: `{section}{key}` is {kind}; allowed is {allowed}.")
            else:
                layer[section + key] = (self._value(value_node, loader, place), place)
        return layer

    def _value(self, node: Any, loader: Any, place: str) -> Any:
        try:
            value = loader.construct_object(node)
        except ValueError as error:  # such as a day that is in no calendar
            self.problems.append(f"{place}: `{node.value}` cannot be read: {error}; put it into quotes.")
            return None
        return self.insert(value, place, _MARKED)

    def insert(self, value: Any, place: str, mark: re.Pattern[str] = VARIABLE) -> Any:
        """Return the value with the variables it names: one alone keeps its type, within a text it is text."""
        if not isinstance(value, str):
            return value
        unknown = [name for name in mark.findall(value) if name not in self.names]
        if unknown:
            self.problems += [f"{place}: there is no variable `{name}` in this notebook." for name in unknown]
            return value
        alone = mark.fullmatch(value.strip())
        return self.names[alone[1]] if alone else mark.sub(lambda found: str(self.names[found[1]]), value)


def near(value: str, known: Sequence[str]) -> str:
    """Return the question after the nearest spelling; empty when nothing is near."""
    found = difflib.get_close_matches(value, known, n=1)
    return f"did you mean `{found[0]}`?" if found else ""


def short(value: Any) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, bool):
        return f"a truth value ({'yes' if value else 'no'})"
    if value is None:
        return "empty"
    text = value if isinstance(value, str) else repr(value)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}...`"
