// Frames from the server: asked for once, the ones around the picture on the screen first, given up when another series is shown.
import { cache, imageLoader } from "@cornerstonejs/core";
import { createImage } from "@cornerstonejs/dicom-image-loader/imageLoader";
import { FRAME, partOf } from "./picture.js";

const AT_ONCE = 4;
const early = window.viewboxEarly;
const running = new Map();

/** Return the decoded image of a frame, undefined before it is there. */
export const decoded = (imageId) => (imageId ? cache.getImage(imageId) : undefined);

/** What the server answered instead of a frame; status 0: nothing came at all. */
export class FrameError extends Error {
  constructor(status) {
    super(`frame: ${status}`);
    this.status = status;
  }
}

/** Ask our server; what the page asked for before the program was there is taken from there. */
export async function ask(url, options) {
  const first = early?.answers.get(url);
  early?.answers.delete(url);
  let answer;
  try {
    answer = await (first || fetch(url, options));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new FrameError(0);
  }
  if (!answer.ok) throw new FrameError(answer.status);
  return answer;
}

async function load(imageId, options, signal) {
  const answer = await ask(imageId.slice("wadors:".length), {
    headers: { Accept: FRAME },
    priority: options.requestType === "prefetch" ? "low" : "high",
    signal,
  });
  const part = partOf(answer.headers.get("Content-Type") || "", await answer.arrayBuffer());
  return createImage(imageId, part.bytes, part.syntax, options);
}

/** Make the viewer's frames come through `ask`. */
export function registerFrames() {
  imageLoader.registerImageLoader("wadors", (imageId, options = {}) => {
    const controller = new AbortController();
    running.set(imageId, controller);
    const promise = load(imageId, options, controller.signal).finally(() => running.delete(imageId));
    return { promise, cancelFn: () => controller.abort() };
  });
}

/** Fetches the frames of what one pane shows, nearest first; `onProgress(loaded, total)` after each. */
export class Prefetcher {
  constructor(onProgress) {
    this.onProgress = onProgress;
    this.ids = [];
    this.at = 0;
    this.working = new Set();
    this.failed = new Set();
  }

  start(ids, at) {
    this.stop();
    this.ids = ids;
    this.failed.clear();
    this.move(at);
  }

  move(at) {
    this.forward = at >= this.at;
    this.at = at;
    this.fill();
  }

  /** Give up what is under way and not shown. */
  stop() {
    this.ids = [];
    for (const id of this.working) running.get(id)?.abort();
    this.working.clear();
  }

  next() {
    const room = Math.floor((0.8 * cache.getMaxCacheSize()) / Math.max(1, this.bytes()));
    const most = Math.min(this.ids.length, room);
    for (let step = 0; step <= most; step += 1) {
      for (const place of this.forward ? [this.at + step, this.at - step] : [this.at - step, this.at + step]) {
        const id = this.ids[place];
        if (id && !this.working.has(id) && !this.failed.has(id) && !cache.getImageLoadObject(id)) return id;
      }
    }
    return undefined;
  }

  bytes() {
    return decoded(this.ids[this.at])?.sizeInBytes || 1 << 20;
  }

  fill() {
    while (this.working.size < AT_ONCE) {
      const id = this.next();
      if (!id) break;
      this.working.add(id);
      imageLoader.loadAndCacheImage(id, { requestType: "prefetch", priority: 10 })
        .catch(() => this.failed.add(id))
        .finally(() => {
          if (!this.working.delete(id)) return;
          this.report();
          this.fill();
        });
    }
  }

  report() {
    this.onProgress(this.ids.reduce((count, id) => count + (decoded(id) ? 1 : 0), 0), this.ids.length);
  }
}
