"""Pages in a real browser: what is on the screen is what is in the record."""

import io
import json

import matplotlib.image
import numpy as np
import pytest
import shown

from particles.commands import view as command
from particles.record.files import replace_json
from particles.view import page, write

WIDE, USUAL, NARROW, LEAST = (1400, 900), (1000, 700), (390, 844), (360, 740)


class Shown:
    """A page that is open."""

    def __init__(self, browser, artifacts, path):
        self.browser, self.artifacts, self.path = browser, artifacts, path

    def open(self, fragment="", size=USUAL):
        """Opens the page anew and waits until it is drawn; there is nothing on the console."""
        size_of = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size_of)
        self.browser.get("about:blank")
        self.browser.get_log("browser"), self.browser.get_log("performance")
        self.browser.get(self.path.resolve().as_uri() + fragment)
        assert self.script("return document.body.dataset.ready") == "yes", self.browser.get_log("browser")
        self.settle()
        return self

    def settle(self):
        """Waits for two pictures, so that what was asked for has been drawn."""
        self.browser.execute_async_script(
            "const done = arguments[0];requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )

    def script(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def fragment(self):
        """The address of the view, once it is written."""
        self.settle()
        self.browser.execute_async_script("setTimeout(arguments[0], 300)")
        return self.script("return location.hash")

    def state(self):
        return self.script("return window.particlesView.state()")

    def frame(self):
        return int(self.script("return document.body.dataset.frame"))

    def click(self, name):
        self.script("document.getElementById(arguments[0]).click()", name)
        self.settle()

    def press(self, *keys):
        for key in keys:
            self.script(
                "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))", key
            )
            self.settle()

    def choose(self, name, value):
        self.script(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
            "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true}));",
            name,
            value,
        )
        self.settle()

    def positions(self, frame, side=0):
        found = self.script("return window.particlesView.positions(arguments[0], arguments[1])", frame, side)
        return np.asarray(found["data"], float), np.asarray(found["screen"]), np.asarray(found["colors"]).reshape(-1, 4)

    def picture(self, name):
        """What is on the screen, `[row column rgb]`, kept as a file too."""
        png = self.browser.get_screenshot_as_png()
        (self.artifacts / f"{name}.png").write_bytes(png)
        return matplotlib.image.imread(io.BytesIO(png))[..., :3]

    def quiet(self):
        """Nothing on the console, and nothing asked for but the page itself."""
        assert self.browser.get_log("browser") == []
        asked = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        urls = {m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"}
        assert {url.partition("#")[0] for url in urls} == {self.path.resolve().as_uri()}
        assert self.script("return performance.getEntriesByType('resource').length") == 0


@pytest.fixture
def opened(browser, artifacts, tmp_path):
    def made(result, fragment="", size=USUAL):
        path = tmp_path / "view.html"
        path.write_text(result if isinstance(result, str) else page(result))
        return Shown(browser, artifacts, path).open(fragment, size)

    return made


def colored(picture, screen, colors, toward=0.2):
    """Which tokens that face the reader have their color at the place where they are said to be."""
    front = np.flatnonzero(screen[:, 2] > toward)
    rows, columns = np.rint(screen[front, 1]).astype(int), np.rint(screen[front, 0]).astype(int)
    found = picture[rows, columns]
    return np.abs(found - colors[front, :3] / 255).max(axis=1) < 0.02


def test_a_page_of_a_real_run_shows_the_points_of_its_record(real, browser, artifacts, capsys):
    assert command(real.path) == 0
    path = real.path / "view.html"
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    seen = Shown(browser, artifacts, path)
    x = real.dataset["tokens"].values
    for frame in (0, 8, 16):
        seen.open(f"#f={frame}&theme=light&color=start&trail=0")
        assert seen.state()["renderer"] == "webgl"
        assert seen.frame() == frame
        data, screen, colors = seen.positions(frame)
        assert np.abs(data - x[frame]).max() <= 0.51 * 2 / 65534  # half a step of a grid over [-1, 1]
        found = colored(seen.picture(f"real-{frame}"), screen, colors)
        assert len(found) >= 3
        assert found.mean() > 0.6 if frame else found.all()  # tokens that met hide one another
        seen.quiet()


def test_the_check_of_pixels_can_fail(opened):
    seen = opened(shown.run(), "#f=4&theme=light&color=start&trail=0")
    _, screen, colors = seen.positions(4)
    picture = seen.picture("sphere")
    assert colored(picture, screen, colors).mean() > 0.8
    moved = screen + np.array([25.0, 0.0, 0.0])
    assert colored(picture, moved, colors).mean() < 0.3


def test_depth_has_a_slider_keys_and_charts(opened):
    seen = opened(shown.run(), "#3")
    assert seen.frame() == 3
    seen.press("ArrowRight", "ArrowRight")
    assert seen.frame() == 5
    seen.press("End")
    assert seen.frame() == 8
    seen.press("Home", "ArrowLeft")
    assert seen.frame() == 0
    seen.choose("depth", "0.5")
    linear = seen.frame()
    time = shown.run()["time"].values
    assert linear == np.abs(time - 2.0).argmin()
    seen.press("l")
    assert seen.state()["log"] and seen.frame() == linear
    seen.choose("depth", "0.5")
    assert seen.frame() < linear  # half of logarithmic depth is early
    assert "frame" in seen.script("return document.getElementById('depth').getAttribute('aria-valuetext')")
    seen.script(
        "const svg = document.querySelector('#curves svg'), box = svg.getBoundingClientRect();"
        "const at = {clientX: box.right - 8, clientY: box.top + 20, bubbles: true, pointerId: 1};"
        "svg.setPointerCapture = () => {}; svg.dispatchEvent(new PointerEvent('pointerdown', at));"
    )
    seen.settle()
    assert seen.frame() == 8
    seen.quiet()


def test_it_plays_to_the_end_and_says_where_it_is(opened):
    seen = opened(shown.run())
    seen.press(" ")
    assert seen.state()["playing"]
    seen.script("window.particlesView.set({position: 7.9})")
    seen.browser.execute_async_script(
        "const done = arguments[0], live = document.getElementById('live');"
        "const look = () => live.textContent.startsWith('depth 4') ? done() : setTimeout(look, 50); look();"
    )
    assert seen.frame() == 8 and not seen.state()["playing"]
    assert seen.script("return document.getElementById('live').textContent") == "depth 4: 3 clusters"


def test_the_state_is_in_the_address_and_comes_back(opened):
    seen = opened(shown.sweep(), "#f=2&theme=light")
    seen.press("d", "l", "c")
    seen.choose("color", "field0")
    seen.choose("sweep-b-0", "1")
    seen.script("window.particlesView.set({pinned: [4], yaw: 1.5})")
    fragment = seen.fragment()
    before = seen.state()
    for word in ("f=2", "log=1", "theme=dark", "compare=1", "color=field0", "b=1", "pin=4", "yaw=1.500"):
        assert word in fragment
    seen.open(fragment)
    assert seen.state() == before
    seen.quiet()
    seen.script("location.hash = '#7'")
    seen.settle()
    assert seen.frame() == 7 and not seen.state()["compare"]


def test_two_members_of_a_sweep_side_by_side(opened):
    dataset = shown.sweep()
    seen = opened(dataset, "#f=2&theme=light&compare=1&a=0&b=2&color=start&trail=0")
    picture = seen.picture("compare-light")
    for side, member in ((0, 0), (1, 2)):
        data, screen, colors = seen.positions(2, side)
        assert np.abs(data - dataset["tokens"].values[member, 2]).max() < 1e-4
        assert colored(picture, screen, colors).mean() > 0.6
    assert seen.script("return document.querySelectorAll('#curves .curve-b').length") == 1
    assert seen.script("return document.querySelector('#sweep-a-0').nextSibling.textContent") == "1"
    seen.choose("sweep-a-0", "1")
    assert np.abs(seen.positions(2, 0)[0] - dataset["tokens"].values[1, 2]).max() < 1e-4
    seen.quiet()


def test_light_and_dark_wide_and_narrow(opened):
    seen = opened(shown.run(n=40, frames=12))
    for name, size in (("wide", WIDE), ("narrow", NARROW), ("least", LEAST)):
        seen.open("#f=6&theme=light", size)
        for theme in ("light", "dark"):
            corner = seen.picture(f"{theme}-{name}")[2, 2].mean()
            assert corner > 0.9 if theme == "light" else corner < 0.15
            seen.click("theme")
        assert seen.script("return document.documentElement.scrollWidth") <= size[0]
        assert seen.state()["theme"] == "light"
    seen.quiet()


def test_without_webgl_there_is_a_canvas(opened):
    seen = opened(shown.run(), "#f=4&theme=light&color=start&trail=0&canvas")
    assert seen.state()["renderer"] == "canvas"
    _, screen, colors = seen.positions(4)
    assert colored(seen.picture("canvas"), screen, colors).mean() > 0.8
    seen.open("#f=4&theme=light&color=cluster&trail=5&canvas")
    seen.quiet()


def test_a_hundred_thousand_tokens(opened):
    dataset = shown.many()
    seen = opened(dataset, "#f=2&theme=light")
    assert seen.state()["renderer"] == "webgl"
    some = seen.script("return window.particlesView.positions(2).data.slice(0, 50)")
    assert np.abs(np.asarray(some) - dataset["tokens"].values[2, :50]).max() < 1e-4
    picture = seen.picture("many")
    assert (np.ptp(picture, axis=-1) > 0.1).mean() > 0.02  # a good part of the screen has color
    seen.press("ArrowRight", "ArrowRight")
    assert seen.frame() == 4
    seen.quiet()


def test_a_token_is_named_and_pinned(opened):
    seen = opened(shown.run(), "#f=8&theme=light")
    _, screen, _ = seen.positions(8)
    token = int(np.argmax(screen[:, 2]))
    at = [float(v) for v in screen[token, :2]]
    for kind in ("pointermove", "pointerdown", "pointerup"):
        seen.script(
            "const top = document.querySelectorAll('.scene canvas')[2]; top.setPointerCapture = () => {};"
            "top.dispatchEvent(new PointerEvent(arguments[0], {clientX: arguments[1], clientY: arguments[2],"
            " pointerId: 1, bubbles: true}));",
            kind,
            *at,
        )
        seen.settle()
        if kind == "pointermove":
            assert seen.script("return document.querySelector('.tip').textContent").startswith("token ")
    [pinned] = seen.state()["pinned"]
    assert np.hypot(*(screen[pinned, :2] - screen[token, :2])) < 12
    assert f"token {pinned}" in seen.script("return document.getElementById('chosen').textContent")
    assert f"pin={pinned}" in seen.fragment()
    seen.press("Escape")
    assert seen.state()["pinned"] == []


def test_pairs_are_those_of_the_frame(opened):
    seen = opened(shown.run(n=30), "#f=0&theme=light&pairs=cosine")

    def canvas():
        return seen.script(
            "const c = document.querySelector('#matrix canvas');"
            "return [c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data];"
        )

    first = canvas()
    assert first[0] == 30
    diagonal = np.asarray(first[1:]).reshape(30, 30, 4)[np.arange(30), np.arange(30)]
    assert np.ptp(diagonal, axis=0).max() == 0  # a token has cosine 1 with itself
    seen.press("End")
    assert canvas() != first


BAD = {
    "no tokens": lambda: shown.run().drop_vars(["tokens", "height"]),
    "one frame": lambda: shown.run(frames=1),
    "one token": lambda: shown.run(n=1),
    "a line": lambda: shown.run(space="Euclidean", d=1),
    "a plane": lambda: shown.run(space="Euclidean", d=2),
    "a shadow": lambda: shown.run(d=7),
    "nowhere": lambda: shown.stored(np.arange(3.0), np.full((3, 4, 2), np.nan)),
    "nothing": lambda: shown.run().drop_vars(["tokens", "height", "spread"]).drop_dims("time"),
}


@pytest.mark.parametrize("case", BAD)
def test_whatever_is_stored_there_is_a_page_without_errors(opened, case):
    seen = opened(BAD[case](), "#f=5&theme=light")
    words = seen.script("return document.body.innerText")
    if case in ("no tokens", "nothing"):
        assert "stored no tokens" in words
    seen.picture(f"case-{case.replace(' ', '-')}")
    seen.quiet()


def test_markup_in_names_stays_text(opened):
    evil = "</script><img src=x onerror=\"document.title='stolen'\"><b>bold</b>"
    dataset = shown.sweep().assign_attrs(name=evil, caption=evil)
    dataset["spread"].attrs["long_name"] = evil
    dataset["beta"].attrs["symbol"] = evil
    seen = opened(page(dataset, verdict=evil, summary=[evil]), "#f=1")
    assert seen.script("return document.getElementById('name').textContent") == evil
    assert seen.script("return document.title") == evil
    assert seen.script("return document.querySelectorAll('img, b:not(.curve b):not(output b)').length") == 0
    seen.quiet()


def test_a_second_script_is_refused(opened):
    text = page(shown.run(frames=2)).replace("</main>", "<script>document.title = 'stolen'</script></main>")
    seen = opened(text)
    assert seen.script("return document.title") == "demo"
    assert any("Content Security Policy" in entry["message"] for entry in seen.browser.get_log("browser"))


def test_a_notebook_holds_the_page(opened, real):
    seen = opened(f"<!doctype html><body data-ready=yes>{real.view(height=500)._repr_html_()}</body>")
    seen.browser.switch_to.frame(0)
    assert seen.script("return document.body.dataset.frame") == "0"
    assert seen.script("return document.getElementById('name').textContent") != ""
    seen.browser.switch_to.default_content()
    assert "12 tokens on the unit sphere" in real._repr_html_()


def test_an_unfinished_record_says_so(real, opened, tmp_path):
    import shutil

    import particles as pt

    copy = tmp_path / "copy"
    shutil.copytree(real.path, copy)
    manifest = {**real.manifest, "status": "running"}
    del manifest["checksums"]
    replace_json(copy / "manifest.json", manifest)
    record = pt.open(copy)
    seen = opened(write(record, tmp_path / "v.html").read_text())
    assert "interrupted before its end" in seen.script("return document.getElementById('alert').textContent")
    block = next(path for path in (real.path / "data.zarr" / "tokens" / "c").rglob("*") if path.is_file())
    spoiled = copy / block.relative_to(real.path)
    shutil.copy(real.path / "manifest.json", copy)
    spoiled.write_bytes(bytes(len(spoiled.read_bytes())))
    with pytest.raises(ValueError, match="damaged"):
        write(pt.open(copy), tmp_path / "w.html")
