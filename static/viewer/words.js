// What the page's own template wrote for us: data, and every sentence in the reader's language.
export const data = JSON.parse(document.getElementById("viewer-data").textContent);

/** Return a sentence of the page with its %(name)s filled in. */
export function say(key, values = {}) {
  return (data.words[key] || key).replace(/%\((\w+)\)s/g, (_, name) => String(values[name] ?? ""));
}
