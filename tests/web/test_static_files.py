"""Built files over a real socket: types, caching, compressed copies, the single-page fallback, hostile paths."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.web.serving import NOTHING_BUILT, site
from web.static_files import SMALL_BYTES, VIEWER_POLICY, accepted_codings, tag_matches

SCRIPT = b"export const answer = 42;\n" * 50
HASHED = "app.bundle.0123456789abcdef.js"
LARGE = bytes(range(256)) * (SMALL_BYTES // 256) * 5


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A viewer and a panel, small; beside them what must never be served."""
    root = tmp_path_factory.mktemp("web")
    files = {
        "static/ohif/index.html": b"<title>viewer</title>",
        "static/ohif/app-config.js": b"window.config = {}",
        f"static/ohif/{HASHED}": SCRIPT,
        f"static/ohif/{HASHED}.br": b"as if by brotli",
        f"static/ohif/{HASHED}.gz": gzip.compress(SCRIPT, mtime=0),
        "static/ohif/0123456789abcdef.wasm": LARGE,
        "static/ohif/plain.css": b"body {}",
        "static/ohif/plain.css.gz": gzip.compress(b"body {}"),
        "static/ohif/decoders/module.mjs": b"export {}",
        "static/ohif/font.woff2": b"wOF2",
        "static/ohif/manifest.json": b"{}",
        "static/ohif/LICENSE": b"MIT",
        "static/ohif/.built": b"stamp",
        "static/panel/index.html": b"<title>panel</title>",
        "static/panel/assets/index-BQ2x3k9a.js": b"let panel",
        "static/panel/icon.svg": b"<svg/>",
        "static/secret.txt": b"secret",
        "secret.txt": b"secret",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "static/ohif/link.txt").symlink_to(root / "secret.txt")
    return root / "static"


TYPES = [
    ("", "text/html; charset=utf-8"),
    ("app-config.js", "text/javascript; charset=utf-8"),
    ("decoders/module.mjs", "text/javascript; charset=utf-8"),
    ("0123456789abcdef.wasm", "application/wasm"),
    ("plain.css", "text/css; charset=utf-8"),
    ("font.woff2", "font/woff2"),
    ("manifest.json", "application/json"),
    ("LICENSE", "application/octet-stream"),
]


async def test_a_file_has_the_type_of_its_name(built):
    async with site(static=built) as here:
        for name, kind in TYPES:
            answer = await here.get(f"/ohif/{name}")
            assert (answer.status, answer.headers["content-type"]) == (200, kind), name
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_hashed_names_are_kept_for_a_year_and_all_others_are_asked_for_again(built):
    async with site(static=built) as here:
        for path in [f"/ohif/{HASHED}", "/ohif/0123456789abcdef.wasm", "/assets/index-BQ2x3k9a.js"]:
            answer = await here.get(path)
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        for path in [
            "/ohif/",
            "/ohif/index.html",
            "/ohif/plain.css",
            "/",
            "/icon.svg",
        ]:
            assert (await here.get(path)).headers["cache-control"] == "no-cache"


async def test_a_file_that_the_browser_has_is_not_sent_again(built):
    async with site(static=built) as here:
        for path in ["/ohif/", "/ohif/0123456789abcdef.wasm"]:
            tag = (await here.get(path)).headers["etag"]
            for condition in [tag, f"W/{tag}", f'"other", {tag}', "*"]:
                again = await here.get(path, f"If-None-Match: {condition}")
                assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
            assert (await here.get(path, 'If-None-Match: "other"')).status == 200


async def test_a_tag_follows_the_content(built, tmp_path):
    page = tmp_path / "ohif" / "index.html"
    page.parent.mkdir()
    tags = set()
    for content in [b"<title>one</title>", b"<title>two</title>", b"<title>one</title>"]:
        page.write_bytes(content)
        async with site(static=tmp_path) as here:
            tags.add((await here.get("/ohif/")).headers["etag"])
    assert len(tags) == 2


CHOICES = [
    ("br, gzip, deflate, zstd", "br"),
    ("gzip", "gzip"),
    ("gzip, br;q=0", "gzip"),
    ("gzip;q=0, br;q=0.0", None),
    ("deflate", None),
    ("*", None),
    ("", None),
]


async def test_the_best_copy_that_the_browser_understands_is_sent(built):
    bodies = {"br": b"as if by brotli", "gzip": gzip.compress(SCRIPT, mtime=0), None: SCRIPT}
    async with site(static=built) as here:
        for accepts, coding in CHOICES:
            answer = await here.get(f"/ohif/{HASHED}", f"Accept-Encoding: {accepts}")
            assert answer.headers.get("content-encoding") == coding, accepts
            assert answer.body == bodies[coding], accepts
            assert answer.headers["vary"] == "accept-encoding"
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_each_copy_has_a_tag_of_its_own(built):
    async with site(static=built) as here:
        tags = [
            (await here.get(f"/ohif/{HASHED}", f"Accept-Encoding: {coding}")).headers["etag"]
            for coding in ("br", "gzip", "identity")
        ]
        assert len(set(tags)) == 3
        mixed = await here.get(f"/ohif/{HASHED}", "Accept-Encoding: br", f"If-None-Match: {tags[1]}")
        assert mixed.status == 200


async def test_a_large_file_arrives_whole_and_piecewise(built):
    async with site(static=built) as here:
        for _ in range(2):
            answer = await here.get("/ohif/0123456789abcdef.wasm")
            assert answer.headers["content-length"] == str(len(LARGE))
            assert answer.body == LARGE


async def test_head_tells_the_length_only_and_nothing_can_be_written(built):
    async with site(static=built) as here:
        for name in ("0123456789abcdef.wasm", "app-config.js"):
            whole, head = await here.get(f"/ohif/{name}"), await here.get(f"/ohif/{name}", method="HEAD")
            assert (head.status, head.body) == (200, b"")
            assert head.headers["content-length"] == whole.headers["content-length"]
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = await here.get("/ohif/app-config.js", method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "get, head")


async def test_a_route_of_the_page_gets_the_page(built):
    async with site(static=built) as here:
        for path in ["viewer", "viewer?StudyInstanceUIDs=1.2.3", "a/b/", "study/1.2.840.1"]:
            assert (await here.get(f"/ohif/{path}")).body == b"<title>viewer</title>"
        for path in ["/", "/studies", "/studies/1.2.840.10008"]:
            assert (await here.get(path)).body == b"<title>panel</title>"


async def test_a_missing_file_is_never_answered_with_the_page(built):
    async with site(static=built) as here:
        for path in [
            "/ohif/gone.js",
            "/ohif/a/gone.bundle.0123.mjs",
            "/ohif/x.wasm",
            "/ohif/x.JSON",
            "/assets/gone.js",
        ]:
            answer = await here.get(path)
            assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
            assert answer.headers["cache-control"] == "no-store"


async def test_the_panel_hides_no_page_of_ours(built):
    async with site(static=built) as here:
        assert (await here.get("/healthz")).json() == {"status": "alive"}
        assert b"PACS status" in (await here.get("/status/")).body
        for path in ["/status/none", "/api/v1/none", "/api"]:
            assert (await here.get(path)).status == 404


HOSTILE = [
    "/ohif/../secret.txt",
    "/ohif/../../secret.txt",
    "/ohif/%2e%2e/secret.txt",
    "/ohif/%2e%2e%2fsecret.txt",
    "/ohif/..%5csecret.txt",
    "/ohif/..",
    "/ohif/a/../..",
    "/ohif/%2e%2e/",
    "/ohif/%00",
    "/ohif/index.html%00",
    "/ohif//etc/passwd%00.js",
    "/ohif/%0d%0aSet-Cookie:x",
    "/ohif/link.txt",
    "/ohif/.built",
    "/ohif/plain.css.gz",
    "/ohif/" + "a" * 4000,
    "/ohif/%ff%fe.js",
    "/..%2fsecret.txt",
    "/../secret.txt",
]


async def test_no_path_leads_out_of_the_table(built):
    async with site(static=built) as here:
        for path in HOSTILE:
            answer = await here.get(path)
            assert answer.status in {400, 404}, path
            assert b"secret" not in answer.body, path
            assert "set-cookie" not in answer.headers, path


async def test_the_viewer_has_a_policy_of_its_own_and_its_workers_have_none(built):
    async with site(static=built) as here:
        assert (await here.get("/ohif/viewer")).headers[
            "content-security-policy"
        ] == VIEWER_POLICY.decode().lower()
        for name in [HASHED, "0123456789abcdef.wasm"]:
            assert "content-security-policy" not in (await here.get(f"/ohif/{name}")).headers
        assert "wasm" not in (await here.get("/")).headers["content-security-policy"]


async def test_the_viewer_without_its_slash_is_sent_to_it(built):
    async with site(static=built) as here:
        answer = await here.get("/ohif")
        assert (answer.status, answer.headers["location"]) == (308, "/ohif/")


async def test_what_is_not_built_is_said_where_it_is_missed(built):
    async with site(static=NOTHING_BUILT) as here:
        answer = await here.get("/ohif/viewer")
        assert (answer.status, "make ui" in answer.json()["detail"]) == (404, True)
        assert b"Not built: viewer, panel." in (await here.get("/")).body
    async with site(static=built) as here:
        assert b"Not built" not in (await here.get("/status/")).body


async def test_files_that_were_built_anew_ask_for_a_restart(tmp_path):
    (tmp_path / "ohif").mkdir()
    for name in ("index.html", "gone.js"):
        (tmp_path / "ohif" / name).write_bytes(b"x")
    async with site(static=tmp_path) as here:
        (tmp_path / "ohif" / "gone.js").unlink()
        answer = await here.get("/ohif/gone.js")
        assert (answer.status, "restart" in answer.json()["detail"]) == (503, True)
        assert (await here.get("/ohif/")).status == 200


def test_accepted_codings_are_those_with_a_weight():
    assert accepted_codings(b"GZIP ; q=1.0, br;q=0.001, deflate;q=0, identity; q = 0.000") == {"gzip", "br"}
    assert accepted_codings(b",;,q=") <= {"", "q="}
    assert accepted_codings(b"\xff\xfe;q=0") == set()


def test_tags_are_compared_weakly():
    assert tag_matches(b'W/"a", "b"', '"b"')
    assert tag_matches(b'W/"a"', '"a"')
    assert not tag_matches(b"", '"a"')
    assert not tag_matches(b'"A"', '"a"')
