/* Tells the server that a person is at the keyboard, at most once a minute; a viewer that fetches by itself is no person. */
(() => {
  "use strict";
  const EVERY_MS = 60000;
  let last = Date.now();
  const report = () => {
    const now = Date.now();
    if (now - last < EVERY_MS) return;
    last = now;
    fetch("/account/activity/", { credentials: "same-origin" }).catch(() => {});
  };
  for (const kind of ["pointerdown", "keydown", "wheel"]) {
    document.addEventListener(kind, report, { capture: true, passive: true });
  }
})();
