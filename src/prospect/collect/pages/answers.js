// One answer on screen, and what people say about it. Whatever a model or a person wrote gets there as text, never as HTML.
function newVersion(turn) {
  const article = one("answer").content.cloneNode(true).firstElementChild;
  const part = (name) => article.querySelector(name);
  const version = {
    article, text: "", id: null, token: null, asked: false, whole: false, vote: { value: 0 }, sending: Promise.resolve(),
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
      part(".after").hidden = false;
      showVote(version);
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
  part(".copy").addEventListener("click", () => copy(version));
  part(".again").addEventListener("click", () => again(turn, version));
  part(".earlier").addEventListener("click", () => walkAnswers(turn, -1, ".earlier"));
  part(".later").addEventListener("click", () => walkAnswers(turn, 1, ".later"));
  return version;
}

async function read(response, version) {
  version.id = response.headers.get("x-prospect-turn");
  version.token = response.headers.get("x-prospect-vote");
  version.asked = response.headers.get("x-prospect-ask") === "yes";
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
  version.whole = true;
  if (finish === "length") version.cut("The answer was cut at the length limit.");
}

function atBottom() {
  return window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 80;
}

async function copy(version) {
  try {
    await navigator.clipboard.writeText(version.text);
  } catch (error) {
    note(version, "Your browser does not let this page copy.", true);
    return;
  }
  note(version, "Copied.");
  tell(version, "copied").catch(() => {});
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
  article.querySelector(".asked").hidden = !version.asked || vote.value !== 0;
  article.querySelector(".undo").hidden = vote.value === 0;
  article.querySelector(".why").hidden = vote.value === 0;
  article.querySelector(".reasons").hidden = article.querySelector(".better").hidden = vote.value !== -1;
}
