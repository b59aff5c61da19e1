// The quick viewer: puts the page's buttons, the series and the panes together.
import { RenderingEngine, cache, init } from "@cornerstonejs/core";
import { init as startLoader } from "@cornerstonejs/dicom-image-loader/imageLoader";
import { registerFrames } from "./frames.js";
import { Pane, modalityOf } from "./pane.js";
import { presetsFor } from "./presets.js";
import { everySeries, samePlace, seriesNamed } from "./series.js";
import { addPane, choose, removeMeasurements, removePane, startTools } from "./tools.js";
import { startKeys } from "./keys.js";
import { data, say } from "./words.js";

const ENGINE = "quick";
const page = document.documentElement;
const all = (selector) => [...document.querySelectorAll(selector)];
const one = (selector) => document.querySelector(selector);
const stage = one("[data-stage]");

init();
startLoader({ maxWebWorkers: Math.max(1, Math.min(4, (navigator.hardwareConcurrency || 2) - 1)) });
registerFrames();
// A phone's memory is small: what does not fit is fetched again.
cache.setMaxCacheSize((window.innerWidth < 768 ? 384 : 1536) << 20);
startTools();

const engine = new RenderingEngine(ENGINE);
const panes = all("[data-pane]").map((root, index) => new Pane(root, engine, index));
let active = panes[0];
let tool = "";
let isLinked = true;

const shownPanes = () => panes.filter((pane) => !pane.root.hidden);
const tell = (text) => {
  one("[data-said]").textContent = text;
};

// --- which series is where

function show(series, pane = active, first = undefined) {
  return pane.show(series, first);
}

function mark() {
  const shown = new Map(shownPanes().map((pane) => [pane.series?.reference, pane]));
  for (const button of all("[data-series]")) {
    const pane = shown.get(button.dataset.series);
    if (pane) button.setAttribute("aria-current", pane === active ? "true" : "page");
    else button.removeAttribute("aria-current");
  }
  for (const pane of panes) pane.root.classList.toggle("is-active", panes[1].root.hidden === false && pane === active);
  fillPresets();
  fillCine();
}

function activate(pane) {
  if (active === pane || pane.root.hidden) return;
  active = pane;
  mark();
}

function neighbour(by) {
  const buttons = all("[data-series]").filter((button) => button.offsetParent);
  const at = buttons.findIndex((button) => button.dataset.series === active.series?.reference);
  const next = buttons[at + by];
  if (!next) return;
  next.scrollIntoView({ block: "nearest", inline: "nearest" });
  show(seriesNamed(next.dataset.series));
}

/** What to put beside a series: the one of an earlier study that is most like it, else the next one of the same study. */
function companionOf(series) {
  const pictures = everySeries.filter((other) => other !== series && other.kind === "image");
  const likeness = (other) => (other.study !== series?.study ? 4 : 0) + (other.modality === series?.modality ? 8 : 0)
    + (other.title === series?.title ? 2 : 0) + (Math.abs(other.frames - (series?.frames || 0)) < 20 ? 1 : 0);
  return pictures.sort((first, second) => likeness(second) - likeness(first))[0] || series;
}

function compare(isOn) {
  const other = panes[1];
  other.root.hidden = !isOn;
  stage.classList.toggle("is-compared", isOn);
  one("[data-act=compare]").setAttribute("aria-pressed", String(isOn));
  one("[data-act=link]").hidden = !isOn;
  if (isOn) {
    other.enable();
    addPane(other.viewportId, ENGINE);
    show(companionOf(panes[0].series), other);
  } else {
    activate(panes[0]);
    removePane(other.viewportId, ENGINE);
    other.disable();
  }
  requestAnimationFrame(resize);
  mark();
}

/** Scroll the other pane along: to the same place in the patient where both say so, else by as many pictures. */
function follow(pane) {
  const other = panes[1 - pane.index];
  if (!isLinked || pane !== active || other.root.hidden || !pane.frames.ids.length || !other.frames.ids.length) return;
  const moved = pane.at - (pane.cameFrom ?? pane.at);
  const place = samePlace(pane.imageId, other.frames.ids);
  if (place !== undefined) other.go(place);
  else other.step(moved);
}

// --- the buttons

function setTool(name) {
  tool = name;
  choose(name);
  for (const button of all("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
}

function fillPresets() {
  const select = one("[data-presets]");
  const presets = presetsFor(modalityOf(active), active.isColour);
  const key = presets.map((preset) => preset.name).join();
  select.disabled = !presets.length;
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  select.replaceChildren(...(presets.length ? presets : [{ name: "–" }]).map((preset) => new Option(preset.name)));
}

function applyPreset(index) {
  const preset = presetsFor(modalityOf(active), active.isColour)[index];
  if (!preset || !active.imageId) return;
  one("[data-presets]").selectedIndex = index;
  active.window(preset);
  tell(preset.name);
}

function fillCine() {
  const button = one("[data-act=cine]");
  button.disabled = active.frames.ids.length < 2;
  button.setAttribute("aria-pressed", String(active.playing > 0));
  const rate = one("[data-rate]");
  rate.disabled = button.disabled;
  if (active.rate) rate.value = String(active.rate);
  one("[data-rate-now]").textContent = say("per_second", { number: rate.value });
}

function setRate(rate) {
  active.rate = Math.max(1, Math.min(60, rate));
  if (active.playing) active.play(active.rate);
  fillCine();
}

const isThere = (pane = active) => Boolean(pane.imageId && pane.viewport);

// What is on the screen, drawn by the server with the window that is set here: it carries the watermark, if there is one.
function take(kind) {
  if (!isThere() || !data.take) return;
  const [, instance, frame] = /\/instances\/([0-9.]+)\/frames\/([0-9]+)/.exec(active.imageId) || [];
  const query = new URLSearchParams({ instance, frame, format: "png" });
  if (kind === "film") {
    query.set("rate", String(active.rate || 10));
    // A cine is one instance with many frames, a stack many instances: each is taken whole.
    if (new Set(active.frames.ids.map((id) => id.split("/frames/")[0])).size > 1) query.delete("instance");
  }
  const range = !active.isColour && active.viewport.getProperties().voiRange;
  if (range) query.set("window", `${((range.lower + range.upper) / 2).toFixed(2)},${(range.upper - range.lower).toFixed(2)}`);
  location.assign(`${data.take}${active.series.reference}/${kind}/?${query}`);
}

const acts = {
  cine: () => active.play(active.playing ? 0 : active.rate),
  invert: () => isThere() && active.invert(),
  rotate: () => isThere() && active.rotate(),
  flip: () => isThere() && active.flip(),
  reset: () => {
    if (!isThere()) return;
    active.reset();
    one("[data-presets]").selectedIndex = 0;
  },
  "zoom-in": () => isThere() && active.zoomBy(1.25),
  "zoom-out": () => isThere() && active.zoomBy(0.8),
  overlays: (button) => {
    const isOff = page.classList.toggle("qv-bare");
    (button || one("[data-act=overlays]")).setAttribute("aria-pressed", String(!isOff));
  },
  picture: () => take("picture"),
  film: () => take("film"),
  compare: () => compare(panes[1].root.hidden),
  link: () => {
    isLinked = !isLinked;
    one("[data-act=link]").setAttribute("aria-pressed", String(isLinked));
  },
  remove: () => {
    removeMeasurements();
    for (const pane of shownPanes()) pane.viewport?.render();
  },
  full: () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else page.requestFullscreen?.().catch(() => page.classList.toggle("qv-full"));
  },
  help: () => one("[data-help]").showModal(),
  strip: () => {
    const isShut = page.classList.toggle("qv-no-strip");
    one("[data-act=strip]").setAttribute("aria-expanded", String(!isShut));
    requestAnimationFrame(resize);
  },
};

function resize() {
  const fitted = shownPanes().filter((pane) => isThere(pane) && pane.isFitted());
  engine.resize(true, true);
  for (const pane of fitted) pane.fit();
}

function wire() {
  document.addEventListener("click", (event) => {
    const series = event.target.closest("[data-series]");
    if (series) {
      show(seriesNamed(series.dataset.series));
      if (window.innerWidth < 768) stage.scrollIntoView({ block: "start" });
      return;
    }
    const chosen = event.target.closest("[data-tool]");
    if (chosen) return void setTool(tool === chosen.dataset.tool ? "" : chosen.dataset.tool);
    const act = event.target.closest("[data-act]");
    if (act) acts[act.dataset.act]?.(act);
  });
  one("[data-presets]").addEventListener("change", (event) => applyPreset(event.target.selectedIndex));
  one("[data-rate]").addEventListener("input", (event) => setRate(Number(event.target.value)));
  for (const button of all("[data-help-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  for (const pane of panes) {
    for (const kind of ["pointerdown", "wheel", "focusin"]) pane.root.addEventListener(kind, () => activate(pane), { capture: true, passive: true });
    pane.element.addEventListener("contextmenu", (event) => event.preventDefault());
    pane.addEventListener("series", mark);
    pane.addEventListener("cine", fillCine);
    pane.addEventListener("frame", () => {
      follow(pane);
      pane.cameFrom = pane.at;
      if (pane === active) fillPresets();
    });
    pane.addEventListener("fault", (event) => checkWhetherStillAllowed(event.detail.status));
  }
  new ResizeObserver(() => requestAnimationFrame(resize)).observe(stage);
  document.addEventListener("visibilitychange", () => document.hidden && panes.forEach((pane) => pane.play(0)));
  startKeys({ acts, setTool: (name) => setTool(tool === name ? "" : name), applyPreset, neighbour, setRate, pane: () => active });
}

// Taken back, expired or signed out: the page itself says what is the matter. A single missing image is no reason.
let asked = -Infinity;
async function checkWhetherStillAllowed(status) {
  if (![401, 403, 404].includes(status) || performance.now() - asked < 5000) return;
  asked = performance.now();
  const answer = await fetch(data.page, { method: "HEAD", redirect: "manual", cache: "no-store" }).catch(() => undefined);
  if (answer && !answer.ok) location.reload();
  else active.message(say("fault_gone"), "error");
}

// The libraries let some faults pass by: an image given up is none, one that cannot be drawn has to be told.
window.addEventListener("unhandledrejection", (event) => {
  if (event.reason?.name === "AbortError") event.preventDefault();
  else if (active.isWaiting) active.fail(event.reason);
});

async function start() {
  wire();
  panes[0].enable();
  addPane(panes[0].viewportId, ENGINE);
  setTool("");
  for (const button of all("[data-tool], [data-act], [data-presets], [data-rate]")) button.disabled = false;
  page.classList.add("is-ready");
  fillPresets();
  fillCine();
  const wanted = new URLSearchParams(location.hash.slice(1)).get("series");
  const first = data.first && everySeries.find((series) => series.uid === data.first.series && series.study === data.studies[data.first.study]);
  const series = (wanted && seriesNamed(wanted)) || first || everySeries[0];
  if (!series) panes[0].message(say("nothing_to_show"), "error");
  else await show(series, panes[0], series === first ? data.first : undefined);
}

start().catch((error) => panes[0].fail(error));
