"""make demo: runs the server and sends it generated studies, so that there is something to see.

python -m bench.demo [--data pacs-demo] [--studies 12] [options of pacs-actors serve]
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from bench.generate import PEOPLE, write

READY_WITHIN_S: Final = 60.0
PROGRAM: Final = str(Path(sys.executable).parent / "pacs-actors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="pacs-demo", help="the server's folder")
    parser.add_argument("--studies", type=int, default=len(PEOPLE), help="how many studies to make")
    parser.add_argument("--aet", default="PACS")
    parser.add_argument("--dicom-port", type=int, default=11112)
    parser.add_argument("--web-port", type=int, default=8080)
    arguments, others = parser.parse_known_args()
    # Ctrl-C is for the server, which drains; we end when it has.
    signal.signal(signal.SIGINT, lambda *_: server.send_signal(signal.SIGTERM))
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGTERM))
    server = subprocess.Popen(
        [
            PROGRAM, "serve", "--data", arguments.data, "--aet", arguments.aet,
            "--dicom-port", str(arguments.dicom_port), "--web-port", str(arguments.web_port), *others,
        ],
        start_new_session=True,
    )  # fmt: skip
    try:
        if not wait_ready(server, arguments.web_port):
            return server.wait()
        with tempfile.TemporaryDirectory(prefix="pacs-demo-") as folder:
            write(Path(folder), arguments.studies)
            address = f"127.0.0.1:{arguments.dicom_port}"
            subprocess.run([PROGRAM, "store", address, folder, "--called", arguments.aet], check=False)
            print(
                f"\n  See what came:  {PROGRAM} find {address} --called {arguments.aet} -k 'PatientName=*'\n",
                flush=True,
            )
        return server.wait()
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait()


def wait_ready(server: subprocess.Popen[bytes], web_port: int) -> bool:
    """True once images are accepted; False if the server ended before."""
    deadline = time.monotonic() + READY_WITHIN_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{web_port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    sys.exit(main())
