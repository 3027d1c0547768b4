"""Real servers and their own clients, directly and through Touchmark: drive.py BINARY [NAME…]

What is checked: the answers are the same, byte for byte where the server's are; every prediction is stamped, and found
in the ledger by a hash that is computed here; the books balance at the end. What a server itself gets right is not.
"""

import signal
import sys
import tempfile
import time
from pathlib import Path

import on_collector
import on_envoy
import on_litserve
import on_mlflow
import on_mlflow_registry
import on_mlserver
import on_openlineage
import on_triton
from checks import results

DRIVES = {
    "MLServer": on_mlserver,
    "LitServe": on_litserve,
    "MLflow": on_mlflow,
    "registry": on_mlflow_registry,
    "Triton": on_triton,
    "Envoy": on_envoy,
    "collector": on_collector,
    "OpenLineage": on_openlineage,
}


def main():
    # So that what was started is stopped, too, when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    binary = Path(sys.argv[1]).resolve()
    wanted = sys.argv[2:] or DRIVES
    for name, drive in ((name, DRIVES[name]) for name in wanted):
        print(f"\n-- {name}", flush=True)
        began, before = time.monotonic(), results["passed"]
        with tempfile.TemporaryDirectory(prefix="touchmark-real-") as folder:
            drive.run(binary, Path(folder))
        print(f"   {results['passed'] - before} passed in {time.monotonic() - began:.0f} s", flush=True)
    print(f"\n{results['passed']} passed, {results['failed']} failed")
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
