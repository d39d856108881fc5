"""QMP, spoken through qemu.qmp from code that is not asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import ExecInterruptedError, ExecuteError, QMPClient, QMPError
from qemu.qmp.protocol import Runstate

from patchgen.live.sockets import connect
from patchgen.live.waiting import LIMIT, Failed, until

T = TypeVar("T")


class Refused(Exception):
    """QEMU answered a command with an error: *description*."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"{command}: {description}")
        self.description = description


class _Loop:
    """The event loop of all connections, in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="qmp").start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=LIMIT)


_loops: list[_Loop] = []


def _loop() -> _Loop:
    if not _loops:
        _loops.append(_Loop())
    return _loops[0]


class Qmp:
    """One connection to a monitor.

    :param name: names the connection in its log
    :param path: the monitor's socket; may be longer than a socket's address
    :param log: the conversation is written there, a line per message
    :param alive: whether there still is a process to wait for
    :raise Failed: there is no monitor
    """

    def __init__(self, name: str, path: Path, log: Path, alive: Callable[[], bool]) -> None:
        self._client = QMPClient(name)
        self._client.logger.propagate = False
        self._client.logger.setLevel(logging.DEBUG)
        self._handler = logging.FileHandler(log, encoding="utf-8")
        self._handler.addFilter(lambda record: str(record.msg).startswith(("-->", "<--")))
        self._handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(message)s"))
        self._client.logger.addHandler(self._handler)
        self._seen: list[dict[str, Any]] = []
        connection = connect(path, alive)
        connection.setblocking(False)
        try:
            _loop().run(self._client.connect(connection))
        except QMPError as exc:
            raise Failed(f"no greeting from the QMP monitor: {exc}") from exc

    def execute(self, command: str, **arguments: object) -> Any:
        """Run a command; what it returns. An underscore in an argument's name is a hyphen.

        :raise Refused: QEMU answered with an error
        :raise Failed: it did not answer
        """
        (answer,) = self.at_once((command, arguments))
        if isinstance(answer, Refused):
            raise answer
        return answer

    def at_once(self, *commands: tuple[str, dict[str, object]]) -> list[Any]:
        """Send commands without waiting in between; the answers, errors as :class:`Refused`."""

        async def one(command: str, arguments: dict[str, object]) -> object:
            spelled = {name.replace("_", "-"): value for name, value in arguments.items()}
            try:
                return await self._client.execute(command, spelled)
            except ExecuteError as exc:
                return Refused(command, exc.error.error.desc)

        async def together() -> list[Any]:
            return list(await asyncio.gather(*(one(*command) for command in commands)))

        try:
            return _loop().run(together())
        except ExecInterruptedError as exc:
            raise Failed(f"QEMU ended before it answered {commands[-1][0]}") from exc
        except (QMPError, TimeoutError) as exc:
            raise Failed(f"no answer to {commands[-1][0]}: {exc}") from exc

    def send_fd(self, fd: int) -> None:
        """Pass a file descriptor to QEMU, for the ``add-fd`` or ``getfd`` that comes next."""

        async def send() -> None:
            self._client.send_fd_scm(fd)

        _loop().run(send())

    def events(self) -> list[dict[str, Any]]:
        """All events so far."""

        async def fresh() -> list[Any]:
            return self._client.events.clear()

        self._seen += [dict(event) for event in _loop().run(fresh())]
        return self._seen

    def wait_event(self, name: str) -> dict[str, Any]:
        """The first event of that name, once it has come.

        :raise Failed: it does not come
        """

        def find() -> dict[str, Any] | None:
            return next((one for one in self.events() if one["event"] == name), None)

        return until(find, f"no event {name}")

    def close(self) -> None:
        """End the connection, however it is."""

        async def end() -> None:
            if self._client.runstate != Runstate.IDLE:
                # QEMU has hung up, which is what it does at its end.
                with contextlib.suppress(EOFError, OSError, QMPError):
                    await self._client.disconnect()

        try:
            _loop().run(end())
        finally:
            self._client.logger.removeHandler(self._handler)
            self._handler.close()


def pipeline(
    path: Path, alive: Callable[[], bool], *commands: tuple[str, dict[str, object]]
) -> list[Any]:
    """Send commands in one piece on a connection of their own, which QEMU may close meanwhile.

    :return: the answers that came, in order, errors as :class:`Refused`
    """
    lines: list[dict[str, object]] = [{"execute": "qmp_capabilities"}]
    lines += [{"execute": name, "arguments": arguments} for name, arguments in commands]
    answers: list[Any] = []
    with connect(path, alive) as line, line.makefile("rb") as incoming:
        incoming.readline()
        line.settimeout(LIMIT)
        line.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in lines))
        # A process that ends with commands unread resets the connection.
        with contextlib.suppress(ConnectionResetError):
            while len(answers) < len(lines) and (text := incoming.readline()):
                message = json.loads(text)
                if "error" in message:
                    command = commands[len(answers) - 1][0]
                    answers.append(Refused(command, message["error"]["desc"]))
                elif "return" in message:
                    answers.append(message["return"])
    if len(answers) < 2:
        raise Failed(f"QEMU ended before it answered {commands[0][0]}")
    return answers[1:]
