"""A server that can go away: a TCP proxy which is cut, restored, or loses the answer to a COMMIT."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Stands before `target` on a port of its own."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._losing = 0
        self.lost = 0
        self.port = 0
        self._server: socket.socket | None = None
        self.restore()

    def restore(self) -> None:
        """Listen, on the same port as before."""
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", self.port))
        server.listen(20)
        self.port = server.getsockname()[1]
        self._server = server
        self._start(self._accept, server)

    def cut(self) -> None:
        """Break all connections, and refuse new ones until `restore`."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(OSError):  # wakes the thread that accepts
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        self.drop()

    def drop(self) -> None:
        """Break all connections; new ones are welcome."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):  # the other side was faster
                    one.shutdown(socket.SHUT_RDWR)

    def lose_answers(self, count: int) -> None:
        """Hand the next COMMITs to the server, and break the connection when it has answered."""
        self._losing = count

    def close(self) -> None:
        """Cut, and wait for all threads."""
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:  # cut
                return
            upstream = socket.create_connection(self._target)
            with self._lock:
                self._pairs.append((client, upstream))
            losing = threading.Event()
            self._start(self._carry, client, upstream, losing, True)
            self._start(self._carry, upstream, client, losing, False)

    def _carry(self, source: socket.socket, sink: socket.socket, losing: threading.Event, up: bool) -> None:
        with source, contextlib.suppress(OSError):  # one end is gone, so is the other
            while data := source.recv(65_536):
                if up and self._losing and data.endswith((b"COMMIT", b"COMMIT\0")):
                    self._losing -= 1
                    losing.set()
                if not up and losing.is_set():
                    self.lost += 1
                    break
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
