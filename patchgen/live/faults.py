"""System calls that fail at will in a QEMU process, as they do when a disk is broken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from patchgen.live.waiting import Skipped

FAIL = "fail"
"""Name of a file in the working directory; the call whose name it holds fails."""

# The libc's functions are what QEMU calls; a library that is loaded first takes their place.
_SOURCE = f"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(const char *name)
{{
    char wanted[32] = "";
    int fd = open("{FAIL}", O_RDONLY);

    if (fd >= 0) {{
        if (read(fd, wanted, sizeof(wanted) - 1) < 0) {{
            wanted[0] = 0;
        }}
        close(fd);
    }}
    return !strcmp(wanted, name);
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
"""


def with_faults(place: Path, argv: list[str]) -> list[str]:
    """A command line of a process whose ``fdatasync`` or ``fsync`` fails with EIO on demand.

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
