/* Light, dark or as the device says. Loaded before the first paint, so that a dark room is never lit up by a white page. */
(() => {
  "use strict";
  const KEY = "viewbox-theme";
  const root = document.documentElement;
  const device = window.matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    try {
      return localStorage.getItem(KEY) || "auto";
    } catch {
      return "auto"; // storage switched off: follow the device
    }
  };

  const apply = () => {
    const choice = stored();
    root.dataset.bsTheme = choice === "auto" ? (device.matches ? "dark" : "light") : choice;
    document.querySelectorAll("[data-theme-choice]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice));
    });
  };

  apply();
  device.addEventListener("change", apply);
  window.addEventListener("storage", apply);
  document.addEventListener("DOMContentLoaded", apply);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-choice]");
    if (!button) return;
    try {
      localStorage.setItem(KEY, button.dataset.themeChoice);
    } catch {
      /* the choice lasts as long as the page */
    }
    apply();
  });
})();
