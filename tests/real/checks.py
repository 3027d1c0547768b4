"""What every drive checks: answers the same directly and through Touchmark, stamps, entries, books.

Counting is here, too: a finding that fails does not end the drive.
"""

import hashlib
import json
import urllib.request
from http.client import HTTPConnection

JSON = {"content-type": "application/json"}

results = {"passed": 0, "failed": 0}


def check(what, condition, detail=""):
    """Counts one finding, and goes on."""
    results["passed" if condition else "failed"] += 1
    print(f"{'ok    ' if condition else 'FAILED'} {what}" + ("" if condition else f": {detail}"), flush=True)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def same(what, direct, through):
    check(f"{what}: the same directly and through Touchmark", direct == through, f"{direct!r} != {through!r}")


def post(address, path, body, headers=None):
    """One request on a connection of its own: the answer, and its body as it came."""
    return call("POST", address, path, body, headers)


def get(address, path, headers=None):
    return call("GET", address, path, None, headers)


def call(method, address, path, body, headers):
    host, port = address.split(":")
    connection = HTTPConnection(host, int(port), timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def both(what, server, touchmark, path, body, headers=None):
    """One call directly and through Touchmark: the same status, body and own fields; gives the latter."""
    before, direct = post(server.http, path, body, headers)
    answer, through = post(touchmark.listen, path, body, headers)
    own = ("content-type", "content-encoding", "inference-header-content-length")
    seen = [(one.status, data, *map(one.getheader, own)) for one, data in ((before, direct), (answer, through))]
    same(what, *seen)
    check(f"{what}: answered", answer.status == 200, through)
    return answer, through


def refused(what, server, touchmark, path, body, status):
    """What the server refuses with this status: the same both ways, and one entry that says so."""
    answers = [post(address, path, body, JSON) for address in (server.http, touchmark.listen)]
    same(what, *((answer.status, data) for answer, data in answers))
    entries = touchmark.audit("find", "--input-hash", sha256(body))
    statuses = [entry["output"]["status"] for entry in entries]
    check(f"{what}: one entry with its status", statuses == [status], entries)


class Model:
    """What Touchmark was told of a model, and should say of each of its predictions."""

    def __init__(self, declared):
        self.name, self.version, self.datasets = declared["name"], declared["version"], declared["datasets"]

    def stamped(self, what, headers):
        """Each stamp once, with its value, and an id, which is returned."""
        found = [(name.lower(), value) for name, value in headers]
        versions = ",".join(dataset.rpartition("@")[2] for dataset in self.datasets)
        wanted = {
            "x-model-name": self.name,
            "x-model-version": self.version,
            "x-dataset-version": versions,
            "x-reproducible": "false",
        }
        for name, value in wanted.items():
            values = [here for known, here in found if known == name]
            check(f"{what}: {name}", values == [value], values)
        ids = [value for name, value in found if name == "x-lineage-trace-id"]
        check(f"{what}: an id of version 7", len(ids) == 1 and ids[0][14] == "7", ids)
        return ids[0] if ids else None

    def one_entry(self, what, touchmark, body, answer, **expected):
        """Exactly one entry by the input's hash, computed here, and what it says. An answer of None was not kept."""
        entries = touchmark.audit("find", "--input-hash", sha256(body))
        check(f"{what}: one entry by its input's hash", len(entries) == 1, entries)
        entry = entries[0] if entries else {}
        known = {"outcome": "complete", "model": self.name, "version": self.version, "datasets": self.datasets}
        wanted = {**known, **expected}
        said = {key: entry.get(key) for key in wanted}
        check(f"{what}: the entry says what happened", said == wanted, f"{said} != {wanted}")
        hashes = [entry.get(body, {}).get("hash") for body in ("input", "output")]
        output = hashes[1] if answer is None else sha256(answer)
        check(f"{what}: the entry has both hashes", hashes == [sha256(body), output] and output, hashes)


def books(touchmark, least):
    """The accounting identity, and that the ledger holds what the metrics count. Ends Touchmark, and looks again."""
    metrics = touchmark.metrics()
    total = lambda name: sum(value for series, value in metrics if series.startswith(name))
    recorded = total('touchmark_ledger_entries_total{kind="prediction"}')
    unrecorded = total("touchmark_ledger_unrecorded_total")
    predictions = total("touchmark_predictions_total")
    check("the books balance", predictions == recorded + unrecorded >= least, (predictions, recorded, unrecorded))
    check("nothing went unrecorded", unrecorded == 0, unrecorded)
    entries = touchmark.audit("find")
    check("the ledger holds what was counted", len(entries) == recorded, len(entries))
    with urllib.request.urlopen(f"http://{touchmark.admin}/readyz", timeout=10) as answer:
        check("ready to the end", json.load(answer) == {"ready": True, "reasons": []})
    check("SIGTERM: status 0", touchmark.stop() == 0, touchmark.log())
    last = touchmark.audit("tail", "-n", "1")
    check("the ledger was sealed", [entry.get("event") for entry in last] == ["stop"], last)
    check("all is found after the end", len(touchmark.audit("find")) == len(entries))
