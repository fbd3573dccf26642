"use strict";
const one = (id) => document.getElementById(id);
const hex = (bytes) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (b) => b.toString(16).padStart(2, "0")).join("");
const rater = whose();
let key = "";

// Who votes, by chance and not by name: so that one browser is one rater.
function whose() {
  const drawn = "browser-" + hex(16);
  try {
    const kept = localStorage.getItem("prospect-rater") || drawn;
    localStorage.setItem("prospect-rater", kept);
    return kept;
  } catch (error) { return drawn; }
}

async function fetched(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "omit", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached.");
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    if (response.status === 401 && !(options.headers || {})["x-prospect-vote"]) askForKey();
    throw new Error((body.error && body.error.message) || "The server answered " + response.status + ".");
  }
  return response;
}

function post(path, body, headers, signal) {
  return fetched(path, {
    method: "POST", body: JSON.stringify(body), signal, headers: { "content-type": "application/json", ...headers },
  });
}

function withKey() { return key ? { authorization: "Bearer " + key } : {}; }

function askForKey() {
  one("key-line").hidden = false;
  one("key").focus();
}

// What somebody did with an answer; it is no vote.
function tell(version, kind, more) {
  return post("/v1/events", { id: version.id, kind, ...more }, { "x-prospect-vote": version.token });
}

// Events of a stream, as JSON: they end with an empty line, wherever the network cuts them.
async function* events(response) {
  const reader = response.body.getReader(), decoder = new TextDecoder();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() + "\n\n" : decoder.decode(value, { stream: true });
    const blocks = rest.replace(/\r\n/g, "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n").filter((line) => line.startsWith("data:"));
      const data = lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
    if (done) return;
  }
}
