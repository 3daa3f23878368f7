"use strict";
// Brings the parts of a page up to date that are about what has changed, and sends forms without a reload.
// A part is an element with an id and, in data-live, the topics it is about. Without this script all works by reload.

const SPACING_MS = 300; // between two looks at the page, however much happens
const parts = () => [...document.querySelectorAll("[data-live][id]")];
const topicsOf = (part) => part.dataset.live.split(" ");
const parsed = async (answer) => new DOMParser().parseFromString(await answer.text(), "text/html");
const connection = document.getElementById("connection");
const content = document.getElementById("content");

// Makes `old` what `fresh` is and leaves alone what is the same, so that focus, unfolded texts and what was typed stay,
// and a screen reader is told of nothing twice.
function patch(old, fresh) {
  if (old.isEqualNode(fresh) || old.classList?.contains("told")) return;
  if (old.nodeName !== fresh.nodeName || old.id !== fresh.id) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) { old.data = fresh.data; return; }
  for (const { name } of [...old.attributes]) if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  patchChildren(old, fresh);
}

function patchChildren(old, fresh) {
  const stays = new Set([...fresh.children].map((child) => child.id));
  for (const child of [...old.children]) if (child.id && !stays.has(child.id)) child.remove();
  const known = new Map([...old.children].map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const same = node.id ? known.get(node.id) : at && !at.id ? at : null;
    if (!same) { old.insertBefore(node, at); continue; }
    if (same !== at) old.insertBefore(same, at);
    at = same.nextSibling;
    patch(same, node);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

const isAtEnd = (log) => !log.lastElementChild || log.lastElementChild.getBoundingClientRect().top < innerHeight;
const toEnd = (log) => log.lastElementChild?.scrollIntoView({ block: "nearest" });

function exchange(fresh, touched) {
  const followed = [...document.querySelectorAll("[data-follow]")].filter(isAtEnd);
  const focused = document.activeElement;
  for (const part of touched) {
    const newer = fresh.getElementById(part.id);
    if (newer) patch(part, newer);
  }
  followed.forEach(toEnd);
  if (!focused.isConnected) content.focus({ preventScroll: true }); // what had it is no more
}

let wanted = new Set();
let looking = false;
async function refresh(topics) {
  topics.forEach((topic) => wanted.add(topic));
  if (looking) return;
  looking = true;
  while (wanted.size) {
    const now = wanted;
    wanted = new Set();
    const touched = parts().filter((part) => topicsOf(part).some((topic) => now.has(topic)));
    if (!touched.length) continue;
    try {
      const answer = await fetch(location.href);
      if (answer.ok) exchange(await parsed(answer), touched);
    } catch { /* the event source says that the connection is gone */ }
    await new Promise((done) => setTimeout(done, SPACING_MS));
  }
  looking = false;
}

let source;
function listen() {
  source?.close(); // a browser has few connections to spare: a page that nobody sees takes none
  if (document.hidden || !parts().length) return;
  source = new EventSource("/events");
  source.onopen = () => { connection.textContent = ""; refresh(parts().flatMap(topicsOf)); }; // what happened before
  source.onmessage = (event) => refresh(event.data.split(" "));
  source.onerror = () => { connection.textContent = "connection lost, trying again …"; };
}

async function send(form) {
  if (form.dataset.sending) return;
  form.dataset.sending = "now";
  const told = form.querySelector(".told");
  const tell = (text, wrong) => { told.textContent = text; told.classList.toggle("grave", wrong); };
  try {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const fresh = await parsed(answer);
    if (!answer.ok) tell([...fresh.querySelectorAll("[role=alert], .cure")].map((part) => part.textContent).join("; "), true);
    else if (new URL(answer.url).pathname !== location.pathname) location.assign(answer.url);
    else { exchange(fresh, [content]); form.reset(); tell(form.dataset.done ?? "", false); }
  } catch { tell("The host does not answer.", true); }
  delete form.dataset.sending;
}

document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  event.preventDefault();
  send(event.target);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || !event.target.matches("[data-enter-sends]")) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});
document.addEventListener("visibilitychange", listen);
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
document.querySelectorAll("[data-follow]").forEach(toEnd);
document.querySelectorAll(".scroll").forEach((box) => { box.scrollLeft = box.scrollWidth; }); // today is on the right
listen();
