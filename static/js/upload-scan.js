/* Reads the beginning of each chosen file beside the page, so that the page stays quick: what kind of file it is, and for
   an image its SOP Instance UID. Nothing of a file leaves the computer here. */
"use strict";

const HEAD_BYTES = 65536;
const SAMPLE_BYTES = 65536;
const SAMPLES = 16;
const DISC_OFFSET = 16 * 2048 + 1;

self.onmessage = async (event) => {
  const { parser, files, fingerprint } = event.data;
  if (parser) {
    importScripts(parser);
    return;
  }
  if (fingerprint) {
    self.postMessage({ number: fingerprint.number, fingerprint: await fingerprintOf(fingerprint.file) });
    return;
  }
  for (const { number, file } of files) {
    let found;
    try {
      found = look(new Uint8Array(new FileReaderSync().readAsArrayBuffer(file.slice(0, HEAD_BYTES))));
    } catch {
      found = { kind: "unreadable" };
    }
    self.postMessage({ number, ...found });
  }
};

function look(head) {
  if (text(head, 128, 4) === "DICM") return { kind: "image", uid: uidOf(head) };
  if (text(head, 0, 4) === "PK\x03\x04" || text(head, 0, 4) === "PK\x05\x06") return { kind: "archive" };
  if (text(head, DISC_OFFSET, 5) === "CD001") return { kind: "archive" };
  return { kind: "other" };
}

function text(bytes, offset, length) {
  return String.fromCharCode(...bytes.subarray(offset, offset + length));
}

function uidOf(head) {
  try {
    return self.dicomParser.parseDicom(head, { untilTag: "x00080018" }).string("x00080018") || "";
  } catch (error) {
    // A data set that goes on behind the head, or is deflated: it is sent, and the server reads it.
    const found = error && error.dataSet;
    return (found && found.string("x00080018")) || "";
  }
}

/* The same file is known again on another computer, under another name: by its size and samples of its bytes. Without
   HTTPS browsers have no digests; a file broken off is then sent again from its beginning. */
async function fingerprintOf(file) {
  if (!self.crypto.subtle) return "";
  const parts = [new TextEncoder().encode(`viewbox 1 ${file.size} `)];
  const step = Math.max(SAMPLE_BYTES, Math.floor((file.size - SAMPLE_BYTES) / (SAMPLES - 1)));
  for (let n = 0, at = 0; n < SAMPLES && at < file.size; n += 1, at = n * step) {
    parts.push(new Uint8Array(await file.slice(at, at + SAMPLE_BYTES).arrayBuffer()));
  }
  parts.push(new Uint8Array(await file.slice(Math.max(0, file.size - SAMPLE_BYTES)).arrayBuffer()));
  const digest = await self.crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
