"""Asks an OpenAI-compatible endpoint for embeddings, with retries that keep to a time limit and can be stopped."""

from __future__ import annotations

import contextlib
import math
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from autopilot_runtime.core.errors import MissingExtra, ToolError
from autopilot_runtime.search.child import Clock

_TRIES = 3
_PAUSE = 0.5  # seconds before the second try, where the endpoint asks for nothing else
_TICK = 0.05


class Late(ToolError):
    """The time was up, or the run is being stopped."""


class Embedder:
    """Turns texts into vectors of length one, through `POST {base_url}/embeddings`.

    `timeout` is for all its requests together, with the waiting between them; `stop` ends it early.
    """

    def __init__(
        self, base_url: str, api_key: str, model: str, *, timeout: float = 60.0, stop: Callable[[], bool] = bool
    ) -> None:
        self.base_url = base_url
        self.model = model
        self._key = api_key
        self._clock = Clock(timeout, stop)
        try:
            import openai  # late: it takes most of a second, and only this needs it
        except ImportError as error:
            raise MissingExtra("semantic_search with embeddings", "openai") from error
        self._sdk = openai
        # Its own retries would neither know our time nor let themselves be stopped.
        self._client = openai.OpenAI(api_key=api_key, base_url=base_url, max_retries=0)

    @property
    def name(self) -> str:
        """What its vectors are kept under: another endpoint or model has others."""
        return f"{self.base_url} {self.model}"

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """One vector for each text, as float32. What goes wrong is a `ToolError` that says what to do."""
        tries = 0
        while True:
            tries += 1
            try:
                return self._vectors(self._ask(texts), len(texts))
            except self._sdk.OpenAIError as error:
                pause = _pause(error, tries)
                hopeless = pause is None or tries == _TRIES or pause >= self._clock.left
                if self._clock.stop():  # asked last: a stop during the lines above leaves no time either
                    raise self._late() from error
                if pause is None or hopeless:
                    raise ToolError(self._explain(error)) from error
            self._wait(pause)

    def _ask(self, texts: Sequence[str]) -> Any:
        """The answer. A request cannot be called back, so it is made beside us and left alone when time is up."""
        answers: SimpleQueue[Any] = SimpleQueue()

        def ask() -> None:
            try:
                left = self._clock.left + 1.0  # so that it is our clock that ends it
                answers.put(self._client.embeddings.create(input=list(texts), model=self.model, timeout=left))
            except Exception as error:
                answers.put(error)

        Thread(target=ask, name="embeddings", daemon=True).start()
        while self._clock.left > 0:
            with contextlib.suppress(Empty):
                answer = answers.get(timeout=_TICK)
                if isinstance(answer, Exception):
                    raise answer if isinstance(answer, self._sdk.OpenAIError) else self._nonsense(answer)
                return answer
        raise self._late()

    def _vectors(self, answer: Any, count: int) -> list[bytes]:
        try:
            found = {int(one.index): one.embedding for one in answer.data}
            vectors = [_unit(found[index]) for index in sorted(found)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._nonsense(error) from error
        if sorted(found) != list(range(count)):
            raise ToolError(f"{self.base_url} answered with {len(answer.data)} vectors for {count} texts.")
        if len({len(one) for one in vectors}) > 1:
            raise ToolError(f"{self.base_url} answered with vectors of different lengths.")
        return vectors

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._clock.left <= 0:
                raise self._late()
            time.sleep(min(left, _TICK))

    def _late(self) -> Late:
        why = "was stopped" if self._clock.stop() else f"did not answer in {self._clock.seconds:g} s"
        return Late(f"The embeddings endpoint {self.base_url} {why}.")

    def _nonsense(self, error: Exception) -> ToolError:
        reason = self._masked(f"{type(error).__name__}: {error}")
        return ToolError(f"{self.base_url} did not answer with embeddings ({reason}).")

    def _masked(self, text: str) -> str:
        return " ".join(text.replace(self._key, "[key]").split())[:300]

    def _explain(self, error: Exception) -> str:
        status = getattr(error, "status_code", None)
        reason = self._masked(str(error))
        if status in (401, 403):
            return f"The embeddings endpoint {self.base_url} refused the key ({status}): {reason}"
        if status == 404:
            return f"The embeddings endpoint {self.base_url} does not know the model {self.model!r} (404): {reason}"
        if status == 429:
            return f"The embeddings endpoint {self.base_url} takes no more requests now (429): {reason}"
        if status is not None:
            return f"The embeddings endpoint {self.base_url} failed ({status}): {reason}"
        return f"The embeddings endpoint {self.base_url} cannot be reached: {reason}"

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def __enter__(self) -> Embedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pause(error: Exception, tries: int) -> float | None:
    """Seconds until another try may help, as the endpoint asks; None when none will."""
    status = getattr(error, "status_code", None)
    if status is not None and status not in (408, 429) and status < 500:
        return None
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after"]))
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    return float(_PAUSE * 2 ** (tries - 1))


def _unit(values: Sequence[float]) -> bytes:
    length = math.sqrt(sum(value * value for value in values))
    if not values or not length or not math.isfinite(length):
        raise ValueError("a vector without a length")
    return array("f", [value / length for value in values]).tobytes()
