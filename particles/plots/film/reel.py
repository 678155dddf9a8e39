"""Pictures in a row, written as mp4 or gif.

An mp4 is made by ffmpeg, to which raw pictures are handed through a pipe; a gif by pillow. The film appears at its
place complete or not at all: it is made beside it and moved there. Words go into its metadata.
"""

import errno
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Picture = UInt8[np.ndarray, "height width 3"]

FORMATS = ("mp4", "gif")
_QUALITY = {"libx264": ["-crf", "18", "-preset", "medium"], "mpeg4": ["-q:v", "2"]}
"""The encoders that are used, the first that is there, with what makes thin lines survive."""


def ffmpeg() -> str | None:
    """The program that makes mp4: that of the system, or of the package imageio-ffmpeg; None where there is neither."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        return None
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        return None


def target(out: pathlib.Path | None, suffix: str | None, folder: pathlib.Path) -> tuple[pathlib.Path, str]:
    """Where a film goes, and what a person should know about that; empty if nothing.

    Parameters
    ----------
    out : the file that was asked for.
    suffix : the format that was asked for; an mp4 that nobody asked for is a gif where there is no ffmpeg.
    folder : where a film goes by default; it is made.

    Raises
    ------
    ValueError
        If file and format do not agree.
    """
    note = ""
    if out is not None and suffix is None:
        suffix = out.suffix[1:].lower() or None
    if suffix is None:
        suffix = "mp4" if ffmpeg() else "gif"
        note = "" if ffmpeg() else "there is no ffmpeg, so this is a gif; for mp4 install it or the extra `film`"
    if out is None:
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"film.{suffix}", note
    if not out.suffix:
        out = out.with_name(f"{out.name}.{suffix}")
    if out.suffix.lower() != f".{suffix}":
        raise ValueError(f"the film is asked for as {suffix} and as `{out.name}`: leave out one of the two")
    return out, note


def length(frames: int | None, seconds: float | None, fps: float | None) -> tuple[int, float]:
    """How many pictures a film has, and how many a second, from two of three numbers; 300 and 30 by default.

    Raises
    ------
    ValueError
        If all three are given, or seconds are not more than none.
    """
    if seconds is None:
        return 300 if frames is None else frames, 30.0 if fps is None else fps
    if not 0 < seconds < np.inf:
        raise ValueError(f"`seconds` of a film must be greater than 0 and finite; got {seconds:g}")
    if frames is not None and fps is not None:
        raise ValueError("two of `frames`, `seconds` and `fps` say the third: leave one out")
    if frames is not None:
        return frames, frames / seconds
    return max(round(seconds * (fps or 30.0)), 2), fps or 30.0


def save_film(
    pictures: Iterator[Picture], path: str | os.PathLike[str], fps: float, words: dict[str, str]
) -> pathlib.Path:
    """Writes pictures of one size as mp4 or gif, by the suffix of the path.

    Parameters
    ----------
    pictures : drawn as they are asked for; an mp4 needs an even width and height.
    fps : pictures to a second; a gif counts in hundredths of a second.
    words : `title`, `comment` and `description`, for the metadata.

    Raises
    ------
    ValueError
        For another suffix, or an mp4 where there is no ffmpeg.
    OSError
        If the place cannot be written to.
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix[1:] not in FORMATS:
        raise ValueError(f"a film is saved as one of {list(FORMATS)}; got `{path.name}`")
    program = ffmpeg() if suffix == ".mp4" else None
    if suffix == ".mp4" and program is None:
        raise ValueError("an mp4 needs ffmpeg: install it or the extra `film`, or make a gif: --format gif")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} for the film; make it first")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=suffix, dir=path.parent)
    except OSError as error:
        raise OSError(error.errno, f"no film can be put there: {os.strerror(error.errno or 0)}", str(path)) from error
    os.close(handle)
    try:
        if program is None:
            _gif(pictures, name, fps, words)
        else:
            _mp4(program, pictures, name, fps, words)
        os.chmod(name, 0o644)  # a temporary file is private; a film is not
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return path


def _gif(pictures: Iterator[Picture], name: str, fps: float, words: dict[str, str]) -> None:
    """All pictures in the colors of their own, few as those of a drawing are."""
    images = (Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE) for picture in pictures)
    text = "\n".join(filter(None, words.values())).encode()
    first = next(images)
    first.save(name, "GIF", save_all=True, append_images=images, duration=1000 / fps, loop=0, comment=text)


def _mp4(program: str, pictures: Iterator[Picture], name: str, fps: float, words: dict[str, str]) -> None:
    first = next(pictures)
    height, width, _ = first.shape
    encoder = _encoder(program)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
    result = ["-an", "-c:v", encoder, *_QUALITY[encoder], "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    metadata = [word for key, text in words.items() for word in ("-metadata", f"{key}={text}")]
    command = [program, "-y", "-loglevel", "error", *source, *result, *metadata, name]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
        assert process.stdin is not None  # it is a pipe
        broken = False
        try:
            process.stdin.write(first.tobytes())
            for picture in pictures:
                process.stdin.write(picture.tobytes())
        except BrokenPipeError:
            broken = True
        except BaseException:
            process.kill()
            raise
        finally:
            _close(process)
        if broken or process.returncode:
            said.seek(0)
            raise _fault(said.read().decode(errors="replace").strip(), name)


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass  # it ended before; its code says why
    finally:
        process.wait()


def _fault(said: str, name: str) -> OSError:
    """What ffmpeg complained of, as the error of a disk where it is one."""
    full = "No space left" in said
    return OSError(errno.ENOSPC if full else errno.EINVAL, f"ffmpeg could not write the film: {said[-300:]}", name)


def _encoder(program: str) -> str:
    known = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False).stdout
    return next((name for name in _QUALITY if f" {name} " in known), "mpeg4")
