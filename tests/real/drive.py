"""MLServer before and behind Touchmark, by tritonclient over REST and gRPC.

What is checked: the answers are the same, byte for byte where the server's are; every prediction is stamped, and found in
the ledger by a hash that is computed here; the books balance at the end. What MLServer itself gets right is not.
"""

import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import grpc
import numpy
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2, service_pb2_grpc

from servers import MLServer, Touchmark

# What Touchmark is told of the model; MLServer calls the version v1.
STAMPS = {
    "x-model-name": "iris",
    "x-model-version": "v1.2.3",
    "x-dataset-version": "1936",
    "x-reproducible": "false",
}
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.7, 1.5], [6.3, 3.3, 6.0, 2.5]]
# Calls of the last check but one, and at once.
MANY, AT_ONCE = 200, 8

results = {"passed": 0, "failed": 0}


def check(what, condition, detail=""):
    """Counts one finding, and goes on."""
    results["passed" if condition else "failed"] += 1
    print(f"{'ok    ' if condition else 'FAILED'} {what}" + ("" if condition else f": {detail}"), flush=True)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def same(what, direct, through):
    check(f"{what}: the same directly and through Touchmark", direct == through, f"{direct!r} != {through!r}")


def stamped(what, headers):
    """Each stamp once, with its value, and an id."""
    found = [(name.lower(), value) for name, value in headers]
    for name, value in STAMPS.items():
        values = [here for known, here in found if known == name]
        check(f"{what}: {name}", values == [value], values)
    ids = [value for name, value in found if name == "x-lineage-trace-id"]
    check(f"{what}: an id of version 7", len(ids) == 1 and ids[0][14] == "7", ids)
    return ids[0] if ids else None


def one_entry(what, touchmark, body, answer, **expected):
    """Exactly one entry by the input's hash, computed here, and what it says."""
    entries = touchmark.audit("find", "--input-hash", sha256(body))
    check(f"{what}: one entry by its input's hash", len(entries) == 1, entries)
    entry = entries[0] if entries else {}
    wanted = {"outcome": "complete", "model": "iris", "version": "v1.2.3", "datasets": ["iris@1936"], **expected}
    said = {key: entry.get(key) for key in wanted}
    check(f"{what}: the entry says what happened", said == wanted, said)
    output = entry.get("output", {})
    check(f"{what}: the entry has the answer's hash", output.get("hash") == sha256(answer), output)


def post(address, path, body, headers=None):
    host, port = address.split(":")
    connection = HTTPConnection(host, int(port), timeout=30)
    connection.request("POST", path, body, headers or {})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def rest(server, touchmark):
    """Raw calls over REST: bodies byte for byte."""
    path = "/v2/models/iris/versions/v1/infer"
    for number, flower in enumerate(FLOWERS):
        what = f"REST {number}"
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": flower}
        body = json.dumps({"id": f"rest-{number}", "inputs": [tensor]}).encode()
        content = {"content-type": "application/json", "x-model-version": "forged"}
        _, direct = post(server.http, path, body, content)
        answer, through = post(touchmark.listen, path, body, content)
        same(what, (200, direct), (answer.status, through))
        prediction = stamped(what, answer.getheaders())
        one_entry(
            what,
            touchmark,
            body,
            through,
            id=prediction,
            protocol="oip-rest",
            requested_version="v1",
            observed_version="v1",
            decision=str(json.loads(through)["outputs"][0]["data"][0]),
        )


def triton_rest(server, touchmark):
    """tritonclient over REST: JSON bodies without content type."""
    client = triton_http.InferenceServerClient
    direct, through = client(server.http), client(touchmark.listen)
    tensor = triton_http.InferInput("x", [3, 4], "FP64")
    tensor.set_data_from_numpy(numpy.array(FLOWERS), binary_data=False)
    output = [triton_http.InferRequestedOutput("predict", binary_data=False)]
    call = {"outputs": output, "request_id": "triton-rest"}
    there, here = (one.infer("iris", [tensor], **call) for one in (direct, through))
    same("tritonclient REST", there.get_response(), here.get_response())
    check("tritonclient REST: the right answers", here.as_numpy("predict").flatten().tolist() == [0, 1, 2])
    body, _ = client.generate_request_body([tensor], **call)
    entries = touchmark.audit("find", "--input-hash", sha256(body))
    check("tritonclient REST: one entry by its input's hash", len(entries) == 1, entries)
    same("tritonclient REST metadata", direct.get_model_metadata("iris"), through.get_model_metadata("iris"))
    check("tritonclient REST: the model is ready", through.is_server_ready() and through.is_model_ready("iris"))
    same("tritonclient REST, an unknown model", refusal(direct, tensor), refusal(through, tensor))


def refusal(client, tensor):
    try:
        client.infer("unknown", [tensor], request_id="refused")
    except Exception as error:  # Each client has an exception of its own.
        return str(error)
    return "no refusal"


def request(number, flower):
    message = service_pb2.ModelInferRequest(model_name="iris", model_version="v1", id=f"grpc-{number}")
    tensor = message.inputs.add(name="x", datatype="FP64", shape=[1, 4])
    tensor.contents.fp64_contents.extend(flower)
    return message


def raw_grpc(server, touchmark):
    """Raw calls over gRPC: messages byte for byte, stamps in the initial metadata."""
    method = "/inference.GRPCInferenceService/ModelInfer"
    with grpc.insecure_channel(server.grpc) as there, grpc.insecure_channel(touchmark.listen) as here:
        for number, flower in enumerate(FLOWERS):
            what = f"gRPC {number}"
            body = request(number, flower).SerializeToString()
            direct = there.unary_unary(method)(body, timeout=30)
            through, call = here.unary_unary(method).with_call(body, timeout=30)
            same(what, direct, through)
            prediction = stamped(what, call.initial_metadata())
            one_entry(what, touchmark, body, through, id=prediction, protocol="oip-grpc", observed_version="v1")
        stub = service_pb2_grpc.GRPCInferenceServiceStub
        bad = service_pb2.ModelInferRequest(model_name="unknown")
        same("gRPC, an unknown model", failure(stub(there).ModelInfer, bad), failure(stub(here).ModelInfer, bad))


def failure(method, message):
    try:
        method(message, timeout=30)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return None


def streamed_grpc(server, touchmark):
    """A stream, message by message. tritonclient's own cannot be used: MLServer answers it with another message type."""
    method = "/inference.GRPCInferenceService/ModelStreamInfer"
    body = request("stream", FLOWERS[0]).SerializeToString()
    with grpc.insecure_channel(server.grpc) as there, grpc.insecure_channel(touchmark.listen) as here:
        direct = list(there.stream_stream(method)(iter([body]), timeout=30))
        call = here.stream_stream(method)(iter([body]), timeout=30)
        through = list(call)
        same("gRPC stream", direct, through)
        check("gRPC stream: it ended well", call.code() == grpc.StatusCode.OK, call.code())
        prediction = stamped("gRPC stream", call.initial_metadata())
    one_entry("gRPC stream", touchmark, body, b"".join(through), id=prediction, protocol="oip-grpc")
    begun = touchmark.audit("find", "--kind", "begin")
    check("gRPC stream: it was recorded before its head", [entry["id"] for entry in begun] == [prediction], begun)


def triton_grpc_client(server, touchmark):
    """tritonclient over gRPC."""
    client = triton_grpc.InferenceServerClient
    with client(server.grpc) as direct, client(touchmark.listen) as through:
        tensor = triton_grpc.InferInput("x", [3, 4], "FP64")
        tensor.set_data_from_numpy(numpy.array(FLOWERS))
        call = {"request_id": "triton-grpc"}
        there, here = (one.infer("iris", [tensor], **call) for one in (direct, through))
        same("tritonclient gRPC", there.get_response(), here.get_response())
        check("tritonclient gRPC: the right answers", here.as_numpy("predict").flatten().tolist() == [0, 1, 2])
        same("tritonclient gRPC metadata", direct.get_model_metadata("iris"), through.get_model_metadata("iris"))


def many(touchmark):
    """Many at once: one entry each."""
    before = len(touchmark.audit("find"))

    def one(number):
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": FLOWERS[number % 3]}
        body = json.dumps({"id": f"many-{number}", "inputs": [tensor]}).encode()
        answer, _ = post(touchmark.listen, "/v2/models/iris/infer", body)
        return answer.status, answer.getheader("x-lineage-trace-id")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(one, range(MANY)))
    check("many: all answered", {status for status, _ in answers} == {200}, answers)
    ids = {prediction for _, prediction in answers}
    check("many: an id each", len(ids) == MANY, len(ids))
    recorded = [entry["id"] for entry in touchmark.audit("find")][before:]
    check("many: one entry each", sorted(recorded) == sorted(ids), f"{len(recorded)} entries")


def http2(touchmark):
    """REST over HTTP/2, before a server that speaks HTTP/1.1 alone."""
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": FLOWERS[0]}
    body = json.dumps({"id": "http2", "inputs": [tensor]})
    url = f"http://{touchmark.listen}/v2/models/iris/infer"
    command = ["curl", "-s", "--http2-prior-knowledge", "-D", "-", "-H", "content-type: application/json"]
    command += ["--data-binary", body, url]
    output = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    head, _, answer = output.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    check("HTTP/2: answered", lines[0].startswith("HTTP/2 200"), lines[0])
    prediction = stamped("HTTP/2", [line.split(": ", 1) for line in lines[1:]])
    one_entry("HTTP/2", touchmark, body.encode(), answer, id=prediction, observed_version="v1")


def books(touchmark):
    """The accounting identity, and that the ledger holds what the metrics count."""
    metrics = touchmark.metrics()
    total = lambda name: sum(value for series, value in metrics if series.startswith(name))
    recorded = total('touchmark_ledger_entries_total{kind="prediction"}')
    unrecorded = total("touchmark_ledger_unrecorded_total")
    predictions = total("touchmark_predictions_total")
    check("the books balance", predictions == recorded + unrecorded > MANY, (predictions, recorded, unrecorded))
    check("nothing went unrecorded", unrecorded == 0, unrecorded)
    entries = touchmark.audit("find")
    check("the ledger holds what was counted", len(entries) == recorded, len(entries))
    with urllib.request.urlopen(f"http://{touchmark.admin}/readyz", timeout=10) as answer:
        check("ready to the end", json.load(answer) == {"ready": True, "reasons": []})
    return len(entries)


def main():
    # So that what was started is stopped, too, when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    binary = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="touchmark-real-") as folder:
        with MLServer(Path(folder)) as server, Touchmark(binary, Path(folder), server) as touchmark:
            rest(server, touchmark)
            triton_rest(server, touchmark)
            raw_grpc(server, touchmark)
            streamed_grpc(server, touchmark)
            triton_grpc_client(server, touchmark)
            http2(touchmark)
            many(touchmark)
            count = books(touchmark)
            check("SIGTERM: status 0", touchmark.stop() == 0, touchmark.log())
            last = touchmark.audit("tail", "-n", "1")
            check("the ledger was sealed", [entry.get("event") for entry in last] == ["stop"], last)
            check("all is found after the end", len(touchmark.audit("find")) == count)
    print(f"\n{results['passed']} passed, {results['failed']} failed")
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
