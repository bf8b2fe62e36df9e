"""``python -m web.viewer.build``: makes ``web/static/ohif`` out of OHIF's package on npm. Needs ``node`` and ``npm``.

Does nothing when what is there was made by the same pin and rules. Standard library only, for packagers run it, too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from web.viewer import rewrite

_HERE: Final = Path(__file__).resolve().parent
TARGET: Final = _HERE.parent / "static" / "ohif"
STAMP: Final = ".built"
_INPUTS: Final = (
    "pin.json", "package.json", "package-lock.json", "app-config.js", "compress.mjs", "ndarray-view.js",
    "rewrite.py", "build.py",
)  # fmt: skip
_MOST_BYTES: Final = 1 << 30
_MANIFESTS: Final = {"manifest.json", "manifest.webapp", "browserconfig.xml", "yandex-browser-manifest.json"}
_PATIENCE_S: Final = 300


class BuildFailed(Exception):
    """The viewer could not be made; what was there before is still there."""


class Pin(NamedTuple):
    package: str
    version: str
    sha512: str

    @classmethod
    def load(cls) -> Pin:
        return cls(**json.loads((_HERE / "pin.json").read_text(encoding="utf-8")))


def key() -> str:
    """Changes with everything that decides the result."""
    digest = hashlib.sha256()
    for name in _INPUTS:
        digest.update(name.encode() + b"\0" + (_HERE / name).read_bytes() + b"\0")
    return digest.hexdigest()


def is_fresh(target: Path) -> bool:
    stamp = target / STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == key()


def verify(archive: Path, sha512: str) -> None:
    """raises: BuildFailed when it is not the file that was pinned"""
    with archive.open("rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != sha512:
        raise BuildFailed(f"{archive.name} is not what was pinned: sha512 {found}")


def unpack(archive: Path, folder: Path) -> None:
    """The wanted files of the package's ``dist``, and its licence. raises: BuildFailed for a suspicious archive"""
    left = _MOST_BYTES
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix("package/dist/")
            if member.name == "package/LICENSE":
                name = "LICENSE.txt"
            elif name == member.name or not member.isfile() or rewrite.unwanted(name):
                continue
            left -= member.size
            if left < 0 or ".." in PurePosixPath(name).parts or name.startswith("/"):
                raise BuildFailed(f"{archive.name} holds what it should not: {name}")
            content = tar.extractfile(member)
            assert content is not None
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)


def rewrite_all(folder: Path, build: str) -> None:
    """Apply the rules to every file. raises: UnexpectedContent"""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    hashes = rewrite.renamed([path.name for path in paths], build)
    preloaded = rewrite.startup(rewrite.with_new_hashes(path.name, hashes) for path in paths)
    broken = [mend for mend, _ in rewrite.MENDS]
    for path in paths:
        changed = path.with_name(rewrite.with_new_hashes(path.name, hashes))
        path.rename(changed)
        if changed.suffix in {".js", ".css", ".html"} or changed.name in _MANIFESTS:
            text = _rewrite(changed, hashes, preloaded)
            broken = [mend for mend in broken if mend not in text]
    if broken:
        raise rewrite.UnexpectedContent(f"nothing to mend: {broken[0]!r}; the rules are for another release")


def _rewrite(path: Path, hashes: dict[str, str], preloaded: Sequence[str]) -> str:
    """The text as it was."""
    before = path.read_text(encoding="utf-8")
    text = rewrite.with_new_hashes(before, hashes)
    after, scripts = text, dict[str, str]()
    if path.name == "index.html":
        after, scripts = rewrite.rewrite_index(text, preloaded)
    elif path.suffix == ".js":
        after = rewrite.rewrite_script(text)
    elif path.suffix == ".css":
        after = rewrite.rewrite_style(text)
    elif path.name in _MANIFESTS:
        after = rewrite.rewrite_manifest(text)
    if path.name in _MANIFESTS or path.name.startswith("app.bundle."):
        rewrite.check(text, after, path.name)
    path.write_text(after, encoding="utf-8")
    for name, script in scripts.items():
        (path.parent / name).write_text(script, encoding="utf-8")
    return before


def minify(folder: Path, tools: Path) -> None:
    """All scripts and styles, in place. Comments that carry a licence stay."""
    scripts = [str(path) for path in sorted(folder.rglob("*")) if path.suffix in {".js", ".css"}]
    options = [
        "--minify",
        "--allow-overwrite",
        "--log-level=error",
        f"--outdir={folder}",
        f"--outbase={folder}",
    ]
    _run([str(tools / "node_modules" / ".bin" / "esbuild"), *options, *scripts], tools)


def make(target: Path) -> None:
    """Fetch, check, rewrite, minify, compress; then replace ``target`` in one step.

    raises: BuildFailed, UnexpectedContent, OSError
    """
    pin, build = Pin.load(), key()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ohif-", dir=target.parent) as scratch:
        tools, made = Path(scratch) / "tools", Path(scratch) / "ohif"
        tools.mkdir()
        made.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, tools)
        _run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], tools)
        _run(["npm", "pack", f"{pin.package}@{pin.version}", "--loglevel=error"], tools)
        (archive,) = tools.glob("*.tgz")
        verify(archive, pin.sha512)
        unpack(archive, made)
        rewrite_all(made, build)
        shutil.copy(_HERE / "app-config.js", made)
        minify(made, tools)
        _run(["node", str(_HERE / "compress.mjs"), str(made)], tools)
        (made / STAMP).write_text(f"{build}\n", encoding="utf-8")
        if target.exists():
            target.rename(Path(scratch) / "before")
        made.rename(target)


def _run(command: Sequence[str], folder: Path) -> None:
    # Quiet unless it fails: npm warns about settings that are none of this build.
    try:
        done = subprocess.run(
            command, cwd=folder, check=False, capture_output=True, text=True, timeout=_PATIENCE_S,
            env={**os.environ, "npm_config_update_notifier": "false"},
        )  # fmt: skip
    except FileNotFoundError:
        raise BuildFailed(
            f"{command[0]} is not there; the viewer needs Node.js 20 or newer, with npm"
        ) from None
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"{Path(command[0]).name} took longer than {_PATIENCE_S} s") from None
    if done.returncode:
        raise BuildFailed(f"{' '.join(command[:3])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main() -> int:
    if is_fresh(TARGET):
        return 0
    try:
        make(TARGET)
    except (BuildFailed, rewrite.UnexpectedContent, OSError, tarfile.TarError) as error:
        print(f"The viewer was not built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
