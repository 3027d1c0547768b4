"""An MLflow server with a registry, and what a team does with one: runs, datasets, versions, aliases, stages."""

import logging
import os
import sys
import warnings
from pathlib import Path

from servers import PROGRAMS, Process, answers, free_ports

# Days later than 1970 do not matter; that they are the same each time does.
COMMIT = "3f2a9c41d8e07b65a1c2d3e4f5061728394a5b6c"
TRAINER = "registry.example/trainer@sha256:" + "5e" * 32
SECRET = "whsec-of-a-test"


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
