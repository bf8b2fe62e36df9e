"""What changes in OHIF's prebuilt files so that they work under ``/ohif/`` and under our content security policy.

Pure functions of texts. A rule that must apply and does not is an error: another release looks different, and a viewer that
half works is found by a radiologist otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Final

BASE: Final = "/ohif/"
# ort: models for segmentation, 136 MB, downloaded from elsewhere when used; customizations: off in our configuration;
# the rest serves service workers, other browsers, other logins, other hosts.
UNWANTED: Final = (
    "ort",
    "customizations",
    "sw.js",
    "init-service-worker.js",
    "google.js",
    "oidc-client.min.js",
    "es6-shim.min.js",
    "polyfill.min.js",
    "silent-refresh.html",
    "_headers",
    "_redirects",
    "serve.json",
)
_HASH: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")
_PUBLIC_PATH: Final = re.compile(r'(__webpack_require__\.p = )"/"')
_OWN_FILES: Final = re.compile(r"(['\"])/(?=dicom-microscopy-viewer/)")
_INLINE: Final = re.compile(r"<script>(.*?)</script>", re.S)
_WORKER_TAG: Final = re.compile(r"<script[^>]*init-service-worker\.js[^>]*></script>")
_ATTRIBUTE: Final = re.compile(r'\b(href|src|content)="/(?!/)')
_PUBLIC_URL: Final = 'window.PUBLIC_URL="/"'
_NDARRAY_VIEW: Final = (Path(__file__).parent / "ndarray-view.js").read_text(encoding="utf-8").strip()
# Webpack's parts that every study needs and that weigh something. Without a word about them they are asked for only when the one
# before has been fetched and run.
STARTUP: Final = ("6495", "8478", "89", "6938", "1673", "6489", "9383", "5406", "7248")
_MAY_NOT_STORE: Final = (
    "Not saved: your account may view, but not store. Ask an administrator for the permission study.store."
)
# Each must be found in some script. What follows an early return is dropped by the minifier.
MENDS: Final = (
    # ndarray compiles code; see ndarray-view.js.
    (
        "function compileConstructor(dtype, dimension) {",
        "function compileConstructor(dtype, dimension) {\n"
        f"return ({_NDARRAY_VIEW})(dtype, dimension, CACHED_CONSTRUCTORS[dtype], order);",
    ),
    # A report's content item need not have a concept name (PS3.3 C.17.3.2); without this the whole page goes blank.
    (
        "} = ConceptNameCodeSequence;\n  const isChildFirstNode",
        "} = ConceptNameCodeSequence ?? {};\n  const isChildFirstNode",
    ),
    # Without values an attribute has no Value (PS3.18 F.2.5); without this such a study is "not available".
    ("i < ModalitiesInStudy.Value.length;", "i < (ModalitiesInStudy.Value ?? []).length;"),
    # Whoever may not store is not asked to, and what asks on its own is answered at once.
    (
        '}, "CSV")), /*#__PURE__*/react.createElement(ui_next_src/* .Button */.$nd, {',
        '}, "CSV")), window.config.mayStore !== false && react.createElement(ui_next_src/* .Button */.$nd, {',
    ),
    (
        "const ReportDialog = customizationService.getCustomization('ohif.createReportDialog');",
        "if (window.config.mayStore === false) {\n    servicesManager.services.uiNotificationService.show({\n"
        f"      title, type: 'error', message: '{_MAY_NOT_STORE}',\n    }});\n"
        "    return Promise.resolve({ action: PROMPT_RESPONSES.A.CANCEL });\n  }\n"
        "  const ReportDialog = customizationService.getCustomization('ohif.createReportDialog');",
    ),
    # What was not stored must not be in the list as if it were; and whoever may not store is told so.
    (
        "addInstances(instances, true);\n        for (const instance of instances) {\n"
        "          await resolvedDataSource.store.dicom(instance, null, dicomDict);\n        }",
        "addInstances(await (async () => {\n          try {\n            for (const instance of instances) {\n"
        "              await resolvedDataSource.store.dicom(instance, null, dicomDict);\n            }\n"
        "          } catch (error) {\n"
        f"            throw error.status === 403 ? new Error('{_MAY_NOT_STORE}') : error;\n"
        "          }\n          return instances;\n        })(), true);",
    ),
)


class UnexpectedContent(Exception):
    """A file of the viewer is not what the rules were written for."""


def unwanted(name: str) -> bool:
    """Is this file (path inside the package's ``dist``) left out?"""
    return PurePosixPath(name).parts[0] in UNWANTED or name.endswith(".map")


def renamed(names: Iterable[str], build: str) -> dict[str, str]:
    """New hashes for those in OHIF's file names: contents change with our rules, and browsers keep hashed files for a year.

    build:  names the rules, the minifier and the release
    """
    found = {match[0] for name in names for match in _HASH.finditer(PurePosixPath(name).name)}
    return {old: blake2b(f"{build} {old}".encode(), digest_size=8).hexdigest() for old in sorted(found)}


def with_new_hashes(text: str, hashes: Mapping[str, str]) -> str:
    """A file's text, or its name, after ``renamed``."""
    return _HASH.sub(lambda match: hashes.get(match[0], match[0]), text)


def rewrite_script(text: str) -> str:
    """webpack's public path, the one module that is imported by an absolute path, and what is broken."""
    for broken, mended in MENDS:
        text = text.replace(broken, mended)
    return _OWN_FILES.sub(rf"\g<1>{BASE}", _PUBLIC_PATH.sub(rf'\g<1>"{BASE}"', text))


def rewrite_style(text: str) -> str:
    return re.sub(r"""url\((["']?)/(?!/)""", rf"url(\g<1>{BASE}", text)


def rewrite_manifest(text: str) -> str:
    """Icons' paths, in JSON and XML."""
    return re.sub(r'"/(?=assets/)', f'"{BASE}', text)


def startup(names: Iterable[str]) -> list[str]:
    """Those of a build's files that the page preloads. raises: UnexpectedContent"""
    parts = {name.partition(".bundle.")[0]: name for name in names if name.endswith(".js")}
    if missing := [part for part in STARTUP if part not in parts]:
        raise UnexpectedContent(f"no {missing[0]}.bundle.*.js; the rules are for another release")
    return [parts[part] for part in STARTUP]


def rewrite_index(page: str, preloaded: Iterable[str] = ()) -> tuple[str, dict[str, str]]:
    """The page, and its inline scripts as files (name -> text), for the policy allows none in the page.

    preloaded:  scripts that the page asks for at once
    raises:     UnexpectedContent
    """
    if page.count(_PUBLIC_URL) != 2:
        raise UnexpectedContent("index.html: window.PUBLIC_URL is not set twice")
    page, workers = _WORKER_TAG.subn("", page)
    if workers != 1:
        raise UnexpectedContent("index.html: no service worker to leave out")
    scripts: dict[str, str] = {}

    def move(match: re.Match[str]) -> str:
        text = match[1].replace(_PUBLIC_URL, f'window.PUBLIC_URL="{BASE}"')
        name = f"inline.{blake2b(text.encode(), digest_size=8).hexdigest()}.js"
        scripts[name] = text
        return f'<script src="{BASE}{name}"></script>'

    page = _ATTRIBUTE.sub(rf'\g<1>="{BASE}', page)
    links = "".join(f'<link rel="preload" as="script" href="{BASE}{name}">' for name in preloaded)
    return _INLINE.sub(move, page).replace("</head>", f"{links}</head>", 1), scripts


def check(before: str, after: str, name: str) -> None:
    """raises: UnexpectedContent unless the rules for this file have applied"""
    if before == after:
        raise UnexpectedContent(f"{name}: nothing to rewrite; the rules are for another release")
