/* The upload page: takes files, folders, archives and discs, and says what became of each.

   It reads the beginning of every file in a worker (upload-scan.js), gives the files to the line (upload-line.js), which
   sends them, and shows them in a list of any length (upload-list.js). All addresses come with the page's configuration:
   the page is the same for a member and for whoever holds an upload-request link. Whatever comes from outside is set as
   text, never as markup. */

const DRAW_MS = 250;
const SPEED_WINDOW_MS = 15000;
const STUDY_BUTTONS = 5;
const SCANNED_AT_ONCE = 500;
const SORTED_BY_NUMBER = 5000;
/* How long the page works on what was chosen before it looks whether somebody clicked. */
const AT_A_STRETCH_MS = 40;
const breathe = () => new Promise((resolve) => { setTimeout(resolve); });
const OPEN = ["looking", "waiting", "sending", "received"];
const GROUPS = {
  open: OPEN, stored: ["stored", "waiting-inbox"], earlier: ["earlier", "twice"], duplicate: ["duplicate"],
  problem: ["rejected", "conflict", "failed"], ignored: ["ignored"],
};
const GROUP_OF = Object.fromEntries(Object.entries(GROUPS).flatMap(([name, states]) => states.map((state) => [state, name])));
const SUMMED_UP = ["stored", "earlier", "duplicate", "problem", "ignored"];
// As apps.audit.export.quote_formula: a spreadsheet takes a cell that begins so for a formula.
const FORMULA = /^\s*[=+\-@\t\r\n|%\uff1d\uff0b\uff0d\uff20]/;

const root = document.getElementById("upload");
if (root) start(root, JSON.parse(document.getElementById("upload-config").textContent));

async function start(page, config) {
  // What is chosen before everything is loaded is taken as soon as it is.
  let isLoaded;
  const loaded = new Promise((resolve) => { isLoaded = resolve; });
  const words = config.words;
  const language = document.documentElement.lang;
  const number = new Intl.NumberFormat(language);
  const find = (name) => page.querySelector(`[data-part="${name}"]`);
  const part = Object.fromEntries(
    ["drop", "overall", "bar", "sent", "done", "notice", "note", "signIn", "slow", "list", "box", "empty", "more", "pause",
      "resume", "cancel", "again", "csv", "link", "studies", "filters"].map((name) => [name, find(name)]),
  );
  const state = {
    items: [], byKey: new Map(), byUpload: new Map(), members: new Map(), chosen: new Map(), counts: {}, bytes: 0,
    filter: "all", shown: [], studies: new Map(), speeds: [], scanning: 0, drawnAt: 0, spokenAt: 0, isListStale: false,
  };
  for (const name of [...Object.keys(GROUPS), "expanded"]) state.counts[name] = 0;

  const say = (word, values = {}) =>
    words[word].replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));

  const size = (bytes) => {
    // As the server's pages write sizes.
    const units = ["KB", "MB", "GB"];
    let value = bytes / 1024;
    let unit = 0;
    while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
    const digits = value < 100 ? 1 : 0;
    return `${new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value)} ${units[unit]}`;
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
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      found.push({ file, name: path + entry.name });
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

  const [{ Line }, { UploadList }] = await Promise.all([import(config.assets.line), import(config.assets.list)]);

  // --- looking at what was chosen ------------------------------------------------------------------------------------
  const worker = new Worker(config.assets.scan);
  const answers = new Map();
  let questions = 0;
  worker.postMessage({ parser: config.assets.parser });
  worker.onmessage = ({ data }) => {
    const answer = answers.get(data.number);
    answers.delete(data.number);
    if (answer) answer(data);
  };
  const ask = (question, answered) => new Promise((resolve) => {
    questions += 1;
    answers.set(questions, (found) => { answered(found); resolve(); });
    question(questions);
  });
  function look(items) {
    const files = [];
    const asked = items.map((item) => ask(
      (n) => files.push({ number: n, file: item.file }), (found) => { item.kind = found.kind; item.uid = found.uid || ""; },
    ));
    worker.postMessage({ files });
    return Promise.all(asked);
  }
  const takeFingerprint = (item) => ask(
    (n) => worker.postMessage({ fingerprint: { number: n, file: item.file } }),
    (found) => { item.fingerprint = found.fingerprint; },
  );

  const line = new Line(config, {
    change: set,
    progress: refresh,
    notice: (word, kind, sentence) => tell(word ? sentence || words[word] : "", kind, word),
    slow: (is) => { part.slow.hidden = !is; },
    row: accept,
    hasRepeatable: () => state.items.some((item) => item.canRepeat),
  });

  async function take(chosen) {
    if (!chosen.length) return;
    await loaded;
    // Of thousands of files, even their sizes take the browser seconds to find out: the page stays usable meanwhile.
    await breathe();
    if (chosen.length <= SORTED_BY_NUMBER) {
      const inOrder = new Intl.Collator(language, { numeric: true });
      chosen.sort((one, other) => inOrder.compare(one.name, other.name));
    }
    await breathe();
    page.classList.add("is-used");
    part.overall.hidden = false;
    const added = [];
    let since = performance.now();
    for (const { file, name } of chosen) {
      if (performance.now() - since > AT_A_STRETCH_MS) {
        refresh();
        await breathe();
        since = performance.now();
      }
      const item = {
        key: line.newKey(), file, name, bytes: file ? file.size : 0, sent: 0, state: "", text: "", study: "", version: 0,
        kind: "", uid: "", fingerprint: "", tusUrl: "", canRepeat: false, isCancelled: false,
      };
      state.items.push(item);
      const same = `${name} ${item.bytes} ${file ? file.lastModified : ""}`;
      const first = state.chosen.get(same);
      if (first && !first.isCancelled) { set(item, "twice", words.twice); continue; }
      state.chosen.set(same, item);
      state.byKey.set(item.key, item);
      if (!file) { set(item, "failed", words.unreadable); continue; }
      state.bytes += item.bytes;
      set(item, "looking", words.looking);
      added.push(item);
    }
    changed();
    await lookAndSend(added);
  }

  /* The first files are under way while the last are still being looked at. */
  async function lookAndSend(items) {
    state.scanning += items.length;
    const takings = [];
    for (let i = 0; i < items.length; i += SCANNED_AT_ONCE) {
      const some = items.slice(i, i + SCANNED_AT_ONCE);
      await look(some);
      for (const item of some) {
        if (item.isCancelled) continue;
        const limit = item.kind === "archive" ? config.maxArchiveBytes : config.maxFileBytes;
        if (item.kind === "unreadable") set(item, "failed", words.unreadable);
        else if (item.bytes > limit) set(item, "failed", say("tooLarge", { limit: size(limit) }));
        else {
          if (line.isLarge(item)) await takeFingerprint(item);
          set(item, "waiting", words.waiting);
        }
      }
      state.scanning -= some.length;
      takings.push(line.take(some.filter((item) => item.state === "waiting")));
      refresh();
    }
    await Promise.all(takings);
  }

  part.pause.addEventListener("click", () => { line.pause(); refresh(); });
  part.resume.addEventListener("click", () => { repeat(); line.goOn(); refresh(); });
  part.again.addEventListener("click", () => { repeat(); refresh(); });
  part.cancel.addEventListener("click", () => {
    if (!window.confirm(words.cancelQuestion)) return;
    for (const item of state.items) {
      if (!["looking", "waiting", "sending"].includes(item.state) && !item.canRepeat) continue;
      item.canRepeat = false;
      item.sent = 0;
      set(item, "failed", words.cancelled);
      item.isCancelled = true;
    }
    line.cancel();
    refresh();
  });

  /* What the server did not take is sent under a new key: the old one says that it was refused. */
  function repeat() {
    const items = state.items.filter((item) => item.canRepeat && item.file);
    for (const item of items) {
      item.canRepeat = false;
      item.key = line.newKey();
      item.sent = 0;
      state.byKey.set(item.key, item);
      set(item, "waiting", words.waiting);
    }
    if (items.length) line.take(items);
  }

  window.addEventListener("beforeunload", (event) => {
    if (line.isSending || state.scanning) event.preventDefault();
  });

  // --- what became of it ---------------------------------------------------------------------------------------------
  function accept(row) {
    let item = state.byUpload.get(row.id) || (row.key && state.byKey.get(row.key)) || null;
    if (!item && row.archive) {
      const archive = state.byUpload.get(row.archive);
      item = {
        key: "", file: null, inArchive: row.archive, name: archive ? `${archive.name} › ${row.name}` : row.name,
        bytes: 0, shownBytes: row.size, sent: 0, state: "", text: "", study: "", version: 0,
      };
      state.items.push(item);
      if (!archive) state.members.set(row.archive, [...(state.members.get(row.archive) || []), item]);
      changed();
    }
    if (!item) return;
    state.byUpload.set(row.id, item);
    nameMembers(row.id, item);
    if (!row.is_finished) {
      if (item.state === "waiting" || item.state === "sending") set(item, "received", row.code ? row.text : words.received);
      return;
    }
    item.sent = item.bytes;
    if (row.code === "limit-reached" && item.file) {
      item.canRepeat = true;
      line.hold("quota");
      set(item, "failed", row.text);
      return;
    }
    set(item, row.state === "waiting" ? "waiting-inbox" : row.state, row.text);
    if (!["failed", "rejected"].includes(item.state)) item.file = null;
    if (row.study_url && item.study !== row.study_url) {
      item.study = row.study_url;
      state.studies.set(row.study_url, (state.studies.get(row.study_url) || 0) + 1);
      showStudies();
    }
  }

  /* Members can be heard of before their archive. */
  function nameMembers(id, archive) {
    for (const member of state.members.get(id) || []) {
      member.name = `${archive.name} › ${member.name}`;
      member.version += 1;
    }
    state.members.delete(id);
  }

  function set(item, name, text) {
    if (item.state === name && item.text === text) return;
    const before = GROUP_OF[item.state] || item.state;
    const after = GROUP_OF[name] || name;
    if (before) state.counts[before] -= 1;
    state.counts[after] += 1;
    item.state = name;
    item.text = text;
    item.version += 1;
    if (before !== after) state.isListStale = true;
    refresh();
  }

  function changed() {
    state.isListStale = true;
    refresh();
  }

  // --- showing -------------------------------------------------------------------------------------------------------
  const list = new UploadList(part.box, part.list, document.getElementById("upload-row"), (element, item) => {
    element.dataset.state = item.state;
    element.querySelector("[data-part=name]").textContent = item.name;
    element.title = `${item.name}\n${item.text}`;
    const bytes = item.shownBytes || item.bytes;
    element.querySelector("[data-part=size]").textContent = bytes ? size(bytes) : "";
    const isUnderWay = item.state === "sending" && line.isLarge(item) && item.sent > 0;
    const percent = Math.floor((100 * item.sent) / Math.max(1, item.bytes));
    element.querySelector("[data-part=text]").textContent = !isUnderWay ? item.text
      : item.sent >= item.bytes ? words.securing : say("sendingPart", { percent });
    const bar = element.querySelector("[data-part=progress]");
    bar.hidden = !isUnderWay;
    bar.max = item.bytes || 1;
    bar.value = item.sent;
    const link = element.querySelector("[data-part=study]");
    link.hidden = !item.study;
    if (item.study) link.href = item.study;
  });

  let timer = 0;
  function refresh(item = null) {
    if (item && item.version !== undefined) item.version += 1;
    if (timer) return;
    timer = setTimeout(() => { timer = 0; requestAnimationFrame(draw); }, Math.max(0, DRAW_MS - (performance.now() - state.drawnAt)));
  }

  function draw() {
    state.drawnAt = performance.now();
    if (state.isListStale) {
      state.isListStale = false;
      state.shown = state.filter === "all" ? state.items : state.items.filter((item) => GROUP_OF[item.state] === state.filter);
    }
    list.show(state.shown);
    part.box.hidden = !state.items.length;
    part.empty.hidden = !state.items.length || Boolean(state.shown.length);
    drawNumbers();
    drawButtons();
  }

  function drawNumbers() {
    let sent = 0;
    let arrived = 0;
    let sendable = 0;
    for (const item of state.items) {
      if (item.inArchive || item.state === "twice") continue;
      sendable += 1;
      if (item.state === "earlier") { arrived += 1; sent += item.bytes; continue; }
      sent += item.sent;
      if (!["looking", "waiting", "sending", "failed"].includes(item.state)) arrived += 1;
    }
    const total = state.items.length;
    const finished = total - state.counts.open;
    // Half of the bar is the way here, half what is done with it: it never stands still without a reason.
    part.bar.max = state.bytes + total * 1000 || 1;
    part.bar.value = sent + finished * 1000;
    part.sent.textContent = state.scanning && !sent
      ? say("lookingAt", { done: number.format(total - state.scanning), total: number.format(total) })
      : say("sentLine", {
        done: number.format(arrived), total: number.format(sendable), bytes: size(sent), totalBytes: size(state.bytes),
      }) + speedLine(sent);
    const isDone = isAllDone();
    speak(isDone ? summary() : line.held ? words.pausedLine : say("doneLine", {
      done: number.format(finished), total: number.format(total),
    }), isDone || Boolean(line.held));
    part.overall.classList.toggle("is-done", isDone);
    page.dataset.done = String(isDone);
    page.dataset.held = line.held;
  }

  const isAllDone = () => Boolean(state.items.length) && !state.scanning && !line.isSending && !state.counts.open
    && (!line.batch || line.hasHeardAll) && !(line.held && mayRepeat());

  /* Whether the server refused something that it may take another time. */
  const mayRepeat = () => state.items.some((item) => item.canRepeat && item.file);

  /* Speed over the last seconds: what was sent an hour ago says nothing about the line of now. */
  function speedLine(sent) {
    const now = performance.now();
    if (!line.isSending || line.held) { state.speeds = []; return ""; }
    state.speeds.push({ at: now, sent });
    while (state.speeds.length > 2 && now - state.speeds[0].at > SPEED_WINDOW_MS) state.speeds.shift();
    const first = state.speeds[0];
    const speed = now - first.at > 1000 ? (1000 * (sent - first.sent)) / (now - first.at) : 0;
    if (speed <= 0) return "";
    const left = Math.ceil((state.bytes - sent) / speed);
    if (left <= 1) return ` · ${size(speed)}/s`;
    const time = left > 90 ? say("minutesLeft", { count: Math.ceil(left / 60) }) : say("secondsLeft", { count: left });
    return ` · ${size(speed)}/s · ${time}`;
  }

  /* A screen reader hears of it now and then, not four times a second. */
  function speak(text, isAtOnce) {
    const now = performance.now();
    if (part.done.textContent === text) return;
    if (isAtOnce || now - state.spokenAt > 3000 || !part.done.textContent) {
      part.done.textContent = text;
      state.spokenAt = now;
    } else if (!state.later) {
      state.later = setTimeout(() => { state.later = 0; refresh(); }, 3100);
    }
  }

  function drawButtons() {
    const isBusy = line.isSending || Boolean(state.scanning);
    part.pause.hidden = !isBusy || Boolean(line.held);
    part.resume.hidden = !line.held || line.held === "signedOut";
    part.cancel.hidden = !isBusy && !line.held;
    part.again.hidden = isBusy || Boolean(line.held) || !mayRepeat();
    part.csv.hidden = !state.items.length;
    part.more.hidden = isAllDone() || isBusy || Boolean(line.held);
    if (line.batch && line.batch.urls.page) {
      part.link.href = line.batch.urls.page;
      part.link.hidden = false;
    }
    for (const button of part.filters.querySelectorAll("[data-filter]")) {
      const name = button.dataset.filter;
      const count = name === "all" ? state.items.length : state.counts[name];
      button.querySelector("[data-part=count]").textContent = number.format(count);
      button.hidden = name !== "all" && !count && state.filter !== name;
    }
  }

  function summary() {
    const said = SUMMED_UP.filter((name) => state.counts[name])
      .map((name) => say(`${name}Count`, { count: number.format(state.counts[name]) }));
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
    part.box.scrollTop = 0;
    changed();
  });

  part.csv.addEventListener("click", () => {
    const cell = (value) => {
      const text = String(value).replaceAll("\0", "");
      return `"${(FORMULA.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
    };
    const lines = [[words.csvFile, words.csvBytes, words.csvOutcome]];
    for (const item of state.items) lines.push([item.name, item.shownBytes || item.bytes, item.text]);
    const link = document.createElement("a");
    // The mark tells spreadsheets that this is UTF-8.
    const content = new Blob(["\ufeff", lines.map((row) => row.map(cell).join(",")).join("\r\n"), "\r\n"], { type: "text/csv" });
    link.href = URL.createObjectURL(content);
    link.download = `${words.csvName}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });

  function showStudies() {
    part.studies.replaceChildren();
    let n = 0;
    for (const url of state.studies.keys()) {
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

  function tell(text, kind = "info", word = "") {
    part.notice.hidden = !text;
    part.note.textContent = text;
    part.notice.className = `alert alert-${kind || "info"} upload-notice`;
    part.notice.dataset.word = word || "";
    part.signIn.hidden = !["signedOut", "otherPerson"].includes(word) || !config.urls.signIn;
    if (config.urls.signIn) part.signIn.href = config.urls.signIn;
  }

  isLoaded();
}
