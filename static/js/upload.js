/* The upload page: takes files, folders and archives, sends them in groups, and says what became of each.

   Loose files travel together (one request for every few megabytes), large ones alone; three requests are under way at
   once. A request that fails for the line's sake is sent again; the server knows the file by its number and never takes
   it twice. Whatever comes from outside is set as text, never as markup. */

const GROUP_BYTES = 16 * 1024 * 1024;
const GROUP_FILES = 50;
const ALONE_BYTES = 8 * 1024 * 1024;
const PARALLEL = 3;
const ATTEMPTS = 8;
const POLL_MS = 1200;
const BUILD_ROWS = 400;
const STUDY_BUTTONS = 5;
const RETRY_STATUS = new Set([0, 408, 425, 429, 500, 502, 503, 504]);

const root = document.getElementById("upload");
if (root) start(root);

function start(page) {
  const words = JSON.parse(document.getElementById("upload-words").textContent);
  const find = (name) => page.querySelector(`[data-part="${name}"]`);
  const part = {
    drop: find("drop"), overall: find("overall"), bar: find("bar"), sent: find("sent"), done: find("done"),
    notice: find("notice"), list: find("list"), more: find("more"), stop: find("stop"), again: find("again"),
    link: find("link"), studies: find("studies"), filters: find("filters"), row: document.getElementById("upload-row"),
  };
  const maxFileBytes = Number(page.dataset.maxFileBytes);
  const inOrder = new Intl.Collator(document.documentElement.lang, { numeric: true });
  const number = new Intl.NumberFormat(document.documentElement.lang);
  const state = {
    batch: null, items: [], queue: [], active: new Set(), stopped: false, closed: true, byUpload: new Map(), byKey: new Map(),
    cursor: "", polling: false, startedAt: 0, filter: "all", studies: new Map(), building: 0, spoken: 0,
  };

  const say = (word, values = {}) =>
    words[word].replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));

  const size = (bytes) => {
    // As the server's pages write sizes.
    const units = ["KB", "MB", "GB"];
    let value = bytes / 1024;
    let unit = 0;
    while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
    const digits = value < 100 ? 1 : 0;
    const text = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: digits }).format(value);
    return `${text} ${units[unit]}`;
  };

  // --- choosing ------------------------------------------------------------------------------------------------------
  find("pick-files").addEventListener("click", () => find("files").click());
  find("pick-folder").addEventListener("click", () => find("folder").click());
  for (const input of [find("files"), find("folder")]) {
    input.addEventListener("change", () => {
      const chosen = Array.from(input.files, (file) => ({ file, name: file.webkitRelativePath || file.name }));
      input.value = "";
      take(chosen);
    });
  }

  let depth = 0;
  page.addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; part.drop.classList.add("is-over"); });
  page.addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) part.drop.classList.remove("is-over"); });
  page.addEventListener("dragover", (event) => { event.preventDefault(); event.dataTransfer.dropEffect = "copy"; });
  page.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    part.drop.classList.remove("is-over");
    // The list empties when this handler returns: ask for every entry before the first await.
    const entries = Array.from(event.dataTransfer.items || [], (item) => item.webkitGetAsEntry && item.webkitGetAsEntry());
    const loose = Array.from(event.dataTransfer.files);
    tell(words.reading);
    const found = [];
    if (entries.some(Boolean)) {
      for (const entry of entries) if (entry) await walk(entry, "", found);
    } else {
      for (const file of loose) found.push({ file, name: file.name });
    }
    tell("");
    take(found);
  });
  // A file dropped beside the field must not replace the page.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());

  async function walk(entry, path, found) {
    if (entry.isFile) {
      try {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
        found.push({ file, name: path + entry.name });
      } catch {
        found.push({ file: null, name: path + entry.name });
      }
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      // Chromium hands out at most 100 entries at a time; an empty answer is the end.
      const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
      if (!some.length) return;
      for (const child of some) await walk(child, `${path}${entry.name}/`, found);
      if (found.length % 200 < some.length) tell(say("found", { count: number.format(found.length) }));
    }
  }

  // --- taking --------------------------------------------------------------------------------------------------------
  async function take(chosen) {
    if (!chosen.length) return;
    if (!state.startedAt) state.startedAt = performance.now();
    state.stopped = false;
    chosen.sort((one, other) => inOrder.compare(one.name, other.name));
    page.classList.add("is-used");
    const added = chosen.map(({ file, name }) => {
      const item = {
        key: String(state.items.length + 1), file, name, bytes: file ? file.size : 0, sent: 0, state: "waiting",
        text: words.waiting, study: "", archive: null, element: null,
      };
      state.items.push(item);
      state.byKey.set(item.key, item);
      if (!file) fail(item, words.unreadable);
      else if (item.bytes > maxFileBytes) fail(item, say("tooLarge", { limit: size(maxFileBytes) }));
      return item;
    });
    part.overall.hidden = false;
    part.again.hidden = true;
    buildRows();
    refresh();
    if (!state.batch && !(await begin())) {
      for (const item of added) if (item.state === "waiting") fail(item, words.notSent, true);
      refresh();
      return;
    }
    if (state.closed && !state.batch.isOpen) {
      state.batch = null;
      return takeAgain(added);
    }
    enqueue(added.filter((item) => item.state === "waiting"));
  }

  async function takeAgain(items) {
    if (await begin()) enqueue(items.filter((item) => item.state === "waiting"));
    else for (const item of items) if (item.state === "waiting") fail(item, words.notSent, true);
    refresh();
  }

  async function begin() {
    const form = new FormData();
    if (page.dataset.study) form.append("study", page.dataset.study);
    const answer = await persist(() => post(page.dataset.beginUrl, form));
    if (!answer.body || answer.status !== 201) {
      tell(reason(answer), "danger");
      return false;
    }
    state.batch = { ...answer.body, isOpen: true };
    state.closed = false;
    state.cursor = "";
    part.link.href = state.batch.page_url;
    part.link.hidden = false;
    tell("");
    return true;
  }

  function enqueue(items) {
    let group = [];
    let bytes = 0;
    const flush = () => { if (group.length) state.queue.push(group); group = []; bytes = 0; };
    for (const item of items) {
      item.batch = state.batch;
      if (item.bytes > ALONE_BYTES) { state.queue.push([item]); continue; }
      if (group.length && (bytes + item.bytes > GROUP_BYTES || group.length >= GROUP_FILES)) flush();
      group.push(item);
      bytes += item.bytes;
    }
    flush();
    pump();
    poll();
  }

  // --- sending -------------------------------------------------------------------------------------------------------
  function pump() {
    while (!state.stopped && state.active.size < PARALLEL && state.queue.length) {
      const group = state.queue.shift();
      const task = send(group).finally(() => { state.active.delete(task); pump(); });
      state.active.add(task);
    }
    part.stop.hidden = !(state.active.size || state.queue.length);
    if (!state.active.size && !state.queue.length) close();
  }

  async function send(group) {
    const batch = group[0].batch;
    const form = new FormData();
    // The names come first: a multipart file name loses its folders on the way.
    form.append("names", JSON.stringify(Object.fromEntries(group.map((item) => [item.key, item.name]))));
    for (const item of group) {
      form.append(item.key, item.file, "file");
      set(item, "sending", words.sending);
    }
    const answer = await persist(() => post(batch.files_url, form, (loaded) => {
      let left = loaded;
      for (const item of group) {
        item.sent = Math.min(item.bytes, left);
        left = Math.max(0, left - item.bytes);
        if (group.length === 1 && item.bytes > ALONE_BYTES) progress(item);
      }
      refresh();
    }));
    if (answer.status === 200 && answer.body) {
      const answered = new Map(answer.body.files.map((row) => [row.key, row]));
      for (const item of group) {
        const row = answered.get(item.key);
        if (!row) { fail(item, words.notSent, true); continue; }
        item.sent = item.bytes;
        item.file = row.state === "failed" ? item.file : null;
        if (row.id) state.byUpload.set(row.id, item);
        if (item.early) { accept(item.early); item.early = null; } else settle(item, row);
      }
    } else {
      const text = reason(answer);
      const isAboutPerson = [401, 403].includes(answer.status);
      for (const item of group) { item.sent = 0; fail(item, isAboutPerson ? words.notSent : text, true); }
      if ([401, 403, 409].includes(answer.status) || (answer.body && answer.body.code === "limit-reached")) {
        halt(text);
      }
    }
    refresh();
  }

  function halt(text) {
    state.stopped = true;
    for (const group of state.queue) for (const item of group) fail(item, words.notSent, true);
    state.queue = [];
    tell(text, "danger");
  }

  async function persist(request) {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await request();
      const isLine = RETRY_STATUS.has(answer.status) && !(answer.body && answer.body.code);
      if (!isLine || attempt >= ATTEMPTS || answer.aborted) { if (attempt > 1) tell(""); return answer; }
      tell(words.lineLost, "warning");
      const pause = Math.min(30000, 1000 * 2 ** (attempt - 1)) * (0.75 + Math.random() / 2);
      await new Promise((resolve) => {
        const timer = setTimeout(done, pause);
        function done() { clearTimeout(timer); window.removeEventListener("online", done); resolve(); }
        window.addEventListener("online", done);
      });
    }
  }

  const requests = new Set();
  function post(url, form, onProgress) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      requests.add(request);
      const finish = (answer) => { requests.delete(request); resolve(answer); };
      request.open("POST", url);
      request.setRequestHeader("X-CSRFToken", page.dataset.csrf);
      request.setRequestHeader("Accept", "application/json");
      if (onProgress) request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
      request.addEventListener("load", () => {
        let body = null;
        try { body = JSON.parse(request.responseText); } catch { /* a page instead of an answer */ }
        const isElsewhere = request.responseURL && !request.responseURL.endsWith(url);
        finish({ status: isElsewhere ? 401 : request.status, body: isElsewhere ? null : body });
      });
      request.addEventListener("error", () => finish({ status: 0, body: null }));
      request.addEventListener("abort", () => finish({ status: 0, body: null, aborted: true }));
      request.send(form);
    });
  }

  function reason(answer) {
    if (answer.aborted) return words.stopped;
    if (answer.status === 401) return words.signedOut;
    if (answer.body && answer.body.message) return answer.body.message;
    if (answer.status === 403) return words.signedOut;
    if (answer.status === 413) return say("tooLarge", { limit: size(maxFileBytes) });
    if (answer.status === 0) return words.noLine;
    return words.serverError;
  }

  async function close() {
    const batch = state.batch;
    if (!batch || !batch.isOpen || state.items.some((item) => item.batch === batch && item.canRepeat)) return;
    batch.isOpen = false;
    state.closed = true;
    await persist(() => post(batch.close_url, new FormData()));
    refresh();
  }

  part.stop.addEventListener("click", () => {
    halt(words.stopped);
    for (const request of Array.from(requests)) request.abort();
    refresh();
  });
  part.again.addEventListener("click", async () => {
    const items = state.items.filter((item) => item.canRepeat && item.file);
    state.stopped = false;
    part.again.hidden = true;
    tell("");
    await renewToken();
    for (const item of items) { item.canRepeat = false; set(item, "waiting", words.waiting); }
    refresh();
    if (state.batch && state.batch.isOpen) enqueue(items);
    else await takeAgain(items);
  });
  // Whoever signed in again in another tab has a new token; this page still has the files.
  async function renewToken() {
    try {
      const answer = await fetch(window.location.href, { headers: { "X-Background": "1" }, redirect: "error" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("upload");
      if (fresh) page.dataset.csrf = fresh.dataset.csrf;
    } catch {
      /* what is sent next says what is wrong */
    }
  }

  window.addEventListener("beforeunload", (event) => {
    if (state.active.size || state.queue.length) event.preventDefault();
  });

  // --- what became of it ---------------------------------------------------------------------------------------------
  const isPending = (item) => item.state === "received";

  async function poll() {
    if (state.polling) return;
    state.polling = true;
    state.isSettled = false;
    while (state.batch && (state.active.size || state.queue.length || !state.isSettled || state.items.some(isPending))) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      try {
        const url = new URL(state.batch.results_url, window.location.href);
        if (state.cursor) url.searchParams.set("after", state.cursor);
        const answer = await fetch(url, { headers: { "X-Background": "1", Accept: "application/json" }, redirect: "error" });
        if (!answer.ok) continue;
        const body = await answer.json();
        state.cursor = body.after;
        // The server knows of members of archives that this page has not heard of yet.
        state.isSettled = body.is_done;
        for (const row of body.uploads) accept(row);
        refresh();
      } catch {
        /* the line or the server is away: asked again in a moment */
      }
    }
    state.polling = false;
    refresh();
  }

  function accept(row) {
    let item = state.byUpload.get(row.id);
    if (!item && row.key) {
      // Its outcome can overtake the answer to the request that brought it.
      item = state.byKey.get(row.key);
      if (item && item.batch === state.batch && item.state === "sending") { item.early = row; return; }
    }
    if (!item && row.archive) {
      const archive = state.byUpload.get(row.archive);
      item = { key: "", name: archive ? `${archive.name} › ${row.name}` : row.name, bytes: 0, sent: 0, archive, state: "received" };
      state.items.push(item);
      state.byUpload.set(row.id, item);
      buildRows();
    }
    if (item) settle(item, row);
  }

  function settle(item, row) {
    item.isFinished = row.is_finished;
    if (row.state === "expanded") item.isArchive = true;
    set(item, row.state, row.text);
    if (row.study_url && item.study !== row.study_url) {
      item.study = row.study_url;
      state.studies.set(row.study_url, (state.studies.get(row.study_url) || 0) + 1);
      showStudies();
      show(item);
    }
  }

  function fail(item, text, canRepeat = false) {
    item.canRepeat = canRepeat;
    set(item, "failed", text);
  }

  function set(item, name, text) {
    item.state = name;
    item.text = text;
    show(item);
  }

  // --- showing -------------------------------------------------------------------------------------------------------
  const GROUPS = {
    stored: ["stored"], duplicate: ["duplicate"], problem: ["rejected", "conflict", "failed"], ignored: ["ignored"],
  };
  const groupOf = (item) => Object.keys(GROUPS).find((name) => GROUPS[name].includes(item.state)) || "open";

  function buildRows() {
    if (state.building) return;
    const build = () => {
      const fragment = document.createDocumentFragment();
      let made = 0;
      for (let i = state.builtTo || 0; i < state.items.length && made < BUILD_ROWS; i += 1, made += 1) {
        const item = state.items[i];
        item.element = part.row.content.firstElementChild.cloneNode(true);
        item.element.querySelector("[data-part=name]").textContent = item.name;
        item.element.querySelector("[data-part=size]").textContent = item.bytes ? size(item.bytes) : "";
        show(item);
        fragment.append(item.element);
      }
      state.builtTo = (state.builtTo || 0) + made;
      part.list.append(fragment);
      state.building = state.builtTo < state.items.length ? requestAnimationFrame(build) : 0;
    };
    state.building = requestAnimationFrame(build);
  }

  function show(item) {
    const element = item.element;
    if (!element) return;
    element.dataset.state = item.state;
    element.querySelector("[data-part=text]").textContent = item.text;
    element.hidden = state.filter !== "all" && groupOf(item) !== state.filter;
    const bar = element.querySelector("[data-part=progress]");
    if (item.state !== "sending") bar.hidden = true;
    const link = element.querySelector("[data-part=study]");
    link.hidden = !item.study;
    if (item.study) link.href = item.study;
  }

  function progress(item) {
    if (!item.element || item.state !== "sending") return;
    const bar = item.element.querySelector("[data-part=progress]");
    bar.hidden = false;
    bar.max = item.bytes;
    bar.value = item.sent;
    const percent = Math.floor((100 * item.sent) / Math.max(1, item.bytes));
    item.element.querySelector("[data-part=text]").textContent =
      item.sent >= item.bytes ? words.securing : say("sendingPart", { percent });
  }

  let scheduled = 0;
  function refresh() {
    if (!scheduled) scheduled = requestAnimationFrame(() => { scheduled = 0; draw(); });
  }

  function draw() {
    const mine = state.items.filter((item) => !item.archive);
    const bytes = mine.reduce((sum, item) => sum + item.bytes, 0);
    const sentBytes = mine.reduce((sum, item) => sum + item.sent, 0);
    const arrived = mine.filter((item) => !["waiting", "sending", "failed"].includes(item.state)).length;
    const counts = { stored: 0, duplicate: 0, problem: 0, ignored: 0, open: 0 };
    for (const item of state.items) if (item.state !== "expanded") counts[groupOf(item)] += 1;
    const finished = state.items.filter((item) => groupOf(item) !== "open" || item.state === "expanded").length;
    const isSending = Boolean(state.active.size || state.queue.length);

    // Half of the bar is the way here, half what is done with it: it never stands still without a reason.
    part.bar.max = bytes + state.items.length * 1000 || 1;
    part.bar.value = sentBytes + finished * 1000;
    const seconds = (performance.now() - state.startedAt) / 1000;
    const speed = seconds > 1 ? sentBytes / seconds : 0;
    let line = say("sentLine", {
      done: number.format(arrived), total: number.format(mine.length), bytes: size(sentBytes), totalBytes: size(bytes),
    });
    if (isSending && speed > 0) {
      line += ` · ${size(speed)}/s`;
      const left = Math.ceil((bytes - sentBytes) / speed);
      if (left > 1) line += ` · ${left > 90 ? say("minutesLeft", { count: Math.ceil(left / 60) }) : say("secondsLeft", { count: left })}`;
    }
    part.sent.textContent = line;
    const isDone = !isSending && (state.isSettled || !state.batch) && !state.items.some((item) => isPending(item) || ["waiting", "sending"].includes(item.state));
    const outcome = isDone ? summary(counts) : say("doneLine", {
      done: number.format(finished), total: number.format(state.items.length),
    });
    // A screen reader hears of it now and then, not ten times a second.
    const now = performance.now();
    if (part.done.textContent !== outcome && (isDone || now - state.spoken > 3000 || !part.done.textContent)) {
      part.done.textContent = outcome;
      state.spoken = now;
    } else if (part.done.textContent !== outcome && !state.later) {
      state.later = setTimeout(() => { state.later = 0; refresh(); }, 3100);
    }
    part.overall.classList.toggle("is-done", isDone);
    part.stop.hidden = !isSending;
    part.again.hidden = isSending || !state.items.some((item) => item.canRepeat && item.file);
    part.more.hidden = isDone;
    for (const button of part.filters.querySelectorAll("[data-filter]")) {
      const name = button.dataset.filter;
      const count = name === "all" ? state.items.length : counts[name];
      button.querySelector("[data-part=count]").textContent = number.format(count);
      button.hidden = name !== "all" && !count;
    }
    page.dataset.done = String(isDone);
  }

  function summary(counts) {
    const parts = ["stored", "duplicate", "problem", "ignored"].filter((name) => counts[name]);
    const said = parts.map((name) => say(`${name}Count`, { count: number.format(counts[name]) }));
    return said.length ? `${words.allDone} ${said.join(" · ")}` : words.nothingDone;
  }

  part.filters.addEventListener("click", (event) => {
    const button = event.target.closest("[data-filter]");
    if (!button) return;
    state.filter = button.dataset.filter;
    for (const other of part.filters.querySelectorAll("[data-filter]")) {
      other.setAttribute("aria-pressed", String(other === button));
      other.classList.toggle("active", other === button);
    }
    for (const item of state.items) show(item);
  });

  function showStudies() {
    part.studies.replaceChildren();
    let n = 0;
    for (const [url] of state.studies) {
      n += 1;
      if (n > STUDY_BUTTONS) break;
      const link = document.createElement("a");
      link.href = url;
      link.className = "btn btn-primary";
      link.textContent = state.studies.size === 1 ? words.openStudy : say("openStudyNumber", { number: n });
      part.studies.append(link);
    }
    part.studies.hidden = !state.studies.size;
  }

  function tell(text, kind = "info") {
    part.notice.hidden = !text;
    part.notice.textContent = text;
    part.notice.className = `alert alert-${kind} upload-notice`;
  }
}
