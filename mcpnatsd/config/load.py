"""Reads a configuration, and says everything that is wrong with it at once.

The only module that knows YAML and JSON Schema. Order: parse, replace references and read sizes,
validate, put drop-ins together, build. What a fault says is `faults.py`'s business.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from mcpnatsd.config.build import build, late_faults
from mcpnatsd.config.dropins import Piece, drop_ins, merged
from mcpnatsd.config.faults import Fault, Place, Violation, Written, faults_of, quoted
from mcpnatsd.config.model import Config
from mcpnatsd.config.references import Lookup, Sources, expand
from mcpnatsd.config.schema import KeyPath, schema, schema_at
from mcpnatsd.config.sizes import parse_bytes, parse_seconds
from mcpnatsd.errors import ConfigError

MOST_LEVELS: Final = 32
"""Of mappings and lists in each other; the schema needs six."""

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PARSERS: Final = {"bytes": parse_bytes, "seconds": parse_seconds}
_NULL: Final = "tag:yaml.org,2002:null"
_MERGE: Final = "tag:yaml.org,2002:merge"
_MAP: Final = "tag:yaml.org,2002:map"
_TAGS: Final = {_MAP, "tag:yaml.org,2002:seq"}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_START: Final = "for example: servers: { files: { command: [npx, -y, some-server] } }"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration, and where it came from."""

    config: Config
    files: tuple[Path, ...]
    """The file, and its drop-ins."""

    referenced: frozenset[Path]
    """What its references were replaced by."""


class ConfigFaults(ConfigError):
    """Everything that is wrong, by file and line: one sentence per line."""

    def __init__(self, sentences: Iterable[str], referenced: Iterable[Path] = ()) -> None:
        self.sentences = tuple(sentences)
        self.referenced = frozenset(referenced)
        """What its references looked for."""

        super().__init__("\n".join(self.sentences))


class _Unreadable(Exception):
    """There is no tree to look at; carries the one fault."""

    def __init__(self, text: str, place: Place | None = None) -> None:
        super().__init__(text)
        self.fault = Fault(text, (), place)


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read a configuration file and its drop-ins.

    Raises:
        ConfigFaults: A file is wrong, or a reference in it cannot be replaced.
    """
    return load_all(path, environ).config


def load_all(path: Path, environ: Mapping[str, str]) -> Loaded:
    """Read a configuration; references are looked up in `environ` and in files.

    Raises:
        ConfigFaults: A file is wrong, or a reference in it cannot be replaced.
    """
    sources = Sources(environ)
    try:
        others = drop_ins(path)
    except ConfigError as fault:
        raise ConfigFaults([str(fault)]) from None
    sentences: list[str] = []
    pieces = []
    for file in (path, *others):
        try:
            pieces.append(_piece(file, sources, may_be_empty=bool(others)))
        except ConfigFaults as faults:
            sentences += faults.sentences
    tree, twice = merged(pieces)
    if sentences or twice:
        raise ConfigFaults([*sentences, *twice], sources.files)
    return Loaded(config=build(tree), files=(path, *others), referenced=frozenset(sources.files))


def _piece(path: Path, sources: Sources, *, may_be_empty: bool) -> Piece:
    try:
        node = _compose(_read(path), may_be_empty=may_be_empty)
    except _Unreadable as unreadable:
        raise ConfigFaults([unreadable.fault.sentence(str(path))]) from None
    tree = _Tree(node, sources)
    if faults := [*tree.faults, *_invalid(tree)]:
        ordered = sorted(dict.fromkeys(faults), key=_position)
        raise ConfigFaults(fault.sentence(str(path)) for fault in ordered)
    return Piece(str(path), tree.root, tree.written)


def _position(fault: Fault) -> Place:
    return fault.place or Place(0, 0)


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _Unreadable("there is no such file; name yours with --config") from None
    except IsADirectoryError:
        raise _Unreadable("this is a folder; name the file in it") from None
    except OSError as error:
        raise _Unreadable(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace").removeprefix("\ufeff")
        raise _Unreadable("not UTF-8 text; save the file as UTF-8", _after(before)) from None


def _after(text: str) -> Place:
    line = text.count("\n") + 1
    return Place(line, len(text) - (text.rfind("\n") + 1) + 1)


def _compose(text: str, *, may_be_empty: bool) -> yaml.Node:
    if odd := _UNPRINTABLE.search(text):
        code = f"U+{ord(odd[0]):04X}"
        raise _Unreadable(f"{code} cannot stand in YAML; remove it", _after(text[: odd.start()]))
    try:
        _measure(text)
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _unparsed(text, error) from None
    if node is None or node.tag == _NULL:
        if may_be_empty:
            return yaml.MappingNode(_MAP, [], yaml.Mark("", 0, 0, 0, None, 0))
        raise _Unreadable(f"is empty; {_START}")
    if not isinstance(node, yaml.MappingNode):
        raise _Unreadable(f"expected keys at the top, such as servers; {_START}", _place(node))
    return node


def _measure(text: str) -> None:
    """Refuse what is nested too deep: composing it would end the interpreter, not raise."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_LEVELS:
            mark: Any = event.start_mark
            raise _Unreadable("nested too deep", _placed(mark))


def _unparsed(text: str, error: yaml.MarkedYAMLError) -> _Unreadable:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return _Unreadable(f"not YAML: {error.problem}")
    line = "".join(text.split("\n")[mark.line : mark.line + 1])
    if line[mark.column : mark.column + 1] == "\t":
        return _Unreadable("a tab; YAML wants spaces to indent with", _placed(mark))
    if error.problem == "but found another document":
        return _Unreadable('a second document; remove the "---"', _placed(mark))
    context = f" {error.context}" if error.context else ""
    hint = "; inside { } and [ ], quote a text with ${...}" if "${" in line else ""
    return _Unreadable(f"not YAML: {error.problem}{context}{hint}", _placed(mark))


def _placed(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _place(node: yaml.Node) -> Place:
    return _placed(node.start_mark)


class _Tree:
    """A file's plain values, with references replaced and sizes read; and how it was written."""

    def __init__(self, node: yaml.Node, lookup: Lookup) -> None:
        self.written = Written()
        self.faults: list[Fault] = []
        self.unknown: set[KeyPath] = set()
        self._lookup = lookup
        self._open: set[int] = set()
        self.root: dict[str, Any] = self._value(node, ())

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401 - a YAML value
        self.written.places[path] = _place(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if text := self._odd(node, path):
            return self._fault(path, text)
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            value: Any = self._mapping(node, path)
        else:
            value = [self._value(item, (*path, at)) for at, item in enumerate(node.value)]
        self._open.remove(id(node))
        self.written.values[path] = value
        return value

    def _odd(self, node: yaml.Node, path: KeyPath) -> str | None:
        if id(node) in self._open:
            return "holds an alias of itself; remove it"
        if node.tag not in _TAGS:
            return "a YAML tag does not belong here; remove it"
        return "nested too deep" if len(path) > MOST_LEVELS else None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode):
                text = "a key is a word, not a list or a mapping"
                self.faults.append(Fault(text, path, _place(key)))
            elif key.value in values:
                self._duplicate((*path, key.value), _place(key))
            else:
                self._enter(values, key, item, path)
        self._inherit(values, node, path)
        return values

    def _enter(
        self, values: dict[str, Any], key: yaml.ScalarNode, item: yaml.Node, path: KeyPath
    ) -> None:
        """A key is taken as it is written: a server may be called 123, a variable NO."""
        self.written.keys[(*path, key.value)] = _place(key)
        values[key.value] = self._value(item, (*path, key.value))

    def _inherit(self, values: dict[str, Any], node: yaml.MappingNode, path: KeyPath) -> None:
        """Take over the keys that `<<` brings and that are not there already."""
        for key, item in node.value:
            if key.tag == _MERGE:
                for source in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                    self._merge(values, source, path)

    def _merge(self, values: dict[str, Any], source: yaml.Node, path: KeyPath) -> None:
        if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
            text = '"<<" wants the alias of a mapping elsewhere'
            self.faults.append(Fault(text, path, _place(source)))
            return
        self._open.add(id(source))
        for key, item in source.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE and key.value not in values:
                self._enter(values, key, item, path)
        self._inherit(values, source, path)
        self._open.remove(id(source))

    def _duplicate(self, path: KeyPath, place: Place) -> None:
        first = self.written.keys[path]
        text = f"written twice; the first is at line {first.line}, column {first.column}"
        self.faults.append(Fault(text, path, place))

    def _fault(self, path: KeyPath, text: str) -> None:
        """Note a value that cannot be known; nothing more is said of it or below it."""
        self.unknown.add(path)
        self.written.values.setdefault(path, None)
        self.faults.append(self.written.at_value(path, text))

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:  # noqa: ANN401 - a YAML value
        self.written.sources[path] = node.value
        try:
            value = _Loader("").construct_object(node)
        except (yaml.YAMLError, ValueError):
            return self._fault(path, "cannot be read as what it looks like; quote it")
        if isinstance(value, float) and not math.isfinite(value):
            return self._fault(path, "expected a finite number")
        self.written.values[path] = value
        return self._ripened(value, path) if isinstance(value, str) else value

    def _ripened(self, text: str, path: KeyPath) -> str | float | None:
        expanded = expand(text, self._lookup)
        for fault in expanded.faults:
            self._fault(path, fault)
        if expanded.faults:
            return None
        parse = _PARSERS.get(schema_at(path).get("format", ""))
        try:
            return parse(expanded.text) if parse else expanded.text
        except ValueError:
            return expanded.text  # its pattern in the schema says what is wrong


def _invalid(tree: _Tree) -> Iterator[Fault]:
    """Find what is wrong with the values that could be read."""
    for error in _VALIDATOR.iter_errors(tree.root):
        violation = _violation(error)
        if not _under(violation.path, tree.unknown):
            yield from faults_of(violation, tree.written)
    for path, text in late_faults(tree.root):
        if not _under(path, tree.unknown):
            yield tree.written.at_value(path, text)


def _under(path: KeyPath, unknown: set[KeyPath]) -> bool:
    return any(path[:length] in unknown for length in range(len(path) + 1))


def _violation(error: ValidationError) -> Violation:
    path = tuple(error.absolute_path)
    key = str(error.instance) if "propertyNames" in error.absolute_schema_path else None
    return Violation(str(error.validator), path, error.validator_value, key)


def _whole_pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[ValidationError]:
    """Match like ECMA-262, where `$` is the end; Python's also matches before a last newline."""
    if isinstance(instance, str) and not re.fullmatch(pattern, instance):
        yield ValidationError(f"not {quoted(pattern)}")


_VALIDATOR: Final = extend(Draft202012Validator, {"pattern": _whole_pattern})(schema())  # type: ignore[no-untyped-call]
