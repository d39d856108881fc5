"""The user's configuration file and the environment variables that override it."""

from __future__ import annotations

import os

import msgspec

from patchgen.errors import ConfigError
from patchgen.paths import config_file


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user may set, in ``config.toml`` (see docs/configuration.md).

    :ivar repo: a QEMU repository to use when ``--repo`` is not given
    :ivar upstream: URL of upstream's git, asked for one tag at a time
    :ivar jobs: parallel compiler jobs, processes of `matrix`; 0 means one per processor
    """

    repo: str = ""
    upstream: str = "https://gitlab.com/qemu-project/qemu.git"
    jobs: int = 0


def load_config() -> Config:
    """The configuration: file, then ``PATCHGEN_QEMU_REPO`` and ``PATCHGEN_UPSTREAM`` on top.

    :raise ConfigError: if the file cannot be read, or holds an unknown or wrongly typed key
    """
    path = config_file()
    config = Config()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    except OSError as exc:
        raise ConfigError(
            f"{path} cannot be read: {exc.strerror}", "mend its permissions or set PATCHGEN_CONFIG"
        ) from exc
    if data:
        import tomllib

        try:
            config = msgspec.convert(tomllib.loads(data.decode("utf-8")), Config)
        except UnicodeDecodeError as exc:
            raise ConfigError(
                f"{path} is not UTF-8: byte {exc.start} is {exc.object[exc.start]:#04x}",
                "save it as UTF-8",
            ) from exc
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
            raise ConfigError(
                f"{path}: {exc}", f"known keys are {', '.join(Config.__struct_fields__)}"
            ) from exc
        if config.jobs < 0:
            raise ConfigError(f"{path}: jobs is {config.jobs}", "a number from 1, or 0 for all")
    changes: dict[str, str] = {}
    if repo := os.environ.get("PATCHGEN_QEMU_REPO"):
        changes["repo"] = repo
    if upstream := os.environ.get("PATCHGEN_UPSTREAM"):
        changes["upstream"] = upstream
    return msgspec.structs.replace(config, **changes)
