"""Writes gallery.md: every config run once, its picture, and the command that made it.

`python docs/gallery.py [--only NAME ...] [--jobs N] [--runs FOLDER]` from the root. Pictures are made smaller than
`particles` draws them, and with fewer colors, so that the repository stays small.
"""

import argparse
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile

from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
IMAGES, PAGE = ROOT / "docs" / "images" / "gallery", ROOT / "docs" / "gallery.md"
LARGE = {"million": ("start.tokens=20000", "plan.rtol=1e-3")}  # what is changed in those that take minutes
WIDTH, COLORS = 720, 64
HEAD = """# Gallery

Every config of `configs/`, run, with the command that made the picture. Written by `python docs/gallery.py`.
"""


def configs() -> list[pathlib.Path]:
    return sorted((ROOT / "configs").glob("*.toml"))


def words(config: pathlib.Path) -> str:
    """What a config says of itself at its head."""
    lines = config.read_text().splitlines()
    head = lines[: next(k for k, line in enumerate(lines) if line and not line.startswith("#"))]
    return " ".join(line.removeprefix("# ") for line in head if not line.startswith("#:"))


def command(config: pathlib.Path) -> list[str]:
    return ["particles", "run", f"configs/{config.name}", *LARGE.get(config.stem, ())]


def picture(config: pathlib.Path, runs: str) -> str:
    """Runs a config and keeps its first figure; what there is to say of it."""
    line = [sys.executable, "-m", *command(config), "--out", runs, "--quiet"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{config.stem} ended with {done.returncode}: {done.stderr.strip()}"
    drawn = [one.removeprefix("drew ") for one in done.stderr.splitlines() if one.startswith("drew ")]
    with Image.open(ROOT / drawn[0]) as image:
        height = round(image.height * WIDTH / image.width)
        small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        IMAGES.mkdir(parents=True, exist_ok=True)
        small.quantize(COLORS, Image.Quantize.FASTOCTREE).save(IMAGES / f"{config.stem}.png", optimize=True)
    return config.stem


def page() -> str:
    parts = [HEAD]
    for config in configs():
        if not (IMAGES / f"{config.stem}.png").exists():
            continue
        line = " ".join(command(config))
        parts.append(f"## {config.stem}\n\n{words(config)}\n\n```bash\n{line}\n```\n")
        parts.append(f"![{config.stem}](images/gallery/{config.stem}.png)\n")
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="configs to run; all others keep their pictures")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--runs", metavar="FOLDER", help="keep the runs there; one that is finished is drawn again")
    options = parser.parse_args()
    chosen = [config for config in configs() if options.only is None or config.stem in options.only]
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(options.jobs) as several:
        said = [*several.map(lambda config: picture(config, options.runs or folder), chosen)]
    PAGE.write_text(page())
    print(*said, sep="\n")
    return int(any("ended with" in line for line in said))


if __name__ == "__main__":
    sys.exit(main())
