"""The text of a configuration: YAML that is composed, never loaded, and ``{{name}}`` put in as data.

The nodes know their lines, repeated keys are still there, and nothing but single values is ever constructed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .training.paths import at_home, brief, unreachable
from .yaml12 import loader_class, scalar

if TYPE_CHECKING:
    import yaml

Layer = dict[str, tuple[Any, str]]
"""Key -> value and origin. A key within a section is written ``section.key``."""
Known = Mapping[str, str | Mapping[str, str]]
"""Key -> what is allowed; of a section, the same for its own keys."""

PAIRS = {"group": "column"}  # a text that may be written as a mapping of this key alone: `group: {column: patient}`
ADVICE = {
    "mapping values are not allowed": "put a value with a colon into quotes",
    "unknown escape character": "put it into single quotes, where a backslash is itself",
}
VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_MARKED = re.compile("\ue000([A-Za-z_]\\w*)\ue001")  # private characters: no YAML meaning, nobody types them


class Reader:
    """Reads texts into layers; every problem is added to ``problems``, with its line."""

    def __init__(
        self,
        known: Known,
        names: Mapping[str, Any],
        problems: list[str],
        lists: Sequence[str] = (),
        texts: Container[str] = (),
    ) -> None:
        self.known, self.names, self.problems = known, names, problems
        self.lists = lists  # keys that may have a list of single values
        self.texts = texts  # keys whose values are text, whatever they look like

    def file(self, file: str) -> Layer:
        """Return the settings in a YAML file."""
        path = at_home(file)
        reason = unreachable(path)
        try:
            text = "" if reason else path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        if reason:
            self.problems.append(f"the file {brief(file)} cannot be read: {reason}.")
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
            loader = loader_class()(VARIABLE.sub("\ue000\\1\ue001", text))
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
            line, problem = _what_is_wrong(error, text)
            self.problems.append(f"{where(line)}: is not YAML: {problem}.")
            return {}
        finally:
            if loader is not None:
                loader.dispose()

    def _pairs(self, node: Any, loader: Any, where: Callable[[int], str], known: Known, section: str) -> Layer:
        layer: Layer = {}
        seen: dict[str, str] = {}
        for key_node, value_node in node.value:
            place, key = where(key_node.start_mark.line), str(getattr(key_node, "value", ""))
            allowed, is_text = known.get(key), section + key in self.texts
            if key_node.id != "scalar" or allowed is None:
                hint = near(key, list(known)) or f"allowed are {', '.join(known)}."
                self.problems.append(f"{place}: there is no setting {short(section + key)}; {hint}")
            elif key in seen:
                self.problems.append(f"{place}: `{section}{key}` is there twice, first in {seen[key]}.")
            elif isinstance(allowed, Mapping):
                if value_node.id == "mapping":
                    layer |= self._pairs(value_node, loader, where, allowed, f"{key}.")
                else:
                    said = f"allowed is a mapping of {', '.join(allowed)}"
                    self.problems.append(f"{place}: `{key}` is no mapping; {said}.")
            elif value_node.id == "sequence" and key in self.lists and all(n.id == "scalar" for n in value_node.value):
                layer[section + key] = (
                    [self._value(each, loader, where(each.start_mark.line), is_text) for each in value_node.value],
                    place,
                )
            elif section + key in PAIRS and (cell := _only(value_node, PAIRS[section + key])) is not None:
                layer[section + key] = (f"{PAIRS[section + key]}: {self._value(cell, loader, place, True)}", place)
            elif value_node.id != "scalar":
                kind = "a list" if value_node.id == "sequence" else "a mapping"
                self.problems.append(f"{place}: `{section}{key}` is {kind}; allowed is {allowed}.")
            else:
                layer[section + key] = (self._value(value_node, loader, place, is_text), place)
            seen.setdefault(key, place)
        return layer

    def _value(self, node: Any, loader: Any, place: str, is_text: bool) -> Any:
        try:
            value = scalar(node, loader, as_text=is_text)
        except ValueError as error:  # a tag that the text does not fit
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


def _what_is_wrong(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """Return the line of an error in a text, from 0, which the text has, and the problem in words."""
    last = max((number for number, line in enumerate(text.splitlines()) if line.strip()), default=0)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    begun = getattr(error, "context_mark", None)
    if begun is not None and any(words in problem for words in ("end of stream", "<stream end>")):
        lines = text.splitlines()
        line, opened = begun.line, lines[begun.line][begun.column : begun.column + 1] if begun.line < len(lines) else ""
        if opened not in ("[", "{", '"', "'"):  # the mark stands where the text ends
            line = max((number for number, each in enumerate(lines) if re.search(r"[\[{]", each)), default=last)
            opened = "".join(re.findall(r"[\[{]", lines[line]))[-1:]
        if opened:
            return line, f"`{opened}` is opened here and never closed"
    advice = next((f"; {each}" for words, each in ADVICE.items() if words in problem), "")
    return min(mark.line, last) if mark else 0, f"{problem}{advice}"


def _only(node: Any, key: str) -> Any:
    """Return the value of a mapping that has this key alone; None for anything else."""
    pairs = node.value if node.id == "mapping" else []
    return pairs[0][1] if len(pairs) == 1 and pairs[0][0].value == key and pairs[0][1].id == "scalar" else None


def near(value: str, known: Sequence[str]) -> str:
    """Return the question after the nearest spelling; empty when nothing is near."""
    found = difflib.get_close_matches(value, known, n=1)
    return f"did you mean `{found[0]}`?" if found else ""


def short(value: Any) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, bool):
        return f"a truth value ({'true' if value else 'false'})"
    if value is None:
        return "empty"
    text = value if isinstance(value, str) else repr(value)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}...`"
