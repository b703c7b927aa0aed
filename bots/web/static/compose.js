// The send box: text, files, and what is answered or edited.

import { icon } from "./icons.js";
import { make } from "./view.js";

const $ = (id) => document.getElementById(id);

export class Compose {
  // `on` has: say(text, reply, files), edit(target, text), typing(), lastOwn(), tell(words).
  constructor(settings, on) {
    this.settings = settings;
    this.on = on;
    this.mode = null;
    this.files = [];
    this.box = $("text");
    this.box.required = false;
    $("attach").hidden = false;
    $("send").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("input", () => {
      this.grow();
      if (this.box.value && !this.box.value.startsWith("-")) on.typing();
    });
    $("context-cancel").addEventListener("click", () => this.leave());
    $("attach").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => {
      this.add($("file").files);
      $("file").value = "";
    });
    this.box.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) {
        event.preventDefault();
        this.add(event.clipboardData.files);
      }
    });
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      this.add(event.dataTransfer.files);
    });
  }

  key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "Escape" && this.mode) {
      this.leave();
    } else if (event.key === "ArrowUp" && !this.box.value && !this.mode) {
      const own = this.on.lastOwn();
      if (own) {
        event.preventDefault();
        this.edit(own);
      }
    }
  }

  grow() {
    this.box.style.height = "auto";
    this.box.style.height = `${this.box.scrollHeight + 2}px`;
  }

  reply(message, excerpt) {
    this.leave();
    this.enter({ reply: { id: message.id, name: message.name, excerpt } }, `Answer to ${message.name}: ${excerpt}`);
  }

  edit(message) {
    this.leave();
    this.box.value = message.src || "";
    this.enter({ edit: message.id }, "Edit your message");
  }

  enter(mode, words) {
    this.mode = mode;
    $("context-text").textContent = words;
    $("context").hidden = false;
    this.grow();
    this.box.focus();
  }

  leave() {
    if (this.mode?.edit) this.box.value = "";
    this.mode = null;
    $("context").hidden = true;
    this.grow();
    this.box.focus();
  }

  // Give back a text that was refused, without overwriting what is being typed.
  restore(text) {
    this.box.value = this.box.value ? `${text}\n${this.box.value}` : text;
    this.grow();
  }

  submit() {
    const text = this.box.value.trim();
    if (Array.from(text).length > this.settings.limit) {
      this.on.tell(`A message may have at most ${this.settings.limit} characters. Share it as a file.`);
      return;
    }
    if (this.mode?.edit) {
      const target = this.mode.edit;
      this.leave();
      if (text) this.on.edit(target, text);
      return;
    }
    if (this.files.some((file) => !file.id)) {
      this.on.tell("A file is still on its way up. Send again in a moment.");
      return;
    }
    if (!text && !this.files.length) return;
    const files = this.files;
    const reply = this.mode?.reply || null;
    this.files = [];
    this.box.value = "";
    this.leave();
    this.list();
    this.on.say(text, reply, files);
  }

  add(list) {
    for (const file of list) {
      if (file.size > this.settings.fileLimit) {
        this.on.tell(`${file.name} is too big: at most ${Math.floor(this.settings.fileLimit / 1048576)} MB.`);
      } else if (this.files.length < 10) {
        const entry = { name: file.name };
        this.files.push(entry);
        this.upload(file, entry);
      }
    }
    this.list();
    this.box.focus();
  }

  async upload(file, entry) {
    const form = new FormData();
    form.append("token", this.settings.token);
    form.append("file", file);
    const url = `${this.settings.base}r/${this.settings.link}/files`;
    try {
      const answer = await fetch(url, { method: "POST", body: form, headers: { Accept: "application/json" } });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.error);
      Object.assign(entry, body);
    } catch (error) {
      this.files = this.files.filter((other) => other !== entry);
      this.on.tell(`${file.name} was not uploaded: ${error.message || "no connection"}`);
    }
    this.list();
  }

  list() {
    const list = $("chosen");
    list.hidden = !this.files.length;
    list.replaceChildren(
      ...this.files.map((file) => {
        const drop = make("button", "icon", icon("cross"));
        drop.type = "button";
        drop.setAttribute("aria-label", `Do not send ${file.name}`);
        drop.addEventListener("click", () => {
          this.files = this.files.filter((other) => other !== file);
          this.list();
          this.box.focus();
        });
        return make("li", "", make("span", "", file.id ? file.name : `${file.name} …`), drop);
      }),
    );
  }
}
