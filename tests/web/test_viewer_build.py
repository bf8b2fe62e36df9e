"""How OHIF's files are made ours: the rules on small pieces, the steps on a small package."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from web.static_files import STATIC
from web.viewer import build, rewrite
from web.viewer.rewrite import UnexpectedContent

PAGE = (
    '<!doctype html><head><meta content="/assets/tile.png"><meta content="width=device-width">'
    '<script>console.time("x"),window.PUBLIC_URL="/"</script><link href="/manifest.json">'
    '<script src="/app-config.js"></script><script type="module" src="/init-service-worker.js"></script>'
    '<script>function load(n){return import(n)}window.PUBLIC_URL="/"</script>'
    '<script defer src="/app.bundle.0123456789abcdef.js"></script><a href="//elsewhere/x"></a></head>'
)


def test_scripts_load_their_parts_from_below_the_base():
    script = (
        '__webpack_require__.p = "/";\nimport(\'/dicom-microscopy-viewer/viewer.min.js\'); fetch("/studies");'
    )
    assert rewrite.rewrite_script(script) == (
        '__webpack_require__.p = "/ohif/";\n'
        "import('/ohif/dicom-microscopy-viewer/viewer.min.js'); fetch(\"/studies\");"
    )


def test_a_public_path_of_another_kind_is_left_alone():
    for script in ["__webpack_require__.p = scriptUrl;", 'other.p = "/";']:
        assert rewrite.rewrite_script(script) == script


def test_styles_load_their_fonts_from_below_the_base():
    style = (
        "a{src:url(/f.woff2)}b{src:url('/g.woff2')}c{src:url(//host/h)}d{src:url(data:x)}e{src:url(i.png)}"
    )
    assert rewrite.rewrite_style(style) == (
        "a{src:url(/ohif/f.woff2)}b{src:url('/ohif/g.woff2')}c{src:url(//host/h)}d{src:url(data:x)}e{src:url(i.png)}"
    )


def test_icons_of_manifests_are_below_the_base():
    assert rewrite.rewrite_manifest('{"src": "/assets/a.png", "start_url": "./index.html"}') == (
        '{"src": "/ohif/assets/a.png", "start_url": "./index.html"}'
    )


def test_the_page_has_no_inline_script_left_and_all_its_paths_below_the_base():
    page, scripts = rewrite.rewrite_index(PAGE)
    assert "init-service-worker" not in page
    assert "<script>" not in page
    for name, text in scripts.items():
        assert f'<script src="/ohif/{name}"></script>' in page
        assert 'window.PUBLIC_URL="/ohif/"' in text
    assert [text.partition("(")[0] for text in scripts.values()] == ["console.time", "function load"]
    assert page.index(next(iter(scripts))) < page.index("app-config.js") < page.index("app.bundle")
    for path in ("assets/tile.png", "manifest.json", "app-config.js", "app.bundle.0123456789abcdef.js"):
        assert f'="/ohif/{path}"' in page
    assert 'href="//elsewhere/x"' in page
    assert 'content="width=device-width"' in page


@pytest.mark.parametrize("lost", ['window.PUBLIC_URL="/"', "init-service-worker.js"])
def test_a_page_of_another_release_is_refused(lost):
    with pytest.raises(UnexpectedContent):
        rewrite.rewrite_index(PAGE.replace(lost, "other", 1))


def test_names_change_with_our_rules_and_everywhere_alike():
    names = ["app.bundle.0123456789abcdef.js", "fedcba9876543210.wasm", "1602.css"]
    one, two = rewrite.renamed(names, "rules one"), rewrite.renamed(names, "rules two")
    assert set(one) == set(two) == {"0123456789abcdef", "fedcba9876543210"}
    assert not set(one.values()) & set(two.values())
    text = '{12:"0123456789abcdef"} "fedcba9876543210.wasm" "00000000000000000000000000000000" "aaaaaaaaaaaaaaaa"'
    changed = rewrite.with_new_hashes(text, one)
    assert f'{{12:"{one["0123456789abcdef"]}"}}' in changed
    assert f'"{one["fedcba9876543210"]}.wasm"' in changed
    assert changed.endswith('"00000000000000000000000000000000" "aaaaaaaaaaaaaaaa"')
    assert rewrite.with_new_hashes(names[0], one) == f"app.bundle.{one['0123456789abcdef']}.js"


def test_what_is_of_no_use_is_left_out():
    for name in ["ort/ort.js", "a/b.js.map", "sw.js", "google.js", "customizations/index.html", "_headers"]:
        assert rewrite.unwanted(name)
    for name in ["app.bundle.js", "assets/sw.js.png", "index.html", "manifest.json", "sorted/ort.js"]:
        assert not rewrite.unwanted(name)


def package(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


MENDED = "".join(broken for broken, _ in rewrite.MENDS).encode()
APP = "package/dist/app.bundle.0123456789abcdef.js"
PARTS = {
    f"package/dist/{part}.bundle.{number:016x}.js": b"part" for number, part in enumerate(rewrite.STARTUP)
}


def test_a_package_becomes_files_that_fit_together(tmp_path):
    archive = package(
        tmp_path / "app.tgz",
        {
            "package/package.json": b"{}",
            "package/LICENSE": b"MIT",
            "package/dist/index.html": PAGE.encode(),
            APP: b'__webpack_require__.p = "/"; import("12.bundle." + "aaaaaaaaaaaaaaaa" + ".js")' + MENDED,
            "package/dist/12.bundle.aaaaaaaaaaaaaaaa.js": b"part",
            "package/dist/12.css": b"a{}",
            "package/dist/manifest.json": b'{"src": "/assets/a.png"}',
            "package/dist/ort/ort.js": b"large",
            **PARTS,
        },
    )
    made = tmp_path / "made"
    build.unpack(archive, made)
    build.rewrite_all(made, "rules")
    hashes = rewrite.renamed([APP, "12.bundle.aaaaaaaaaaaaaaaa.js"], "rules")
    app, part = f"app.bundle.{hashes['0123456789abcdef']}.js", f"12.bundle.{hashes['aaaaaaaaaaaaaaaa']}.js"
    names = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    parts = rewrite.startup(names)
    assert {name for name in names if not name.startswith("inline.")} == {
        "LICENSE.txt", "index.html", app, part, "12.css", "manifest.json", *parts,
    }  # fmt: skip
    page = (made / "index.html").read_text()
    assert f'src="/ohif/{app}"' in page
    for name in parts:
        assert f'<link rel="preload" as="script" href="/ohif/{name}">' in page
    script = (made / app).read_text()
    assert hashes["aaaaaaaaaaaaaaaa"] in script
    assert '"/ohif/"' in script


def test_a_release_in_which_nothing_is_to_mend_is_refused(tmp_path):
    files = {APP: b'__webpack_require__.p = "/";', "package/dist/index.html": PAGE.encode(), **PARTS}
    build.unpack(package(tmp_path / "app.tgz", files), tmp_path / "made")
    with pytest.raises(UnexpectedContent, match="mend"):
        build.rewrite_all(tmp_path / "made", "rules")


def test_a_release_without_a_part_that_is_preloaded_is_refused(tmp_path):
    files = {APP: b'__webpack_require__.p = "/";', "package/dist/index.html": PAGE.encode(), **PARTS}
    del files[next(iter(PARTS))]
    build.unpack(package(tmp_path / "app.tgz", files), tmp_path / "made")
    with pytest.raises(UnexpectedContent, match=rewrite.STARTUP[0]):
        build.rewrite_all(tmp_path / "made", "rules")


def test_an_application_in_which_nothing_is_to_rewrite_is_refused(tmp_path):
    files = {APP: b"publicPath()", "package/dist/index.html": PAGE.encode(), **PARTS}
    build.unpack(package(tmp_path / "app.tgz", files), tmp_path / "made")
    with pytest.raises(UnexpectedContent, match=r"app\.bundle"):
        build.rewrite_all(tmp_path / "made", "rules")


def test_another_file_than_the_pinned_one_is_refused(tmp_path):
    archive = tmp_path / "app.tgz"
    archive.write_bytes(b"content")
    build.verify(archive, base64.b64encode(hashlib.sha512(b"content").digest()).decode())
    with pytest.raises(build.BuildFailed, match="pinned"):
        build.verify(archive, build.Pin.load().sha512)


@pytest.mark.parametrize(
    "name", ["package/dist/../../out.js", "package/dist//etc/out.js", "package/dist/a/../out"]
)
def test_a_package_that_would_write_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(build.BuildFailed):
        build.unpack(package(tmp_path / "app.tgz", {name: b"x"}), tmp_path / "made")


def test_a_package_larger_than_any_viewer_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_MOST_BYTES", 1000)
    with pytest.raises(build.BuildFailed):
        build.unpack(package(tmp_path / "app.tgz", {APP: bytes(1001)}), tmp_path / "made")


def test_links_in_a_package_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "app.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("package/dist/link.js")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    build.unpack(tmp_path / "app.tgz", tmp_path / "made")
    assert not (tmp_path / "made" / "link.js").exists()


def test_what_was_made_by_other_rules_is_not_fresh(tmp_path):
    assert not build.is_fresh(tmp_path)
    (tmp_path / build.STAMP).write_text("0" * 64)
    assert not build.is_fresh(tmp_path)
    (tmp_path / build.STAMP).write_text(build.key() + "\n")
    assert build.is_fresh(tmp_path)


def test_the_minifier_is_pinned_by_hash():
    lock = json.loads((Path(build.__file__).parent / "package-lock.json").read_text())
    entries = {name: entry for name, entry in lock["packages"].items() if name}
    assert "node_modules/esbuild" in entries
    assert all(entry["integrity"].startswith("sha512-") for entry in entries.values())


needs_viewer = pytest.mark.skipif(
    not (STATIC / "ohif" / build.STAMP).is_file(), reason="the viewer is not built"
)


@needs_viewer
def test_the_viewer_as_built_loads_nothing_from_outside_its_base():
    folder = STATIC / "ohif"
    for script in folder.rglob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert '__webpack_require__.p="/"' not in text, script.name
        assert '.p="/",' not in text, script.name
        assert "CTOR_LIST" not in text, f"{script.name} compiles code"
    assert not [path for path in folder.rglob("*") if path.suffix == ".map" or path.name in rewrite.UNWANTED]
    assert (folder / "LICENSE.txt").read_text().startswith("The MIT License")


@needs_viewer
def test_all_that_compresses_well_has_its_copies():
    folder = STATIC / "ohif"
    for path in folder.rglob("*"):
        if path.suffix in {".js", ".css", ".wasm"} and path.stat().st_size >= 4096:
            for suffix in (".br", ".gz"):
                copy = path.with_name(path.name + suffix)
                assert copy.stat().st_size < path.stat().st_size, copy.name


def test_views_of_arrays_are_as_numpy_sees_them(visit):
    """The constructor that takes the place of ndarray's, against numpy, in Chromium."""
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    cases = [
        ("view", array),
        ("view.hi(2, null, 3)", array[:2, :, :3]),
        ("view.hi(-1, 2.9)", array[:, :2]),
        ("view.lo(1, 2)", array[1:, 2:]),
        ("view.lo(null, -1, 4)", array[:, :, 4:]),
        ("view.step(2, -1)", array[::2, ::-1]),
        ("view.step(1, -3, 2)", array[:, ::-3, ::2]),
        ("view.transpose(2, 0, 1)", array.transpose(2, 0, 1)),
        ("view.transpose(1, 0)", array.transpose(1, 0, 2)),
        ("view.pick(1)", array[1]),
        ("view.pick(null, 2)", array[:, 2]),
        ("view.pick(2, null, 1).step(-1)", array[2, ::-1, 1]),
        ("view.pick(0).transpose(1, 0).lo(1).hi(2, 3)", array[0].T[1:][:2, :3]),
        ("view.pick(2, 3, 4)", array[2, 3, 4]),
    ]
    source = (Path(build.__file__).parent / "ndarray-view.js").read_text()
    script = """([source, calls]) => {
        const make = new Function(`return (${source})`)();
        const order = function () {
            return this.stride.map((s, i) => [Math.abs(s), i]).sort((a, b) => a[0] - b[0]).map(pair => pair[1]);
        };
        const made = [];
        for (let dimension = -1; dimension < 4; dimension++) made.push(make('uint8', dimension, made, order));
        const values = (view, ...at) => at.length === view.dimension ? view.get(...at)
            : Array.from({ length: view.shape[at.length] }, (_, i) => values(view, ...at, i));
        return calls.map(call => {
            const view = made[4](Uint8Array.from({ length: 60 }, (_, i) => i), [3, 4, 5], [20, 5, 1], 0);
            const found = new Function('view', `return ${call}`)(view);
            const facts = [values(found), found.shape, found.size, found.dimension, found.dtype];
            if (found.dimension) found.set(...found.shape.map(() => 0), 99);
            return [...facts, found.dimension ? found.get(...found.shape.map(() => 0)) : 99, found.order.length];
        });
    }"""
    found = visit("about:blank").page.evaluate(script, [source, [call for call, _ in cases]])
    for (call, expected), (values, shape, size, dimension, dtype, written, axes) in zip(
        cases, found, strict=True
    ):
        assert values == np.asarray(expected).tolist(), call
        facts = (expected.shape, expected.size, expected.ndim, "uint8", 99, expected.ndim)
        assert (tuple(shape), size, dimension, dtype, written, axes) == facts, call


def test_an_empty_view_has_nothing(visit):
    source = (Path(build.__file__).parent / "ndarray-view.js").read_text()
    script = """source => {
        const nil = new Function(`return (${source})`)()('uint8', -1, [], null)([]);
        return [nil.size, nil.dimension, nil.index(), nil.pick(), nil.hi(1).lo(1).step(2).transpose().shape];
    }"""
    assert visit("about:blank").page.evaluate(script, source) == [0, -1, -1, None, []]
