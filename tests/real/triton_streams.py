"""Triton's streams before and behind Touchmark: `ModelStreamInfer`, `generate_stream`, and what goes wrong in the middle."""

import json
import queue
import socket
import struct
from http.client import HTTPConnection, IncompleteRead

import grpc
import numpy
import tritonclient.grpc as triton_grpc
from tritonclient.grpc import service_pb2

from checks import JSON, Model, both, check, post, refused, same, sha256

WORDS = {"name": "words", "version": "v7", "served_as": {"name": "words", "version": "1"}, "datasets": ["texts@v3"]}
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


def streamed(client, texts):
    """What tritonclient gets for each text on one stream, to the last and empty answer of each."""
    answers, got = queue.Queue(), []
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    for number, text in enumerate(texts):
        tensor = triton_grpc.InferInput("text_input", [1], "BYTES")
        tensor.set_data_from_numpy(numpy.array([text.encode()], dtype=object))
        client.async_stream_infer("words", [tensor], request_id=str(number), enable_empty_final_response=True)
    ended = 0
    while ended < len(texts):
        result, error = answers.get(timeout=30)
        if error:
            return got + [str(error)]
        response = result.get_response()
        got.append(response.SerializeToString(deterministic=True))
        ended += response.parameters["triton_final_response"].bool_param
    client.stop_stream()
    return got


def triton_stream(server, touchmark):
    """`ModelStreamInfer` of a decoupled model: many answers for each of many messages, one prediction for the stream."""
    what, texts = "tritonclient ModelStreamInfer", ["to be or not to be", "that is the question", "aye"]
    client = triton_grpc.InferenceServerClient
    before = touchmark.audit("find")
    with client(server.grpc) as direct, client(touchmark.listen) as through:
        there, here = (streamed(one, texts) for one in (direct, through))
    same(what, sorted(there), sorted(here))
    check(f"{what}: an answer for each word, and an end for each text", len(here) == 6 + 4 + 1 + 3, here)
    touchmark.wait_for(lambda: len(touchmark.audit("find")) > len(before))
    new = touchmark.audit("find")[len(before) :]
    said = [(entry["model"], entry["input"]["messages"], entry["output"]["messages"]) for entry in new]
    check(f"{what}: one entry, which counts the messages", said == [("words", 3, 14)], new)


def raw_stream(server, touchmark):
    """A stream byte for byte, and its entry's hash over all messages."""
    what = "ModelStreamInfer"
    message = service_pb2.ModelInferRequest(model_name="words", model_version="1", id=what)
    message.inputs.add(name="text_input", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"one by one")
    body = message.SerializeToString()
    with grpc.insecure_channel(server.grpc) as there, grpc.insecure_channel(touchmark.listen) as here:
        direct = list(there.stream_stream(STREAM)(iter([body]), timeout=30))
        call = here.stream_stream(STREAM)(iter([body]), timeout=30)
        through = list(call)
        same(what, direct, through)
        check(f"{what}: it ended well", call.code() == grpc.StatusCode.OK and len(through) == 3, call.code())
        prediction = Model(WORDS).stamped(what, call.initial_metadata())
    expected = {"id": prediction, "protocol": "oip-grpc", "observed_version": "1"}
    Model(WORDS).one_entry(what, touchmark, body, b"".join(through), **expected)


def generate(server, touchmark):
    """`generate` and `generate_stream`: JSON, and an event for each word."""
    for operation, text in (("generate", "once"), ("generate_stream", "once upon a time")):
        what, body = operation, json.dumps({"text_input": text}).encode()
        path = f"/v2/models/words/{operation}"
        answer, through = both(what, server, touchmark, path, body, JSON)
        events = [json.loads(line.removeprefix(b"data: ")) for line in through.split(b"\n") if line]
        words = [event["text_output"] for event in events]
        check(f"{what}: the right answer", words == text.split(), through)
        prediction = Model(WORDS).stamped(what, answer.getheaders())
        expected = {"id": prediction, "protocol": "oip-rest", "observed_version": "1"}
        Model(WORDS).one_entry(what, touchmark, body, through, **expected)
    what = "generate of a model that would answer in many parts"
    refused(what, server, touchmark, "/v2/models/words/generate", b'{"text_input":"one two"}', 200)


def begun(touchmark, body):
    """Asks for a stream, and gives the connection and the answer after its first word; the second waits."""
    host, port = touchmark.listen.split(":")
    connection = HTTPConnection(host, int(port), timeout=30)
    connection.request("POST", "/v2/models/words/generate_stream", body, JSON)
    answer = connection.getresponse()
    first = answer.readline()
    check("a stream's first word comes before the second is there", b'"text_output":"first"' in first, first)
    return connection, answer


def ended(touchmark, what, body, outcome):
    """One entry with this outcome."""
    found = lambda: touchmark.audit("find", "--input-hash", sha256(body))
    touchmark.wait_for(found)
    outcomes = [entry["outcome"] for entry in found()]
    check(f"{what}: {outcome}", outcomes == [outcome], outcomes)


def mishaps(server, touchmark):
    """A client that leaves in the middle; Triton killed in the middle; calls while it is away."""
    body = b'{"text_input": "first hold"}'
    connection, answer = begun(touchmark, body)
    # A reset: a mere end of sending could be a client that still reads.
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    answer.close()
    connection.close()
    ended(touchmark, "a client that leaves", body, "client_abort")
    server.release()
    both("after that", server, touchmark, "/v2/models/words/generate_stream", b'{"text_input": "hold on"}', JSON)
    server.hold_again()
    body = b'{"text_input": "first hold to the end"}'
    connection, answer = begun(touchmark, body)
    server.kill()
    try:
        check("Triton killed: the stream does not end as if whole", False, answer.read())
    except (IncompleteRead, ConnectionError):
        check("Triton killed: the stream does not end as if whole", True)
    connection.close()
    ended(touchmark, "Triton killed", body, "upstream_abort")
    answer, _ = post(touchmark.listen, "/v2/models/sum/infer", b'{"inputs":[]}', JSON)
    check("Triton away: 502", answer.status == 502, answer.status)
    # Nobody took the body, so that it was not read.
    entries = touchmark.audit("find", "--outcome", "upstream_error")
    check("Triton away: one entry", [entry["output"]["status"] for entry in entries] == [502], entries)


def drive(server, touchmark):
    """All of them; Triton is gone afterwards."""
    raw_stream(server, touchmark)
    triton_stream(server, touchmark)
    generate(server, touchmark)
    mishaps(server, touchmark)
