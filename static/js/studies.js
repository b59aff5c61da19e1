/* The worklist and the study page. */
(() => {
  "use strict";

  // A thumbnail that could not be drawn gives way to the symbol behind it.
  document.addEventListener("error", (event) => {
    if (event.target.matches && event.target.matches("img[data-thumbnail]")) event.target.remove();
  }, true);
  // What failed before this file was read.
  document.querySelectorAll("img[data-thumbnail]").forEach((image) => {
    if (image.complete && image.naturalWidth === 0 && image.currentSrc) image.remove();
  });

  // Coming back, the browser fills in what was typed: search for it again.
  const form = document.getElementById("search");
  if (form) {
    window.addEventListener("pageshow", () => {
      const isFilled = ["words", "first_date", "last_date"].some((name) => form.elements[name].value !== form.elements[name].defaultValue);
      const isChosen = [...form.querySelectorAll("[name=modality]")].some((box) => box.checked !== box.defaultChecked);
      if (isFilled || isChosen) form.requestSubmit();
    });
  }
})();
