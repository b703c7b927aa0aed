// Drawing messages. Only createElement and textContent: whatever people write stays text.

import { icon } from "./icons.js";

const TAGS = { bold: "strong", italic: "em", underline: "u", strike: "s", code: "code", quote: "blockquote" };
const TIME = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const ONLY_EMOJI = /^(?:\p{Extended_Pictographic}[\p{Emoji_Modifier}\uFE0F\u200D]*){1,3}$/u;
const LONG_CHARS = 2500;

export function make(tag, className, ...inside) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...inside);
  return element;
}

export function hue(name) {
  let value = 7;
  for (const char of name) value = (value * 31 + char.codePointAt(0)) % 3600;
  return value / 10;
}

export function initials(name) {
  const words = name.replace(/\([^()]*\)\s*$/, "").split(/[\s_.-]+/).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const first = words.map((word) => Array.from(word).find((char) => /[\p{L}\p{N}]/u.test(char)));
  const chosen = first.length > 1 ? [first[0], first.at(-1)] : first;
  return chosen.join("").toUpperCase() || "?";
}

export function dayOf(at) {
  return DAY.format(at);
}

export function wordsOf(nodes) {
  return nodes.map((node) => (typeof node === "string" ? node : wordsOf(node[2]))).join("");
}

function webLink(value) {
  return /^https?:\/\//i.test(value) ? value : "";
}

function draw(nodes, bot) {
  const all = document.createDocumentFragment();
  for (const node of nodes) all.append(typeof node === "string" ? node : drawSpan(node, bot));
  return all;
}

function drawSpan([type, value, inside], bot) {
  if (type === "code" && bot) return copyable(wordsOf(inside));
  if (type === "link" && webLink(value)) {
    const link = make("a", "", draw(inside, false));
    link.href = webLink(value);
    link.target = "_blank";
    link.rel = "noopener nofollow noreferrer";
    return link;
  }
  if (type === "pre") return make("pre", "", make("code", "", draw(inside, false)));
  if (type === "mention") return make("span", "mention", draw(inside, bot));
  if (type === "spoiler") return spoiler(draw(inside, bot));
  return TAGS[type] ? make(TAGS[type], "", draw(inside, bot)) : draw(inside, bot);
}

function copyable(text) {
  const button = make("button", "copy", make("span", "", text), icon("copy"));
  button.type = "button";
  button.dataset.copy = text;
  button.setAttribute("aria-label", `Copy ${text}`);
  return button;
}

function spoiler(inside) {
  const cover = make("span", "spoiler", make("span", "", inside));
  cover.tabIndex = 0;
  cover.setAttribute("role", "button");
  cover.setAttribute("aria-expanded", "false");
  cover.setAttribute("aria-label", "Spoiler: show it");
  const show = (event) => {
    if (cover.getAttribute("aria-expanded") === "true") return;
    event.preventDefault();
    event.stopPropagation();
    cover.setAttribute("aria-expanded", "true");
    cover.removeAttribute("aria-label");
    cover.removeAttribute("role");
  };
  cover.addEventListener("click", show);
  cover.addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && show(event));
  return cover;
}

function size(bytes) {
  if (!bytes) return "";
  return bytes < 1048576 ? `${Math.max(1, Math.round(bytes / 1024))} KB` : `${(bytes / 1048576).toFixed(1)} MB`;
}

function drawFile(file, base) {
  const url = file.url.startsWith("f/") ? base + file.url : file.url;
  const safe = url.startsWith("/") && !url.startsWith("//") ? url : webLink(url);
  const card = make("a", "file", icon("file"), make("span", "", file.name), make("small", "", size(file.size)));
  if (safe) card.href = safe;
  card.target = "_blank";
  card.rel = "noopener noreferrer";
  if (!file.image || !safe.startsWith("/")) return card;
  const picture = make("img");
  picture.src = safe;
  picture.alt = file.name;
  picture.addEventListener("error", () => link.replaceWith(card));
  const link = make("a", "picture", picture);
  link.href = safe;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

function drawWho(message) {
  const who = make("p", "who");
  const tagged = message.kind === "relayed" && /^(.+) \(([^()]{1,60})\)$/u.exec(message.name);
  who.append(make("bdi", "", tagged ? tagged[1] : message.name));
  if (tagged) who.append(make("bdi", "tag", tagged[2]));
  if (message.kind === "bot") who.append(make("span", "tag", "bot"));
  return who;
}

function drawAnswered(reply) {
  const quote = make("button", "answered", make("b", "", make("bdi", "", reply.name)), make("span", "", make("bdi", "", reply.excerpt || "…")));
  quote.type = "button";
  quote.dataset.jump = reply.id;
  quote.setAttribute("aria-label", `In answer to ${reply.name}: ${reply.excerpt}`);
  return quote;
}

function drawWords(message) {
  const text = wordsOf(message.body || []);
  const words = make("div", "words", draw(message.body || [], message.kind === "bot"));
  if (ONLY_EMOJI.test(text.trim())) words.classList.add("big");
  if (text.length <= LONG_CHARS) return [words];
  words.classList.add("long");
  const more = make("button", "more", "Show all");
  more.type = "button";
  more.addEventListener("click", () => {
    words.classList.remove("long");
    more.remove();
  });
  return [words, more];
}

function drawMeta(message) {
  const meta = make("span", "meta");
  const time = make("time", "", TIME.format(message.at));
  time.dateTime = new Date(message.at).toISOString();
  meta.append(message.pending ? "Sending…" : time);
  if (message.edit && !message.deleted) meta.append(" · edited");
  return meta;
}

function drawChips(message, me) {
  const chips = make("div", "chips");
  for (const [emoji, people] of Object.entries(message.reactions || {})) {
    const names = Object.values(people);
    const chip = make("button", "chip", make("bdi", "", emoji), make("span", "", String(names.length)));
    chip.type = "button";
    chip.dataset.emoji = emoji;
    chip.setAttribute("aria-pressed", String(Object.hasOwn(people, me)));
    chip.setAttribute("aria-label", `${emoji} ${names.length}: ${names.join(", ")}`);
    chip.title = names.join(", ");
    chips.append(chip);
  }
  return chips;
}

// The parts of a message that change with it; its place in the log and its neighbours are the caller's.
export function drawMessage(item, message, { me, base, start }) {
  const mine = message.kind === "guest" && message.by === me;
  const classes = ["message", message.kind];
  if (mine) classes.push("mine");
  if (start) classes.push("start");
  if (message.pending) classes.push("pending");
  item.className = classes.join(" ");
  item.style.setProperty("--hue", hue(message.name || ""));
  const bubble = make("div", "bubble");
  if (start && !mine) bubble.append(drawWho(message));
  if (mine) bubble.setAttribute("aria-label", "You");
  if (message.deleted) {
    bubble.append(make("div", "words gone", "Message removed"));
  } else {
    if (message.reply) bubble.append(drawAnswered(message.reply));
    if (message.body && message.body.length) bubble.append(...drawWords(message));
    for (const file of message.files || []) bubble.append(drawFile(file, base));
  }
  bubble.append(drawMeta(message));
  const stack = make("div", "stack", bubble);
  if (Object.keys(message.reactions || {}).length) stack.append(drawChips(message, me));
  const avatar = make("span", start && !mine ? "avatar" : "");
  if (start && !mine) {
    avatar.textContent = message.kind === "bot" ? "S" : initials(message.name);
    avatar.setAttribute("aria-hidden", "true");
  }
  item.replaceChildren(...(mine ? [stack] : [avatar, stack]));
  if (!message.deleted && !message.pending) item.append(actButton(message));
}

function actButton(message) {
  const act = make("button", "act icon", icon("dots"));
  act.type = "button";
  act.dataset.menu = "";
  act.setAttribute("aria-haspopup", "dialog");
  act.setAttribute("aria-label", `Actions for the message of ${message.name}`);
  return act;
}
