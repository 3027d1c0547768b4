"""Holds deploy/systemd/touchmark.service against the binary: unit.py BINARY SETS

SETS is what `systemd-analyze syscall-filter` prints. The binary serves, records a prediction, reloads and stops under
strace; each system call must pass the unit's filter, and no memory may be writable and executable. Times fit as well.
"""

import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import waiting

PATIENCE = 60
until = functools.partial(waiting.until, patience=PATIENCE, step=0.1)

UNIT = pathlib.Path("deploy/systemd/touchmark.service")
REFERENCE = pathlib.Path("config/touchmark.yaml")


def sets(text):
    """Set → its members, sets among them."""
    found, name = {}, None
    for line in text.splitlines():
        word = line.strip()
        if line.startswith("@"):
            name = word
            found[name] = set()
        elif word and not word.startswith("#") and name:
            found[name].add(word)
    return found


def members(name, known):
    if not name.startswith("@"):
        return {name}
    return set().union(*(members(member, known) for member in known[name]))


def allowed(unit, known):
    """The system calls that pass the unit's SystemCallFilter= lines: those let in, less those taken away."""
    passing = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.M):
        calls = set().union(*(members(name, known) for name in line.lstrip("~").split()))
        passing = passing - calls if line.startswith("~") else passing | calls
    return passing


def traced(binary, scratch):
    """What the binary asks of the kernel while it serves, records, reloads and stops."""
    log, data = scratch / "strace", scratch / "data"
    options = ["--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    # Nobody listens on port 9: the prediction is recorded as upstream_error.
    options += ["--upstream", "http://localhost:9", "--model", "fraud@v1.2.3"]
    strace = ["strace", "-f", "-qq", "-y", "-o", log]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOUCHMARK_", "OTEL_"))}
    process = subprocess.Popen([*strace, binary, "serve", *options], env=environment, stderr=subprocess.DEVNULL)
    serving = None
    try:
        announced = data / "serve.json"
        serving = json.loads(until("Touchmark starts", lambda: announced.exists() and announced.read_text()))
        call = urllib.request.Request(f"{serving['listen']}/v2/models/fraud/infer", data=b'{"inputs":[]}')
        try:
            urllib.request.urlopen(call, timeout=30)
            sys.exit("the prediction was answered by nobody")
        except urllib.error.HTTPError as error:
            assert error.code in (502, 503), error
        os.kill(serving["pid"], signal.SIGHUP)
        metrics = lambda: urllib.request.urlopen(f"{serving['admin']}/metrics", timeout=30).read().decode()
        until("the reload was seen", lambda: "touchmark_config_reloads_total{" in metrics())
        os.kill(serving["pid"], signal.SIGTERM)
        if process.wait(PATIENCE):
            sys.exit(f"it ended with status {process.returncode}")
    finally:
        if process.poll() is None:
            # strace ends with what it traces.
            os.kill(serving["pid"] if serving else process.pid, signal.SIGKILL)
            process.wait()
    return log.read_text()


def seconds(key, text):
    """A time such as `grace: 30s` or `TimeoutStopSec=45s`."""
    return int(re.search(rf"^\s*{key}(?:: |=)(\d+)s$", text, re.M)[1])


def main(binary, printed):
    unit = UNIT.read_text()
    passing = allowed(unit, sets(pathlib.Path(printed).read_text()))
    assert "read" in passing and "sethostname" not in passing and "ptrace" not in passing, "the filter was not read"
    reference = REFERENCE.read_text()
    stopping = seconds("delay", reference) + seconds("grace", reference)
    assert seconds("TimeoutStopSec", unit) > stopping, "it is killed before shutdown.grace is over"

    scratch = pathlib.Path(tempfile.mkdtemp())
    try:
        log = traced(binary, scratch)
    finally:
        shutil.rmtree(scratch)
    calls = set(re.findall(r"^\d+ +(\w+)\(", log, re.M))
    assert {"execve", "pwrite64", "accept4"} <= calls, f"strace saw {sorted(calls)}"
    # To what root makes, SQLite gives the owner of its database; the unit's user has no need of that.
    roots_alone = {"fchown"} if os.geteuid() == 0 else set()
    if refused := calls - passing - roots_alone:
        sys.exit(f"{UNIT}: its filter refuses {sorted(refused)}")
    if writable := re.findall(r"^.*(?:mmap|mprotect)\(.*PROT_WRITE\|PROT_EXEC.*$", log, re.M):
        sys.exit(f"{UNIT}: MemoryDenyWriteExecute refuses {writable[0]}")
    families = set(re.findall(r"\bsocket\((AF_\w+)", log))
    given = set(re.search(r"^RestrictAddressFamilies=(.*)$", unit, re.M)[1].split())
    # The C library's resolver asks the kernel for addresses, and does without where it may not.
    if families - given - {"AF_NETLINK"}:
        sys.exit(f"{UNIT}: RestrictAddressFamilies refuses {sorted(families - given)}")
    print(f"{len(calls)} kinds of system calls, all within its filter; sockets: {', '.join(sorted(families))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
