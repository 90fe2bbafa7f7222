"use strict";
// What all parts of the page share: elements, numbers, the tip at the pointer, light and dark, loading again.
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

function element(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "rect", "circle", "text"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 5e-3 || size >= 1e7)) return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return Number(value.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

// A number of an axis, written like its neighbors: without a power of ten, unless it is very large.
function fixed(value) {
  return Math.abs(value) >= 1e7 ? number(value) : value.toLocaleString("en-US", { maximumFractionDigits: 6 });
}

const tip = {
  box: $(".tip"),
  show(x, y, ...content) {
    ($("dialog[open]") ?? document.body).append(this.box);
    this.box.replaceChildren(...content);
    this.box.hidden = false;
    const { width, height } = this.box.getBoundingClientRect();
    const left = x + 16 + width > innerWidth ? x - width - 12 : x + 16;
    this.box.style.left = `${Math.max(4, left)}px`;
    this.box.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - height - 4))}px`;
  },
  hide() { this.box.hidden = true; },
};

// The browser may keep nothing for a file; then a choice lasts as long as the page.
const kept = {
  get(name) { try { return localStorage.getItem(`visionattn-${name}`); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(`visionattn-${name}`, value); } catch { /* nothing is kept */ } },
};

function setUpTheme() {
  const root = document.documentElement, button = $(".theme"), wanted = matchMedia("(prefers-color-scheme: dark)");
  const choose = (theme) => { root.dataset.theme = theme; button.setAttribute("aria-pressed", theme === "dark"); };
  if (kept.get("theme")) choose(kept.get("theme"));
  button.hidden = false;
  button.addEventListener("click", () => {
    const dark = (root.dataset.theme ?? (wanted.matches ? "dark" : "light")) === "dark";
    choose(dark ? "light" : "dark");
    kept.set("theme", root.dataset.theme);
  });
}

function setUpRefresh() {
  const status = $("[data-refresh]");
  if (!status) return;
  const button = $(".pause", status);
  let paused = false;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    button.setAttribute("aria-pressed", paused);
  });
  setInterval(() => { if (!paused && !document.hidden && !$("dialog[open]")) location.reload(); }, 1000 * status.dataset.refresh);
}

function setUpCopy() {
  const button = $(".copy");
  if (!button || !navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($(".command code").textContent);
      button.textContent = "Copied";
    } catch { getSelection().selectAllChildren($(".command code")); }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

function setUpContents() {
  const links = new Map($$(".contents a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.classList.remove("here");
      links.get(entry.target.id)?.classList.add("here");
    }
  }, { rootMargin: "-10% 0px -75% 0px" });
  for (const section of $$("main > .section")) seen.observe(section);
}

document.addEventListener("pointerover", (event) => {
  const target = event.target.closest?.("[data-tip]");
  if (target) tip.show(event.clientX, event.clientY, target.dataset.tip);
  else if (!event.target.closest?.("[data-chart]")) tip.hide();
});
addEventListener("scroll", () => tip.hide(), { passive: true });
setUpTheme();
setUpRefresh();
setUpCopy();
setUpContents();
