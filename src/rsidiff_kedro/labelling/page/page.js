"use strict";
const at = (id) => document.getElementById(id);
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie" };
const TINY = 96; // pixels, up to which every pixel is shown as a square
let state = null;
let busy = true; // until the first state is shown

function wait(yes) {
  busy = yes;
  document.querySelector("main").ariaBusy = yes;
}

function say(error) {
  at("error").textContent = error;
  at("error").hidden = !error;
}

function show(next) {
  state = next;
  const done = state.text === null || state.finished;
  at("question").hidden = done;
  at("prompt").textContent = state.finished ? "Finished. The terminal shows the result; close this page."
    : done ? "All pairs of this round have a vote." : state.text;
  at("pair").hidden = done;
  at("tie").disabled = done;
  at("undo").disabled = state.votes === 0 || state.finished;
  at("finish").disabled = state.finished;
  at("progress").textContent = `votes: ${state.votes}; pair ${Math.min(state.number + 1, state.pairs)} of ${state.pairs}`;
  return done ? Promise.resolve() : Promise.all(["left", "right"].map((side) => load(side)));
}

async function load(side) {
  const image = at(side).querySelector("img");
  image.src = `image/${state.number}/${side}`;
  await image.decode();
  image.width = image.naturalWidth;
  image.height = image.naturalHeight;
  image.classList.toggle("tiny", image.naturalWidth <= TINY);
}

async function ask(path, content) {
  const options = content && {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content),
  };
  const answer = await fetch(path, options);
  const found = await answer.json();
  if (found.error) throw new Error(found.error);
  return found; // of a vote on another pair than the one that is shown, too
}

async function send(path, content) {
  if (busy) return;
  wait(true);
  try {
    await show(await ask(path, content));
    say("");
  } catch (error) {
    say(error instanceof TypeError ? "Nothing answers. Start `kedro rsi label` again; all votes are kept." : error.message);
  } finally {
    wait(false);
  }
}

const vote = (winner) => state && state.text !== null && send("vote", { number: state.number, winner });

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key in KEYS) vote(KEYS[event.key]);
  else if (event.key === "ArrowUp") send("undo", {});
  else return;
  event.preventDefault();
});
for (const button of document.querySelectorAll("[data-winner]")) {
  button.addEventListener("click", () => vote(button.dataset.winner));
}
at("undo").addEventListener("click", () => send("undo", {}));
at("finish").addEventListener("click", () => send("finish", {}));
wait(false);
send("state");
