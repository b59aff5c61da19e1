/* Prints the page: recovery codes belong on paper. */
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) window.print();
});
