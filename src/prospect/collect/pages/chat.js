"use strict";
const one = (id) => document.getElementById(id);
const hex = (bytes) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (b) => b.toString(16).padStart(2, "0")).join("");
const rater = whose();
let key = "";
let conversation = hex(16);
let turns = []; // {question, versions: [{text, id, token, ...}], at}
let running = null; // the AbortController of the answer under way

// Who votes, by chance and not by name: so that one browser is one rater.
function whose() {
  const drawn = "browser-" + hex(16);
  try {
    const kept = localStorage.getItem("prospect-rater") || drawn;
    localStorage.setItem("prospect-rater", kept);
    return kept;
  } catch (error) { return drawn; }
}

function say(text, fault) {
  one("state").textContent = text;
  one("state").classList.toggle("fault", Boolean(fault));
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

async function listModels() {
  try {
    const found = await (await fetched("/v1/models", { headers: withKey() })).json();
    const names = (Array.isArray(found.data) ? found.data : []).map((model) => String(model.id));
    one("model").replaceChildren(...names.map((name) => new Option(name, name)));
    one("model-line").hidden = names.length < 2;
    one("key-line").hidden = true;
    say("");
  } catch (error) { say(error.message, true); }
}

// The messages that a turn answers: those before it, in the versions on screen, and its question.
function history(turn) {
  const messages = [];
  for (const before of turns.slice(0, turns.indexOf(turn))) {
    messages.push({ role: "user", content: before.question });
    messages.push({ role: "assistant", content: before.versions[before.at].text });
  }
  return [...messages, { role: "user", content: turn.question }];
}

function atBottom() {
  return window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 80;
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

async function read(response, version) {
  version.id = response.headers.get("x-prospect-turn");
  version.token = response.headers.get("x-prospect-vote");
  let finish = null;
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error.message || "The answer broke off.");
    const choice = (event.choices || [])[0];
    if (!choice) continue;
    const delta = choice.delta || {}, follows = atBottom();
    version.write((delta.content || "") + (delta.refusal || ""));
    finish = choice.finish_reason || finish;
    if (follows) window.scrollTo(0, document.documentElement.scrollHeight);
  }
  if (finish === null) throw new Error("The answer broke off.");
  if (finish === "length") version.cut("The answer was cut at the length limit.");
}

async function answer(turn) {
  const version = newVersion(turn);
  running = new AbortController();
  busy(true);
  say("The model is answering.");
  try {
    const body = { messages: history(turn), stream: true };
    if (one("model").value) body.model = one("model").value;
    const headers = {
      ...withKey(), "x-prospect-rater": rater, "x-prospect-conversation": conversation,
      "x-prospect-consent": one("consent").checked ? "yes" : "no",
    };
    await read(await post("/v1/chat/completions", body, headers, running.signal), version);
    say(version.text ? "The answer is complete." : "The model answered with nothing.");
  } catch (error) {
    const stopped = error.name === "AbortError";
    say(stopped ? "Stopped." : error.message, !stopped);
    version.cut(stopped ? "You stopped this answer." : "The answer broke off.");
  }
  running = null;
  busy(false);
  version.end();
}

function busy(on) {
  const focused = document.activeElement;
  one("send").hidden = on;
  one("stop").hidden = !on;
  if (on && focused === one("send")) one("stop").focus();
  if (!on && focused === one("stop")) one("question").focus();
  one("anew").disabled = on;
  one("consent").disabled = on || turns.length > 0; // a conversation is kept whole or not at all
  for (const button of document.querySelectorAll(".again, .earlier, .later")) button.disabled = on;
}

// One answer on screen. Whatever a model or a person wrote gets there as text, never as HTML.
function newVersion(turn) {
  const article = one("answer").content.cloneNode(true).firstElementChild;
  const part = (name) => article.querySelector(name);
  const version = {
    article, text: "", id: null, token: null, vote: { value: 0 }, sending: Promise.resolve(),
    write(piece) {
      if (piece) part(".text").append(piece);
      version.text += piece;
    },
    cut(words) {
      part(".cut").textContent = words;
      part(".cut").hidden = false;
    },
    end() {
      article.setAttribute("aria-busy", "false");
      if (version.text) part(".after").hidden = false;
      else takeAway(turn, version);
      showVersion(turn);
    },
  };
  article.setAttribute("aria-busy", "true");
  for (const button of article.querySelectorAll("[data-value]")) {
    const value = Number(button.dataset.value);
    button.addEventListener("click", () => {
      vote(version, wanted(version.vote, value));
      part(".why").scrollIntoView({ block: "nearest" });
    });
  }
  for (const button of article.querySelectorAll("[data-reason]")) {
    const reason = button.dataset.reason;
    button.addEventListener("click", () => {
      vote(version, { ...version.vote, reason: version.vote.reason === reason ? undefined : reason });
    });
  }
  part(".undo").addEventListener("click", () => {
    vote(version, { value: 0 });
    part("[data-value]").focus();
  });
  part(".why").addEventListener("submit", (event) => {
    event.preventDefault();
    const { value, reason } = version.vote, comment = part(".comment").value.trim() || undefined;
    const correction = (value === -1 && part(".correction").value.trim()) || undefined;
    vote(version, { value, reason, comment, correction });
  });
  part(".again").addEventListener("click", () => again(turn, version));
  part(".earlier").addEventListener("click", () => showVersion(turn, turn.at - 1, ".earlier"));
  part(".later").addEventListener("click", () => showVersion(turn, turn.at + 1, ".later"));
  one("talk").append(article);
  turn.versions.push(version);
  showVersion(turn, turn.versions.length - 1);
  if (!turn.versions[1]) article.scrollIntoView({ block: "end" });
  return version;
}

function showVersion(turn, at = turn.at, focus = null) {
  turn.at = Math.min(Math.max(at, 0), turn.versions.length - 1);
  turn.versions.forEach((version, place) => {
    version.article.hidden = place !== turn.at;
    // What the conversation went on from stays as it is.
    const last = turn === turns[turns.length - 1];
    version.article.querySelector(".again").hidden = !last;
    version.article.querySelector(".versions").hidden = !last || turn.versions.length < 2;
    version.article.querySelector(".place").textContent = (place + 1) + " of " + turn.versions.length;
  });
  if (focus) turn.versions[turn.at].article.querySelector(focus).focus();
}

// An answer that never began leaves no trace; its question goes back to where it was written.
function takeAway(turn, version) {
  version.article.remove();
  turn.versions.splice(turn.versions.indexOf(version), 1);
  if (turn.versions.length) return;
  turns.splice(turns.indexOf(turn), 1);
  turn.shown.remove();
  if (!one("question").value) one("question").value = turn.question;
  busy(false);
}

// Votes on one answer go one after another, so that the last that was meant is the last that is kept.
function vote(version, next) {
  const before = version.vote;
  version.vote = next;
  showVote(version);
  version.sending = version.sending.then(async () => {
    try {
      const body = JSON.parse(JSON.stringify({ id: version.id, ...next }));
      await post("/v1/feedback", body, { "x-prospect-vote": version.token });
      note(version, next.value === 0 ? "Your vote was taken back." : "Thank you, your vote is kept.");
    } catch (error) {
      if (version.vote === next) version.vote = before;
      showVote(version);
      note(version, "Your vote was not kept: " + error.message, true);
    }
  });
}

// Pressing a thumb again takes it back; a comment stays when a thumb is changed, what is of bad answers does not.
function wanted(vote, value) {
  return vote.value === value ? { value: 0 } : { value, comment: vote.comment };
}

function note(version, text, fault) {
  const kept = version.article.querySelector(".kept");
  kept.textContent = text;
  kept.classList.toggle("fault", Boolean(fault));
}

function showVote(version) {
  const { article, vote } = version;
  for (const button of article.querySelectorAll("[data-value]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.value) === vote.value));
  }
  for (const button of article.querySelectorAll("[data-reason]")) {
    button.setAttribute("aria-pressed", String(button.dataset.reason === vote.reason));
  }
  article.querySelector(".undo").hidden = vote.value === 0;
  article.querySelector(".why").hidden = vote.value === 0;
  article.querySelector(".reasons").hidden = article.querySelector(".better").hidden = vote.value !== -1;
}

// Asking for another answer is an event, and says nothing about the first one.
function again(turn, version) {
  if (running) return;
  post("/v1/events", { id: version.id, kind: "regenerated" }, { "x-prospect-vote": version.token }).catch(() => {});
  answer(turn);
}

function ask() {
  const text = one("question").value;
  if (running || !text.trim()) return;
  one("question").value = "";
  const shown = document.createElement("div");
  shown.className = "question";
  shown.dir = "auto";
  shown.textContent = text;
  one("talk").append(shown);
  turns.push({ question: text, shown, versions: [], at: 0 });
  if (turns.length > 1) showVersion(turns[turns.length - 2]);
  answer(turns[turns.length - 1]);
}

function anew() {
  conversation = hex(16);
  turns = [];
  one("talk").replaceChildren();
  say("");
  busy(false);
  one("question").focus();
}

one("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
one("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && running) running.abort(); });
one("stop").addEventListener("click", () => {
  if (running) running.abort();
  one("question").focus();
});
one("anew").addEventListener("click", anew);
one("key-line").addEventListener("submit", (event) => {
  event.preventDefault();
  key = one("key").value.trim();
  one("key").value = "";
  listModels();
});
listModels();
