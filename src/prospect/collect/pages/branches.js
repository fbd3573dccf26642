// A conversation is a tree: a fork holds the wordings of one question, each a turn with its answers and the fork after it.
const newFork = () => ({ turns: [], at: 0 });

// The turns on screen, from the first question on.
function path() {
  const found = [];
  for (let fork = root; fork.turns.length; fork = found[found.length - 1].next) found.push(fork.turns[fork.at]);
  return found;
}

// The messages that a turn answers: those before it, in the versions on screen, and its question.
function history(turn) {
  const messages = [], shown = path();
  for (const before of shown.slice(0, shown.indexOf(turn))) {
    messages.push({ role: "user", content: before.question });
    messages.push({ role: "assistant", content: before.versions[before.at].text });
  }
  return [...messages, { role: "user", content: turn.question }];
}

function newTurn(fork, question) {
  const box = one("turn").content.cloneNode(true).firstElementChild;
  const part = (name) => box.querySelector(name);
  const turn = { fork, question, box, versions: [], at: 0, pair: null, from: fork.at, next: newFork() };
  part(".question").textContent = question;
  part(".edit").addEventListener("click", () => edit(turn, question));
  part(".rewrite").addEventListener("submit", (event) => { event.preventDefault(); rewrite(turn); });
  part(".rewrite textarea").addEventListener("keydown", (event) => {
    if (isSending(event)) { event.preventDefault(); rewrite(turn); }
    if (event.key === "Escape") leaveEdit(turn);
  });
  part(".leave").addEventListener("click", () => leaveEdit(turn));
  part(".earlier").addEventListener("click", () => walkWordings(turn, -1, ".earlier"));
  part(".later").addEventListener("click", () => walkWordings(turn, 1, ".later"));
  part(".first").addEventListener("click", () => choose(turn, turn.pair[0]));
  part(".second").addEventListener("click", () => choose(turn, turn.pair[1]));
  part(".same").addEventListener("click", () => choose(turn, null));
  one("talk").append(box);
  fork.turns.push(turn);
  fork.at = fork.turns.length - 1;
  return turn;
}

// An answer begins: the last one of the turn, or beside the one that it is compared with, on a side drawn by chance.
function addVersion(turn, beside) {
  const version = newVersion(turn);
  turn.pair = null;
  if (beside) {
    const left = crypto.getRandomValues(new Uint8Array(1))[0] < 128;
    turn.pair = left ? [version, beside] : [beside, version];
    beside.article[left ? "before" : "after"](version.article);
  } else turn.box.querySelector(".answers").append(version.article);
  turn.versions.push(version);
  turn.at = turn.versions.length - 1;
  show();
  if (!turn.versions[1]) version.article.scrollIntoView({ block: "end" });
  return version;
}

// An answer ended. One that never began leaves no trace; its question goes back to where it was written.
function endVersion(turn, version) {
  if (turn.pair && !(version.whole && version.text)) turn.pair = null; // one that was cut is not compared
  if (version.text) version.end();
  else {
    version.article.remove();
    turn.versions.splice(turn.versions.indexOf(version), 1);
    turn.at = turn.versions.length - 1;
  }
  if (!turn.versions.length) takeAway(turn);
  show();
  if (turn.pair) turn.box.querySelector(".compare").scrollIntoView({ block: "nearest" });
}

function takeAway(turn) {
  const { fork } = turn;
  fork.turns.pop(); // the one that was asked last
  fork.at = Math.min(turn.from, fork.turns.length - 1);
  turn.box.remove();
  if (fork.turns.length) edit(fork.turns[fork.at], turn.question);
  else {
    fork.at = 0;
    if (!one("question").value) one("question").value = turn.question;
  }
}

function show() {
  const shown = path(), last = shown[shown.length - 1];
  for (const box of one("talk").children) box.hidden = !shown.some((turn) => turn.box === box);
  for (const turn of shown) {
    // What the conversation went on from stays as it is.
    const pair = turn === last ? turn.pair : null, { box, fork } = turn;
    const asking = pair !== null && pair.every((each) => each.whole);
    box.querySelector(".wordings").hidden = fork.turns.length < 2;
    box.querySelector(".wordings .place").textContent = fork.at + 1 + " of " + fork.turns.length;
    box.querySelector(".answers").classList.toggle("two", pair !== null);
    box.querySelector(".compare").hidden = !asking;
    turn.versions.forEach((version, place) => {
      const { article } = version, part = (name) => article.querySelector(name);
      const side = pair === null ? 0 : pair.indexOf(version) + 1, newest = place === turn.at;
      article.hidden = side === 0 && !newest;
      article.setAttribute("aria-label", side ? "Answer " + side : "Answer");
      part(".which").hidden = side === 0;
      part(".which").textContent = "Answer " + side;
      part(".again").hidden = turn !== last || !newest;
      part(".versions").hidden = turn !== last || turn.versions.length < 2 || pair !== null;
      part(".place").textContent = place + 1 + " of " + turn.versions.length;
    });
  }
}

const within = (place, list) => Math.min(Math.max(place, 0), list.length - 1);

function walkAnswers(turn, step, focus) {
  turn.at = within(turn.at + step, turn.versions);
  show();
  turn.versions[turn.at].article.querySelector(focus).focus();
}

function walkWordings(turn, step, focus) {
  const { fork } = turn;
  fork.at = within(fork.at + step, fork.turns);
  show();
  fork.turns[fork.at].box.querySelector(focus).focus();
}

// Asking for another answer is an event, and says nothing about the first one. Without text there is nothing to compare.
function again(turn, version) {
  if (running) return;
  tell(version, "regenerated").catch(() => {});
  answer(turn, version.whole && one("consent").checked ? version : null);
}

// Which of two answers is better; null is neither. The one that is stays on screen, and the other one step away.
async function choose(turn, chosen) {
  const { pair } = turn, [first, second] = pair, focused = document.activeElement;
  const better = chosen || turn.versions[turn.at], other = better === first ? second : first;
  idle(false);
  let kept = false;
  try {
    const order = { other: other.id, first: better === first ? "id" : "other" };
    await tell(better, chosen ? "preferred" : "same", order);
    kept = true;
    say("Thank you, your choice is kept.");
  } catch (error) { say("Your choice was not kept: " + error.message, true); }
  idle(running === null);
  if (turn.pair !== pair) return; // the conversation went on meanwhile
  if (kept) {
    turn.pair = null;
    turn.at = turn.versions.indexOf(better);
    show();
  }
  (kept ? better.article.querySelector(".again") : focused).focus();
}

function edit(turn, text) {
  const form = turn.box.querySelector(".rewrite");
  form.hidden = false;
  turn.box.querySelector(".wording").hidden = true;
  form.querySelector("textarea").value = text;
  form.querySelector("textarea").focus();
}

function leaveEdit(turn) {
  turn.box.querySelector(".rewrite").hidden = true;
  turn.box.querySelector(".wording").hidden = false;
  turn.box.querySelector(".edit").focus();
}

// A question in other words starts a branch; the one before stays, with all that came after it.
function rewrite(turn) {
  const text = turn.box.querySelector(".rewrite textarea").value;
  if (running) return;
  leaveEdit(turn);
  if (!text.trim() || text === turn.question) return;
  tell(turn.versions[turn.at], "edited").catch(() => {});
  answer(newTurn(turn.fork, text));
}
