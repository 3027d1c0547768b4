"""OpenLineage's own Python client, as it is, against a catalog: what it sends is found in the graph."""

import hashlib
import json
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import (
    Dataset,
    DatasetEvent,
    InputDataset,
    Job,
    JobEvent,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import (
    dataset_type_dataset,
    dataset_version_dataset,
    execution_parameters_run,
    ownership_dataset,
    parent_run,
    source_code_location_job,
)
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpCompression, HttpConfig, HttpTransport
from openlineage.client.uuid import generate_new_uuid

from checks import check
from servers import Process, answers

PRODUCER, LAKE = "https://example.com/pipelines/7", "s3://lake"
TOKEN = "recorder-of-pipelines"


class Catalog(Process):
    """`touchmark catalog serve` with one token."""

    def __init__(self, binary, folder):
        self.data = folder / "catalog"
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        tokens = [{"name": "airflow", "role": "recorder", "sha256": digest}]
        config = {"admin": {"listen": "127.0.0.1:0", "tokens": tokens}, "ledger": {"dir": str(self.data)}}
        path = folder / "catalog.yaml"
        path.write_text(json.dumps(config))
        super().__init__("catalog", folder, [binary, "catalog", "serve", "--config", path])

    def wait_until_ready(self):
        said = self.data / "serve.json"
        self.wait_for(said.exists)
        self.url = json.loads(said.read_text())["admin"]
        self.wait_for(lambda: answers(f"{self.url}/readyz"))

    def ask(self, path):
        request = urllib.request.Request(self.url + path, headers={"authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def client(url, compression=None, token=TOKEN):
    auth = ApiKeyTokenProvider({"apiKey": token})
    return OpenLineageClient(transport=HttpTransport(HttpConfig(url=url, auth=auth, compression=compression)))


def version(text):
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=text)}


def training(run):
    """START, RUNNING and COMPLETE of a training, as integrations send them: each knows more."""
    began = datetime.now(timezone.utc) - timedelta(minutes=5)
    code = source_code_location_job.SourceCodeLocationJobFacet(
        type="git", url="https://git.example/fraud", repoUrl="https://git.example/fraud.git", version="4f2a9c"
    )
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=str(generate_new_uuid())), job=parent_run.Job(namespace="airflow", name="nightly")
    )
    parameter = execution_parameters_run.ExecutionParameter(key="random_seed", name="Seed", value="7")
    facets = {
        "parent": parent,
        "executionParameters": execution_parameters_run.ExecutionParametersRunFacet(parameters=[parameter]),
    }
    model = version("v3") | {"datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(datasetType="MODEL")}
    inputs = [InputDataset(namespace=LAKE, name="raw/transactions", facets=version("v2.0"))]
    outputs = [OutputDataset(namespace="mlflow://models", name="fraud", facets=model)]
    for minutes, state, knows in [
        (0, RunState.START, ([InputDataset(namespace=LAKE, name="raw/transactions")], [])),
        (1, RunState.RUNNING, (inputs, [])),
        (5, RunState.COMPLETE, (inputs, outputs)),
    ]:
        yield RunEvent(
            eventType=state,
            eventTime=(began + timedelta(minutes=minutes)).isoformat(),
            run=Run(runId=run, facets=facets),
            job=Job(namespace="airflow", name="nightly.train", facets={"sourceCodeLocation": code}),
            producer=PRODUCER,
            inputs=knows[0],
            outputs=knows[1],
        )


def in_the_graph(what, catalog, run):
    node = catalog.ask(f"/api/v1/nodes/run:{run}")
    check(f"{what}: a training that ended", (node["type"], node["state"]) == ("Training", "complete"), node)
    check(f"{what}: its seed", node["properties"].get("seed.random_seed") == "7", node["properties"])
    check(f"{what}: the client's own tag", "tag.openlineage_client_version" in node["properties"], node["properties"])
    found = catalog.ask("/api/v1/upstream/model:fraud@v3?depth=2")
    ids = {each["id"] for each in found["nodes"]}
    wanted = {f"run:{run}", "dataset:s3://lake/raw/transactions@v2.0", "code:https://git.example/fraud.git@4f2a9c"}
    check(f"{what}: the model leads back to its data and code", wanted <= ids, ids)
    check(f"{what}: nothing without version", not any(each.endswith("@unversioned") for each in ids), ids)


def run(binary, folder):
    with Catalog(binary, folder) as catalog:
        for what, compression, order in [("in order", None, 1), ("packed and backwards", HttpCompression.GZIP, -1)]:
            run, sender = str(generate_new_uuid()), client(catalog.url, compression)
            for event in list(training(run))[::order]:
                sender.emit(event)
            if order == 1:
                in_the_graph(what, catalog, run)
            else:
                node = catalog.ask(f"/api/v1/nodes/run:{run}")
                check(f"{what}: it ended", (node["type"], node["state"]) == ("Training", "complete"), node)
        sender = client(catalog.url)
        now = datetime.now(timezone.utc).isoformat()
        owned = version("v2.0") | {
            "ownership": ownership_dataset.OwnershipDatasetFacet(owners=[ownership_dataset.Owner(name="team:data")])
        }
        sender.emit(DatasetEvent(eventTime=now, producer=PRODUCER, dataset=Dataset(namespace=LAKE, name="raw/transactions", facets=owned)))
        owner = catalog.ask("/api/v1/nodes/dataset:s3://lake/raw/transactions@v2.0")["properties"].get("owner")
        check("a dataset by itself", owner == "team:data", owner)
        sender.emit(JobEvent(eventTime=now, producer=PRODUCER, job=Job(namespace="dbt", name="orders"), inputs=[], outputs=[]))
        jobs = [node["name"] for node in catalog.ask("/api/v1/nodes?type=Pipeline")["nodes"]]
        check("a job by itself", "dbt/orders" in jobs, jobs)
        try:
            client(catalog.url, token="wrong").emit(next(training(str(generate_new_uuid()))))
            check("a wrong token", False, "taken")
        except Exception as error:  # Whatever the client makes of a 401.
            check("a wrong token is refused", "401" in str(error), error)
