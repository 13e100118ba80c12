"""What a confined program must not be able to do: each probe is a program's text that says so when it has done it.

A probe ends with `reached()` only after it has really got what it was after. `{NAME}` stands for something of this
host, filled in by `Host.fill`. The same texts run behind every wall, in the worker of control blocks, and without a
wall: there each one succeeds, which is what makes a failure behind a wall worth something.
"""

from __future__ import annotations

PREAMBLE = """
import ctypes, os, socket, struct, sys

def syscall(number, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer

def reached(what=True):
    if what:
        print("REACHED")
"""

FILES = {
    "read a planted secret": "reached('{SECRET}' in open('{OUTSIDE}/secret.txt').read())",
    "list the folder above": "reached('secret.txt' in os.listdir('{OUTSIDE}'))",
    "write outside": "open('{OUTSIDE}/made', 'w').write('x'); reached(os.path.exists('{OUTSIDE}/made'))",
    "write in a folder that may only be read": (
        "assert open('{SHOWN}/book').read() == 'to be read'; open('{SHOWN}/made', 'w').close(); reached()"
    ),
    "append to a file outside": "open('{OUTSIDE}/secret.txt', 'a').write('x'); reached()",
    "delete a file outside": "os.unlink('{OUTSIDE}/victim'); reached()",
    "rename a file outside": "os.rename('{OUTSIDE}/victim2', '{OUTSIDE}/moved'); reached()",
    "make a link to a secret and read it": (
        "os.symlink('{OUTSIDE}/secret.txt', '{WORK}/link'); reached('{SECRET}' in open('{WORK}/link').read())"
    ),
    "make a hard link to a secret": "os.link('{OUTSIDE}/secret.txt', '{WORK}/hard'); reached()",
    "read a key in the home folder": "reached('{SECRET}' in open('{HOME}/.ssh/id_test').read())",
    "read a token in the home folder": "reached('{SECRET}' in open('{HOME}/.netrc').read())",
    "change a protected file": "open('{WORK}/agent.yaml', 'a').write('#'); reached()",
    "change the modes of a file outside": "os.chmod('{OUTSIDE}/secret.txt', 0o777); reached()",
    "leave a program that runs as its owner": (
        "open('{WORK}/suid', 'w').close(); os.chmod('{WORK}/suid', 0o4755);"
        "reached(os.stat('{WORK}/suid').st_mode & 0o4000)"
    ),
    "leave one when the file is made": (
        "os.umask(0); os.close(os.open('{WORK}/suid2', os.O_CREAT | os.O_WRONLY, 0o4755));"
        "reached(os.stat('{WORK}/suid2').st_mode & 0o4000)"
    ),
}
NETWORK = {
    "connect to a port of this machine": "socket.create_connection(('127.0.0.1', {PORT}), 2); reached()",
    "connect over IPv6": "socket.create_connection(('::1', {PORT6}), 2); reached()",
    # Whether it has arrived is looked at by the host.
    "send a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {UDP}))",
    "connect to a socket by its file": (
        "s = socket.socket(socket.AF_UNIX); s.settimeout(2); s.connect('{OUTSIDE}/socket'); reached()"
    ),
    "connect to a socket by its abstract name": (
        "s = socket.socket(socket.AF_UNIX); s.settimeout(2); s.connect('\\0{ABSTRACT}'); reached()"
    ),
    "open a socket of the kernel's cryptography": "socket.socket(38, socket.SOCK_SEQPACKET); reached()",
    "open a socket of the machine below": "socket.socket(40, socket.SOCK_STREAM); reached()",
}
PROCESSES = {
    "signal this process": "os.kill({PID}, 0); reached()",
    "read this process's variables": "reached(b'PATH' in open('/proc/{PID}/environ', 'rb').read())",
    "read this process's memory map": "reached('r-xp' in open('/proc/{PID}/maps').read())",
    "change another process's limits": (
        "libc = ctypes.CDLL(None, use_errno=True); l = (ctypes.c_uint64 * 2)(50, 50);"
        "reached(libc.prlimit({BEARER}, 7, l, None) == 0)"
    ),
    "change another process's priority": "os.setpriority(os.PRIO_PROCESS, {BEARER}, 19); reached()",
    "attach another process's memory": (
        "libc = ctypes.CDLL(None, use_errno=True); libc.shmat.restype = ctypes.c_void_p;"
        "reached(libc.shmat({MEMORY}, None, 0) not in (None, 2**64 - 1))"
    ),
    "look into this process's folder": "os.listdir('/proc/{PID}/cwd/'); reached()",
    "find a secret in its own variables": "reached('{SECRET}' in ''.join(os.environ.values()))",
    "find a secret in another process's variables": (
        "pids = [p for p in os.listdir('/proc') if p.isdigit() and p != str(os.getpid())]\n"
        "for p in pids:\n"
        "    try:\n"
        "        reached(b'{SECRET}' in open(f'/proc/{p}/environ', 'rb').read())\n"
        "    except OSError:\n"
        "        continue\n"
    ),
}
KERNEL = {
    "make a user namespace": "syscall({NR_unshare}, 0x10000000); reached()",
    "make a network namespace": "syscall({NR_unshare}, 0x50000000); reached()",
    "set up io_uring": "syscall({NR_io_uring_setup}, 8, ctypes.create_string_buffer(200)); reached()",
    "use the kernel's key ring": "syscall({NR_keyctl}, 0, -3, 1); reached()",
    "type into a terminal": (
        "import fcntl, os, pty, termios; m, s = pty.openpty(); os.setsid(); fcntl.ioctl(s, termios.TIOCSCTTY, 0);"
        "fcntl.ioctl(s, termios.TIOCSTI, b'x'); reached()"
    ),
}
# These need the rights of root even without a wall.
ROOT = {
    "mount something": "syscall({NR_mount}, b'none', b'{WORK}', b'tmpfs', 0, None); reached()",
    "change the root": "os.chroot('{WORK}'); reached()",
    "set the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, time.time()); reached()",
    "read the password file": "reached('root' in open('/etc/shadow').read())",
    "make a device": "os.mknod('{WORK}/null', 0o020600, os.makedev(1, 3)); reached()",
    "load a program into the kernel": (
        "syscall({NR_bpf}, 0, ctypes.create_string_buffer(struct.pack('<IIII', 2, 4, 4, 1), 80), 80); reached()"
    ),
    "write to the kernel's settings": "os.close(os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)); reached()",
    "press the kernel's panic keys": "os.close(os.open('/proc/sysrq-trigger', os.O_WRONLY)); reached()",
}
PROBES = FILES | NETWORK | PROCESSES | KERNEL | ROOT
