"""What the model of the documentation says, by task. It is served by a real HTTP server to the real client."""

from __future__ import annotations

import json

from tests.fake_provider import Entry, Seen, Status


def act(say: str, code: str, payload: str = "", done: str = "") -> str:
    """A reply with a control block, a payload block and a completion, as far as they are given."""
    parts = [say, f"```codepilot\n{code}\n```"]
    parts += [f"```text\n{payload}\n```"] if payload else []
    parts += [finish(done)] if done else []
    return "\n\n".join(parts) + "\n"


def finish(text: str) -> str:
    """A completion block."""
    return f"```completion\n{text}\n```"


REPLIES: dict[str, list[str]] = {
    "Write a greeting to hello.txt": [
        act("I write the file.", 'write_file("hello.txt")', "Hello, world!"),
        finish("hello.txt greets the world."),
    ],
    "Order pears if there are none": [
        act("I look at the stock, and order if needed.", 'if stock("pear") == 0:\n    order("pear", pieces=20)'),
        finish("There were no pears; 20 are ordered."),
    ],
    "Greet me by name": [
        act("I do not know your name.", 'name = ask_user("What is your name?")\nprint(name)'),
        finish("Hello, Ada!"),
    ],
    "Have a greeting written": [
        act("The writer does that.", 'print(delegate("writer", "Write a greeting to hello.txt")["summary"])'),
        finish("The writer has greeted the world."),
    ],
    "Write a farewell to bye.txt": [act("I write it.", 'write_file("bye.txt")', "Goodbye.", "bye.txt is written.")],
    "Write a welcome to welcome.txt": [
        act("I write the file.", 'write_file("welcome.txt")', "Welcome!"),
        "The file was not written: you did not allow it.",
    ],
}


def answer(seen: Seen) -> Entry:
    """The reply to the newest task of a conversation."""
    messages = json.loads(seen.body)["messages"]
    texts = [json.dumps(message["content"], ensure_ascii=False) for message in messages]
    given = [text if "[USER INPUT]" in text else "" for text in texts]
    at, task = next(
        ((at, task) for at in range(len(given) - 1, -1, -1) for task in REPLIES if task in given[at]), (0, "")
    )
    replies = REPLIES.get(task, [])
    said = sum(message["role"] == "assistant" for message in messages[at:])
    if said >= len(replies):
        return Status(400, f"no reply {said + 1} is written for {task!r}")
    return replies[said]
