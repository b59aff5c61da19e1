/* The line to the server: what is sent, again and again if need be, and never twice.

   Small files travel together by STOW-RS, archives and large files in pieces by tus. Each file has a key under which the
   server knows it: before anything is sent a second time, the server is asked which keys it has. Whatever goes wrong,
   the line waits and goes on: a lost connection, a server that is away or full, a person who was signed out. */

const GROUP_BYTES = 16 * 1024 * 1024;
const GROUP_FILES = 100;
const LARGE_BYTES = 64 * 1024 * 1024;
const PARALLEL = 3;
const FIRST_PIECE_BYTES = 4 * 1024 * 1024;
const LARGEST_PIECE_BYTES = 16 * 1024 * 1024;
const SMALLEST_PIECE_BYTES = 256 * 1024;
const ASKED_AT_ONCE = 1000;
const POLL_MS = 1500;
const SIGN_IN_POLL_MS = 3000;
const ACTIVITY_MS = 60000;
const LONGEST_PAUSE_MS = 30000;
const SLOW_AFTER_MS = 20000;
const SILENT_MS = 30000;
const UNANSWERED_MS = 150000;
const PIECE_UNANSWERED_MS = 60000;
const AWAY_STATUS = new Set([408, 425, 429, 500, 502, 503, 504]);

export class Line {
  /* `page`: what the page does with what happens here:
     change(item, state, text), progress(), notice(word, kind, sentence), slow(is), row(row), hasRepeatable(). */
  constructor(config, page) {
    this.config = config;
    this.words = config.words;
    this.csrf = config.csrf;
    this.page = page;
    this.batch = null;
    this.queue = [];
    this.active = new Set();
    this.requests = new Set();
    this.large = new Set();
    this.held = "";
    this.waiters = [];
    this.building = [];
    this.buildingBytes = 0;
    this.pieceBytes = FIRST_PIECE_BYTES;
    this.expecting = 0;
    this.results = { after: "", known: new Set(), open: 0, finished: 0, isPolling: false, changedAt: 0 };
    this.lastActivity = Date.now();
    this.keys = 0;
  }

  get isSending() {
    return Boolean(this.active.size || this.queue.length || this.building.length || this.expecting);
  }

  change(item, state, text) {
    if (!item.isCancelled) this.page.change(item, state, text);
  }

  clear() {
    if (!this.held) this.page.notice("");
  }

  newKey() {
    this.keys += 1;
    return String(this.keys);
  }

  // --- taking --------------------------------------------------------------------------------------------------------
  /* Make sure that there is an open batch; false when the person cancelled before there was one. */
  async open() {
    if (this.batch && !this.batch.isClosed) return true;
    if (!this.opening) this.opening = this.begin().finally(() => { this.opening = null; });
    return this.opening;
  }

  async begin() {
    const form = new URLSearchParams();
    if (this.config.study) form.set("study", this.config.study);
    if (this.config.patient) form.set("patient", this.config.patient);
    const answer = await this.persist(() => this.post(this.config.urls.begin, form));
    if (!answer || answer.status !== 201) return false;
    this.batch = { id: answer.body.batch, urls: answer.body.urls, isClosed: false };
    Object.assign(this.results, { after: "", known: new Set(), open: 0, finished: 0, isHeard: false, isGone: false });
    return true;
  }

  /* Ask what of these items the sender's own uploads have brought, then queue the rest. */
  async take(items) {
    this.expecting += 1;
    try {
      if (!(await this.open())) return;
      for (let start = 0; start < items.length; start += ASKED_AT_ONCE) {
        const some = items.slice(start, start + ASKED_AT_ONCE);
        await this.leaveOut(some);
        for (const item of some) if (item.state === "waiting") this.add(item);
      }
    } finally {
      this.expecting -= 1;
      this.pump();
    }
  }

  async leaveOut(items) {
    const images = items.filter((item) => item.uid);
    const files = items.filter((item) => item.fingerprint);
    if (!images.length && !files.length) return;
    const answer = await this.persist(() => this.ask({
      instances: images.map((item) => [item.uid, item.bytes]),
      files: files.map((item) => [item.fingerprint, item.bytes, item.key]),
    }));
    if (!answer || answer.status !== 200) return;
    // The same image twice among the files is one that was brought once and one that was not.
    const left = new Map();
    images.forEach((item, n) => {
      const id = `${item.uid} ${item.bytes}`;
      if (!left.has(id)) left.set(id, answer.body.instances[n]);
      if (left.get(id) > 0) {
        left.set(id, left.get(id) - 1);
        this.change(item, "earlier", this.words.earlier);
      }
    });
    files.forEach((item, n) => {
      const found = answer.body.files[n];
      if (!found) return;
      if (found.done) this.change(item, "earlier", this.words.earlier);
      else { item.tusUrl = found.url; item.sent = found.offset; }
    });
  }

  ask(question) {
    const body = JSON.stringify({ batch: this.batch.id, keys: [], instances: [], files: [], ...question });
    return this.post(this.config.urls.have, new Blob([body], { type: "application/json" }));
  }

  /* Whether it goes by itself, in pieces. */
  isLarge(item) {
    return item.kind === "archive" || item.bytes > LARGE_BYTES;
  }

  add(item) {
    if (this.isLarge(item)) { this.queue.push([item]); this.pump(); return; }
    if (this.building.length && (this.buildingBytes + item.bytes > GROUP_BYTES || this.building.length >= GROUP_FILES)) {
      this.flush();
    }
    this.building.push(item);
    this.buildingBytes += item.bytes;
  }

  flush() {
    if (this.building.length) this.queue.push(this.building);
    this.building = [];
    this.buildingBytes = 0;
    this.pump();
  }

  pump() {
    if (!this.expecting && this.building.length) { this.flush(); return; }
    while (!this.held && this.active.size < PARALLEL && this.queue.length) {
      const group = this.queue.shift();
      const task = (this.isLarge(group[0]) ? this.sendLarge(group[0]) : this.sendGroup(group))
        .finally(() => { this.active.delete(task); this.pump(); });
      this.active.add(task);
    }
    this.poll();
    this.page.progress();
  }

  // --- small files: STOW-RS (PS3.18 10.5) -----------------------------------------------------------------------------
  async sendGroup(group) {
    let items = group;
    for (let attempt = 1; items.length; attempt += 1) {
      await this.gate();
      items = items.filter((item) => !item.isCancelled);
      if (!items.length) return;
      for (const item of items) this.change(item, "sending", this.words.sending);
      const { body, type, starts } = multipart(items);
      const answer = await this.post(this.batch.urls.store, body, {
        type,
        progress: (loaded) => {
          items.forEach((item, n) => { item.sent = Math.max(0, Math.min(item.bytes, loaded - starts[n])); });
          this.page.progress();
        },
      });
      // Stored, stored in part, not stored: all of it was taken and has its outcome (Table 10.5.3-1).
      if ([200, 202, 409, 413].includes(answer.status) && answer.body && !answer.body.code) {
        for (const item of items) {
          item.sent = item.bytes;
          if (item.state === "sending") this.change(item, "received", this.words.received);
        }
        this.clear();
        this.ping();
        this.poll();
        return;
      }
      for (const item of items) { item.sent = 0; this.change(item, "waiting", this.words.waiting); }
      if (!(await this.isWorthAnother(answer, attempt))) { this.fail(items, answer); return; }
      items = await this.missing(items);
      // On a bad line less is at stake the next time.
      if (items.length > 1 && answer.status === 0 && !answer.aborted) {
        const half = items.splice(Math.ceil(items.length / 2));
        this.queue.unshift(half);
      }
    }
  }

  /* Return those of the items that the server has not: an answer may have been lost after the files had arrived. */
  async missing(items) {
    await this.gate();
    const answer = await this.persist(() => this.ask({ keys: items.map((item) => item.key) }));
    if (!answer || answer.status !== 200) return items;
    const left = [];
    for (const item of items) {
      const row = answer.body.keys[item.key];
      if (row) { item.sent = item.bytes; this.page.row(row); }
      else if (await isReadable(item.file)) left.push(item);
      else this.change(item, "failed", this.words.unreadable);
    }
    this.poll();
    return left;
  }

  // --- archives and large files: tus 1.0 ------------------------------------------------------------------------------
  async sendLarge(item) {
    for (let attempt = 1; ; attempt += 1) {
      await this.gate();
      if (item.isCancelled) return;
      this.change(item, "sending", this.words.sending);
      const before = item.sent;
      const answer = await this.upload(item);
      if (answer.status === 200) {
        item.sent = item.bytes;
        if (item.state === "sending") this.change(item, "received", this.words.received);
        this.clear();
        this.poll();
        return;
      }
      if (item.sent > before) attempt = 1;
      this.change(item, "waiting", this.words.waiting);
      if ([404, 410].includes(answer.status)) { item.tusUrl = ""; item.sent = 0; }
      if (answer.status === 0) this.pieceBytes = Math.max(SMALLEST_PIECE_BYTES, this.pieceBytes / 2);
      if (!(await this.isWorthAnother(answer, attempt))) { this.fail([item], answer); return; }
      if (!(await isReadable(item.file))) { this.change(item, "failed", this.words.unreadable); return; }
    }
  }

  upload(item) {
    return new Promise((resolve) => {
      const silence = watchFor(() => { upload.abort().catch(() => {}); finish({ status: 0, body: null }); });
      const finish = (answer) => { silence.end(); this.large.delete(stop); resolve(answer); };
      const upload = new window.tus.Upload(item.file, {
        // With an address to go on at there is none to begin anew at: what has arrived is not given up for a fault.
        endpoint: item.tusUrl ? null : this.config.urls.tus,
        uploadUrl: item.tusUrl || null,
        chunkSize: this.pieceBytes,
        retryDelays: null,
        uploadDataDuringCreation: true,
        storeFingerprintForResuming: false, // names of files do not stay behind in this browser
        metadata: { filename: item.name, key: item.key, fingerprint: item.fingerprint || "", batch: this.batch.id },
        httpStack: new CheckedStack(),
        onBeforeRequest: (request) => { request.setHeader("X-CSRFToken", this.csrf); },
        onUploadUrlAvailable: () => { item.tusUrl = upload.url; },
        onProgress: (sent) => {
          silence.broken(PIECE_UNANSWERED_MS);
          item.sent = sent;
          this.page.progress(item);
        },
        onChunkComplete: () => {
          this.pieceBytes = Math.min(LARGEST_PIECE_BYTES, this.pieceBytes * 2);
          upload.options.chunkSize = this.pieceBytes;
          this.clear();
          this.ping();
        },
        onSuccess: () => finish({ status: 200 }),
        onError: (error) => finish(answerOf(error)),
      });
      const stop = (isForGood) => {
        upload.abort(Boolean(isForGood)).catch(() => {});
        finish({ status: 0, body: null, aborted: true });
      };
      this.large.add(stop);
      upload.start();
    });
  }

  // --- trouble --------------------------------------------------------------------------------------------------------
  /* Wait as long as the trouble takes and return true; false when sending this again would not help. */
  async isWorthAnother(answer, attempt) {
    const code = answer.body && answer.body.code;
    if (answer.aborted) return true;
    if (answer.status === 401) { this.hold("signedOut"); return true; }
    if (answer.status === 403) return this.renewToken();
    if (code === "limit-reached") { this.hold("quota"); return true; }
    if (code === "batch-closed") { this.batch.isClosed = true; return this.open(); }
    if (answer.status === 404 && attempt > 2) { this.hold("ended"); return true; }
    if (code === "storage-full") { this.page.notice("diskFull", "warning"); return this.rest(Math.max(attempt, 4), answer); }
    if (answer.status === 0) { this.page.notice("lineLost", "warning"); return this.rest(attempt, answer); }
    if (AWAY_STATUS.has(answer.status)) { this.page.notice("serverAway", "warning"); return this.rest(attempt, answer); }
    if ([400, 404, 409, 410, 423, 460].includes(answer.status) && attempt < 20) return this.rest(Math.min(attempt, 3), answer);
    return false;
  }

  rest(attempt, answer) {
    const growing = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** Math.min(attempt, 10));
    const asked = Math.min(LONGEST_PAUSE_MS, (answer.retryAfter || 0) * 1000);
    const pause = Math.max(growing, asked) * (0.75 + Math.random() / 2);
    return new Promise((resolve) => {
      const done = () => { clearTimeout(timer); window.removeEventListener("online", done); resolve(true); };
      const timer = setTimeout(done, pause);
      window.addEventListener("online", done);
    });
  }

  /* Repeat a request until it is answered for good; null when there is nobody left to ask. */
  async persist(request) {
    for (let attempt = 1; ; attempt += 1) {
      await this.gate();
      const answer = await request();
      if (answer.status >= 200 && answer.status < 300) { if (attempt > 1) this.clear(); return answer; }
      if (!(await this.isWorthAnother(answer, attempt))) {
        this.page.notice("serverError", "danger", answer.body && answer.body.message);
        return null;
      }
    }
  }

  fail(items, answer) {
    const text = answer.status === 413 ? "" : (answer.body && answer.body.message) || this.words.refused;
    for (const item of items) {
      item.canRepeat = true;
      this.change(item, "failed", text || this.words.refused);
    }
  }

  gate() {
    return this.held ? new Promise((resolve) => this.waiters.push(resolve)) : Promise.resolve();
  }

  /* Stop sending until `goOn`: paused, quota, signedOut, ended. */
  hold(reason) {
    if (this.held) return;
    this.held = reason;
    if (reason !== "paused") this.page.notice(reason, reason === "signedOut" ? "warning" : "danger");
    if (reason === "signedOut") this.waitForSignIn();
    this.page.progress();
  }

  pause() {
    this.hold("paused");
    this.abort();
  }

  goOn() {
    this.held = "";
    this.page.notice("");
    for (const waiter of this.waiters.splice(0)) waiter();
    this.pump();
  }

  /* The page has marked as cancelled whatever is not there yet. */
  cancel() {
    this.queue = [];
    this.building = [];
    this.held = "";
    for (const waiter of this.waiters.splice(0)) waiter();
    this.abort(true);
    this.page.notice("");
    this.pump();
  }

  abort(isForGood = false) {
    for (const request of Array.from(this.requests)) request.abort();
    for (const stop of Array.from(this.large)) stop(isForGood);
  }

  async waitForSignIn() {
    while (this.held === "signedOut") {
      await new Promise((resolve) => setTimeout(resolve, SIGN_IN_POLL_MS));
      const found = await this.whoAmI();
      if (this.held !== "signedOut") return;
      if (found === "other") this.page.notice("otherPerson", "warning");
      if (found === "me") { this.goOn(); return; }
    }
  }

  async renewToken() {
    if (this.isRenewed && Date.now() - this.isRenewed < 2000) { this.hold("ended"); return true; }
    const found = await this.whoAmI();
    if (found === "me") { this.isRenewed = Date.now(); return true; }
    if (found === "away") return this.rest(3, {});
    // Whoever has no account here has nowhere to sign in again.
    this.hold(this.config.urls.signIn ? "signedOut" : "ended");
    return true;
  }

  /* Whoever signed in again in another tab has a new token; this page still has the files. */
  async whoAmI() {
    try {
      const answer = await fetch(this.config.urls.begin, {
        headers: { "X-Background": "1", Accept: "application/json" }, redirect: "error",
        signal: AbortSignal.timeout(SILENT_MS),
      });
      if (answer.status === 401) return "nobody";
      if (!answer.ok) return answer.status >= 500 ? "away" : "other";
      const body = await answer.json();
      if (body.person !== this.config.person) return "other";
      this.csrf = body.csrf;
      return "me";
    } catch {
      return "away";
    }
  }

  /* Sending is what the person asked for: while it goes on, they are not signed out for resting. */
  ping() {
    const now = Date.now();
    if (!this.config.urls.activity || now - this.lastActivity < ACTIVITY_MS) return;
    this.lastActivity = now;
    fetch(this.config.urls.activity, { credentials: "same-origin" }).catch(() => {});
  }

  // --- what became of it ----------------------------------------------------------------------------------------------
  async poll() {
    const state = this.results;
    if (state.isPolling) return;
    state.isPolling = true;
    let pause = 300;
    while (this.batch && !state.isGone && (this.isSending || !this.hasHeardAll)) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = POLL_MS;
      try {
        pause = (await this.hear()) ? 0 : POLL_MS;
      } catch {
        /* the line or the server is away: asked again in a moment */
      }
    }
    this.results.isPolling = false;
    this.page.slow(false);
    this.page.progress();
    // Not before everything has its outcome: what is chosen meanwhile belongs to the same upload.
    if (!this.isSending && this.hasHeardAll) this.close();
  }

  get hasHeardAll() {
    return this.results.isHeard && !this.results.open && this.results.known.size >= this.results.finished;
  }

  /* Ask once; whether there is more to be had at once. */
  async hear() {
    const state = this.results;
    const url = new URL(this.batch.urls.results, window.location.href);
    if (state.after) url.searchParams.set("after", state.after);
    url.searchParams.set("known", String(state.known.size));
    const wasSending = this.isSending;
    const answer = await fetch(url, {
      headers: { "X-Background": "1", Accept: "application/json" }, redirect: "error",
      signal: AbortSignal.timeout(SILENT_MS),
    });
    if (answer.status === 401) this.hold("signedOut");
    state.misses = answer.status === 404 ? (state.misses || 0) + 1 : 0;
    if (state.misses > 3) { state.isGone = true; this.hold("ended"); }
    if (!answer.ok) return false;
    const body = await answer.json();
    state.after = body.after;
    if (body.uploads.length || body.open !== state.open) state.changedAt = Date.now();
    state.open = body.open;
    state.finished = body.finished;
    for (const row of body.uploads) {
      state.known.add(row.id);
      this.page.row(row);
    }
    // Written down early, committed late: who misses one reads all of them once more.
    if (!body.uploads.length && state.known.size < body.finished) state.after = "";
    state.isHeard = !wasSending && !this.isSending;
    this.page.slow(Boolean(!this.isSending && state.open && Date.now() - state.changedAt > SLOW_AFTER_MS));
    this.page.progress();
    return state.known.size < body.finished;
  }

  async close() {
    const batch = this.batch;
    if (!batch || batch.isClosed || this.page.hasRepeatable()) return;
    batch.isClosed = true;
    await this.post(batch.urls.close, new URLSearchParams());
  }

  post(url, body, { type = "", progress = null } = {}) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      this.requests.add(request);
      let isSilent = false;
      const silence = watchFor(() => { isSilent = true; request.abort(); });
      const finish = (answer) => { silence.end(); this.requests.delete(request); resolve(answer); };
      request.open("POST", url);
      request.setRequestHeader("X-CSRFToken", this.csrf);
      request.setRequestHeader("Accept", "application/dicom+json, application/json");
      if (type) request.setRequestHeader("Content-Type", type);
      request.upload.addEventListener("progress", (event) => {
        silence.broken(event.loaded < event.total ? SILENT_MS : UNANSWERED_MS);
        if (progress) progress(event.loaded);
      });
      request.addEventListener("load", () => {
        finish({ status: request.status, body: parsed(request.responseText), retryAfter: Number(request.getResponseHeader("Retry-After")) || 0 });
      });
      request.addEventListener("error", () => finish({ status: 0, body: null }));
      request.addEventListener("abort", () => finish({ status: 0, body: null, aborted: !isSilent }));
      request.send(body);
    });
  }
}

/* Write pieces with a digest over their bytes, where the browser offers digests (not without HTTPS). */
class CheckedStack {
  constructor() { this.plain = new window.tus.DefaultHttpStack({}); }

  getName() { return "CheckedStack"; }

  createRequest(method, url) {
    const request = this.plain.createRequest(method, url);
    const send = request.send.bind(request);
    request.send = async (body = null) => {
      if (body && window.crypto.subtle) {
        const digest = new Uint8Array(await window.crypto.subtle.digest("SHA-256", await body.arrayBuffer()));
        request.setHeader("Upload-Checksum", `sha256 ${btoa(String.fromCharCode(...digest))}`);
      }
      return send(body);
    };
    return request;
  }
}

/* A line can fall silent without breaking: whoever hears nothing for too long hangs up and calls again. */
function watchFor(onSilence) {
  let heardAt = Date.now();
  let limit = SILENT_MS;
  const timer = setInterval(() => {
    if (Date.now() - heardAt < limit) return;
    clearInterval(timer);
    onSilence();
  }, 1000);
  return {
    broken(next) { heardAt = Date.now(); limit = next; },
    end() { clearInterval(timer); },
  };
}

function answerOf(error) {
  const response = error && error.originalResponse;
  if (!response) return { status: 0, body: null };
  return {
    status: response.getStatus(), body: parsed(response.getBody()),
    retryAfter: Number(response.getHeader("Retry-After")) || 0,
  };
}

function parsed(text) {
  try { return JSON.parse(text); } catch { return null; } // a page instead of an answer
}

async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false; // changed or taken away since it was chosen
  }
}

/* One body of many files, which the browser reads from the disk while it sends them. */
function multipart(items) {
  const boundary = `vb-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
  const parts = [];
  const starts = [];
  let length = 0;
  for (const item of items) {
    const head = `\r\n--${boundary}\r\nContent-Type: application/dicom\r\nContent-ID: <${item.key}>\r\nContent-Location: ${encodeURIComponent(item.name.slice(-255))}\r\n\r\n`;
    parts.push(head, item.file);
    starts.push(length + head.length);
    length += head.length + item.bytes;
  }
  parts.push(`\r\n--${boundary}--\r\n`);
  return { body: new Blob(parts), type: `multipart/related; type="application/dicom"; boundary=${boundary}`, starts };
}
