// The room's page: ties the connection, the log, the send box and the menu together.

import { Compose } from "./compose.js";
import { icon } from "./icons.js";
import { Link } from "./link.js";
import { Log } from "./log.js";
import { Menu } from "./menu.js";
import { wordsOf } from "./view.js";

const TYPING_MS = 6000;
const $ = (id) => document.getElementById(id);
const page = document.body.dataset;
const settings = {
  base: page.base,
  link: page.link,
  token: page.token,
  me: page.me,
  owner: page.owner === "1",
  limit: Number(page.limit),
  fileLimit: Number(page.fileLimit),
};
const place = `${settings.base}r/${settings.link}`;
let unread = 0;
let statusTimer = 0;
let typedAt = 0;
const typing = new Map();

for (const button of document.querySelectorAll("[data-icon]")) button.prepend(icon(button.dataset.icon));
const log = new Log($("log"), $("scroll"), $("newer"), { me: settings.me, base: settings.base });

function tell(words, stays = false) {
  clearTimeout(statusTimer);
  $("status").textContent = words;
  $("status").hidden = !words;
  if (words && !stays) statusTimer = setTimeout(() => tell(""), 6000);
}

function showTitle(name) {
  if (name) $("title").textContent = name;
  document.title = (unread ? `(${unread}) ` : "") + $("title").textContent;
}

function showTyping() {
  const names = [...typing.values()].map((entry) => entry.name);
  const who = names.length > 2 ? "Several people are" : `${names.join(" and ")} ${names.length > 1 ? "are" : "is"}`;
  $("typing").textContent = names.length ? `${who} typing…` : "";
}

function stopTyping(key) {
  clearTimeout(typing.get(key)?.timer);
  if (typing.delete(key)) showTyping();
}

function change(news) {
  if (news.t === "welcome") {
    if (news.fresh) log.clear();
    for (const { n, m } of news.messages) log.put(m, n);
    showTitle(news.name);
    $("empty").hidden = log.messages.size > 0;
    $("log").setAttribute("aria-busy", "false");
    showPending();
    if (news.fresh) log.toEnd();
  } else if (news.t === "message") {
    const known = log.get(news.m.id);
    log.put(news.m, news.n);
    $("empty").hidden = true;
    stopTyping(news.m.by || news.m.name);
    if (!known && document.hidden && news.m.by !== settings.me) {
      unread += 1;
      showTitle();
    }
  } else if (news.t === "room") {
    showTitle(news.name);
  } else if (news.t === "typing" && news.by !== settings.me) {
    const key = news.by || news.name;
    clearTimeout(typing.get(key)?.timer);
    typing.set(key, { name: news.name, timer: setTimeout(() => stopTyping(key), TYPING_MS) });
    showTyping();
  }
}

function state(open, waiting, tries) {
  if (open) {
    if ($("status").dataset.link) tell("");
    delete $("status").dataset.link;
  } else if (tries > 1 || waiting) {
    $("status").dataset.link = "1";
    const patience = tries > 6 ? " If this goes on, reload the page." : "";
    tell((waiting ? "Reconnecting… your message will be sent." : "Reconnecting…") + patience, true);
  }
}

function refused(wish, reason, again) {
  tell(reason);
  if (!wish || again) return;
  log.drop(`pending-${wish.id}`);
  if (wish.t === "say" && wish.text) compose.restore(wish.text);
  if (wish.t === "edit") compose.restore(wish.text);
}

const scheme = location.protocol === "https:" ? "wss" : "ws";
const link = new Link(`${scheme}://${location.host}${settings.base}ws/${settings.link}`, `unsent:${place}`, {
  change,
  state,
  refused,
});

function showPending() {
  for (const wish of link.wishes.filter((one) => one.t === "say")) pending(wish);
}

function pending(wish) {
  const files = (wish.views || []).map((view) => ({ ...view }));
  const body = wish.text ? [wish.text] : [];
  const message = { id: `pending-${wish.id}`, kind: "guest", by: settings.me, name: "", at: Date.now(), body, files, pending: true };
  log.put({ ...message, reply: wish.shown }, Infinity);
  $("empty").hidden = true;
}

const compose = new Compose(settings, {
  say(text, reply, files) {
    typedAt = 0;
    const wish = link.wish({ t: "say", text, reply: reply?.id ?? null, files: files.map((file) => file.id) });
    pending({ ...wish, views: files.map((file) => file.view), shown: reply });
  },
  edit(target, text) {
    typedAt = 0;
    link.wish({ t: "edit", target, text });
  },
  lastOwn: () => log.lastOwn(),
  tell,
  typing() {
    if (Date.now() - typedAt < 3000) return;
    typedAt = Date.now();
    link.raw({ t: "typing" });
  },
});

async function copy(text, words) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyTheOldWay(text);
  tell(words);
}

// Without TLS browsers have no clipboard for pages.
function copyTheOldWay(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function react(message, emoji) {
  const people = log.get(message.id)?.reactions?.[emoji] || {};
  link.wish({ t: "react", target: message.id, emoji, on: !Object.hasOwn(people, settings.me) });
}

const menu = new Menu($("menu"), {
  react,
  reply: (message) => compose.reply(message, shortly(message)),
  copy: (message) => copy(wordsOf(message.body || []), "Copied."),
  edit: (message) => compose.edit(message),
  delete: (message) => link.wish({ t: "delete", target: message.id }),
});

function shortly(message) {
  const words = wordsOf(message.body || []).replace(/\s+/g, " ").trim() || (message.files || []).map((file) => file.name).join(", ");
  return words.length > 120 ? `${words.slice(0, 119)}…` : words;
}

function messageAt(element) {
  return element.closest(".message")?.entry?.message;
}

$("log").addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target.closest("button") : null;
  if (!target) return;
  const message = messageAt(target);
  if (target.dataset.copy) copy(target.dataset.copy, "Copied.");
  else if (target.dataset.emoji) react(message, target.dataset.emoji);
  else if (target.dataset.jump) jump(target.dataset.jump);
  else if ("menu" in target.dataset) menu.show(message, target, { mine: message.by === settings.me, owner: settings.owner });
});

function jump(id) {
  const item = log.item(id);
  if (!item) return tell("That message is not shown here.");
  item.scrollIntoView({ block: "center" });
  item.classList.remove("flash");
  requestAnimationFrame(() => item.classList.add("flash"));
  item.querySelector(".act")?.focus({ preventScroll: true });
}

$("share").hidden = false;
$("share").addEventListener("click", () => copy(location.origin + place, "Link copied. Who has it can join."));
$("rename").hidden = !settings.owner;
$("rename").addEventListener("click", () => {
  $("naming-name").value = $("title").textContent;
  $("naming").showModal();
});
$("naming-cancel").addEventListener("click", () => $("naming").close());
$("naming").querySelector("form").addEventListener("submit", () => link.wish({ t: "rename", name: $("naming-name").value }));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  showTitle();
});

link.connect();
showPending();
if (!document.body.classList.contains("embed") && matchMedia("(hover: hover)").matches) $("text").focus();
