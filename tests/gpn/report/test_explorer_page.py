"""`gpn explore` in a real browser: the page loads, a slider moves, the address follows, the console is clean."""

import asyncio
import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec

import pytest
from matplotlib.image import imread

from tests.root import ROOT

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0")
PATIENCE = 120.0  # seconds; a loaded machine starts a kernel slowly
VIEW = 'document.querySelector("a.gpn-view")?.href'
HANDLE = """[...document.querySelectorAll(".widget-hslider, .jupyter-widget-hslider")]
    .filter(slider => slider.innerText.includes("depth"))[0].querySelector(".noUi-handle").focus()"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None or sys.platform == "win32", reason="needs Chromium"),
    pytest.mark.skipif(find_spec("voila") is None, reason="needs Voilà"),
]


class Page:
    """One page of a browser, by the DevTools protocol."""

    def __init__(self, socket):
        self.socket, self.sent, self.errors = socket, 0, []

    async def call(self, method, **parameters):
        self.sent += 1
        await self.socket.write_message(json.dumps({"id": self.sent, "method": method, "params": parameters}))
        while (message := json.loads(await self.socket.read_message())).get("id") != self.sent:
            self.note(message)
        return message["result"]

    def note(self, message):
        """Keep errors, but for icons from elsewhere, which Voilà's template asks for and no control needs."""
        details = message.get("params", {})
        entry = details.get("entry", {})
        if (
            message.get("method") == "Runtime.exceptionThrown"
            or (message.get("method") == "Runtime.consoleAPICalled" and details["type"] == "error")
            or (entry.get("level") == "error" and "fontawesome" not in entry.get("url", ""))
        ):
            self.errors.append(message)

    async def value(self, code):
        return (await self.call("Runtime.evaluate", expression=code, returnByValue=True))["result"].get("value")

    async def until(self, code):
        end = time.monotonic() + PATIENCE
        while not (found := await self.value(code)):
            assert time.monotonic() < end, (code, self.errors)
            await asyncio.sleep(0.1)
        return found

    async def close(self):
        self.socket.close()
        while await self.socket.read_message() is not None:
            pass

    async def press(self, key):
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=39)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def kernel_seconds(server):
    """Processor time of the kernel of the server so far."""
    import psutil

    [kernel] = [
        one for one in psutil.Process(server).children(recursive=True) if "ipykernel" in " ".join(one.cmdline())
    ]
    return sum(kernel.cpu_times()[:2])


async def at_rest(server):
    """The same, once the kernel has nothing left to do."""
    before, now = -1.0, kernel_seconds(server)
    while now - before > 0.02:
        await asyncio.sleep(1)
        before, now = now, kernel_seconds(server)
    return now


def wait_for(ready, process):
    end = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def server(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "gpn", "explore", "elu(alpha)", "--no-browser", "--", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=log, stdout=log)
        wait_for(lambda: f":{port}/" in (tmp_path / "log").read_text(), process)
        yield port, process.pid
        process.terminate()
        assert process.wait(30) == 143


@pytest.fixture
def browser(tmp_path):
    folder = tmp_path / "browser"
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        told = folder / "DevToolsActivePort"
        wait_for(lambda: told.exists() and told.read_text().count("\n"), process)
        with urllib.request.urlopen(f"http://127.0.0.1:{told.read_text().split()[0]}/json") as answer:
            yield next(one["webSocketDebuggerUrl"] for one in json.load(answer) if one["type"] == "page")
        process.terminate()


def test_the_page_loads_and_follows_a_slider(server, browser):
    from tornado.websocket import websocket_connect

    port, pid = server
    start = (
        f"http://localhost:{port}/?formula=tanh%28x%29%2Bc%2Ax&parameter=3.0&width=256&depth=70&tolerance=0.5&root=auto"
    )

    async def visit():
        page = Page(await websocket_connect(browser, max_message_size=2**26))
        for domain in ("Runtime", "Log", "Page"):
            await page.call(f"{domain}.enable")
        await page.call("Page.navigate", url=start)
        assert await page.until(VIEW) == start
        await page.until('document.body.innerText.includes("four conditions at L = 70")')
        assert await page.until("document.querySelector('img[src^=blob]')?.naturalWidth") > 1000
        used, picture = await at_rest(pid), await page.value("document.querySelector('img[src^=blob]').src")
        await page.value(HANDLE)
        await page.press("ArrowRight")
        await page.until('document.body.innerText.includes("four conditions at L = 71")')
        await page.until(f"document.querySelector('img[src^=blob]').src !== {json.dumps(picture)}")
        used = await at_rest(pid) - used
        assert await page.value("location.href") == start.replace("depth=70", "depth=71")
        picture = imread(io.BytesIO(base64.b64decode((await page.call("Page.captureScreenshot"))["data"])))
        await page.close()
        return page.errors, used, picture

    errors, used, picture = asyncio.run(visit())
    assert errors == []
    assert used < 0.5
    assert picture[..., :3].std() > 0.05  # something is drawn
