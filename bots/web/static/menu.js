// What can be done with a message: a small menu beside it, a sheet at the bottom on a phone.

import { make } from "./view.js";

const EMOJI = ["👍", "❤️", "😂", "🎉", "😮", "😢", "🙏", "👀"];

export class Menu {
  // `on` has: react(message, emoji), reply, copy, edit, delete (message).
  constructor(dialog, on) {
    this.dialog = dialog;
    for (const emoji of EMOJI) {
      const button = make("button", "", emoji);
      button.type = "button";
      button.setAttribute("aria-label", `React with ${emoji}`);
      button.addEventListener("click", () => this.done(() => on.react(this.message, emoji)));
      dialog.querySelector(".emoji").append(button);
    }
    for (const button of dialog.querySelectorAll("[data-act]")) {
      button.addEventListener("click", () => this.done(() => on[button.dataset.act](this.message)));
    }
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => this.key(event));
    // The browser itself gives the focus back to the opener.
    dialog.addEventListener("close", () => this.opener.setAttribute("aria-expanded", "false"));
  }

  show(message, opener, { mine, owner }) {
    this.message = message;
    this.opener = opener;
    this.dialog.querySelector("[data-act=edit]").hidden = !mine;
    this.dialog.querySelector("[data-act=delete]").hidden = !mine && !owner;
    opener.setAttribute("aria-expanded", "true");
    this.dialog.style.left = this.dialog.style.top = "";
    this.dialog.showModal();
    if (matchMedia("(min-width: 601px)").matches) this.place(opener.getBoundingClientRect());
  }

  place(at) {
    const { offsetWidth: width, offsetHeight: height } = this.dialog;
    const left = Math.max(8, Math.min(at.left, innerWidth - width - 8));
    const below = at.bottom + 4;
    const top = below + height < innerHeight ? below : Math.max(8, at.top - height - 4);
    this.dialog.style.left = `${left}px`;
    this.dialog.style.top = `${top}px`;
  }

  done(act) {
    this.dialog.close();
    act();
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...this.dialog.querySelectorAll("button")].filter((button) => !button.hidden);
    const next = all.indexOf(document.activeElement) + step;
    all[(next + all.length) % all.length].focus();
  }
}
