"""One browser for all tests of pages, and one real run."""

import os
import pathlib
import shutil
import tempfile

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--window-size=1400,900",
)


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium without a window; it reads files, and has nobody to talk to."""
    if CHROMIUM is None or DRIVER is None:
        missing = "chromium" if CHROMIUM is None else "chromedriver (Debian: chromium-driver)"
        if "CI" in os.environ:
            pytest.fail(f"{missing} is not installed: pages cannot be tested")
        pytest.skip(f"{missing} is not installed: pages are not tested in a browser")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        driver.set_script_timeout(60)
        yield driver
        driver.quit()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """Where pictures of pages are kept."""
    folder = pathlib.Path(os.environ.get("PARTICLES_ARTIFACTS") or tmp_path_factory.mktemp("pages"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """The record of a real run: a handful of tokens, a few frames."""
    import jax

    import particles as pt

    law = pt.Attention(pt.DotProduct(4.0))
    x0 = pt.Sphere().uniform(jax.random.key(3), n=12, d=3)
    plan = pt.Plan(until=4.0, save=16, watch=("clusters",))
    return pt.simulate(pt.Flow(pt.Sphere(), law), x0, plan, tmp_path_factory.mktemp("run") / "seen", progress=False)
