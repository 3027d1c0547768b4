"""MLflow's scoring server before and behind Touchmark, by MLflow's own client and byte for byte."""

import json

import pandas
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from mlflow.utils.proto_json_utils import dump_input_data

from checks import Model, books, check, post, refused, same
from servers import MLflow
from touchmark import Touchmark

# MLflow's calls name no model: they are the backend's only one's.
DECLARED = {"name": "sum", "version": "v2", "datasets": ["rows@v9"], "decision": "/predictions/0"}
SUM = Model(DECLARED)
BODIES = {
    "dataframe_split": ("application/json", b'{"dataframe_split":{"columns":["a","b"],"data":[[1.5,2.0],[3.0,4.5]]}}'),
    "dataframe_records": ("application/json", b'{"dataframe_records": [{"a": 1.5, "b": 2}, {"a": 3, "b": 4.5}]}'),
    "CSV": ("text/csv", b"a,b\n1.5,2.0\n3.0,4.5\n"),
}


def raw(server, touchmark):
    """Bodies byte for byte, in the forms that MLflow takes."""
    for form, (media_type, body) in BODIES.items():
        what = f"/invocations, {form}"
        content = {"content-type": media_type}
        before, direct = post(server.http, "/invocations", body, content)
        answer, through = post(touchmark.listen, "/invocations", body, content)
        same(what, (before.status, direct), (answer.status, through))
        check(f"{what}: the right answer", json.loads(through) == {"predictions": [3.5, 7.5]}, through)
        prediction = SUM.stamped(what, answer.getheaders())
        SUM.one_entry(what, touchmark, body, through, id=prediction, protocol="mlflow", decision="3.5")


def own_client(server, touchmark):
    """MLflow's client, which shows no heads: stamps are checked above."""
    what, frame = "MLflow's client", pandas.DataFrame({"a": [10, 20], "b": [1, 2]})
    direct, through = (ScoringServerClient(*address.split(":")) for address in (server.http, touchmark.listen))
    there, here = (client.invoke(frame) for client in (direct, through))
    same(what, there, here)
    check(f"{what}: the right answer", here["predictions"] == [11, 22], here)
    body = dump_input_data(frame).encode()
    SUM.one_entry(what, touchmark, body, None, protocol="mlflow", decision="11")
    same(f"{what}, version", direct.get_version(), through.get_version())
    through.ping()


def run(binary, folder):
    with MLflow(folder) as server:
        backend = {"name": "mlflow", "url": f"http://{server.http}", "models": [DECLARED]}
        with Touchmark(binary, folder, backend) as touchmark:
            raw(server, touchmark)
            own_client(server, touchmark)
            refused("what MLflow refuses", server, touchmark, "/invocations", b'{"columns":[]}', 400)
            books(touchmark, least=5)
