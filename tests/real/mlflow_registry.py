"""An MLflow server with a registry, and what a team does with one: runs, datasets, versions, aliases, stages.

    mlflow_registry.py FOLDER

records what the server answers and delivers, for the tests that have no server: before.json, after.json (answers by
what was asked, before and after the champion moved) and deliveries.json (webhooks as they came).
"""

import http.server
import json
import logging
import os
import re
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from urllib.parse import quote

import servers
from servers import PROGRAMS, Process, answers, free_ports

API = "/api/2.0/mlflow/"
# What the webhooks of this domain tell of.
EVENTS = ["model_version_alias.created", "model_version_alias.deleted", "model_version_tag.deleted"]
COMMIT = "3f2a9c41d8e07b65a1c2d3e4f5061728394a5b6c"
TRAINER = "registry.example/trainer@sha256:" + "5e" * 32
SECRET = "whsec-of-a-test-alone"


class Registry(Process):
    """`mlflow server` on a database of its own."""

    def __init__(self, folder):
        (port,) = free_ports(1)
        self.http = f"127.0.0.1:{port}"
        self.uri = f"http://{self.http}"
        command = [PROGRAMS / "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", folder / "artifacts"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        # Deliveries to this machine, without TLS: only for tests.
        allowed = {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
        # Of what is delivered, each is to be delivered at once.
        allowed["MLFLOW_WEBHOOK_CACHE_TTL"] = "0"
        super().__init__("mlflow-server", folder, command, {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", **allowed})

    def wait_until_ready(self):
        self.wait_for(lambda: answers(f"{self.uri}/health"))


def client_of(registry):
    """MLflow's own client, quiet, with a user's name that does not depend on who runs this."""
    os.environ["LOGNAME"] = "ann"
    warnings.filterwarnings("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    import mlflow

    mlflow.set_tracking_uri(registry.uri)
    return mlflow


def frame(rows):
    import pandas

    return pandas.DataFrame({"amount": [float(row) for row in range(rows)], "fraud": [row % 2 for row in range(rows)]})


def trained(mlflow, name, tags, inputs, params=None, model="fraud"):
    """A run with these inputs (dataset, context, tags), and a version of a model that it made."""
    own = {
        "mlflow.source.name": "train.py",
        "mlflow.source.git.commit": COMMIT,
        "mlflow.source.git.repoURL": "https://ann:secret@git.example/fraud.git",
    }
    with mlflow.start_run(run_name=name, tags={**own, **tags}) as run:
        for dataset, context, more in inputs:
            mlflow.log_input(dataset, context=context, tags=more)
        mlflow.log_params(params or {"depth": 6, "random_state": 42})
        mlflow.log_metrics({"auc": 0.91, "loss": float("nan")})
        info = mlflow.pyfunc.log_model(
            name="model", python_model=Path(__file__).parent / "mlflow_model.py", pip_requirements=[]
        )
    version = mlflow.register_model(info.model_uri, model)
    return run.info.run_id, version.version


def scenario(mlflow):
    """Versions of `fraud` with all that can be said of one, one of which little is said, and a second model."""
    from mlflow.data.delta_dataset_source import DeltaDatasetSource

    data = lambda rows, name, source: mlflow.data.from_pandas(frame(rows), name=name, source=source)
    mlflow.set_experiment("fraud detection")
    lake = "s3://lake/transactions/2026.parquet"
    delta = DeltaDatasetSource(path="s3://lake/labels", delta_table_version=17)
    runs = {}
    runs["1"], _ = trained(
        mlflow,
        "whole",
        {"triggered_by": "pipeline/nightly#812", "git_dirty": "false", "mlflow.docker.image.uri": TRAINER},
        [
            (data(40, "transactions", lake), "training", {"dataset_version": "v2.0"}),
            (data(10, "transactions", lake), "validation", {"dataset_version": "v2.0-holdout"}),
            (data(5, "labels", delta), "test", None),
        ],
    )
    runs["2"], _ = trained(mlflow, "weak", {}, [(data(40, "transactions", lake), "training", None)])
    runs["3"], _ = trained(mlflow, "by tag", {"dataset_version": "s3://lake/transactions@v3.0"}, [])
    runs["4"], _ = trained(mlflow, "other", {"dataset_version": "v1"}, [(data(3, "clicks", "clicks.csv"), "train", None)], model="clicks")
    mlflow_client = mlflow.MlflowClient()
    mlflow_client.update_registered_model("fraud", "Says whether a payment is fraud.")
    mlflow_client.set_registered_model_tag("fraud", "owner", "risk-team")
    mlflow_client.update_model_version("fraud", "1", "The first that went out.")
    mlflow_client.set_model_version_tag("fraud", "1", "tier", "high")
    mlflow_client.set_registered_model_alias("fraud", "champion", "1")
    mlflow_client.set_registered_model_alias("fraud", "challenger", "2")
    mlflow_client.set_model_version_tag("fraud", "3", "model_version", "v3.0.0")
    mlflow_client.transition_model_version_stage("fraud", "1", "Production")
    # Made of nothing that MLflow knows.
    mlflow_client.create_registered_model("bought")
    mlflow_client.create_model_version("bought", "s3://vendor/bought")
    return runs


def later(mlflow):
    """The champion moves, the challenger's name is taken away, the first version is archived."""
    mlflow_client = mlflow.MlflowClient()
    mlflow_client.set_registered_model_alias("fraud", "champion", "2")
    mlflow_client.delete_registered_model_alias("fraud", "challenger")
    mlflow_client.transition_model_version_stage("fraud", "2", "Production", archive_existing_versions=True)
    mlflow_client.delete_model_version_tag("fraud", "1", "tier")


class Inbox(http.server.ThreadingHTTPServer):
    """Takes webhooks, and keeps them as they came."""

    def __init__(self):
        self.deliveries = []
        super().__init__(("127.0.0.1", 0), Delivery)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.server_port}/api/v1/webhooks/mlflow"


class Delivery(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        heads = {name.lower(): value for name, value in self.headers.items() if name.lower().startswith("x-mlflow-")}
        self.server.deliveries.append({"headers": heads, "body": body})
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def tell(mlflow, uri):
    """Has the server tell an address of what changes."""
    mlflow.MlflowClient().create_webhook(name="touchmark", url=uri, events=EVENTS, secret=SECRET)


def ask(registry, target):
    try:
        with urllib.request.urlopen(f"{registry.uri}{API}{target}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def answers_of(registry, runs):
    """All that is asked of this registry by an import, and what has no answer."""
    where = lambda text: f"model-versions/search?max_results=200&filter={quote(text, safe='')}"
    models = ["fraud", "clicks", "bought"]
    targets = ["registered-models/search?max_results=200", "experiments/get?experiment_id=1"]
    targets += [f"registered-models/get?name={name}" for name in [*models, "nope"]]
    targets += [where(f"name='{name}'") for name in models]
    targets += [f"runs/get?run_id={run}" for run in [*runs.values(), "nope"]]
    targets += [where(f"run_id='{run}'") for run in runs.values()]
    targets += [f"registered-models/alias?name=fraud&alias={alias}" for alias in ["champion", "challenger", "zzz"]]
    targets += [f"model-versions/get?name=fraud&version={version}" for version in ["1", "2", "3", "99", "abc"]]
    targets += [f"model-versions/get?name={name}&version=1" for name in ["clicks", "bought"]]
    found = {target: ask(registry, target) for target in targets}
    logged = set(re.findall(r"models:/(m-[0-9a-f]{32})", "".join(body for _, body in found.values())))
    return {**found, **{f"logged-models/{model}": ask(registry, f"logged-models/{model}") for model in sorted(logged)}}


def settled(text):
    """Ids and times that are the same at each recording."""
    # In a filter, %27 stands before an id. What is longer, such as the commit, is ours.
    for number, one in enumerate(dict.fromkeys(re.findall(r"(?:\b|%27|m-)([0-9a-f]{32})(?![0-9a-f])", text))):
        text = text.replace(one, f"{number + 1:032x}")
    times = sorted(set(re.findall(r"\b1[0-9]{12}\b", text)))
    for number, time in enumerate(times):
        text = text.replace(time, str(1_700_000_000_000 + 1000 * number))
    text = text.replace(str(Path(sys.argv[0]).resolve()), Path(sys.argv[0]).name)
    return re.sub(r"127\.0\.0\.1:[0-9]+", "mlflow:5000", text)


def record(to):
    with tempfile.TemporaryDirectory(prefix="touchmark-mlflow-") as folder, Inbox() as inbox:
        with Registry(Path(folder)) as registry:
            mlflow = client_of(registry)
            runs = scenario(mlflow)
            tell(mlflow, inbox.uri)
            before = answers_of(registry, runs)
            later(mlflow)
            after = answers_of(registry, runs)
            registry.wait_for(lambda: len(inbox.deliveries) >= 3)
    both = json.loads(settled(json.dumps([before, after])))
    for name, content in [("before", both[0]), ("after", both[1]), ("deliveries", inbox.deliveries)]:
        (to / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    # Whoever refreshes recordings may do other things meanwhile.
    servers.START = 600
    record(Path(sys.argv[1]))
