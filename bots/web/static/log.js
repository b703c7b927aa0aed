// The list of messages: each once, in the server's order; own ones that wait at the end.

import { dayOf, drawMessage, make } from "./view.js";

const GROUP_MS = 5 * 60 * 1000;

export class Log {
  constructor(list, scroller, newer, options) {
    this.list = list;
    this.scroller = scroller;
    this.newer = newer;
    this.options = options;
    this.messages = new Map();
    this.list.replaceChildren();
    newer.addEventListener("click", () => this.toEnd());
    scroller.addEventListener("scroll", () => this.atEnd() && this.seen(), { passive: true });
    // Pictures and the keyboard change heights later: whoever was at the end stays there.
    this.stick = true;
    const keep = new ResizeObserver(() => this.stick && this.toEnd());
    keep.observe(list);
    keep.observe(scroller);
  }

  atEnd() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < 60;
  }

  seen() {
    this.newer.hidden = true;
    this.stick = true;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.seen();
  }

  get(id) {
    return this.messages.get(id)?.message;
  }

  item(id) {
    return this.messages.get(id)?.item;
  }

  clear() {
    for (const [id, { message }] of this.messages) if (!message.pending) this.drop(id);
  }

  drop(id) {
    const entry = this.messages.get(id);
    if (!entry) return;
    this.messages.delete(id);
    const next = this.neighbour(entry.item, "nextElementSibling");
    if (entry.day) entry.day.remove();
    entry.item.remove();
    if (next) this.redraw(next);
  }

  // `n` orders the messages; those that wait have none.
  put(message, n) {
    const known = this.messages.get(message.id);
    const follow = this.stick && this.atEnd();
    if (known) {
      known.message = message;
      this.redraw(known);
    } else {
      this.insert(message, n);
    }
    if (!known) this.arrived(message, follow);
  }

  insert(message, n) {
    if (message.cid) this.drop(`pending-${message.cid}`);
    const item = make("li");
    item.id = `m-${message.id}`;
    const entry = { message, n, item, day: null };
    let after = this.list.lastElementChild;
    while (after && this.later(after, n)) after = after.previousElementSibling;
    if (after) after.after(item);
    else this.list.prepend(item);
    item.entry = entry;
    this.messages.set(message.id, entry);
    this.redraw(entry);
    const next = this.neighbour(item, "nextElementSibling");
    if (next) this.redraw(next);
  }

  later(element, n) {
    const order = (element.entry ?? element.nextElementSibling?.entry)?.n ?? 0;
    return order > n;
  }

  neighbour(item, direction) {
    let other = item[direction];
    while (other && !other.entry) other = other[direction];
    return other?.entry;
  }

  arrived(message, follow) {
    if (follow || message.by === this.options.me) this.toEnd();
    else {
      this.stick = false;
      this.newer.hidden = false;
    }
  }

  redraw(entry) {
    const { message, item } = entry;
    const before = this.neighbour(item, "previousElementSibling")?.message;
    const newDay = !before || dayOf(before.at) !== dayOf(message.at);
    const start =
      newDay || before.name !== message.name || before.by !== message.by || before.kind !== message.kind || message.at - before.at > GROUP_MS;
    const focused = item.contains(document.activeElement);
    drawMessage(item, message, { ...this.options, start });
    if (focused) (item.querySelector(".act") ?? document.getElementById("text")).focus();
    if (newDay && !entry.day) {
      entry.day = make("li", "day", dayOf(message.at));
      item.before(entry.day);
    } else if (!newDay && entry.day) {
      entry.day.remove();
      entry.day = null;
    }
  }

  lastOwn() {
    return [...this.messages.values()]
      .map((entry) => entry.message)
      .filter((message) => message.by === this.options.me && !message.deleted && !message.pending)
      .at(-1);
  }
}
