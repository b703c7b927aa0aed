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

const map = document.querySelector(".map");
const here = map && map.querySelector(".is-here");
if (here) {
  const box = here.getBoundingClientRect();
  const frame = map.getBoundingClientRect();
  map.scrollLeft += box.left + box.width / 2 - frame.left - frame.width / 2;
  map.scrollTop += box.top + box.height / 2 - frame.top - frame.height / 2;
}
