// A series as the viewer needs it: its frames in order, where each lies in the patient, how it wants to be played.
import { imageLoader, metaData } from "@cornerstonejs/core";
import { wadors } from "@cornerstonejs/dicom-image-loader/imageLoader";
import { ask } from "./frames.js";
import { number, value } from "./picture.js";
import { data } from "./words.js";

const VIDEO = /^1\.2\.840\.10008\.1\.2\.4\.10[0-8]/;
const loaded = new Map();

/** Every series on the page, each with its study. */
export const everySeries = data.studies.flatMap((study) => study.series.map((series) => Object.assign(series, { study })));
export const seriesNamed = (reference) => everySeries.find((series) => series.reference === reference);

const urlOf = (series) => `${data.root}/studies/${series.study.uid}/series/${series.uid}`;

/** Return the frames of a series: `{ids, instances, videos, documents}`; asked for once. */
export function framesOf(series) {
  if (!loaded.has(series.reference)) {
    const promise = fetchFrames(series);
    promise.catch(() => loaded.delete(series.reference));
    loaded.set(series.reference, promise);
  }
  return loaded.get(series.reference);
}

async function fetchFrames(series) {
  const answer = await ask(`${urlOf(series)}/metadata?bulkdata=relative`, { headers: { Accept: "application/dicom+json" } });
  const instances = inOrder(await answer.json());
  await Promise.all(instances.filter((one) => one["00281101"]).map(readPalette));
  const found = { ids: [], instances: new Map(), videos: [], documents: [] };
  for (const instance of instances) {
    const at = `${urlOf(series)}/instances/${value(instance, "00080018")}`;
    const frames = number(instance, "00280008") || 1;
    if (VIDEO.test(value(instance, "00083002") || series.syntax || "")) found.videos.push(`${at}/rendered`);
    else if (instance["00420011"] || value(instance, "00420012")) found.documents.push(`${at}/rendered`);
    else if (series.kind === "image" && number(instance, "00280010")) {
      for (let frame = 1; frame <= frames; frame += 1) {
        const id = `wadors:${at}/frames/${frame}`;
        wadors.metaDataManager.add(id, instance);
        found.ids.push(id);
        found.instances.set(id, instance);
      }
    }
  }
  return found;
}

/** The loader wants palettes as numbers; in DICOM JSON they are Base64, or lie elsewhere (PS3.18 F.2.7). */
async function readPalette(instance) {
  for (const colour of ["1", "2", "3"]) {
    const table = instance[`0028120${colour}`];
    if (!table || table.Value) continue;
    const buffer = table.InlineBinary
      ? Uint8Array.from(atob(table.InlineBinary), (character) => character.charCodeAt(0)).buffer
      : table.BulkDataURI && await (await ask(`${data.root}/${table.BulkDataURI}`, { headers: { Accept: "application/octet-stream" } })).arrayBuffer();
    if (!buffer) continue;
    const entries = number(instance, `0028110${colour}`) || 65536;
    table.Value = [...(buffer.byteLength < 2 * entries ? new Uint8Array(buffer) : new Uint16Array(buffer))];
  }
}

/** The server's order is that of the Instance Numbers; where they say nothing, the place in the patient decides. */
function inOrder(instances) {
  const numbers = new Set(instances.map((one) => number(one, "00200013")));
  if (instances.length < 2 || numbers.size > 1) return instances;
  const axis = normalOf(instances[0]);
  if (!axis || instances.some((one) => !one["00200032"]?.Value)) return instances;
  const depth = (one) => dot(axis, one["00200032"].Value.map(Number));
  return [...instances].sort((one, other) => depth(one) - depth(other));
}

function normalOf(instance) {
  const cosines = instance["00200037"]?.Value?.map(Number);
  return cosines?.length === 6 ? cross(cosines.slice(0, 3), cosines.slice(3)) : undefined;
}

const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

/** Where a frame lies: its frame of reference, the axis of its stack, and how far along; undefined for one that says nothing. */
export function placeOf(id) {
  const plane = metaData.get("imagePlaneModule", id);
  if (!plane?.imagePositionPatient || !plane.rowCosines || !plane.columnCosines || !plane.frameOfReferenceUID) return undefined;
  const axis = cross(Array.from(plane.rowCosines), Array.from(plane.columnCosines));
  return { reference: plane.frameOfReferenceUID, axis, depth: dot(axis, Array.from(plane.imagePositionPatient)) };
}

/**
 * Return the index in `ids` that shows what frame `id` shows: at the same depth where both lie in one frame of reference and
 * their slices are parallel, undefined where they do not.
 */
export function samePlace(id, ids) {
  const wanted = placeOf(id);
  if (!wanted) return undefined;
  let best;
  let distance = Infinity;
  for (let index = 0; index < ids.length; index += 1) {
    const place = placeOf(ids[index]);
    if (!place || place.reference !== wanted.reference || Math.abs(dot(place.axis, wanted.axis)) < 0.95) continue;
    const depth = dot(place.axis, wanted.axis) < 0 ? -place.depth : place.depth;
    if (Math.abs(depth - wanted.depth) < distance) {
      distance = Math.abs(depth - wanted.depth);
      best = index;
    }
  }
  return best;
}

/** Frames a second that the file wants (PS3.3 C.7.6.5, C.7.5.1.1.1), 15 where it does not say. */
export function rateOf(instance) {
  const time = number(instance, "00181063");
  const rate = number(instance, "00082144") || number(instance, "00180040") || (time > 0 ? 1000 / time : 15);
  return Math.min(60, Math.max(1, Math.round(rate)));
}

/** Load one frame ahead of showing it, so that a fault has a reason. */
export const loadFrame = (id) => imageLoader.loadAndCacheImage(id, { requestType: "interaction", priority: -5 });
