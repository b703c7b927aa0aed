"use strict";

// Everything works without this file. With it, what is to be typed can be copied with one tap, and a map that is
// larger than the screen opens at the visitor's own room.
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const label = button.firstChild;
    const before = label.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      label.textContent = "Copied";
    } catch {
      // No clipboard here (plain HTTP, or refused): mark the text, so that one key copies it.
      const range = document.createRange();
      range.selectNodeContents(button.previousElementSibling);
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      label.textContent = "Selected";
    }
    setTimeout(() => { label.textContent = before; }, 1600);
  });
}

// Asking a service takes a while: say so, and take the form only once.
for (const form of document.querySelectorAll("form[data-busy]")) {
  form.addEventListener("submit", (event) => {
    if (form.ariaBusy === "true") return event.preventDefault();
    form.ariaBusy = "true";
    const button = form.querySelector("button:not([type=button])");
    button.dataset.label = button.textContent;
    button.textContent = form.dataset.busy;
  });
}
window.addEventListener("pageshow", (event) => {
  for (const form of event.persisted ? document.querySelectorAll("form[aria-busy=true]") : []) {
    form.ariaBusy = "false";
    const button = form.querySelector("button[data-label]");
    button.textContent = button.dataset.label;
  }
});

const map = document.querySelector(".map");
const here = map && map.querySelector(".is-here");
if (here) {
  const box = here.getBoundingClientRect();
  const frame = map.getBoundingClientRect();
  map.scrollLeft += box.left + box.width / 2 - frame.left - frame.width / 2;
  map.scrollTop += box.top + box.height / 2 - frame.top - frame.height / 2;
}
