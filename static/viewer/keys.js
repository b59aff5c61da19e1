// The keyboard: every button has a key, written in the help. Single keys can be switched off (WCAG 2.1.4).
const KEPT = "viewbox-viewer-keys";
const TOOLS = { w: "window", s: "scroll", z: "zoom", p: "pan", l: "length", a: "angle", e: "roi" };
const ACTS = { i: "invert", r: "rotate", h: "flip", 0: "reset", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", o: "overlays", c: "compare", k: "link", f: "full", "?": "help", Delete: "remove", Backspace: "remove" };

function areOn() {
  try {
    return localStorage.getItem(KEPT) !== "off";
  } catch {
    return true;
  }
}

function keep(isOn) {
  try {
    localStorage.setItem(KEPT, isOn ? "on" : "off");
  } catch {
    // Without storage it holds as long as the page.
  }
}

/** Listen; `pane()` is the one that keys act on. */
export function startKeys({ acts, setTool, applyPreset, neighbour, setRate, pane }) {
  let isOn = areOn();
  const box = document.querySelector("[data-keys]");
  box.checked = isOn;
  box.addEventListener("change", () => {
    isOn = box.checked;
    keep(isOn);
  });
  const moves = {
    ArrowUp: () => pane().step(-1),
    ArrowDown: () => pane().step(1),
    PageUp: () => pane().step(-10),
    PageDown: () => pane().step(10),
    Home: () => pane().go(0),
    End: () => pane().go(Infinity),
    ArrowLeft: () => neighbour(-1),
    ArrowRight: () => neighbour(1),
    "[": () => setRate((pane().rate || 15) - 5),
    "]": () => setRate((pane().rate || 15) + 5),
  };
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || at.closest("dialog[open], input, select, textarea, article, [contenteditable]")) return;
    if (event.key === " " && at.closest("button, a, summary")) return;
    const isArrow = event.key in moves && event.key.length > 1;
    if (!isOn && !(isArrow && at.closest("[data-pane]"))) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = moves[key]
      || (key === " " && acts.cine)
      || (TOOLS[key] && (() => setTool(TOOLS[key])))
      || (ACTS[key] && acts[ACTS[key]])
      || (/^[1-9]$/.test(key) && (() => applyPreset(Number(key) - 1)));
    if (!act) return;
    event.preventDefault();
    act();
  });
}
