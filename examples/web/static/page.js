"use strict";

// The page keeps nothing: the server pushes every card at the beginning, and then each that changes.

const $ = (id) => document.getElementById(id);
const rows = new Map(); // photo id → its list item
const cards = new Map(); // photo id → what the server said last

function rowOf(card) {
  let row = rows.get(card.id);
  if (!row) {
    row = $("card").content.firstElementChild.cloneNode(true);
    row.querySelector("h2").textContent = card.name;
    row.querySelector("img").alt = card.name;
    row.querySelector(".cancel").onclick = (event) => press(event.target, `/photos/${card.id}/cancel`);
    row.querySelector(".again").onclick = (event) =>
      press(event.target, `/photos/${card.id}/again?pause=${$("pause").value}`);
    rows.set(card.id, row);
    $("photos").prepend(row); // the newest first
  }
  return row;
}

function show(card) {
  const row = rowOf(card);
  const ended = !["waiting", "running"].includes(card.state);
  cards.set(card.id, card);
  row.className = `photo ${card.state}`;
  row.querySelector(".state").textContent = card.state;
  const bar = row.querySelector("progress");
  bar.max = card.total;
  bar.value = card.done;
  bar.setAttribute("aria-label", `${card.done} of ${card.total} sizes`);
  const said = [card.state === "running" ? `${card.done} of ${card.total} sizes` : "", card.status];
  if (card.state === "running") said.push(`worker ${card.worker}`);
  if (card.attempt > 1) said.push(`attempt ${card.attempt}`);
  row.querySelector(".status").textContent = said.filter(Boolean).join(" · ");
  row.querySelector(".cancel").hidden = ended;
  row.querySelector(".again").hidden = !["cancelled", "failed"].includes(card.state);
  showPictures(row, card);
}

function showPictures(row, card) {
  const sizes = row.querySelector(".sizes");
  for (const width of card.made.slice(sizes.childElementCount)) {
    const link = document.createElement("a");
    link.textContent = width;
    link.href = `/photos/${card.id}/${width}.jpg`;
    link.target = "_blank";
    sizes.append(link);
  }
  const image = row.querySelector("img");
  if (card.made.length) {
    const best = card.made.filter((width) => width >= 400).at(-1) ?? card.made[0];
    const source = `/photos/${card.id}/${best}.jpg`;
    if (image.getAttribute("src") !== source) image.src = source;
    image.hidden = false;
    row.querySelector(".picture").href = `/photos/${card.id}/${card.made[0]}.jpg`;
  }
}

function count() {
  const number = { waiting: 0, running: 0, done: 0 };
  for (const card of cards.values()) number[card.state] = (number[card.state] ?? 0) + 1;
  $("counts").textContent = Object.entries(number).map(([state, n]) => `${n} ${state}`).join(" · ");
  $("empty").hidden = cards.size > 0;
}

function listen() {
  const source = new EventSource("/events"); // comes back by itself when the server does
  const connected = (on) => {
    $("connection").className = on ? "on" : "off";
    $("connection").textContent = on ? "live" : "reconnecting";
  };
  source.onopen = () => connected(true);
  source.onerror = () => connected(false);
  source.addEventListener("all", (event) => {
    rows.clear();
    cards.clear();
    $("photos").replaceChildren();
    JSON.parse(event.data).forEach(show);
    count();
  });
  source.addEventListener("some", (event) => {
    JSON.parse(event.data).forEach(show);
    count();
  });
}

async function post(path, body) {
  $("refused").hidden = true;
  try {
    const answer = await fetch(path, { method: "POST", body });
    if (!answer.ok) throw new Error((await answer.json()).error);
  } catch (error) {
    $("refused").textContent = error.message;
    $("refused").hidden = false;
  }
}

async function press(button, path) {
  button.disabled = true;
  await post(path);
  button.disabled = false;
}

async function upload(files) {
  for (const file of files) {
    const query = new URLSearchParams({ name: file.name, pause: $("pause").value });
    await post(`/photos?${query}`, file);
  }
}

$("draw").onclick = () => post(`/landscapes?pause=${$("pause").value}`);
$("files").onchange = (event) => upload([...event.target.files]).then(() => (event.target.value = ""));
$("drop").onkeydown = (event) => event.key === "Enter" && $("files").click();
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") upload([...event.dataTransfer.files]);
  });
}
listen();
