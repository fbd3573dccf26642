"use strict";
const one = (id) => document.getElementById(id);
const reasons = Object.fromEntries(
  Array.from(one("reasons").content.querySelectorAll("[data-reason]"), (word) => [word.dataset.reason, word.textContent]),
);
let key = "";
let reviewer = null; // without keys, the name that was given here
let item = null; // the answer on screen
let decided = null; // the verdict on it that is kept
let working = false; // one request at a time: two keys pressed at once are one verdict

function say(text, fault) {
  one("state").textContent = text;
  one("state").classList.toggle("fault", Boolean(fault));
}

async function fetched(path, body) {
  const headers = key ? { authorization: "Bearer " + key } : {};
  const options = body === undefined ? { headers } : {
    method: "POST", body: JSON.stringify(body), headers: { ...headers, "content-type": "application/json" },
  };
  let response;
  try {
    response = await fetch(path, { credentials: "omit", cache: "no-store", ...options });
  } catch (error) { throw new Error("The server cannot be reached."); }
  const found = await response.json().catch(() => ({}));
  if (response.ok) return found;
  if (response.status === 401) askWho("key");
  throw new Error((found.error && found.error.message) || "The server answered " + response.status + ".");
}

function post(path, body) {
  return fetched(path, reviewer ? { ...body, reviewer } : body);
}

// Work that the reviewer waits for; what goes wrong is said, and nothing on screen changes then.
async function work(task) {
  if (working) return;
  working = true;
  try {
    await task();
  } catch (error) { say(error.message, true); }
  working = false;
}

function askWho(what) {
  one("who-line").hidden = false;
  one("key-label").hidden = what !== "key";
  one("name-label").hidden = what !== "name";
  one(what).focus();
}

async function begin() {
  const stats = await fetched("/v1/review/stats");
  showProgress(stats);
  if (!stats.reviewer && !reviewer) {
    say("Say who reviews.");
    return askWho("name");
  }
  one("who-line").hidden = true;
  return next();
}

async function next() {
  const found = await post("/v1/review/next", { strategy: one("strategy").value });
  decided = null;
  item = found.item;
  one("note").value = "";
  one("look").hidden = Boolean(item);
  for (const id of ["item", "verdict"]) one(id).hidden = !item;
  if (!item) return say("Nothing waits here. Choose other answers, or look again later.");
  showItem();
  showVerdict([]);
  say("");
  one("answer").scrollIntoView({ block: "nearest" });
  one("answer").focus({ preventScroll: true });
}

async function decide(verdict) {
  if (!item) return;
  const note = one("note").value.trim() || undefined;
  const kept = await post("/v1/review", { id: item.id, verdict, note });
  if (verdict === "skip") {
    await next();
    return say("Passed over. This is the next answer.");
  }
  decided = verdict;
  showVerdict(kept.votes);
  say("Your verdict is kept: " + verdict + ".");
  one("votes").scrollIntoView({ block: "nearest" });
  one("next").focus({ preventScroll: true });
  fetched("/v1/review/stats").then(showProgress).catch(() => {});
}

// Whatever a model or a person wrote gets on the page as text, never as HTML.
function line(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.dir = "auto";
  made.textContent = text;
  return made;
}

function showItem() {
  const talk = item.messages.map((message) => {
    const shown = document.createElement("div");
    shown.className = "said";
    shown.append(line("p", "role", message.role), line("div", message.role === "user" ? "words user" : "words", message.text));
    return shown;
  });
  one("talk").replaceChildren(...talk);
  one("answer").querySelector(".text").textContent = item.answer;
  one("answer").querySelector(".cut").hidden = item.finished;
  one("redacting").open = false;
  one("words").value = "";
}

function showVerdict(votes) {
  for (const button of document.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === decided));
  }
  document.querySelector('[data-verdict="skip"]').hidden = Boolean(decided);
  one("next").hidden = one("votes").hidden = !decided;
  const said = votes.map((vote) => {
    const words = [vote.reason && (reasons[vote.reason] || vote.reason), vote.comment].filter(Boolean).join(": ");
    const shown = line("li", "", (vote.value > 0 ? "Good" : "Bad") + (words ? ". " + words : ""));
    if (vote.correction) shown.append(line("div", "words", "It should have been: " + vote.correction));
    return shown;
  });
  one("votes").querySelector("ul").replaceChildren(...(said.length ? said : [line("li", "", "No vote.")]));
}

function percent(share) { return (100 * share).toFixed(0) + " %"; }

function agreement(who, found) {
  if (!found) return who + ": none to compare yet.";
  const [value, low, high] = [found.kappa, found.kappa_low, found.kappa_high].map((n) => (n === null ? "" : n.toFixed(2)));
  const kappa = value ? "kappa " + value + " (" + low + " to " + high + ")" : "all verdicts are the same, so there is no kappa";
  return who + " agree on " + percent(found.rate) + " (" + percent(found.low) + " to " + percent(found.high) + ") of "
    + found.turns + (found.turns === 1 ? " answer; " : " answers; ") + kappa + ".";
}

function showProgress(stats) {
  const most = 1000; // the server counts no further
  for (const option of one("strategy").options) {
    option.dataset.words = option.dataset.words || option.textContent;
    const count = stats.waiting[option.value];
    option.textContent = option.dataset.words + " (" + count.toLocaleString() + (count >= most ? " or more" : "") + ")";
  }
  one("progress").replaceChildren(...[
    stats.good + " verdicts of good, " + stats.bad + " of bad, " + stats.skipped + " passed over.",
    agreement("Reviewers", stats.among_reviewers),
    agreement("Reviewers and users", stats.with_votes),
  ].map((text) => line("li", "", text)));
}

// What is marked in the conversation is what to take out; the words can also be written there.
function takeMarked() {
  const selection = document.getSelection();
  const inside = (node) => node && (one("talk").contains(node) || one("answer").contains(node));
  if (!inside(selection.anchorNode) || !inside(selection.focusNode)) return;
  const text = selection.toString().trim();
  if (text) one("words").value = text;
}

async function redact() {
  if (!item || !confirm("Replace the words for good? This cannot be taken back.")) return;
  const words = one("words").value.trim();
  const done = await post("/v1/review/redact", { id: item.id, texts: words ? [words] : [] });
  item = done.item;
  showItem();
  const count = Object.values(done.replaced).reduce((sum, n) => sum + n, 0);
  say(count ? "Replaced in " + count + (count === 1 ? " place." : " places.") : "Nothing was found to replace.");
}

for (const button of document.querySelectorAll("[data-verdict]")) {
  button.addEventListener("click", () => work(() => decide(button.dataset.verdict)));
}
document.addEventListener("keydown", (event) => {
  const writing = event.target.closest("input, textarea, select");
  if (writing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const button = document.querySelector('[aria-keyshortcuts="' + CSS.escape(event.key.toLowerCase()) + '"]');
  if (!button || button.hidden || one("verdict").hidden) return;
  event.preventDefault();
  button.click();
});
document.addEventListener("selectionchange", takeMarked);
one("verdict").addEventListener("submit", (event) => event.preventDefault());
one("next").addEventListener("click", () => work(next));
one("look").addEventListener("click", () => work(begin));
one("strategy").addEventListener("change", () => work(begin));
one("redact").addEventListener("click", () => work(redact));
one("who-line").addEventListener("submit", (event) => {
  event.preventDefault();
  if (one("name-label").hidden) key = one("key").value.trim();
  else reviewer = one("name").value.trim() || null;
  one("key").value = "";
  work(begin);
});
work(begin);
