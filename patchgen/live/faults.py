"""System calls that fail at will in a QEMU process, as they do when a disk is broken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from patchgen.live.waiting import Skipped

FAIL = "fail"
"""Name of a file in the working directory; the call whose name it holds fails.

A number behind the name lets that many calls through first, since the file came to hold that.
"""

# The libc's functions are what QEMU calls; a library that is loaded first takes their place.
# What is written is looked at: only cprsave's file fails, not logs and consoles.
_SOURCE = f"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(const char *name)
{{
    static char last[64];
    static int left;
    char wanted[64] = "", what[64] = "";
    int fd = open("{FAIL}", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {{
        if (read(fd, wanted, sizeof(wanted) - 1) < 0) {{
            wanted[0] = 0;
        }}
        close(fd);
    }}
    if (strcmp(wanted, last)) {{
        left = 0;
        sscanf(wanted, "%*s %d", &left);
        strcpy(last, wanted);
    }}
    sscanf(wanted, "%63s", what);
    return !strcmp(what, name) && left-- <= 0;
}}

int fdatasync(int fd)
{{
    if (fails("fdatasync")) {{
        errno = EIO;
        return -1;
    }}
    return syscall(SYS_fdatasync, fd);
}}

int fsync(int fd)
{{
    if (fails("fsync")) {{
        errno = EIO;
        return -1;
    }}
    return syscall(SYS_fsync, fd);
}}

int memfd_create(const char *name, unsigned flags)
{{
    if (fails("memfd_create")) {{
        errno = EPERM;
        return -1;
    }}
    return syscall(SYS_memfd_create, name, flags);
}}

int execve(const char *path, char *const argv[], char *const envp[])
{{
    if (fails("execve")) {{
        errno = EIO;
        return -1;
    }}
    return syscall(SYS_execve, path, argv, envp);
}}

static int is_state(int fd)
{{
    char link[32], path[4096] = "";

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return readlink(link, path, sizeof(path) - 1) > 0 && strstr(path, "/.cprsave-");
}}

ssize_t writev(int fd, const struct iovec *iov, int count)
{{
    if (is_state(fd) && fails("writev")) {{
        errno = EIO;
        return -1;
    }}
    return syscall(SYS_writev, fd, iov, count);
}}
"""


def with_faults(place: Path, argv: list[str]) -> list[str]:
    """A command line of a process in which a system call fails on demand.

    They are ``fdatasync``, ``fsync``, ``execve`` and the ``writev`` of ``cprsave``'s file, with
    EIO, and ``memfd_create``, with EPERM.

    :param place: where it is run; :data:`FAIL` is looked for there
    :raise Skipped: there is no C compiler
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Skipped("no C compiler is installed")
    source, library = place / "faults.c", place / "faults.so"
    source.write_text(_SOURCE, encoding="ascii", newline="\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return ["env", f"LD_PRELOAD={library}", *argv]
