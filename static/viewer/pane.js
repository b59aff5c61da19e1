// One picture on the screen: a series, the frame of it that is shown, and everything written over it.
import { Enums, utilities } from "@cornerstonejs/core";
import { FrameError, Prefetcher, decoded } from "./frames.js";
import { edgesOf } from "./orientation.js";
import { number, value } from "./picture.js";
import { framesOf, loadFrame, rateOf } from "./series.js";
import { data, say } from "./words.js";

const part = (root, name) => root.querySelector(`[data-part="${name}"]`);

export class Pane extends EventTarget {
  constructor(root, engine, index) {
    super();
    this.root = root;
    this.index = index;
    this.engine = engine;
    this.element = part(root, "view");
    this.slider = part(root, "slider");
    this.viewportId = `pane-${index}`;
    this.series = undefined;
    this.frames = { ids: [], instances: new Map() };
    this.at = 0;
    this.playing = 0;
    this.prefetcher = new Prefetcher((loaded, total) => this.showProgress(loaded, total));
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value) - 1));
    this.element.addEventListener(Enums.Events.STACK_NEW_IMAGE, (event) => this.arrived(event.detail.imageId));
    this.element.addEventListener(Enums.Events.IMAGE_RENDERED, () => this.rendered());
    this.element.addEventListener(Enums.Events.VOI_MODIFIED, () => this.write());
    this.element.addEventListener(Enums.Events.CAMERA_MODIFIED, () => this.write());
  }

  get viewport() {
    return this.engine.getViewport(this.viewportId);
  }

  get imageId() {
    return this.frames.ids[this.at];
  }

  get instance() {
    return this.frames.instances.get(this.imageId);
  }

  get isWaiting() {
    return part(this.root, "message").dataset.kind === "wait" && !part(this.root, "message").hidden;
  }

  get isColour() {
    return Boolean(decoded(this.imageId)?.color);
  }

  enable() {
    if (this.viewport) return;
    this.engine.enableElement({ viewportId: this.viewportId, type: Enums.ViewportType.STACK, element: this.element, defaultOptions: { background: [0, 0, 0] } });
  }

  disable() {
    this.clear();
    if (this.viewport) this.engine.disableElement(this.viewportId);
  }

  clear() {
    this.play(0);
    this.prefetcher.stop();
    this.request = undefined;
    this.frames = { ids: [], instances: new Map() };
    this.series = undefined;
    this.at = 0;
    this.turns = 0;
    this.root.querySelector("[data-first]")?.setAttribute("hidden", "");
    part(this.root, "other").replaceChildren();
    part(this.root, "other").hidden = true;
    this.root.classList.remove("is-other");
    this.message("");
  }

  /** Show a series; `first` names the frame to begin with, else it is the middle one. Never throws: the pane says what is wrong. */
  async show(series, first) {
    const isHandedOver = Boolean(first) && !this.root.querySelector("[data-first]")?.hidden;
    if (!isHandedOver) this.clear();
    this.series = series;
    this.element.setAttribute("aria-label", say("picture_of", { series: series.title }));
    this.announce("series");
    if (!isHandedOver) this.message(say("loading"), "wait");
    const request = (this.request = Symbol("request"));
    try {
      if (series.kind === "report") return await this.showReport(series, request);
      const frames = await framesOf(series);
      if (request !== this.request) return undefined;
      if (!frames.ids.length) return this.showOther(series, frames);
      await this.showFrames(frames, first, request);
    } catch (error) {
      if (request === this.request) this.fail(error);
    }
    return undefined;
  }

  async showFrames(frames, first, request) {
    const found = first ? frames.ids.findIndex((id) => id.endsWith(`/instances/${first.instance}/frames/${first.frame}`)) : -1;
    const at = found >= 0 ? found : Math.floor(frames.ids.length / 2);
    await loadFrame(frames.ids[at]);
    if (request !== this.request) return;
    this.enable();
    this.frames = frames;
    this.at = at;
    this.isInverted = false;
    this.slider.max = String(frames.ids.length);
    this.slider.closest("[data-part=slide]").hidden = frames.ids.length < 2;
    this.rate = rateOf(this.instance);
    await this.viewport.setStack(frames.ids, at);
    if (request !== this.request) return;
    this.viewport.render();
    this.message("");
    this.announce("series");
    this.prefetcher.start(frames.ids, at);
  }

  showOther(series, frames) {
    const other = part(this.root, "other");
    this.root.classList.add("is-other");
    other.hidden = false;
    this.slider.closest("[data-part=slide]").hidden = true;
    this.message("");
    if (frames.videos.length) {
      for (const url of frames.videos) {
        const video = document.createElement("video");
        Object.assign(video, { src: url, controls: true, playsInline: true });
        video.setAttribute("aria-label", series.title);
        video.addEventListener("error", () => this.message(say("video_unknown"), "error"));
        other.append(video);
      }
    } else if (frames.documents.length) for (const url of frames.documents) this.showDocument(other, url, series.title);
    else this.message(say("nothing_to_show"), "error");
  }

  async showDocument(other, url, title) {
    const { request } = this;
    this.message(say("loading"), "wait");
    try {
      const answer = await fetch(url, { headers: { Accept: "application/pdf" } });
      if (!answer.ok) throw new FrameError(answer.status);
      const content = await answer.arrayBuffer();
      if (request !== this.request) return;
      const address = URL.createObjectURL(new Blob([content], { type: "application/pdf" }));
      const frame = document.createElement("iframe");
      Object.assign(frame, { src: address, title });
      const link = document.createElement("a");
      Object.assign(link, { href: address, target: "_blank", rel: "noopener", textContent: say("open_document"), className: "qv-button" });
      other.append(link, frame);
      this.message("");
    } catch (error) {
      if (request === this.request) this.fail(error);
    }
  }

  async showReport(series, request) {
    const answer = await fetch(series.report_url, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new FrameError(answer.status);
    const { reports } = await answer.json();
    if (request !== this.request) return;
    const other = part(this.root, "other");
    this.root.classList.add("is-other");
    other.hidden = false;
    this.slider.closest("[data-part=slide]").hidden = true;
    this.message(reports.length ? "" : say("nothing_to_show"), "error");
    for (const report of reports) {
      const article = document.createElement("article");
      article.tabIndex = 0;
      const heading = document.createElement("h2");
      heading.textContent = report.title;
      article.append(heading);
      for (const item of report.items) {
        const line = document.createElement("p");
        line.dataset.depth = String(Math.min(5, item.depth));
        const name = document.createElement("strong");
        name.textContent = item.name;
        line.append(name, item.value ? ` ${item.value}` : "");
        article.append(line);
      }
      other.append(article);
    }
  }

  // --- moving through it

  /** Show frame `at`, or the nearest there is. */
  go(at) {
    const last = this.frames.ids.length - 1;
    const wanted = Math.max(0, Math.min(last, at));
    if (last < 0 || wanted === this.at) return;
    this.at = wanted;
    this.position();
    this.viewport.setImageIdIndex(wanted).catch((error) => {
      if (this.at === wanted) this.fail(error);
    });
  }

  step(by) {
    this.go(this.at + by);
  }

  arrived(imageId) {
    this.at = Math.max(0, this.frames.ids.indexOf(imageId));
    this.message("");
    this.prefetcher.move(this.at);
    this.position();
    this.write();
    this.announce("frame");
  }

  rendered() {
    if (!this.imageId) return;
    const first = this.root.querySelector("[data-first]");
    if (first && !first.hidden) first.hidden = true;
    document.querySelector("[data-wait]")?.remove();
    document.documentElement.dataset.firstImage ||= String(Math.round(performance.now()));
    this.root.dataset.shown = "yes";
    this.write();
  }

  /** Play the series, `rate` frames a second; 0 stops. */
  play(rate) {
    clearTimeout(this.timer);
    const wasPlaying = this.playing;
    this.playing = this.frames.ids.length > 1 ? rate : 0;
    if (this.playing) {
      let due = performance.now();
      const next = () => {
        due = Math.max(due + 1000 / this.playing, performance.now());
        const following = (this.at + 1) % this.frames.ids.length;
        // A frame still on its way is waited for: nothing is left out.
        if (decoded(this.frames.ids[following])) this.go(following);
        else this.prefetcher.move(this.at);
        this.timer = setTimeout(next, due - performance.now());
      };
      this.timer = setTimeout(next, 1000 / this.playing);
    }
    if (wasPlaying !== this.playing) this.announce("cine");
  }

  // --- how it is drawn

  window(preset) {
    const image = decoded(this.imageId);
    if (!image) return;
    let { centre, width } = preset;
    if (preset.isFull) [centre, width] = [(image.minPixelValue + image.maxPixelValue) / 2, image.maxPixelValue - image.minPixelValue || 1];
    if (width === undefined) this.viewport.resetProperties();
    else {
      const { lower, upper } = utilities.windowLevel.toLowHighRange(width, centre);
      this.viewport.setProperties({ voiRange: { lower, upper } });
    }
    this.viewport.setProperties({ invert: this.isInverted !== Boolean(image.invert) });
    this.viewport.render();
  }

  invert() {
    this.isInverted = !this.isInverted;
    this.viewport.setProperties({ invert: !this.viewport.getProperties().invert });
    this.viewport.render();
  }

  rotate() {
    const { rotation = 0 } = this.viewport.getViewPresentation();
    this.viewport.setViewPresentation({ rotation: (rotation + 90) % 360 });
    this.viewport.render();
    this.write();
  }

  flip() {
    this.viewport.setCamera({ flipHorizontal: !this.viewport.getCamera().flipHorizontal });
    this.viewport.render();
    this.write();
  }

  zoomBy(factor) {
    this.viewport.setZoom(Math.min(20, Math.max(0.1, this.viewport.getZoom() * factor)));
    this.viewport.render();
  }

  /** Whether the whole picture is shown, as large as the pane allows. */
  isFitted() {
    return Math.abs(this.viewport.getZoom() - 1) < 0.005 && Math.hypot(...this.viewport.getPan()) < 2;
  }

  /** Show the whole picture again, turned as it is. */
  fit() {
    const { rotation = 0 } = this.viewport.getViewPresentation();
    const { flipHorizontal } = this.viewport.getCamera();
    this.viewport.resetCamera();
    if (flipHorizontal) this.viewport.setCamera({ flipHorizontal });
    if (rotation) this.viewport.setViewPresentation({ rotation });
    this.viewport.render();
  }

  reset() {
    this.isInverted = false;
    this.viewport.resetProperties();
    this.viewport.setCamera({ flipHorizontal: false, flipVertical: false });
    this.viewport.setViewPresentation({ rotation: 0 });
    this.viewport.resetCamera();
    this.viewport.render();
    this.write();
  }

  // --- what is written over it

  position() {
    const [number_, total] = [this.at + 1, this.frames.ids.length];
    this.slider.value = String(number_);
    this.slider.setAttribute("aria-valuetext", say("image_of", { number: number_, total }));
    part(this.root, "count").textContent = `${number_} / ${total}`;
  }

  write() {
    const { instance, viewport } = this;
    if (!instance || !viewport) return;
    this.position();
    const lines = (...texts) => texts.filter(Boolean).join("\n");
    const date = (text) => (/^\d{8}$/.test(text || "") ? new Date(`${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}T12:00`).toLocaleDateString(data.locale) : "");
    const name = value(instance, "00100010")?.Alphabetic?.replace(/\^+/g, " ").trim();
    const born = date(value(instance, "00100030"));
    part(this.root, "patient").textContent = lines(name, value(instance, "00100020"), born && say("born", { date: born }));
    part(this.root, "study").textContent = lines(
      date(value(instance, "00080020")), value(instance, "00081030"), value(instance, "00080080"),
    );
    const thick = number(instance, "00180050");
    const place = number(instance, "00201041");
    part(this.root, "series").textContent = lines(
      [value(instance, "00080060"), this.series?.title].filter(Boolean).join(" · "),
      [place !== undefined && `${place.toFixed(1)} mm`, thick && `↕ ${thick.toFixed(1)} mm`].filter(Boolean).join("  "),
    );
    const range = !this.isColour && viewport.getProperties().voiRange;
    const shown = range ? utilities.windowLevel.toWindowLevel(range.lower, range.upper) : undefined;
    const lossy = value(instance, "00282110") === "01" && say("lossy");
    part(this.root, "window").textContent = lines(
      shown && say("window_is", { centre: Math.round(shown.windowCenter), width: Math.round(shown.windowWidth) }),
      say("zoom_is", { percent: Math.round(viewport.getZoom() * 100) }), lossy,
    );
    const edges = edgesOf(viewport, this.imageId) || {};
    for (const edge of ["top", "right", "bottom", "left"]) part(this.root, `edge-${edge}`).textContent = edges[edge] || "";
  }

  showProgress(loaded, total) {
    const bar = part(this.root, "progress");
    bar.hidden = loaded >= total;
    bar.max = total;
    bar.value = loaded;
  }

  message(text, kind = "") {
    const place = part(this.root, "message");
    if (place.textContent === text) return;
    place.textContent = text;
    place.dataset.kind = kind;
    place.hidden = !text;
  }

  /** Say in plain words why there is no picture. */
  fail(error) {
    if (error?.name === "AbortError") return;
    // For whoever looks into it: a code or a library's sentence, nothing of the patient.
    console.warn("viewer:", error);
    const status = error instanceof FrameError ? error.status : error?.error?.status;
    const known = { 0: "fault_offline", 401: "fault_ended", 403: "fault_ended", 404: "fault_ended", 410: "fault_gone", 503: "fault_busy" };
    this.message(say(known[status] || (status ? "fault_server" : "fault_decode")), "error");
    this.dispatchEvent(new CustomEvent("fault", { detail: { status } }));
  }

  announce(kind) {
    this.dispatchEvent(new CustomEvent(kind));
  }
}

export const modalityOf = (pane) => value(pane.instance || {}, "00080060") || pane.series?.modality || "";
