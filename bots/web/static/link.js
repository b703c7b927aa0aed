// The connection: keeps trying, and sends what is wished one by one until the server has said yes or no.

const SILENCE_MS = 15000;
const PING_MS = 20000;

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Link {
  // `keep` names a place in sessionStorage, so that a reload loses nothing. `on` has: change, state, refused.
  constructor(url, keep, on) {
    this.url = url;
    this.keep = keep;
    this.on = on;
    this.last = 0;
    this.open = false;
    this.tries = 0;
    this.busy = false;
    this.wishes = JSON.parse(sessionStorage.getItem(keep) || "[]");
    addEventListener("online", () => this.hurry());
    addEventListener("pageshow", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  connect() {
    clearTimeout(this.again);
    const socket = new WebSocket(this.url);
    this.socket = socket;
    const stuck = setTimeout(() => socket.close(), SILENCE_MS);
    socket.onopen = () => socket.send(JSON.stringify({ t: "hello", last: this.last }));
    socket.onmessage = (event) => {
      clearTimeout(stuck);
      this.heard();
      this.take(JSON.parse(event.data));
    };
    socket.onclose = () => {
      clearTimeout(stuck);
      if (this.socket === socket) this.lost();
    };
  }

  heard() {
    clearTimeout(this.silence);
    clearTimeout(this.pinging);
    this.pinging = setTimeout(() => {
      this.raw({ t: "ping" });
      this.silence = setTimeout(() => this.abandon(), SILENCE_MS);
    }, PING_MS);
  }

  // A connection that died without a word may take minutes to close: do not wait for it.
  abandon() {
    const socket = this.socket;
    this.lost();
    socket.close();
  }

  lost() {
    clearTimeout(this.silence);
    clearTimeout(this.pinging);
    clearTimeout(this.resend);
    this.socket = null;
    this.open = false;
    this.busy = false;
    const wait = Math.min(15000, 400 * 2 ** this.tries) * (0.7 + Math.random() * 0.6);
    this.tries += 1;
    this.on.state(false, this.wishes.length, this.tries);
    clearTimeout(this.again);
    this.again = setTimeout(() => this.connect(), wait);
  }

  hurry() {
    if (!this.socket) this.connect();
    else if (this.open) this.raw({ t: "ping" });
  }

  take(news) {
    if (news.t === "welcome") {
      this.open = true;
      this.tries = 0;
      this.last = news.seq;
      this.on.change(news);
      this.on.state(true, 0, 0);
      this.pump();
    } else if (news.t === "ok" || news.t === "no") {
      this.answered(news);
    } else if (news.t !== "pong") {
      if (news.seq) this.last = Math.max(this.last, news.seq);
      this.on.change(news);
    }
  }

  // Wishes go out one at a time, so an answer without an id is to the first one as well.
  answered(news) {
    const wish = this.wishes[0];
    if (!wish || (news.id && wish.id !== news.id)) return;
    if (news.t === "no" && news.retry) {
      this.on.refused(wish, news.reason, true);
      this.resend = setTimeout(() => {
        this.busy = false;
        this.pump();
      }, news.after_ms || 1000);
      return;
    }
    this.busy = false;
    this.wishes.shift();
    this.save();
    if (news.t === "no") this.on.refused(wish, news.reason, false);
    else this.on.state(true, 0, 0);
    this.pump();
  }

  wish(wish) {
    this.wishes.push({ id: newId(), ...wish });
    this.save();
    this.pump();
    if (!this.open) this.on.state(false, this.wishes.length, this.tries);
    return this.wishes.at(-1);
  }

  pump() {
    if (!this.open || this.busy || !this.wishes.length) return;
    this.busy = true;
    this.raw(this.wishes[0]);
  }

  raw(data) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(data));
  }

  save() {
    try {
      sessionStorage.setItem(this.keep, JSON.stringify(this.wishes));
    } catch {
      // Storage is full or forbidden: the wishes still live as long as the page.
    }
  }
}
