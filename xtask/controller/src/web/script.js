// Keeps the page alive: parts come as markup that the server has escaped, log lines as JSON that
// becomes text here. Without this script the page still shows everything and reloads itself.
"use strict";

const KEPT_LINES = 3000;
const log = document.getElementById("log");
const find = document.getElementById("find");
const follow = document.getElementById("follow");
const link = document.getElementById("link");
const say = document.getElementById("say");
let last = 0;
let session = null;
const fetching = new Set();
const again = new Set();

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function tone(severity) {
  if (/^(emerg|alert|crit|critical|err|error|panic|fatal)$/.test(severity)) return "err";
  if (/^warn/.test(severity)) return "warn";
  if (/^(debug|trace)$/.test(severity)) return "debug";
  return "info";
}

function wanted(item) {
  const which = document.querySelector("input[name=source]:checked").value;
  if (which !== "all" && item.dataset.kind !== which) return false;
  return item.textContent.toLowerCase().includes(find.value.toLowerCase());
}

function addLines(lines) {
  const fresh = lines.filter((line) => line.number > last);
  if (fresh.length === 0) return;
  const atEnd = follow.checked;
  const rows = document.createDocumentFragment();
  for (const line of fresh) {
    const row = document.createElement("li");
    row.className = tone(line.severity);
    row.dataset.kind = line.app === null ? "device" : "app";
    const time = element("time", new Date(line.at).toISOString().slice(11, 23));
    row.append(time, " ", element("b", line.app ?? line.source), " ", element("span", line.content));
    row.hidden = !wanted(row);
    rows.append(row);
    last = line.number;
  }
  log.append(rows);
  while (log.childElementCount > KEPT_LINES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function filterLines() {
  for (const row of log.children) row.hidden = !wanted(row);
  if (follow.checked) log.scrollTop = log.scrollHeight;
}

async function refresh(name) {
  if (fetching.has(name)) {
    again.add(name);
    return;
  }
  fetching.add(name);
  try {
    const answer = await fetch("/part/" + name);
    if (answer.ok) replace(name, await answer.text());
  } catch {
    // The stream tells when the controller is back.
  }
  fetching.delete(name);
  if (again.delete(name)) refresh(name);
}

function replace(name, markup) {
  const part = document.getElementById("part-" + name);
  if (part.dataset.markup === markup) return;
  const open = [...part.querySelectorAll("details[open]")].map((item) => item.dataset.key);
  part.innerHTML = markup;
  part.dataset.markup = markup;
  for (const item of part.querySelectorAll("details")) item.open = open.includes(item.dataset.key);
  ages();
  if (name === "summary") say.textContent = part.textContent.replace(/\s+/g, " ").trim();
}

function ages() {
  for (const time of document.querySelectorAll("time.ago")) {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time.dateTime)) / 1000));
    let text = seconds + " s ago";
    if (seconds >= 86400) text = Math.floor(seconds / 86400) + " d ago";
    else if (seconds >= 3600) text = Math.floor(seconds / 3600) + " h ago";
    else if (seconds >= 120) text = Math.floor(seconds / 60) + " min ago";
    if (time.textContent !== text) time.textContent = text;
    time.title = time.dateTime;
  }
}

function listen() {
  const stream = new EventSource("/events");
  stream.addEventListener("open", () => {
    link.textContent = "live";
    link.className = "link live";
  });
  stream.addEventListener("error", () => {
    link.textContent = "controller away";
    link.className = "link away";
  });
  stream.addEventListener("news", (message) => {
    const news = JSON.parse(message.data);
    // A restarted controller counts its lines from one again.
    if (news.session !== session) {
      session = news.session;
      log.replaceChildren();
      last = 0;
    }
    addLines(news.lines);
    for (const name of news.parts) refresh(name);
  });
  stream.addEventListener("stale", () => location.reload());
}

log.replaceChildren();
find.addEventListener("input", filterLines);
for (const choice of document.querySelectorAll("input[name=source]")) {
  choice.addEventListener("change", filterLines);
}
follow.addEventListener("change", filterLines);
log.addEventListener("wheel", (wheel) => {
  if (wheel.deltaY < 0) follow.checked = false;
});
setInterval(ages, 1000);
ages();
listen();
