"""What may be changed: a value with a name, a feedback, and a state that can be kept and brought back exactly."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.refs import Pointed
from autopilot_runtime.training.fault import ParameterRefused
from autopilot_runtime.training.gradient import Gradient


class Parameter:
    """One value that an optimizer may change. `name` is given by the module that holds it.

    Subclasses that hold something else than `data` override `render`, `snapshot` and `restore`; the last two are
    bytes, and `restore(snapshot())` changes nothing.
    """

    def __init__(self, data: Any = None, *, requires_grad: bool = True, name: str = "") -> None:
        self.name = name
        self.requires_grad = requires_grad
        self.grad: Gradient | None = None
        self._data: Any = None
        self.data = data

    @property
    def data(self) -> Any:
        """The value."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = self.checked(value)

    @property
    def value(self) -> Any:
        """Another name for `data`."""
        return self.data

    @value.setter
    def value(self, value: Any) -> None:
        self.data = value

    def checked(self, value: Any) -> Any:
        """The value as it is taken; raises `ParameterRefused` for one that is none."""
        return value

    def receive(self, gradient: Gradient) -> None:
        """Add feedback to what there is."""
        if self.requires_grad:
            self.grad = gradient if self.grad is None else self.grad.accumulate(gradient)

    def owns(self, attribution: str) -> bool:
        """Whether feedback with this attribution belongs here."""
        head = attribution.partition(":")[0]
        return bool(self.name) and (head == self.name or self.name.endswith("." + head))

    def render(self) -> str:
        """The value as text for an agent or a person."""
        return self.data if isinstance(self.data, str) else json.dumps(self.data, ensure_ascii=False, indent=2)

    def snapshot(self) -> bytes:
        """The whole state."""
        try:
            return json.dumps(self.data, separators=(",", ":"), allow_nan=True).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError) as error:
            raise ParameterRefused(
                f"parameter {self.name or type(self).__name__!r} holds {type(self.data).__name__}, which JSON cannot "
                "say: override snapshot() and restore(), both in bytes"
            ) from error

    def restore(self, state: bytes) -> None:
        """Be what `snapshot` gave."""
        self.data = json.loads(state.decode("utf-8", "surrogatepass"))

    # How a state is kept in a store and brought back; a parameter that is many files does better than one blob.

    kept_as: Pointed | None = None  # what `keep` gives: "tree" for that of a folder; None: one has to look

    def keep(self, store: Store) -> bytes:
        """Put the state into a store; gives its digest, which names it."""
        return store.put(self.snapshot())

    def bring(self, store: Store, digest: bytes) -> None:
        """Be what `keep` put there."""
        self.restore(store.get(digest))

    def verify(self, store: Store, digest: bytes) -> None:
        """Raise `ObjectDamaged` when `bring` could not bring this back; changes nothing."""
        store.get(digest)

    @property
    def digest(self) -> str:
        """Names the state."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def __repr__(self) -> str:
        shown = " ".join(self.render().split())
        return f"{type(self).__name__}({self.name or ''}: {shown[:60]}{'…' if len(shown) > 60 else ''})"


class ScalarParameter(Parameter):
    """A number between two bounds."""

    def __init__(
        self,
        data: float = 0.0,
        *,
        low: float | None = None,
        high: float | None = None,
        integer: bool = False,
        requires_grad: bool = True,
        name: str = "",
    ) -> None:
        self.low, self.high, self.integer = low, high, integer
        super().__init__(data, requires_grad=requires_grad, name=name)

    def checked(self, value: Any) -> float | int:
        who = self.name or "a ScalarParameter"
        number = _number(value)
        if number is None:
            raise ParameterRefused(f"{who} takes a finite number, not {value!r}")
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if not low <= number <= high:
            raise ParameterRefused(f"{who} must lie in [{low:g}, {high:g}]: {value!r} does not")
        if self.integer and number != int(number):
            raise ParameterRefused(f"{who} takes a whole number, not {value!r}")
        return int(number) if self.integer else number


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


class TextParameter(Parameter):
    """A text: a prompt, a rule, a program."""

    def __init__(
        self,
        data: str = "",
        *,
        check: Callable[[str], object] | None = None,
        requires_grad: bool = True,
        name: str = "",
    ) -> None:
        self._check = check
        super().__init__(data, requires_grad=requires_grad, name=name)

    def checked(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ParameterRefused(f"{self.name or 'a TextParameter'} takes a text, not {type(value).__name__}")
        if self._check is not None:
            try:
                self._check(value)
            except Exception as error:
                raise ParameterRefused(f"{self.name or 'the text'} was refused by its check: {error}") from error
        return value

    def snapshot(self) -> bytes:
        return self._data.encode("utf-8", "surrogatepass")  # type: ignore[no-any-return]

    def restore(self, state: bytes) -> None:
        self.data = state.decode("utf-8", "surrogatepass")


class JSONParameter(Parameter):
    """A JSON document. A text is parsed; `check` sees the document and raises for one that will not do."""

    def __init__(
        self,
        data: Any = None,
        *,
        check: Callable[[Any], object] | None = None,
        requires_grad: bool = True,
        name: str = "",
    ) -> None:
        self._check = check
        super().__init__({} if data is None else data, requires_grad=requires_grad, name=name)

    def checked(self, value: Any) -> Any:
        who = self.name or "a JSONParameter"
        try:
            plain = json.loads(value if isinstance(value, (str, bytes)) else json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ParameterRefused(f"{who} takes a JSON document: {error}") from error
        if self._check is not None:
            try:
                self._check(plain)
            except Exception as error:
                raise ParameterRefused(f"{who} was refused by its check: {error}") from error
        return plain
