"""MLServer before and behind Touchmark, by tritonclient over REST and gRPC, in the clear and under TLS."""

import json
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import trustme
from tritonclient.grpc import service_pb2, service_pb2_grpc

from checks import Model, books, check, post, same, sha256
from servers import MLServer
from touchmark import Touchmark

# What Touchmark is told of the model; MLServer calls the version v1.
DECLARED = {
    "name": "iris",
    "version": "v1.2.3",
    "served_as": {"name": "iris", "version": "v1"},
    "datasets": ["iris@1936"],
    "decision": "/outputs/0/data/0",
}
IRIS = Model(DECLARED)
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.7, 1.5], [6.3, 3.3, 6.0, 2.5]]
# Calls of the last check but one, and at once.
MANY, AT_ONCE = 200, 8


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
        prediction = IRIS.stamped(what, answer.getheaders())
        IRIS.one_entry(
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
            prediction = IRIS.stamped(what, call.initial_metadata())
            IRIS.one_entry(what, touchmark, body, through, id=prediction, protocol="oip-grpc", observed_version="v1")
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
        prediction = IRIS.stamped("gRPC stream", call.initial_metadata())
    IRIS.one_entry("gRPC stream", touchmark, body, b"".join(through), id=prediction, protocol="oip-grpc")
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
    prediction = IRIS.stamped("HTTP/2", [line.split(": ", 1) for line in lines[1:]])
    IRIS.one_entry("HTTP/2", touchmark, body.encode(), answer, id=prediction, observed_version="v1")


def tls(binary, folder, server, backend):
    """The same clients under TLS, which ends at Touchmark."""
    authority = trustme.CA()
    files = {name: folder / f"{name}.pem" for name in ("ca", "certificate", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    leaf = authority.issue_cert("127.0.0.1")
    leaf.private_key_pem.write_to_path(files["key"])
    for part in leaf.cert_chain_pems:
        part.write_to_path(files["certificate"], append=True)
    proxy = {"tls": {key: str(files[key]) for key in ("certificate", "key")}}
    tensor = {kind: kind.InferInput("x", [3, 4], "FP64") for kind in (triton_http, triton_grpc)}
    with Touchmark(binary, folder, backend, proxy, name="touchmark-tls") as touchmark:
        there = triton_http.InferenceServerClient(server.http)
        # Names are checked, as by a client that was told the authority alone.
        context = lambda: ssl.create_default_context(cafile=files["ca"])
        here = triton_http.InferenceServerClient(touchmark.listen, ssl=True, ssl_context_factory=context)
        tensor[triton_http].set_data_from_numpy(numpy.array(FLOWERS), binary_data=False)
        call = {"outputs": [triton_http.InferRequestedOutput("predict", binary_data=False)], "request_id": "tls-rest"}
        direct, through = (one.infer("iris", [tensor[triton_http]], **call) for one in (there, here))
        same("TLS REST", direct.get_response(), through.get_response())
        body, _ = there.generate_request_body([tensor[triton_http]], **call)
        IRIS.one_entry("TLS REST", touchmark, body, None, protocol="oip-rest", observed_version="v1")
        tensor[triton_grpc].set_data_from_numpy(numpy.array(FLOWERS))
        grpc_client = triton_grpc.InferenceServerClient
        secure = {"ssl": True, "root_certificates": str(files["ca"])}
        with grpc_client(server.grpc) as there, grpc_client(touchmark.listen, **secure) as here:
            direct, through = (one.infer("iris", [tensor[triton_grpc]], request_id="tls-grpc") for one in (there, here))
        same("TLS gRPC", direct.get_response(), through.get_response())
        entries = touchmark.audit("find", "--output-hash", sha256(through.get_response().SerializeToString()))
        said = [(entry["protocol"], entry["outcome"]) for entry in entries]
        check("TLS gRPC: one entry by its answer's hash", said == [("oip-grpc", "complete")], entries)
        books(touchmark, least=2)


def run(binary, folder):
    with MLServer(folder) as server:
        backend = {
            "name": "mlserver",
            "url": f"http://{server.http}",
            "grpc_url": f"http://{server.grpc}",
            "models": [DECLARED],
        }
        with Touchmark(binary, folder, backend) as touchmark:
            rest(server, touchmark)
            triton_rest(server, touchmark)
            raw_grpc(server, touchmark)
            streamed_grpc(server, touchmark)
            triton_grpc_client(server, touchmark)
            http2(touchmark)
            many(touchmark)
            books(touchmark, least=MANY + 1)
        tls(binary, folder, server, backend)
