"""Small QEMU-like trees with a configure of their own, in real git; nothing real is compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from patchgen.build.eras import load_eras
from patchgen.build.features import load_features
from patchgen.git.repo import Repo
from patchgen.ui import Ui

FLAGS = """
# --enable-kvm) --enable-tcg) --enable-vnc) --enable-gnutls) --enable-vnc-sasl) --enable-seccomp)
# --enable-numa) --enable-curses) --enable-slirp=*) --enable-linux-aio) --enable-vhost-net)
# --enable-vhost-user) --enable-tpm) --enable-fdt) --disable-fdt) --enable-tools) --disable-tools)
# --disable-gtk) --disable-blobs) --disable-slirp) --disable-tpm) --audio-drv-list=*)
"""

MAKE_SUMMARY = """\
KVM support       yes
TCG support       yes
VNC support       yes
GNUTLS support    yes
VNC SASL support  yes
seccomp support   yes
NUMA host support yes
curses support    yes
slirp support     system
Linux AIO support yes
vhost-net support yes
vhost-user support yes
TPM support       yes
fdt support       yes
"""

MESON_SUMMARY = """\
qemu 5.2.0
                      KVM support: YES
                      TCG support: YES
                      VNC support: YES
                   GNUTLS support: YES
                 VNC SASL support: YES
                  seccomp support: YES
                NUMA host support: YES
                   curses support: YES
                    slirp support: system
                Linux AIO support: YES
                vhost-net support: YES
               vhost-user support: YES
                      TPM support: YES
                      fdt support: system
"""

_MAKE_CONFIGURE = """\
mkdir -p x86_64-softmmu scsi
cat > Makefile <<'EOM'
x86_64-softmmu/all: x86_64-softmmu/qemu-system-x86_64
x86_64-softmmu/qemu-system-x86_64 qemu-img qemu-io qemu-nbd scsi/qemu-pr-helper:
\t@if grep -q BROKEN ../src/vl.c; then echo "../src/vl.c:3:5: error: broken"; exit 1; fi
\t@echo "../src/vl.c:7:1: warning: odd [-Wodd]"
\tcp ../src/vl.c $@
EOM
"""

# Every C file of the tree is "compiled" by a copy that fails where it says BROKEN, and once where
# it says FLAKY; the emulator is made of all of them.
_NINJA_CONFIGURE = """\
python3 - "$(dirname "$0")" <<'EOM'
import json, pathlib, sys
src = pathlib.Path(sys.argv[1])
files = sorted(str(p.relative_to(src)) for p in src.rglob("*.c"))
out = ['''rule cc
  command = if grep -q FLAKY $in && ! test -e flaky; then touch flaky; echo "$in:9: error: once"; $
exit 1; fi; if grep -q BROKEN $in; then echo "$in:3:5: error: broken"; exit 1; fi; cp $in $out
rule CUSTOM_COMMAND
  command = cp $in $out
rule regen
  command = touch $out
  generator = 1
build build.ninja: regen
build gen/api.h: CUSTOM_COMMAND ../src/api.json
''']
objs, db = [], []
for name in files:
    obj = "lib.p/" + name.replace("/", "_") + ".o"
    objs.append(obj)
    out.append(f"build {obj}: cc ../src/{name} || gen/api.h")
    db.append({"directory": str(pathlib.Path.cwd()), "file": "../src/" + name,
               "command": "cc", "output": obj})
for name in ("qemu-system-x86_64", "qemu-img", "qemu-io", "qemu-nbd", "qemu-pr-helper"):
    out.append(f"build {name}: CUSTOM_COMMAND ../src/vl.c | " + " ".join(objs))
pathlib.Path("build.ninja").write_text("\\n".join(out) + "\\n")
pathlib.Path("compile_commands.json").write_text(json.dumps(db))
EOM
"""


def configure_script(summary: str, body: str) -> str:
    """A configure that prints *summary* and sets up the build directory by *body*."""
    return f"#!/bin/sh\n{FLAGS}\n{body}\ncat <<'EOS'\n{summary}EOS\n"


def make_tree(**changes: str) -> dict[str, str]:
    """Files of a tree of the make era."""
    files = {
        "VERSION": "4.2.0\n",
        "Makefile.target": "",
        "pc-bios/bios-256k.bin": "",
        "ui/keycodemapdb/README": "",
        "vl.c": "int main;\n",
        "configure": configure_script(MAKE_SUMMARY, _MAKE_CONFIGURE),
    }
    return {**files, **changes}


def meson_tree(**changes: str) -> dict[str, str]:
    """Files of a tree of the meson 0.59 era."""
    files = {
        "VERSION": "5.2.0\n",
        "meson.build": "project('qemu', meson_version: '>=0.55.0')\n",
        "pc-bios/bios-256k.bin": "",
        "ui/keycodemapdb/README": "",
        "api.json": "{}\n",
        "vl.c": '#include "io.h"\nint main;\n',
        "io.c": '#include "io.h"\nint io;\n',
        "user.c": '#include "gen/api.h"\n',
        "alone.c": "int alone;\n",
        "include/io.h": "int io;\n",
        "configure": configure_script(MESON_SUMMARY, _NINJA_CONFIGURE),
    }
    return {**files, **changes}


class Work:
    """A git repository that commits dictionaries of files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(["git", "init", "-q", str(path)], check=True)
        self.repo = Repo.discover(path)

    def commit(self, files: Mapping[str, str | None], subject: str = "change") -> str:
        """Write the files (``None`` removes), commit, and return the commit's id."""
        for name, text in files.items():
            path = self.path / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            if name == "configure":
                path.chmod(0o755)
        for args in (["add", "-A"], ["commit", "-q", "--allow-empty", "-m", subject]):
            subprocess.run(["git", "-C", str(self.path), *args], check=True)
        return self.repo.line("rev-parse", "HEAD")


class QuietUi(Ui):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Own HOME, cache, git identity and compiler stubs; returns the directory of the stubs."""
    home = tmp_path / "home"
    stubs = tmp_path / "stubs"
    home.mkdir()
    stubs.mkdir()
    for name in ("cc", "pkg-config"):
        stub = stubs / name
        stub.write_text("#!/bin/sh\necho stub 1.0\n")
        stub.chmod(0o755)
    for name in [key for key in os.environ if key.startswith(("PATCHGEN_", "GIT_", "CCACHE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CC", raising=False)
    for name, value in {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "PATCHGEN_CACHE": str(tmp_path / "cache"),
        "PATCHGEN_CONFIG": str(home / "none.toml"),
        "PATCHGEN_PYTHON": sys.executable,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A U Thor",
        "GIT_AUTHOR_EMAIL": "author@example.org",
        "GIT_COMMITTER_NAME": "A U Thor",
        "GIT_COMMITTER_EMAIL": "author@example.org",
        "PATH": f"{stubs}:{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    meson = tmp_path / "cache" / "meson" / "0.59.3" / "bin" / "meson"
    meson.parent.mkdir(parents=True)
    meson.write_text("#!/bin/sh\necho 0.59.3\n")
    meson.chmod(0o755)
    load_eras()
    load_features()
    return stubs
