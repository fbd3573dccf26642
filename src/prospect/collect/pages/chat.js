let conversation = hex(16);
let root = newFork();
let running = null; // the AbortController of the answer under way

function say(text, fault) {
  one("state").textContent = text;
  one("state").classList.toggle("fault", Boolean(fault));
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

// Answers a turn; `beside` is the answer with which this one is compared.
async function answer(turn, beside = null) {
  const version = addVersion(turn, beside);
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
  endVersion(turn, version);
  busy(false);
}

function busy(on) {
  const focused = document.activeElement;
  one("send").hidden = on;
  one("stop").hidden = !on;
  if (on && focused === one("send")) one("stop").focus();
  if (!on && focused === one("stop")) one("question").focus();
  one("anew").disabled = on;
  one("consent").disabled = on || root.turns.length > 0; // a conversation is kept whole or not at all
  idle(!on);
}

// What changes the conversation waits while an answer or a choice is under way.
function idle(yes) {
  const changing = ".again, .earlier, .later, .edit, .rewrite button, .compare button";
  for (const button of one("talk").querySelectorAll(changing)) button.disabled = !yes;
}

function ask() {
  const text = one("question").value, last = path().pop();
  if (running || !text.trim()) return;
  one("question").value = "";
  if (last) last.pair = null; // it went on without a choice
  answer(newTurn(last ? last.next : root, text));
}

function anew() {
  conversation = hex(16);
  root = newFork();
  one("talk").replaceChildren();
  say("");
  busy(false);
  one("question").focus();
}

const isSending = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing;

one("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
one("question").addEventListener("keydown", (event) => {
  if (isSending(event)) { event.preventDefault(); ask(); }
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
