"""The web application of examples/web: a server, its workers and browsers, each a process of its own."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image


pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals as POSIX has them"),
]

ROOT = Path(__file__).parent.parent
WEB = ROOT / "examples" / "web"
PYTHON = (sys.executable, "-W", "error")
WIDTHS = [1600, 1200, 800, 400, 200, 100]


@contextmanager
def running(data: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the application, whose photos are in *data*; ended by SIGTERM, with exit code 0."""
    process = subprocess.Popen(
        [*PYTHON, *arguments],
        cwd=WEB,
        env={**os.environ, "PYTHONPATH": str(ROOT), "THUMBNAILS": str(data)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        process_group=0,
    )
    try:
        yield process
        process.terminate()
        assert process.wait(30) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextmanager
def serving(data: Path) -> Iterator[httpx.Client]:
    """The web server, and one who asks it."""
    data.mkdir(exist_ok=True)
    with running(data, "app.py", "--port", "0") as process, asking(process) as client:
        yield client


def asking(process: subprocess.Popen[str]) -> httpx.Client:
    """A client of the server that *process* starts, once that listens."""
    return httpx.Client(base_url=_url(process), timeout=30)


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return found[0]
    raise AssertionError(f"the server ended: {process.wait(5)}")


def working(data: Path) -> Any:
    """One worker process, and its parent."""
    return running(
        data, "-m", "actorq", "worker", "jobs:broker", "--processes", "1", "--grace", "1"
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a worker."""
    data = tmp_path_factory.mktemp("web")
    with serving(data) as client, working(data):
        yield client


Cards = dict[str, dict[str, Any]]


@contextmanager
def looking(client: httpx.Client) -> Iterator[Iterator[Cards]]:
    """A browser: all photos as they are shown after each event, by their ids."""
    with client.stream("GET", "/events") as response:
        assert response.headers["content-type"] == "text/event-stream"
        yield _shown(response.iter_lines())


def _shown(lines: Iterator[str]) -> Iterator[Cards]:
    cards: Cards = {}
    kind = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            if kind == "all":
                cards.clear()
            cards.update({card["id"]: card for card in json.loads(value)})
            yield cards


def until(browser: Iterator[Cards], photo: str, *states: str) -> dict[str, Any]:
    """The card of *photo*, as soon as it has one of these states."""
    for cards in browser:
        if photo in cards and cards[photo]["state"] in states:
            return cards[photo]
    raise AssertionError("the stream has ended")


def accepted(response: httpx.Response) -> str:
    """The id of the new photo."""
    assert response.status_code == 201, response.text
    photo: str = response.json()["id"]
    return photo


def draw(client: httpx.Client, pause: float = 0) -> str:
    """A photo that the server drew; its id."""
    return accepted(client.post("/landscapes", params={"pause": pause}))


def cat() -> bytes:
    """A small picture."""
    written = io.BytesIO()
    Image.new("RGB", (64, 48), "orange").save(written, "PNG")
    return written.getvalue()


def test_an_uploaded_photo_becomes_thumbnails(client: httpx.Client) -> None:
    """From the upload to the last size, each step of which the browser is told."""
    with looking(client) as browser:
        photo = accepted(client.post("/photos", params={"name": "<cat>.png"}, content=cat()))
        seen = []
        for cards in browser:
            seen.append(card := dict(cards.get(photo, {"done": 0, "state": "waiting"})))
            if card["state"] not in ("waiting", "running"):
                break
    assert seen[-1]["state"] == "done"
    assert seen[-1]["name"] == "<cat>.png"
    assert seen[-1]["made"] == WIDTHS
    assert [each["done"] for each in seen] == sorted(each["done"] for each in seen)
    for width in WIDTHS:
        answer = client.get(f"/photos/{photo}/{width}.jpg")
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (width, width * 3 // 4))


def test_a_page_that_is_loaded_again_goes_on_from_the_latest(client: httpx.Client) -> None:
    """Whoever comes later sees at once how far the job is, and then every step."""
    photo = draw(client, pause=0.3)
    with looking(client) as browser:
        for cards in browser:
            if photo in cards and cards[photo]["done"] >= 2:
                break
    with looking(client) as first, looking(client) as second:
        assert next(first)[photo]["done"] >= 2
        for browser in (first, second):
            assert until(browser, photo, "done")["made"] == WIDTHS


def test_cancel_and_go_on(client: httpx.Client) -> None:
    """Cancelled while it rests; what is made is kept, and the next task goes on from there."""
    with looking(client) as browser:
        photo = draw(client, pause=10)
        for cards in browser:
            if photo in cards and cards[photo]["done"]:
                break
        assert client.post(f"/photos/{photo}/cancel").json() == {"cancelled": True}
        made = until(browser, photo, "cancelled")["made"]
        assert 1 <= len(made) < len(WIDTHS)
        before = client.get(f"/photos/{photo}/{made[0]}.jpg").headers["last-modified"]
        client.post(f"/photos/{photo}/again")
        assert until(browser, photo, "done")["made"] == WIDTHS
        assert client.get(f"/photos/{photo}/{made[0]}.jpg").headers["last-modified"] == before


def test_a_worker_that_is_killed_is_replaced_and_its_job_goes_on(client: httpx.Client) -> None:
    """SIGKILL while it works: another worker does the rest, as the second attempt."""
    with looking(client) as browser:
        photo = draw(client, pause=1)
        card = until(browser, photo, "running")
        os.kill(card["worker"], signal.SIGKILL)
        after = until(browser, photo, "done")
    assert after["made"] == WIDTHS
    assert after["attempt"] == 2
    assert after["worker"] != card["worker"]


def test_jobs_outlive_the_server(tmp_path: Path) -> None:
    """It stops though a browser looks; the job goes on meanwhile, and the next server shows it."""
    with working(tmp_path):
        with serving(tmp_path) as client, looking(client) as browser:
            photo = draw(client, pause=0.2)
            until(browser, photo, "running")
        with serving(tmp_path) as client, looking(client) as browser:
            assert next(browser)[photo]["name"].startswith("landscape")
            assert until(browser, photo, "done")["made"] == WIDTHS


def test_what_is_enqueued_while_no_worker_is_there_waits_for_one(tmp_path: Path) -> None:
    """And is shown as waiting until then; one that is cancelled then never begins."""
    with serving(tmp_path) as client, looking(client) as browser:
        first, second = draw(client), draw(client)
        until(browser, first, "waiting")
        assert client.post(f"/photos/{second}/cancel").json() == {"cancelled": True}
        assert until(browser, second, "cancelled")["made"] == []
        with working(tmp_path):
            assert until(browser, first, "done")["made"] == WIDTHS
        assert not (tmp_path / second / "1600.jpg").exists()


def test_what_is_refused(client: httpx.Client) -> None:
    """What is no picture, or too large; what is not there; each with a sentence that says why."""
    for response, status, why in (
        (client.post("/photos", content=b"GIF89a"), 415, "no JPEG, PNG"),
        (client.post("/photos", content=b""), 415, "no JPEG, PNG"),
        (client.post("/photos", content=b"\0" * 20_000_001), 413, "at most 20 MB"),
        (client.post("/landscapes?pause=soon"), 400, "expects seconds"),
        (client.post("/photos/nobody/cancel"), 404, "no such photo"),
        (client.get("/photos/..%2f..%2fjobs/100.jpg"), 404, "Not Found"),
        (client.get(f"/photos/{draw(client, 10)}/100.jpg"), 404, "no picture of this width"),
    ):
        assert response.status_code == status, response.text
        assert why in response.json()["error"]


def test_the_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    """Its files are all served here."""
    page = client.get("/").text
    for address in re.findall(r'(?:src|href)="([^"]+)"', page):
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert set(re.findall(r"https?://\S+?(?=[\"'\s])", answer.text)) <= {
            "http://www.w3.org/2000/svg"
        }


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """Chromium with one page, told what to do by its DevTools protocol through a pair of pipes."""

    def __init__(self, profile: Path) -> None:
        theirs, self._orders = os.pipe()
        self._answers, ours = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        begin = (
            "import fcntl, os, sys; dup = lambda n: fcntl.fcntl(int(n), fcntl.F_DUPFD, 20); "
            "orders, answers = dup(sys.argv[1]), dup(sys.argv[2]); os.dup2(orders, 3); "
            "os.dup2(answers, 4); os.execv(sys.argv[3], sys.argv[3:])"
        )
        ends = [str(theirs), str(ours)]
        self.process = subprocess.Popen(
            [*PYTHON, "-c", begin, *ends, str(CHROMIUM), *flags, f"--user-data-dir={profile}"],
            pass_fds=(theirs, ours),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(ours)
        self._read = b""
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": found["sessionId"]}

    def call(self, method: str, **parameters: Any) -> Any:
        """What *method* answers; events meanwhile are passed over."""
        order = {"id": 1, "method": method, "params": parameters, **self._session}
        os.write(self._orders, json.dumps(order).encode() + b"\0")
        return self._next("id")["result"]

    def open(self, url: str) -> None:
        """Load a page."""
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        while self._next("method")["method"] != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """What *script* comes to, in the page; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        return answer["result"].get("value")

    def close(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        os.close(self._orders)
        os.close(self._answers)

    def _next(self, key: str) -> Any:
        while True:
            while b"\0" not in self._read:
                chunk = os.read(self._answers, 65536)
                assert chunk, "the browser has ended"
                self._read += chunk
            line, _, self._read = self._read.partition(b"\0")
            message = json.loads(line)
            if key in message:
                return message


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_a_real_browser_shows_it(client: httpx.Client, tmp_path: Path) -> None:
    """A click on the page, and its script shows the photo until it is done."""
    browser = Browser(tmp_path)
    try:
        browser.open(str(client.base_url))
        shown = browser.run("""
            new Promise((found) => {
                const look = () => {
                    const row = document.querySelector(".photo.done");
                    if (row) found(row.innerText);
                };
                new MutationObserver(look).observe(document, {
                    subtree: true, childList: true, attributes: true });
                document.querySelector("#pause").value = "0";
                document.querySelector("#draw").click();
            })
        """)
        assert "all sizes are there" in shown
        assert [str(width) for width in WIDTHS] == shown.split()[-len(WIDTHS) :]
        assert browser.run('document.querySelector("#connection").textContent') == "live"
    finally:
        browser.close()


def test_one_command_starts_all_and_ctrl_c_ends_all(tmp_path: Path) -> None:
    """`python start.py`: server and workers; SIGINT, exit code 0, and nothing is left."""
    with running(tmp_path, "start.py", "--port", "0", "--processes", "1") as process:
        with asking(process) as client, looking(client) as browser:
            worker = until(browser, draw(client), "done")["worker"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
