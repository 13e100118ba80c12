"""System call numbers by architecture, as the kernel headers give them. Data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


def _numbers(text: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (pair.partition("=") for pair in text.split())}


@dataclass(frozen=True)
class Arch:
    """One architecture: its audit number (checked first by every filter) and its calls by name."""

    audit: int
    calls: Mapping[str, int]
    # x86_64 kernels also answer to a second, 32-bit numbering from here on; nobody may use it.
    other_abi_from: int | None = None


_X86_64 = """
read=0 write=1 close=3 fstat=5 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12 mremap=25 madvise=28
rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 sigaltstack=131 ioctl=16 poll=7 ppoll=271 select=23
pselect6=270 epoll_create1=291 epoll_ctl=233 epoll_wait=232 epoll_pwait=281 eventfd2=290 pipe=22 pipe2=293
dup=32 dup2=33 dup3=292 fcntl=72 socket=41 socketpair=53 connect=42 bind=49 listen=50 accept=43 accept4=288
sendto=44 recvfrom=45 sendmsg=46 recvmsg=47 sendmmsg=307 recvmmsg=299 shutdown=48 getsockname=51
getpeername=52 getsockopt=55 setsockopt=54 clone=56 clone3=435 fork=57 vfork=58 execve=59 execveat=322
exit=60 exit_group=231 wait4=61 waitid=247 kill=62 tkill=200 tgkill=234 rt_sigqueueinfo=129
rt_tgsigqueueinfo=297 pidfd_open=434 pidfd_send_signal=424 pidfd_getfd=438 getpid=39 getppid=110 gettid=186
getuid=102 geteuid=107 getgid=104 getegid=108 getpgrp=111 setsid=112 setpgid=109 futex=202
set_robust_list=273 get_robust_list=274 rseq=334 set_tid_address=218 membarrier=324 sched_yield=24
sched_getaffinity=204 sched_setaffinity=203 sched_setscheduler=144 setpriority=141 ioprio_set=251
clock_gettime=228 clock_getres=229 clock_nanosleep=230 nanosleep=35 gettimeofday=96 time=201 times=100
getrusage=98 getrandom=318 setitimer=38 getitimer=36 alarm=37 restart_syscall=219 arch_prctl=158 prctl=157
seccomp=317 getrlimit=97 setrlimit=160 prlimit64=302 uname=63 sysinfo=99 close_range=436 open=2 openat=257
openat2=437 stat=4 lstat=6 newfstatat=262 statx=332 access=21 faccessat=269 faccessat2=439 readlink=89
readlinkat=267 getcwd=79 getdents64=217 ptrace=101 process_vm_readv=310 process_vm_writev=311
process_madvise=440 kcmp=312 perf_event_open=298 bpf=321 userfaultfd=323 io_uring_setup=425
io_uring_enter=426 io_uring_register=427 mount=165 umount2=166 move_mount=429 open_tree=428 fsopen=430
fsmount=432 fsconfig=431 fspick=433 mount_setattr=442 pivot_root=155 chroot=161 unshare=272 setns=308
keyctl=250 add_key=248 request_key=249 init_module=175 finit_module=313 delete_module=176 kexec_load=246
kexec_file_load=320 reboot=169 swapon=167 swapoff=168 acct=163 settimeofday=164 clock_settime=227
adjtimex=159 clock_adjtime=305 iopl=172 ioperm=173 personality=135 quotactl=179 syslog=103 nfsservctl=180
lookup_dcookie=212 name_to_handle_at=303 open_by_handle_at=304 memfd_create=319 memfd_secret=447 shmget=29
shmat=30 shmctl=31 msgget=68 semget=64 mq_open=240 landlock_create_ruleset=444 landlock_add_rule=445
landlock_restrict_self=446 capset=126 vhangup=153 chmod=90 fchmod=91 fchmodat=268 fchmodat2=452 creat=85
mknod=133 mknodat=259
"""

_AARCH64 = """
read=63 write=64 close=57 fstat=80 lseek=62 mmap=222 mprotect=226 munmap=215 brk=214 mremap=216 madvise=233
rt_sigaction=134 rt_sigprocmask=135 rt_sigreturn=139 sigaltstack=132 ioctl=29 ppoll=73 pselect6=72
epoll_create1=20 epoll_ctl=21 epoll_pwait=22 eventfd2=19 pipe2=59 dup=23 dup3=24 fcntl=25 socket=198
socketpair=199 connect=203 bind=200 listen=201 accept=202 accept4=242 sendto=206 recvfrom=207 sendmsg=211
recvmsg=212 sendmmsg=269 recvmmsg=243 shutdown=210 getsockname=204 getpeername=205 getsockopt=209
setsockopt=208 clone=220 clone3=435 execve=221 execveat=281 exit=93 exit_group=94 wait4=260 waitid=95
kill=129 tkill=130 tgkill=131 rt_sigqueueinfo=138 rt_tgsigqueueinfo=240 pidfd_open=434 pidfd_send_signal=424
pidfd_getfd=438 getpid=172 getppid=173 gettid=178 getuid=174 geteuid=175 getgid=176 getegid=177 setsid=157
setpgid=154 futex=98 set_robust_list=99 get_robust_list=100 rseq=293 set_tid_address=96 membarrier=283
sched_yield=124 sched_getaffinity=123 sched_setaffinity=122 sched_setscheduler=119 setpriority=140
ioprio_set=30 clock_gettime=113 clock_getres=114 clock_nanosleep=115 nanosleep=101 gettimeofday=169
times=153 getrusage=165 getrandom=278 setitimer=103 getitimer=102 restart_syscall=128 prctl=167 seccomp=277
getrlimit=163 setrlimit=164 prlimit64=261 uname=160 sysinfo=179 close_range=436 openat=56 openat2=437
newfstatat=79 statx=291 faccessat=48 faccessat2=439 readlinkat=78 getcwd=17 getdents64=61 ptrace=117
process_vm_readv=270 process_vm_writev=271 process_madvise=440 kcmp=272 perf_event_open=241 bpf=280
userfaultfd=282 io_uring_setup=425 io_uring_enter=426 io_uring_register=427 mount=40 umount2=39
move_mount=429 open_tree=428 fsopen=430 fsmount=432 fsconfig=431 fspick=433 mount_setattr=442 pivot_root=41
chroot=51 unshare=97 setns=268 keyctl=219 add_key=217 request_key=218 init_module=105 finit_module=273
delete_module=106 kexec_load=104 kexec_file_load=294 reboot=142 swapon=224 swapoff=225 acct=89
settimeofday=170 clock_settime=112 adjtimex=171 clock_adjtime=266 personality=92 quotactl=60 syslog=116
nfsservctl=42 lookup_dcookie=18 name_to_handle_at=264 open_by_handle_at=265 memfd_create=279
memfd_secret=447 shmget=194 shmat=196 shmctl=195 msgget=186 semget=190 mq_open=180
landlock_create_ruleset=444 landlock_add_rule=445 landlock_restrict_self=446 capset=91 vhangup=58 fchmod=52
fchmodat=53 fchmodat2=452 mknodat=33
"""

ARCHES: Mapping[str, Arch] = {
    "x86_64": Arch(0xC000003E, _numbers(_X86_64), other_abi_from=0x40000000),
    "aarch64": Arch(0xC00000B7, _numbers(_AARCH64)),
}
