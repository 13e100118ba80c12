"""Items as lines of JSON: every fault is named with its line, and what was written comes back the same."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.training.datum import Datum, id_from_content
from autopilot_runtime.training.fault import TrainingError, meant

_SHOWN = 5  # faults that one error lists
_PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (float, int), bool: (bool,)}
_OURS = ("id", "metadata", "grad_fn")


@dataclasses.dataclass
class Row(Datum):
    """An item whose fields are what its line says: `row.text`, or `row["text"]` for any name."""

    fields: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "metadata": self.metadata, **self.fields}

    def __getitem__(self, name: str) -> Any:
        try:
            return self.fields[name]
        except KeyError:
            raise KeyError(f"{self.id} has no field {name!r}.{meant(name, self.fields)}") from None

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{self.__dict__.get('id', 'a row')} has no field {name!r}.{meant(name, fields)}")


def read_items(path: str | Path, kind: type[Any] | None) -> list[Any]:
    """The items of a file, one a line; empty lines are passed over."""
    try:
        lines = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from error
    shape = Shape(kind)
    items, faults = [], []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                items.append(shape.made_from(_parsed(line)))
            except (ValueError, TrainingError) as error:
                cut = " (the last line, perhaps cut off)" if number == len(lines) else ""
                faults.append(f"{path}:{number}: {error}{cut}")
    if faults:
        more = f"\nand {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise TrainingError("\n".join(faults[:_SHOWN]) + more)
    return items


def write_items(path: str | Path, items: Iterable[Any]) -> None:
    """Replace a file by these items, whole or not at all."""
    shapes: dict[type, Shape] = {}
    lines = []
    for at, item in enumerate(items):
        kind = type(item)
        shape = shapes.get(kind) or shapes.setdefault(kind, Shape(None if kind is Row else kind))
        try:
            lines.append(_line(shape.taken_apart(item)))
        except TrainingError as error:
            raise TrainingError(f"item {at} ({getattr(item, 'id', '') or type(item).__name__}): {error}") from error
    target = Path(path)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
    try:
        write_atomic(target, b"".join(lines), mode=mode)
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror or error}; nothing was changed") from error


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line.decode(), object_pairs_hook=_each_once)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} of the line is no UTF-8: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg}, at column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"an item is an object {{...}}, and this is {_called(found)}")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands there twice, and only one value could be kept")
    return found


def _line(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, ensure_ascii=False) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: only an escape can say it
        return (json.dumps(fields, ensure_ascii=True) + "\n").encode()


class Shape:
    """How items of one kind become objects of JSON, and come back. None is `Row`, `dict` leaves them as they are."""

    def __init__(self, kind: type[Any] | None) -> None:
        self.kind: type[Any] = Row if kind is None else kind
        self.free = self.kind in (Row, dict)
        if not self.free and not dataclasses.is_dataclass(self.kind):
            raise TrainingError(
                f"{self.kind.__name__} is no kind of item a line can hold: give a Datum (or another dataclass), "
                "dict, or nothing"
            )
        self.fields = {} if self.free else {one.name: one for one in dataclasses.fields(self.kind) if one.init}
        self.fields.pop("grad_fn", None)
        self._values = {name: _Value(self.kind, name) for name in self.fields if name not in _OURS}

    def made_from(self, line: dict[str, Any]) -> Any:
        """The item that a line says."""
        if self.kind is dict:
            return line
        if issubclass(self.kind, Datum):
            _check_ours(line)
        unnamed = not line.get("id")
        item = self._row(line) if self.free else self._typed(line)
        if unnamed and isinstance(item, Datum):
            item.id = _content_id(item) or item.id
        return item

    def _row(self, line: dict[str, Any]) -> Row:
        ours = {name: line.pop(name) for name in ("id", "metadata") if name in line}
        return Row(**ours, fields=line)

    def _typed(self, line: dict[str, Any]) -> Any:
        for name in line:
            if name not in self.fields:
                raise TrainingError(f"{self.kind.__name__} has no field {name!r}.{meant(name, self.fields)}")
        lacks = [name for name, one in self.fields.items() if name not in line and _must_be_given(one)]
        if lacks:
            raise TrainingError(f"{self.kind.__name__} needs {', '.join(map(repr, lacks))}, which the line lacks")
        values = {
            name: self._values[name].read(value) if name in self._values else value for name, value in line.items()
        }
        try:
            return self.kind(**values)
        except Exception as error:  # a check of the user's own, in __post_init__
            raise TrainingError(f"{self.kind.__name__} refused it: {error}") from error

    def taken_apart(self, item: Any) -> dict[str, Any]:
        """The object that says this item."""
        if isinstance(item, dict):
            fields = dict(item)
        elif isinstance(item, Datum):
            fields = {name: value for name, value in item.to_dict().items() if self.free or name in self.fields}
            if not item.is_named and item.id == _content_id(item):
                del fields["id"]
            if not item.metadata:
                del fields["metadata"]
        else:
            fields = {name: getattr(item, name) for name in self.fields}
        for name, value in fields.items():
            fields[name] = _exact(self._values[name].written(value) if name in self._values else value, name)
        return fields


class _Value:
    """One field of a kind: what its annotation says of the values it takes."""

    def __init__(self, kind: type[Any], name: str) -> None:
        self.name = name
        self.hint = _hint(kind, name)
        self.plain = _PLAIN.get(self.hint)
        self.adapter = None if self.plain or self.hint is Any else _adapter(self.hint)

    def read(self, value: Any) -> Any:
        if self.plain is not None:
            if not isinstance(value, self.plain) or (isinstance(value, bool) and self.hint is not bool):
                raise TrainingError(f"field {self.name!r} takes {self.hint.__name__}, and this is {_called(value)}")
            return value
        if self.adapter is None:
            return value
        try:
            return self.adapter.validate_json(json.dumps(value), strict=True)
        except ValueError as error:
            errors = getattr(error, "errors", None)
            said = errors()[0]["msg"] if errors is not None else str(error)
            raise TrainingError(f"field {self.name!r} takes {_spelt(self.hint)}: {said}") from error

    def written(self, value: Any) -> Any:
        if self.adapter is None:
            return value
        try:
            return self.adapter.dump_python(value, mode="json", warnings="error")
        except ValueError as error:
            raise TrainingError(
                f"field {self.name!r} takes {_spelt(self.hint)}, and holds {_called(value)}"
            ) from error


def _hint(kind: type[Any], name: str) -> Any:
    """The type of a field; Any where its name cannot be found (a class made inside a function)."""
    for owner in kind.__mro__:
        found = vars(owner).get("__annotations__", {}).get(name)
        if found is None:
            continue
        if isinstance(found, str):
            try:
                return eval(found, vars(sys.modules.get(owner.__module__, object())), dict(vars(owner)))
            except Exception:  # whatever an annotation can raise: then nothing is known, and nothing checked
                return Any
        return found
    return Any


def _adapter(hint: Any) -> Any:
    """What checks and converts values of a type; None for one that cannot be had so."""
    # Not at the top: a quarter of a second that only items with such fields are worth.
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    settings = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
    for config in (settings, None):
        try:
            return TypeAdapter(hint, config=config)
        except (PydanticUserError, NameError, TypeError):
            continue
    return None


def _check_ours(line: dict[str, Any]) -> None:
    if type(line.get("id")) is int:
        line["id"] = str(line["id"])
    if not isinstance(line.get("id", ""), str):
        raise TrainingError(f"field 'id' takes a text, and this is {_called(line['id'])}")
    if not isinstance(line.get("metadata", {}), dict):
        raise TrainingError(f"field 'metadata' takes an object, and this is {_called(line['metadata'])}")


def _must_be_given(one: dataclasses.Field[Any]) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def _content_id(item: Datum) -> str:
    try:
        return id_from_content(item)
    except TypeError:  # a value without a digest: its id stays the made-up one
        return ""


def _exact(value: Any, where: str) -> Any:
    """The value, when JSON can say it; a tuple is said as a list."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_exact(one, f"{where}[{at}]") for at, one in enumerate(value)]
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TrainingError(f"{where} has the key {odd[0]!r}, and keys of JSON are texts")
        return {key: _exact(one, f"{where}.{key}") for key, one in value.items()}
    raise TrainingError(
        f"{where} is {_called(value)}, which JSON cannot say: annotate the field with its type, or make it a text"
    )


def _called(value: Any) -> str:
    shown = repr(value)
    return f"{type(value).__name__} ({shown[:40]}{'…' if len(shown) > 40 else ''})"


def _spelt(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
