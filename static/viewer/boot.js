// Runs first and is small: asks for the first image while the large program is still on its way, and draws it.
import { FRAME, paint, partOf } from "./picture.js";

const data = JSON.parse(document.getElementById("viewer-data").textContent);

const early = { answers: new Map() };
window.viewboxEarly = early;

function ask(url, options, query = "") {
  const answer = fetch(url + query, options);
  answer.catch(() => {});
  early.answers.set(url, answer);
  return answer;
}

async function drawFirst({ series, instance, frame }, study) {
  const at = `${data.root}/studies/${study}/series/${series}`;
  const json = { Accept: "application/dicom+json" };
  // Packed: this one picture travels alone, and over a slow line.
  const picture = ask(`${at}/instances/${instance}/frames/${frame}`, { headers: { Accept: FRAME }, priority: "high" }, "?encoding=gzip");
  const metadata = fetch(`${at}/instances/${instance}/metadata`, { headers: json, priority: "high" });
  metadata.catch(() => {});
  const answer = await picture;
  if (!answer.ok) return;
  const part = partOf(answer.headers.get("Content-Type") || "", await answer.clone().arrayBuffer());
  // What the program reads of the whole series is a hundred times as long: it does not travel beside the picture.
  ask(`${at}/metadata?bulkdata=relative`, { headers: json, priority: "high" });
  const found = await metadata;
  const [described] = found.ok ? await found.json() : [];
  const canvas = document.querySelector("[data-first]");
  if (described && canvas && !canvas.hidden && paint(canvas, described, part)) {
    document.querySelector("[data-wait]")?.remove();
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    // When it is on the screen, not when it was drawn.
    document.documentElement.dataset.firstImage ||= String(Math.round(performance.now()));
  }
}

// The program is being fetched meanwhile; running it would keep the browser from drawing.
const program = document.currentScript.dataset.program;
const drawn = data.first ? drawFirst(data.first, data.studies[data.first.study].uid).catch(() => {}) : Promise.resolve();
Promise.race([drawn, new Promise((resolve) => setTimeout(resolve, 1500))]).then(() => import(program));
