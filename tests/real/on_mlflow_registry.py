"""MLflow's registry: what a team logs with MLflow's own client is imported, stamped, and kept through an outage."""

import json
import subprocess
import time

from checks import books, check, post
from mlflow_registry import SECRET, Registry, client_of, later, scenario, tell
from servers import START, STEP, MLflow
from touchmark import Touchmark

BODY = b'{"dataframe_split":{"columns":["a","b"],"data":[[1.5,2.0]]}}'
JSON = {"content-type": "application/json"}
# What of the scenario is imported: three models with five versions.
FOUND = {"models": 3, "versions": 5, "runs": 4, "datasets": 6, "unchanged": 0}


def lineage(binary, *arguments):
    """What `touchmark lineage … --json` gives, and its status."""
    done = subprocess.run([binary, "lineage", *arguments, "--json"], capture_output=True, text=True, timeout=120)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def imported(binary, registry, catalog):
    """By the command line: all, then all again, then a version by its alias, then what is not there."""
    command = lambda *more: lineage(binary, "import", "mlflow", "--uri", registry.uri, "--catalog", str(catalog), *more)
    _, [dry], _ = command("--dry-run")
    check("import: a dry run says what would be", dry["found"] == FOUND and dry["new"], dry)
    status, [first], error = command()
    check("import: all is found", (status, first["found"]) == (0, FOUND), (first, error))
    wanted = {"model:fraud@1", "model:fraud@v3.0.0", "dataset:s3://lake/transactions@v2.0", "dataset:clicks@v1"}
    check("import: by tag, by log_input, by both", wanted <= set(first["new"]), first["new"])
    unplaced = [finding["what"] for finding in first["unplaced"]]
    check("import: what has no version is said", any("'transactions'" in what for what in unplaced), unplaced)
    _, [again], _ = command()
    check("import: twice is once", not (again["new"] or again["changed"] or again["linked"]), again)
    _, [one], _ = command("--model", "fraud@champion")
    check("import: one by its alias", one["found"]["versions"] == 1 and not one["new"], one)
    status, _, error = command("--model", "fraud@zzz")
    check("import: no such alias", status == 1 and "MLflow has no alias 'zzz' of 'fraud'" in error, error)
    _, nodes, _ = lineage(binary, "search", "--type", "model", "--catalog", str(catalog))
    found = {node["id"]: node["properties"].get("stage") for node in nodes}
    check("import: a stage is known", found.get("model:fraud@1") == "Production", found)


def stamps(touchmark):
    answer, _ = post(touchmark.listen, "/invocations", BODY, JSON)
    return tuple(answer.getheader(name) for name in ("x-model-version", "x-dataset-version"))


def until(wanted, touchmark):
    """What is stamped once it is what is wanted, or at the end of patience."""
    deadline = time.monotonic() + START
    while not wanted(found := stamps(touchmark)) and time.monotonic() < deadline:
        time.sleep(STEP)
    return found


def failures(touchmark):
    name = 'touchmark_lineage_refresh_failures_total{source="mlflow"}'
    return sum(value for series, value in touchmark.metrics() if series == name)


def stamped(binary, folder, registry, mlflow):
    """Through the proxy: the champion, the next champion as soon as a webhook tells, and the same while the registry is
    gone."""
    secret = folder / "webhook-secret"
    secret.write_text(SECRET)
    with MLflow(folder) as server:
        models = [{"name": "fraud", "version": "@champion", "decision": "/predictions/0"}]
        backend = {"name": "mlflow", "url": f"http://{server.http}", "models": models}
        told = {"source": "mlflow", "mlflow": {"uri": registry.uri, "webhook_secret_file": str(secret)}, "refresh": "1h"}
        with Touchmark(binary, folder, backend, lineage=told) as touchmark:
            found = until(lambda said: said[0] == "1", touchmark)
            check("stamp: the champion", found == ("1", "v2.0"), found)
            tell(mlflow, f"http://{touchmark.admin}/api/v1/webhooks/mlflow")
            later(mlflow)
            found = until(lambda said: said[0] == "2", touchmark)
            check("stamp: the champion moved, as a webhook told", found[0] == "2", found)
            _, up, error = lineage(binary, "upstream", "model:fraud@1", "--data", str(touchmark.data))
            check("stamp: the graph has what was stamped", "transactions@v2.0" in json.dumps(up), (up, error))
            books(touchmark, least=2)
        asked = {"source": "mlflow", "mlflow": {"uri": registry.uri}, "refresh": "500ms"}
        with Touchmark(binary, folder, backend, name="outage", lineage=asked) as touchmark:
            found = until(lambda said: said[0] == "2", touchmark)
            registry.stop()
            touchmark.wait_for(lambda: failures(touchmark) > 1)
            check("stamp: the registry is gone, the stamp stays", stamps(touchmark) == found, stamps(touchmark))
            books(touchmark, least=2)


def run(binary, folder):
    (folder / "registry").mkdir()
    with Registry(folder / "registry") as registry:
        mlflow = client_of(registry)
        scenario(mlflow)
        imported(binary, registry, folder / "imported.db")
        stamped(binary, folder, registry, mlflow)
