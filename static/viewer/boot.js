// Runs first and is small: asks for the first image while the large program is still on its way, and draws it.
import { FRAME, paint, partOf, value } from "./picture.js";

const data = JSON.parse(document.getElementById("viewer-data").textContent);

const early = { answers: new Map() };
window.viewboxEarly = early;

function ask(url, options) {
  const answer = fetch(url, options);
  answer.catch(() => {});
  early.answers.set(url, answer);
  return answer;
}

async function drawFirst({ series, instance, frame }, study) {
  const at = `${data.root}/studies/${study}/series/${series}`;
  const picture = ask(`${at}/instances/${instance}/frames/${frame}`, { headers: { Accept: FRAME }, priority: "high" });
  const metadata = ask(`${at}/metadata?bulkdata=relative`, { headers: { Accept: "application/dicom+json" }, priority: "high" });
  const answer = await picture;
  if (!answer.ok) return;
  const [part, instances] = await Promise.all([
    answer.clone().arrayBuffer().then((buffer) => partOf(answer.headers.get("Content-Type") || "", buffer)),
    metadata.then((found) => (found.ok ? found.clone().json() : [])),
  ]);
  const described = instances.find((one) => value(one, "00080018") === instance);
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
