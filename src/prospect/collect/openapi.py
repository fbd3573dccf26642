"""The proxy's routes as OpenAPI describes them; those of the votes describe themselves."""

from __future__ import annotations

from typing import Any

_ERROR = {"description": "An error in OpenAI's shape.", "content": {"application/json": {"schema": {"type": "object"}}}}
_HEADERS = {
    "x-prospect-turn": "The turn's id, also that of the response.",
    "x-prospect-vote": "A token with which a browser may vote on the turn.",
    "x-prospect-model": "The model that was asked.",
    "x-prospect-ask": "yes where chance has drawn the turn: ask its reader for a vote.",
}
_ASKING: dict[str, tuple[str, dict[str, Any]]] = {
    "x-prospect-consent": ("Whether text may be kept.", {"enum": ["yes", "no"]}),
    "x-prospect-conversation": ("Names the conversation.", {"maxLength": 128, "pattern": "^[ -~]*$"}),
    "x-prospect-rater": ("Names who asks.", {"maxLength": 128, "pattern": "^[ -~]*$"}),
}


_MODEL = {"type": ["string", "null"], "maxLength": 256, "pattern": "^[ -~]*$"}


def _completion(summary: str, fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """Return a path of completions: our headers, and the fields that are looked at; all others pass through."""
    properties = {"model": _MODEL, "stream": {"type": ["boolean", "null"]}, **fields}
    schema = {"type": "object", "properties": properties, "required": required}
    parameters = [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string", **form}}
        for name, (text, form) in _ASKING.items()
    ]
    answer = {
        "description": "What the upstream answers, with our id.",
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
    }
    post = {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": answer, "default": _ERROR},
    }
    return {"post": post}


def _reading(summary: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a path of what the upstream says of its models."""
    answer = {"description": "What the upstream says.", "content": {"application/json": {}}}
    responses = {"200": answer, "default": _ERROR}
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": responses}}


_ID = {"name": "id", "in": "path", "required": True, "schema": {**_MODEL, "type": "string", "minLength": 1}}
_MESSAGES = {"type": "array", "minItems": 1, "items": {"type": "object"}, "description": "at most 200"}
PROXY_PATHS: dict[str, Any] = {
    "/v1/chat/completions": _completion("Answer a conversation", {"messages": _MESSAGES}, ["messages"]),
    "/v1/completions": _completion("Continue a text", {"prompt": {}}, []),
    "/v1/models": _reading("The upstream's models"),
    "/v1/models/{id}": _reading("One of the upstream's models", _ID),
}
