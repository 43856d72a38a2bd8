"use strict";
// Shared by all pages: elements, embedded data, colours, times.

const root = document.documentElement;
const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
root.classList.add("js");

/** A new element; children are elements or texts, and a text is never read as HTML. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const report = { data: JSON.parse(find("#data").textContent) };

// --- colours ---------------------------------------------------------------------------------------------

const THEMES = ["", "light", "dark"]; // "": the system's

function setTheme(theme) {
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  find(".theme").title = `Colours: ${theme || "the system's"}`;
  dispatchEvent(new Event("recolour"));
}

function storedTheme() {
  try {
    return localStorage.getItem("flockoff-theme") ?? "";
  } catch {
    return ""; // storage may be disabled for files
  }
}

find(".theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "") + 1) % THEMES.length];
  try {
    localStorage.setItem("flockoff-theme", next);
  } catch {
    // Then it only lasts for this visit.
  }
  setTheme(next);
});

// --- times -----------------------------------------------------------------------------------------------

const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "long" });

function ago(seconds) {
  for (const [size, unit] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    if (Math.abs(seconds) >= size) return relative.format(-Math.round(seconds / size), unit);
  }
  return "just now";
}
