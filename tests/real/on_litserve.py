"""LitServe before and behind Touchmark: its OpenAI endpoint by OpenAI's own client, whole and as events, and a plain one."""

import json
import re

import openai

from checks import JSON, Model, books, check, post, refused, same, sha256
from servers import LitServe
from touchmark import Touchmark

CHAT = {
    "name": "echo",
    "version": "v4",
    "served_as": {"name": "echo-2026-11-20"},
    "datasets": ["dialogues@2026-10"],
}
SERVED = CHAT["served_as"]["name"]
# What the server answers in the name above.
ALIAS = {"name": "echo", "version": "latest", "served_as": {"name": "echo-latest"}, "datasets": ["dialogues@latest"]}
DOUBLE = {"name": "double", "version": "v7", "served_as": {"name": "double", "version": "r7"}, "datasets": ["numbers@1"]}
# `/predict` is of no protocol: where bodies name model and version is said here.
PATTERN = {
    "path": "/predict",
    "request_model": "model",
    "answer_model": "/served/name",
    "answer_version": "/served/rev",
}
# What the server draws anew for each answer.
DRAWN = re.compile(rb'"id":"chatcmpl-[^"]*"|"created":[0-9]+')


def client(address, sent):
    """OpenAI's client, which notes the bodies that it sends."""
    note = lambda request: sent.append(request.read())
    http = openai.DefaultHttpxClient(event_hooks={"request": [note]}, trust_env=False)
    url = f"http://{address}/v1"
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=30, http_client=http)


def comparable(message):
    """Without what the server draws anew."""
    return message.model_dump(exclude={"id", "created"})


def messages(text):
    return [{"role": "user", "content": text}]


def raw(server, touchmark):
    """Bodies byte for byte, and both their hashes; whole, and as events."""
    for stream in (False, True):
        what = "chat, raw events" if stream else "chat, raw"
        ask = {"model": SERVED, "messages": messages("to be or not to be"), "stream": stream}
        body = json.dumps(ask).encode()
        before, direct = post(server.http, "/v1/chat/completions", body, JSON)
        answer, through = post(touchmark.listen, "/v1/chat/completions", body, JSON)
        kind = "text/event-stream; charset=utf-8" if stream else "application/json"
        check(f"{what}: {kind}", answer.getheader("content-type") == kind, answer.getheader("content-type"))
        same(what, (before.status, DRAWN.sub(b"", direct)), (answer.status, DRAWN.sub(b"", through)))
        drawn = len(DRAWN.findall(through))
        check(f"{what}: answered", answer.status == 200 and drawn == (14 if stream else 2), through)
        prediction = Model(CHAT).stamped(what, answer.getheaders())
        expected = {"id": prediction, "protocol": "openai", "version_source": "declared"}
        Model(CHAT).one_entry(what, touchmark, body, through, **expected)


def whole(server, touchmark):
    """OpenAI's client, a whole answer."""
    what, sent = "openai", []
    direct, through = (
        client(address, sent).chat.completions.with_raw_response.create(model=SERVED, messages=messages("good day"))
        for address in (server.http, touchmark.listen)
    )
    same(f"{what}, what the client sends", *sent)
    same(what, comparable(direct.parse()), comparable(through.parse()))
    said = through.parse()
    check(f"{what}: the right answer", said.choices[0].message.content == "good day ", said)
    prediction = Model(CHAT).stamped(what, through.headers.multi_items())
    Model(CHAT).one_entry(what, touchmark, sent[-1], through.content, id=prediction, protocol="openai")


def events(server, touchmark):
    """OpenAI's client, an answer event by event."""
    what, sent, text = "openai, stream=True", [], "one two three four"
    direct, through = (
        client(address, sent).chat.completions.with_raw_response.create(
            model=SERVED, messages=messages(text), stream=True
        )
        for address in (server.http, touchmark.listen)
    )
    prediction = Model(CHAT).stamped(what, through.headers.multi_items())
    direct, through = (list(answer.parse()) for answer in (direct, through))
    same(what, [comparable(event) for event in direct], [comparable(event) for event in through])
    words = [event.choices[0].delta.content for event in through]
    check(f"{what}: an event each, and the last", words == [f"{word} " for word in text.split()] + [None], words)
    # The client leaves at `[DONE]`, which is before the answer's end.
    touchmark.wait_for(lambda: touchmark.audit("find", "--input-hash", sha256(sent[-1])))
    Model(CHAT).one_entry(what, touchmark, sent[-1], None, id=prediction, protocol="openai")
    begun = [entry["id"] for entry in touchmark.audit("find", "--kind", "begin")]
    check(f"{what}: it was recorded before its head", prediction in begun, begun)


def alias(touchmark):
    """An alias is stamped with the model that answered, by the answer's own word."""
    what, sent = "openai, an alias", []
    completions = client(touchmark.listen, sent).chat.completions
    answer = completions.with_raw_response.create(model="echo-latest", messages=messages("who are you"))
    check(f"{what}: answered by the model behind it", answer.parse().model == SERVED, answer.content)
    prediction = Model(CHAT).stamped(what, answer.headers.multi_items())
    expected = {"id": prediction, "protocol": "openai", "version_source": "response"}
    Model(CHAT).one_entry(what, touchmark, sent[-1], answer.content, **expected)
    series = 'touchmark_version_mismatch_total{declared="latest",model="echo",observed="v4"}'
    counted = dict(touchmark.metrics()).get(series)
    check(f"{what}: counted as another than declared", counted == 1, touchmark.metrics())


def plain(server, touchmark):
    """LitServe's plain endpoint, by a pattern; and what it refuses."""
    what, body = "/predict", json.dumps({"model": "double", "x": 21}).encode()
    before, direct = post(server.http, "/predict", body, JSON)
    answer, through = post(touchmark.listen, "/predict", body, JSON)
    same(what, (before.status, direct), (answer.status, through))
    check(f"{what}: the right answer", json.loads(through)["double"] == 42, through)
    prediction = Model(DOUBLE).stamped(what, answer.getheaders())
    expected = {"id": prediction, "protocol": "custom", "route": "/predict", "observed_version": "r7"}
    Model(DOUBLE).one_entry(what, touchmark, body, through, **expected)
    bad = b'{"model":"echo-2026-11-20"}'
    refused("chat without messages", server, touchmark, "/v1/chat/completions", bad, 422)


def run(binary, folder):
    with LitServe(folder) as server:
        backend = {"name": "litserve", "url": f"http://{server.http}", "models": [CHAT, ALIAS, DOUBLE]}
        with Touchmark(binary, folder, backend, {"patterns": [PATTERN]}) as touchmark:
            raw(server, touchmark)
            whole(server, touchmark)
            events(server, touchmark)
            alias(touchmark)
            plain(server, touchmark)
            books(touchmark, least=7)
