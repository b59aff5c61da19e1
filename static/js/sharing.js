/* data-print: prints the page; its style sheet leaves only the card. */
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) window.print();
});
