"""Triton before and behind Touchmark: by tritonclient over REST and gRPC, and byte for byte, with `triton_streams`."""

import gzip
import json
import zlib

import grpc
import numpy
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

import triton_streams
from checks import JSON, Model, books, both, check, get, post, refused, same, sha256
from touchmark import Touchmark
from triton_server import Triton

# What Touchmark is told; Triton calls the versions 1 and 2, and answers with the latest where none is asked for.
OLD = {"name": "sum", "version": "v1.0.0", "served_as": {"name": "sum", "version": "1"}, "datasets": ["rows@2025"]}
NEW = {"name": "sum", "version": "v2.0.0", "served_as": {"name": "sum", "version": "2"}, "datasets": ["rows@2026"]}
DECLARED = [{**OLD, "decision": "/outputs/0/data/0"}, {**NEW, "decision": "/outputs/0/data/0", "default": True}, triton_streams.WORDS]
BY_SERVED = {"1": Model(OLD), "2": Model(NEW)}
ROWS = numpy.array([[1, 2, 3, 4], [0.5, 0.25, 0, 0]], dtype=numpy.float32)
SUMS = [10.0, 0.75]
# Calls that are no predictions.
ASIDE = [
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/sum",
    "/v2/models/sum/ready",
    "/v2/models/sum/versions/1/config",
    "/v2/models/unknown/ready",
    "/v2/trace/setting",
]


def row_body(name):
    tensor = {"name": "x", "shape": [2, 4], "datatype": "FP32", "data": ROWS.tolist()}
    return json.dumps({"id": name, "inputs": [tensor]}).encode()


def rest(server, touchmark):
    """JSON, by version and without; what answered is stamped."""
    for asked in ("1", "2", None):
        what = f"REST, version {asked or 'left open'}"
        path = f"/v2/models/sum/versions/{asked}/infer" if asked else "/v2/models/sum/infer"
        body = row_body(what)
        answer, through = both(what, server, touchmark, path, body)
        check(f"{what}: the right answer", json.loads(through)["outputs"][0]["data"] == SUMS, through)
        model = BY_SERVED[asked or "2"]
        prediction = model.stamped(what, answer.getheaders())
        expected = {"id": prediction, "protocol": "oip-rest", "requested_version": asked, "decision": "10.0"}
        model.one_entry(what, touchmark, body, through, observed_version=asked or "2", **expected)
    refused("what Triton refuses", server, touchmark, "/v2/models/sum/infer", b'{"inputs":[]}', 400)
    refused("a model that Triton does not know", server, touchmark, "/v2/models/unknown/infer", row_body("?"), 404)


def compressed(server, touchmark):
    """Bodies compressed by gzip and deflate, both ways: hashed as they were sent."""
    for coding, pack, unpack in (
        ("gzip", lambda body: gzip.compress(body, mtime=0), gzip.decompress),
        ("deflate", zlib.compress, zlib.decompress),
    ):
        what = f"REST, {coding}"
        body = pack(row_body(what))
        headers = {**JSON, "content-encoding": coding, "accept-encoding": coding}
        answer, through = both(what, server, touchmark, "/v2/models/sum/versions/1/infer", body, headers)
        check(f"{what}: the answer is, too", answer.getheader("content-encoding") == coding, answer.getheaders())
        check(f"{what}: the right answer", json.loads(unpack(through))["outputs"][0]["data"] == SUMS, through)
        prediction = BY_SERVED["1"].stamped(what, answer.getheaders())
        BY_SERVED["1"].one_entry(what, touchmark, body, through, id=prediction, requested_version="1")
        [entry] = touchmark.audit("find", "--input-hash", sha256(body))
        check(f"{what}: the entry says so", entry["input"].get("encoding") == coding, entry)


def tensors(kind, binary=None):
    """tritonclient's input and output; over gRPC they are always binary."""
    tensor = kind.InferInput("x", list(ROWS.shape), "FP32")
    if binary is None:
        tensor.set_data_from_numpy(ROWS)
        return [tensor], None
    tensor.set_data_from_numpy(ROWS, binary_data=binary)
    return [tensor], [kind.InferRequestedOutput("sum", binary_data=binary)]


def triton_rest(server, touchmark):
    """tritonclient over REST: JSON and binary tensors, in the clear and compressed."""
    with (
        triton_http.InferenceServerClient(server.http) as direct,
        triton_http.InferenceServerClient(touchmark.listen) as through,
    ):
        for binary in (False, True):
            what = f"tritonclient REST, {'binary' if binary else 'JSON'}"
            inputs, outputs = tensors(triton_http, binary)
            call = {"inputs": inputs, "outputs": outputs, "request_id": what}
            there, here = (one.infer("sum", model_version="1", **call) for one in (direct, through))
            same(what, there.get_response(), here.get_response())
            check(f"{what}: the right answers", here.as_numpy("sum").tolist() == SUMS, here.get_response())
            body, json_bytes = direct.generate_request_body(**call)
            BY_SERVED["1"].one_entry(what, touchmark, body, None, protocol="oip-rest", observed_version="1")
            if binary:
                fields = {"Inference-Header-Content-Length": str(json_bytes)}
                raw = body.replace(b"binary", b"Binary", 1)  # Another id, so that the entry is one.
                path = "/v2/models/sum/versions/1/infer"
                answer, data = both("binary tensors", server, touchmark, path, raw, fields)
                check("binary tensors: the sums end the answer", data.endswith(numpy.float32(SUMS).tobytes()), data)
                prediction = BY_SERVED["1"].stamped("binary tensors", answer.getheaders())
                expected = {"id": prediction, "observed_version": "1"}
                BY_SERVED["1"].one_entry("binary tensors", touchmark, raw, data, **expected)
            for coding in ("gzip", "deflate"):
                codings = {f"{way}_compression_algorithm": coding for way in ("request", "response")}
                there, here = (one.infer("sum", model_version="2", **call, **codings) for one in (direct, through))
                same(f"{what}, {coding}", there.get_response(), here.get_response())
                check(f"{what}, {coding}: the right answers", here.as_numpy("sum").tolist() == SUMS, here)


def triton_grpc_client(server, touchmark):
    """tritonclient over gRPC: whole, compressed, and refused."""
    client = triton_grpc.InferenceServerClient
    with client(server.grpc) as direct, client(touchmark.listen) as through:
        for coding in (None, "gzip", "deflate"):
            what = f"tritonclient gRPC, {coding or 'uncompressed'}"
            inputs, _ = tensors(triton_grpc)
            call = {"inputs": inputs, "model_version": "1", "request_id": what, "compression_algorithm": coding}
            there, here = (one.infer("sum", **call) for one in (direct, through))
            same(what, there.get_response(), here.get_response())
            check(f"{what}: the right answers", here.as_numpy("sum").tolist() == SUMS, here.get_response())
        refusals = []
        for one in (direct, through):
            try:
                one.infer("unknown", inputs)
            except InferenceServerException as error:
                refusals.append((error.status(), error.message()))
        same("tritonclient gRPC, an unknown model", *(refusals or ["no refusal", "at all"]))


def raw_grpc(server, touchmark):
    """One message byte for byte, with the stamps in the initial metadata."""
    method, what = "/inference.GRPCInferenceService/ModelInfer", "gRPC"
    message = service_pb2.ModelInferRequest(model_name="sum", model_version="2", id=what)
    message.inputs.add(name="x", datatype="FP32", shape=ROWS.shape)
    message.raw_input_contents.append(ROWS.tobytes())
    body = message.SerializeToString()
    with grpc.insecure_channel(server.grpc) as there, grpc.insecure_channel(touchmark.listen) as here:
        direct = there.unary_unary(method)(body, timeout=30)
        through, call = here.unary_unary(method).with_call(body, timeout=30)
    same(what, direct, through)
    prediction = BY_SERVED["2"].stamped(what, call.initial_metadata())
    expected = {"id": prediction, "protocol": "oip-grpc", "observed_version": "2"}
    BY_SERVED["2"].one_entry(what, touchmark, body, through, **expected)


def aside(server, touchmark):
    """Health, metadata, configuration, statistics: the same answers, and no entry."""
    before = touchmark.audit("find")
    for path in ASIDE:
        answers = [get(address, path) for address in (server.http, touchmark.listen)]
        same(path, *((answer.status, data) for answer, data in answers))
        stamps = [name for name, _ in answers[1][0].getheaders() if name.lower().startswith(("x-lineage", "x-model"))]
        check(f"{path}: not stamped", not stamps, stamps)
    answers = [post(address, "/v2/repository/index", b"{}", JSON) for address in (server.http, touchmark.listen)]
    same("the repository's index", *((answer.status, data) for answer, data in answers))
    client = triton_grpc.InferenceServerClient
    with client(server.grpc) as direct, client(touchmark.listen) as through:
        same("gRPC health", direct.is_server_ready(), through.is_server_ready())
        same("gRPC metadata", direct.get_model_metadata("sum"), through.get_model_metadata("sum"))
        same("gRPC configuration", direct.get_model_config("sum"), through.get_model_config("sum"))
    check("none of that is a prediction", len(touchmark.audit("find")) == len(before), len(before))


def run(binary, folder):
    with Triton(folder) as server:
        backend = {"name": "triton", "url": f"http://{server.http}", "grpc_url": f"http://{server.grpc}"}
        with Touchmark(binary, folder, {**backend, "models": DECLARED}) as touchmark:
            rest(server, touchmark)
            compressed(server, touchmark)
            triton_rest(server, touchmark)
            raw_grpc(server, touchmark)
            triton_grpc_client(server, touchmark)
            aside(server, touchmark)
            triton_streams.drive(server, touchmark)
            books(touchmark, least=25)
