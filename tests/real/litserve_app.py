"""What LitServe serves, as a user would write it: litserve_app.py PORT"""

import sys

import litserve
from fastapi import BackgroundTasks
from litserve.specs.openai import ChatCompletionRequest


class Echo(litserve.LitAPI):
    """Says each word of the last message back, an event each."""

    def setup(self, device):
        pass

    def predict(self, request):
        for word in request.messages[-1].content.split():
            yield f"{word} "


class Aliases(litserve.OpenAISpec):
    """Answers an alias in the name of the model that it stands for today, as hosted models do."""

    async def chat_completion(self, request: ChatCompletionRequest, background_tasks: BackgroundTasks):
        if request.model == "echo-latest":
            request.model = "echo-2026-11-20"
        return await super().chat_completion(request, background_tasks)


class Double(litserve.LitAPI):
    """An endpoint that follows no standard."""

    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["x"]

    def predict(self, x):
        return x * 2

    def encode_response(self, output):
        return {"double": output, "served": {"name": "double", "rev": "r7"}}


if __name__ == "__main__":
    apis = [Echo(spec=Aliases()), Double(api_path="/predict")]
    server = litserve.LitServer(apis, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False)
