"""A server process of the tests' own: a private port, a folder under /tmp, and nothing left behind.

Blocking, for fixtures and scripts; in a Trio program give the methods to `trio.to_thread.run_sync`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self


#: Seconds that a server may take to start, or to end.
PATIENCE: Final = 60.0
PAUSE: Final = 0.01

# It reads until we are gone, however we went, and then clears up.  What has been stopped (SIGSTOP) does
# not notice that its parent has died, hence a list of processes and not one.
_GUARDIAN: Final = """
cat > /dev/null
while read pid; do kill -9 "$pid" 2> /dev/null; done < "$1/pids"
umount -l "$1/disk" 2> /dev/null
rm -rf "$1"
"""


class NotInstalled(Exception):
    """What is needed is not on this machine; the text says how it comes there."""


class NotPermitted(NotInstalled):
    """What only root may do."""


class Server:
    """A context manager: the server runs inside.  It keeps its port and its data over restarts.

    *disk*: a size, "64m" say: its data are on a disk of their own that has this much room (root only).
    """

    name = "server"

    def __init__(self, *, disk: str | None = None) -> None:
        self.port = 0
        self.folder = Path()
        self.data = Path()
        self._disk = disk
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []

    # --- for each kind ---

    def command(self) -> list[str]:
        """What is run."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make what is to be in `data`, once."""

    def is_ready(self) -> bool:
        """Whether it serves; may raise OSError."""
        raise NotImplementedError

    def is_writable(self) -> bool:
        """Whether it stores what it is given; may raise OSError, or RuntimeError."""
        raise NotImplementedError

    @property
    def account(self) -> str | None:
        """Who runs it; None: we do."""
        return None

    # --- its life ---

    def __enter__(self) -> Self:
        self.command()  # raises NotInstalled before there is anything to clear up
        self.folder, self._guardian = guarded_folder(self.name)
        try:
            self._make_folders()
            self.prepare()
            for attempt in range(10):
                self.port = free_port()
                try:
                    self.start()
                    return self
                except ServerDied:  # somebody was quicker with the port, perhaps
                    if attempt == 9:
                        raise
        except BaseException:
            self._clear_up()
            raise
        raise AssertionError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clear_up()

    @property
    def is_running(self) -> bool:
        """Its process has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Run it, and return when it serves."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Run it, and do not wait until it serves."""
        if self.is_running:
            raise RuntimeError(f"{self.name} runs already")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data,
                start_new_session=True,
                user=self.account,
                group=self.account,
                extra_groups=None if self.account is None else [],
                env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            )
        self._note([self._process.pid])

    def wait_ready(self) -> None:
        """Return when it serves."""
        assert self._process is not None
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                if self.is_ready():
                    return
            except OSError:
                pass
            if self._process.poll() is not None:
                raise ServerDied(f"{self.name} ended with {self._process.returncode}{self.tail()}")
            if time.monotonic() > give_up:
                raise TimeoutError(f"{self.name} did not serve within {PATIENCE} s{self.tail()}")
            time.sleep(PAUSE)

    def revive(self) -> None:
        """As its supervisor would: start it if it has ended, or is about to; return when it serves."""
        give_up = time.monotonic() + PATIENCE
        while True:
            if not self.is_running:
                self.launch()
            try:
                if self.is_writable():
                    return
            except (OSError, RuntimeError):
                pass
            if time.monotonic() > give_up:
                raise TimeoutError(f"{self.name} did not serve within {PATIENCE} s{self.tail()}")
            time.sleep(5 * PAUSE)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to all its processes."""
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> None:
        """End it, and start it again with the same data and port."""
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        self.start()

    def forget(self) -> None:
        """Throw its data away, while it does not run: it will be another server, and an empty one."""
        shutil.rmtree(self.data)
        self._make_data()
        self.prepare()

    def pause(self) -> None:
        """SIGSTOP, to all its processes: whoever asks hears nothing, and is not refused."""
        self._paused = self._signal_all(signal.SIGSTOP)
        self._note(self._paused)

    def resume(self) -> None:
        """SIGCONT."""
        for pid in self._paused:
            _kill(pid, signal.SIGCONT)
        self._paused = []

    # --- its disk ---

    def fill_disk(self) -> None:
        """Leave no byte on its *disk*."""
        assert self._disk is not None, "it has no disk of its own"
        ballast = self.folder / "disk" / "ballast"
        with ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def free_disk(self) -> None:
        """Take out what `fill_disk` has put there."""
        (self.folder / "disk" / "ballast").unlink(missing_ok=True)

    # --- what it said ---

    @property
    def log(self) -> Path:
        """The file of what it has to say."""
        return self.folder / "log"

    def tail(self, lines: int = 15) -> str:
        """The end of its log, for error messages."""
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "; it said:\n" + "\n".join(said[-lines:]) if said else "; it said nothing"

    def __repr__(self) -> str:
        """Where it is."""
        return f"<{type(self).__name__} on port {self.port}, in {self.folder}>"

    # --- within ---

    def _make_folders(self) -> None:
        if self._disk is None:
            self.data = self.folder / "data"
        else:
            disk = self.folder / "disk"
            disk.mkdir()
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={self._disk}", "tmpfs", str(disk)],
                capture_output=True,
                check=False,
            )
            if mounted.returncode:
                why = mounted.stderr.decode().strip()
                raise NotPermitted(f"a disk of its own has to be mounted, which is for root: {why}")
            self.data = disk / "data"
        self._make_data()

    def _make_data(self) -> None:
        self.data.mkdir()
        if self.account is not None:
            for path in (self.data, self.data.parent):
                shutil.chown(path, self.account, self.account)

    def _clear_up(self) -> None:
        try:
            if self.is_running:
                self.kill()
        finally:
            if self._disk is not None:
                subprocess.run(
                    ["umount", "-l", str(self.folder / "disk")], capture_output=True, check=False
                )
            shutil.rmtree(self.folder, ignore_errors=True)
            guardian, self._guardian = self._guardian, None
            if guardian is not None:
                dismiss(guardian)

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        assert process is not None
        if number is signal.SIGKILL:
            everybody = self._signal_all(number)
        else:
            self.resume()
            everybody = self._everybody()
            process.send_signal(number)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._signal_all(signal.SIGKILL)
            process.wait()
            raise AssertionError(f"{self.name} did not end{self.tail()}") from None
        give_up = time.monotonic() + PATIENCE
        while any(_lives(pid) for pid in everybody) and time.monotonic() < give_up:
            time.sleep(PAUSE)
        self._paused = []
        self._note([])

    def _signal_all(self, number: signal.Signals) -> list[int]:
        """First to the parent, so that it starts nobody meanwhile."""
        if not self.is_running or self._process is None:
            return []
        self._process.send_signal(number)
        everybody = self._everybody()
        for pid in everybody[1:]:
            _kill(pid, number)
        return everybody

    def _everybody(self) -> list[int]:
        if not self.is_running or self._process is None:
            return []
        return [self._process.pid, *_children(self._process.pid)]

    def _note(self, pids: list[int]) -> None:
        (self.folder / "pids").write_text("".join(f"{pid}\n" for pid in pids))


def guarded_folder(name: str) -> tuple[Path, subprocess.Popen[bytes]]:
    """A folder that goes when we do, however we go; with whoever sees to it."""
    folder = Path(tempfile.mkdtemp(prefix=f"actorq-{name}-"))
    folder.chmod(0o755)
    (folder / "pids").touch()
    guardian = subprocess.Popen(
        ["/bin/sh", "-c", _GUARDIAN, "guardian", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # Ctrl-C is for us
    )
    return folder, guardian


def dismiss(guardian: subprocess.Popen[bytes]) -> None:
    """It clears up."""
    assert guardian.stdin is not None
    guardian.stdin.close()
    guardian.wait()


class ServerDied(Exception):
    """It ended by itself."""


def free_port() -> int:
    """One that nobody uses, and that is not given to those who connect to others."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _kill(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _lives(pid: int) -> bool:
    """Zombies are of their parents, and do nothing any more."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _children(parent: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True, text=True
    ).stdout
    pairs = (line.split() for line in listed.splitlines())
    return [int(pid) for pid, of in pairs if int(of) == parent]


def which(program: str, package: str, *folders: Path) -> str:
    """Where a program is; raises `NotInstalled` with what to do."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    found = shutil.which(program, path=path)
    if found is None:
        raise NotInstalled(f"{program} is not installed; `apt-get install {package}` brings it")
    return found


def named(path: str, variable: str) -> str:
    """A program that an environment variable names; raises `FileNotFoundError` if it is not there.

    Who asked for a version is told, and not shown the tests of another one, or none.
    """
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"{variable} leads to {path}, where no program is")
    return path


def setting(value: Any) -> str:
    """As both servers write it: True is "yes", which PostgreSQL understands, too."""
    return (
        {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )
