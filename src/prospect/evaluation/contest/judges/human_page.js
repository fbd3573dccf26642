"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const items = data.items;
const place = "prospect-votes-" + data.page;
const known = new Set(items.map((item) => item.key));
const votes = load();
const voter = whose();
let saved = Object.keys(votes).length === 0;
let at = items.findIndex((item) => !(item.key in votes));
if (at < 0) at = items.length - 1;

function load() {
  const found = Object.create(null);
  try {
    const kept = JSON.parse(localStorage.getItem(place) || "{}");
    for (const key of Object.keys(kept)) if (known.has(key)) found[key] = kept[key];
  } catch (error) { /* nothing kept, or a browser that keeps nothing for files */ }
  return found;
}

// Who votes, by chance and not by name: files that one person saves are told from those of several people.
function whose() {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  const drawn = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    const kept = localStorage.getItem(place + "-voter") || drawn;
    localStorage.setItem(place + "-voter", kept);
    return kept;
  } catch (error) { return drawn; }
}

function keep() {
  try { localStorage.setItem(place, JSON.stringify(votes)); return true; } catch (error) { return false; }
}

function element(id) { return document.getElementById(id); }

function meaning(item, word) {
  return word === "a" ? item.a_key : word === "b" ? item.b_key : word;
}

function fill(side, name, value) {
  if (typeof value === "string") { side.textContent = value; return; }
  const picture = document.createElement("img");
  picture.src = value.picture;
  picture.alt = element(name + "-title").textContent;
  side.replaceChildren(picture);
}

function show() {
  const item = items[at];
  for (const name of ["prompt", "a", "b"]) if (name in item) fill(element(name), name, item[name]);
  const count = Object.keys(votes).length;
  element("where").textContent = data.what + " " + (at + 1) + " of " + items.length + ", " + count + " voted on"
    + (count === items.length ? ". All done: save the votes to a file." : ".");
  element("bar").value = items.length ? count / items.length : 0;
  for (const button of buttons) {
    const chosen = votes[item.key] === meaning(item, button.dataset.vote);
    button.setAttribute("aria-pressed", String(chosen));
  }
  element("back").disabled = at === 0;
  element("on").disabled = at === items.length - 1;
}

function go(step) {
  at = Math.min(Math.max(at + step, 0), items.length - 1);
  show();
  window.scrollTo(0, 0);
}

function vote(word) {
  const item = items[at];
  votes[item.key] = meaning(item, word);
  saved = false;
  element("kept").textContent = keep() ? "" : "This browser keeps nothing for this page: save before you close it.";
  if (at < items.length - 1) go(1); else show();
}

function save() {
  const about = { format: "prospect-votes", version: 1, page: data.page, voter: voter, saved: Date.now() };
  const text = JSON.stringify({ ...about, votes: votes }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "application/json" }));
  link.download = "votes-" + data.page + "-" + voter + ".json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  saved = true;
}

const buttons = Array.from(document.querySelectorAll("[data-vote]"));
const keys = { ArrowLeft: () => go(-1), ArrowRight: () => go(1), s: save };
buttons.forEach((button, place) => { keys[place + 1] = () => vote(button.dataset.vote); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const act = Object.prototype.hasOwnProperty.call(keys, event.key) ? keys[event.key] : null;
  if (act) { event.preventDefault(); act(); }
});
for (const button of buttons) {
  button.addEventListener("click", () => vote(button.dataset.vote));
}
element("back").addEventListener("click", () => go(-1));
element("on").addEventListener("click", () => go(1));
element("save").addEventListener("click", save);
window.addEventListener("beforeunload", (event) => { if (!saved && !keep()) event.preventDefault(); });
show();
