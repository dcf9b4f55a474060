"use strict";
const { gallery, training } = JSON.parse(document.getElementById("data").textContent);
const PAGE = 25;
const CHANGES = { all: "all", rose: "became right", fell: "became wrong", same: "unchanged" };
if (gallery.measure?.reward != null) Object.assign(CHANGES, { rose: "rose", fell: "fell" });
const byId = (id) => document.getElementById(id);

/** Make an element; texts are never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function picture(set, source, label, right) {
  const image = make("img", { src: source, width: set.width, height: set.height, alt: label, loading: "lazy" });
  if (set.tiny) image.className = "tiny";
  const shot = make("span", { class: "shot" }, image);
  if (right != null) {
    const word = right ? "right" : "wrong";
    shot.append(make("span", { class: `verdict ${word}`, title: `the judge: ${word}` }, right ? "✓" : "✗"));
  }
  return shot;
}

function card(shot, lines) {
  const width = shot.firstChild.width;
  const item = make("li", { class: "card", style: `width: ${Math.max(width, 110)}px` }, shot);
  for (const line of lines) item.append(make("div", {}, line));
  return item;
}

const number = (value) => (value == null ? "not measured" : String(Number(value.toPrecision(4))));
const rewardLines = (names, values) => names.map((name, index) => `${name}: ${number(values[index])}`);

/* Colors */

const DARK = { "#3b5bdb": "#91a7ff", "#e8590c": "#ffa94d", "#2b8a3e": "#69db7c", "#ae3ec9": "#e599f7", "#0c8599": "#66d9e8",
  "#c2255c": "#faa2c1" };
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

function paint() {
  byId("theme").textContent = isDark() ? "Light mode" : "Dark mode";
  const style = getComputedStyle(document.body);
  const layout = { "font.color": style.color };
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    plot.colors ??= plot.data.map((trace) => trace.line.color);
    for (const axis of ["xaxis", "yaxis"]) {
      for (const part of ["linecolor", "tickcolor", "zerolinecolor"]) layout[`${axis}.${part}`] = style.color;
    }
    const colors = plot.colors.map((color) => (isDark() ? (DARK[color] ?? color) : color));
    Plotly.update(plot, { "line.color": colors, "marker.color": colors, "error_y.color": colors }, layout);
  }
}

byId("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  paint();
});
system.addEventListener("change", paint);

/* Gallery */

const filters = byId("filters").elements;
const last = gallery.rounds.length - 1;
let shown = PAGE;

/** Tell how a row's image changed from the base to a round. */
function change(row, round) {
  const value = (cell) => (gallery.measure.reward == null ? cell.right : cell.rewards[gallery.measure.reward]);
  const [before, after] = [value(row.cells[0]), value(row.cells[round])];
  if (before == null || after == null || before === after) return "same";
  return after > before ? "rose" : "fell";
}

function fillFilters() {
  filters.other.append(make("option", { value: "" }, `all rounds (change to ${gallery.rounds[last]})`));
  for (let round = 1; round <= last; round++) {
    filters.other.append(make("option", { value: round }, `base and ${gallery.rounds[round]}`));
  }
  if (gallery.measure == null) return byId("changes").remove();
  byId("changes").firstElementChild.textContent = `Change from the base, by ${gallery.measure.name}`;
  for (const [name, label] of Object.entries(CHANGES)) {
    const button = make("input", { type: "radio", name: "change", value: name });
    button.checked = name === "all";
    byId("changes").append(make("label", {}, button, " ", make("span", { "data-change": name }, label)));
  }
}

function cell(row, round) {
  const { src, right, rewards } = row.cells[round];
  const verdict = right == null ? "" : right ? ", right" : ", wrong";
  const found = make("td", {}, picture(gallery, src, `${gallery.rounds[round]}: ${row.text}${verdict}`, right));
  if (gallery.measure?.reward != null) found.append(make("br"), make("small", {}, number(rewards[gallery.measure.reward])));
  return found;
}

function showGallery() {
  const other = Number(filters.other.value) || last;
  const rounds = filters.other.value ? [0, other] : gallery.rounds.map((_, round) => round);
  const category = filters.category?.value ?? "";
  const wanted = filters.change?.value ?? "all";
  const inCategory = gallery.rows.filter((row) => !category || `=${row.category}` === category);
  const counts = { all: inCategory.length, rose: 0, fell: 0, same: 0 };
  const found = inCategory.filter((row) => {
    if (gallery.measure == null) return true;
    const kind = change(row, other);
    counts[kind]++;
    return wanted === "all" || wanted === kind;
  });
  for (const [name, label] of Object.entries(CHANGES)) {
    const place = document.querySelector(`[data-change=${name}]`);
    if (place) place.textContent = `${label} (${counts[name]})`;
  }
  const head = make("tr", {}, make("th", { scope: "col" }, "prompt"));
  for (const round of rounds) head.append(make("th", { scope: "col" }, gallery.rounds[round]));
  const body = make("tbody");
  for (const row of found.slice(0, shown)) {
    const open = make("button", { type: "button", class: "open" }, make("bdi", {}, row.text));
    const first = make("th", { scope: "row" }, open, make("br"), make("small", {}, `sample ${row.sample}`));
    const line = make("tr", {}, first, ...rounds.map((round) => cell(row, round)));
    line.addEventListener("click", () => openTest(row));
    body.append(line);
  }
  byId("rows").replaceChildren(make("thead", {}, head), body);
  const below = gallery.measure?.reward == null ? "" : ` The number below an image is its ${gallery.measure.name}.`;
  byId("shown").textContent = `${Math.min(shown, found.length)} of ${found.length} rows are shown.${below}`;
  byId("more").hidden = shown >= found.length;
  byId("more").textContent = `Show ${Math.min(PAGE, found.length - shown)} more`;
}

/* All samples of a prompt */

function openDialog(title, ...parts) {
  byId("samples-prompt").replaceChildren(make("bdi", {}, title));
  byId("samples-body").replaceChildren(...parts);
  byId("samples").showModal();
  byId("samples").scrollTop = 0;
}

function openTest(row) {
  const rows = gallery.rows.filter((each) => each.prompt === row.prompt);
  const blocks = make("div", { class: "cards" });
  gallery.rounds.forEach((name, round) => {
    const cards = rows.map((each) => {
      const { src, right, rewards, rank } = each.cells[round];
      const verdict = right == null ? [] : [right ? "judge: right" : "judge: wrong"];
      const lines = [`sample ${each.sample}`, `seed ${each.seed}`, ...verdict, ...rewardLines(gallery.rewards, rewards)];
      return card(picture(gallery, src, `${name}, sample ${each.sample}`, right), [...lines, `rank ${rank} of ${rows.length}`]);
    });
    blocks.append(make("section", {}, make("h3", {}, name), make("ul", { class: "cards" }, ...cards)));
  });
  const note = make("p", { class: "note" }, "A test prompt never trains, so its samples have no weight.");
  openDialog(row.text, note, blocks);
}

/* Training samples */

const outcome = (sample) => (sample.reason ? `dropped: ${sample.reason}` : `weight ${number(sample.weight)}`);

function trainingCard(set, sample, withText) {
  const lines = [...rewardLines(set.rewards, sample.rewards), `rank ${sample.rank}`, outcome(sample)];
  if (sample.distance != null) lines.push(`distance ${number(sample.distance)}`);
  lines.unshift(...(withText ? [make("bdi", {}, sample.text)] : [`sample ${sample.sample}`, `seed ${sample.seed}`]));
  return card(picture(set, sample.src, withText ? sample.text : `sample ${sample.sample}`), lines);
}

function showTraining() {
  const set = training[byId("training-round").value];
  for (const end of ["lowest", "highest"]) {
    byId(end).replaceChildren(...set[end].map((sample) => trainingCard(set, sample, true)));
  }
  const most = Math.max(...set.prompts.map((samples) => samples.length));
  const head = make("tr", {}, make("th", { scope: "col" }, "prompt"));
  for (let rank = 1; rank <= most; rank++) head.append(make("th", { scope: "col" }, `rank ${rank}`));
  const body = make("tbody");
  for (const samples of set.prompts) {
    const open = make("button", { type: "button", class: "open" }, make("bdi", {}, samples[0].text));
    const line = make("tr", {}, make("th", { scope: "row" }, open));
    for (const sample of samples) {
      const shot = picture(set, sample.src, `rank ${sample.rank}, ${outcome(sample)}`);
      line.append(make("td", {}, shot, make("br"), make("small", {}, outcome(sample))));
    }
    line.addEventListener("click", () => {
      openDialog(samples[0].text, make("ul", { class: "cards" }, ...samples.map((each) => trainingCard(set, each))));
    });
    body.append(line);
  }
  byId("trained").replaceChildren(make("thead", {}, head), body);
}

for (const name of document.querySelectorAll("#metrics tbody th")) {
  name.replaceChildren(...name.textContent.split(/(?<=[_/])/).flatMap((part) => [part, make("wbr")]));
}
byId("filters").addEventListener("input", () => { shown = PAGE; showGallery(); });
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", () => { shown += PAGE; showGallery(); });
byId("close").addEventListener("click", () => byId("samples").close());
fillFilters();
showGallery();
if (training.length) {
  byId("training-round").addEventListener("input", showTraining);
  showTraining();
}
paint();
