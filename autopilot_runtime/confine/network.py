"""A network of their own for the programs of one wall: a loopback, and perhaps one listener on it. Linux.

A network lives as long as somebody holds a descriptor of it. It is made in a child that ends at once; this process
keeps the descriptors, and each program is put in between fork and exec.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import warnings
from collections.abc import Callable
from typing import NoReturn

from autopilot_runtime.confine.kernel import out_of_the_way, syscall

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
_SECONDS = 5.0


class PrivateNetwork:
    """Descriptors of a network (and of the user namespace it belongs to, for an ordinary user)."""

    def __init__(self, *, listening: bool = False) -> None:
        """Make one. Raises OSError where this process may not. `listening`: with a socket on its 127.0.0.1."""
        self.listener: socket.socket | None = None
        self._user: int | None = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            ours.settimeout(_SECONDS)
            pid = _fork()
            if pid == 0:
                ours.close()  # else its end would never be seen
                _make(theirs, listening=listening)
            theirs.close()
            try:
                self._hold(pid, ours)
            finally:
                ours.close()  # the child waits for this, then ends
                os.waitpid(pid, 0)

    def _hold(self, pid: int, ours: socket.socket) -> None:
        message, fds, _, _ = socket.recv_fds(ours, 200, 1)
        if fds:
            self.listener = socket.socket(fileno=fds[0])
        if message != b"ok":
            raise OSError(1, f"no network of its own can be made here: {message.decode() or 'the child ended'}")
        self._net = out_of_the_way(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        if os.geteuid() != 0:
            self._user = out_of_the_way(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC))

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a child must still have open when it joins."""
        return (self._net,) if self._user is None else (self._net, self._user)

    @property
    def port(self) -> int:
        """Where the listener listens."""
        return int(self.listener.getsockname()[1]) if self.listener is not None else 0

    def join(self) -> None:
        """Move the calling process in. In a new user namespace it has every capability: drop them afterwards."""
        if self._user is not None:
            syscall("setns", ctypes.c_int(self._user), ctypes.c_int(_NEW_USER))
        syscall("setns", ctypes.c_int(self._net), ctypes.c_int(_NEW_NET))

    def close(self) -> None:
        """Let it go; it ends with the last program in it."""
        for fd in self.descriptors:
            os.close(fd)
        self._user, self._net = None, -1
        if self.listener is not None:
            self.listener.close()


def _fork() -> int:
    with warnings.catch_warnings():
        # Newer Pythons warn about forking in a process with threads; the child makes a few system calls and ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def become_user_with_rights(also: int = 0) -> None:
    """Move this process into a user namespace, where it is who it was and may do what root may."""
    user, group = os.geteuid(), os.getegid()
    syscall("unshare", ctypes.c_ulong(_NEW_USER | also))
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def in_a_child(attempt: Callable[[], None]) -> bool:
    """Whether this works, tried by a process that ends afterwards."""
    pid = _fork()
    if pid == 0:
        code = 1
        try:
            attempt()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def _make(theirs: socket.socket, *, listening: bool) -> NoReturn:
    """In the child: become somebody with a network of their own, hand it over, wait, end."""
    try:
        if os.geteuid() == 0:
            syscall("unshare", ctypes.c_ulong(_NEW_NET))
        else:
            become_user_with_rights(_NEW_NET)
        _loopback_up()
        fds = [_listen()] if listening else []
        socket.send_fds(theirs, [b"ok"], fds)
        theirs.recv(1)
    except OSError as error:
        theirs.send(str(error).encode()[:200])
    finally:
        os._exit(0)


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY)
    os.write(file, text.encode())
    os.close(file)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


def _listen() -> int:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener.detach()
