// One stored frame as a picture, without any library: what the page shows before its programs have arrived.

/** What to accept for a frame: as it is stored, whatever its transfer syntax (PS3.18 8.7.3). */
export const FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=*';

/** Take the one part out of a multipart/related answer (RFC 2387): its transfer syntax and its bytes. */
export function partOf(contentType, buffer) {
  const bytes = new Uint8Array(buffer);
  if (!contentType.startsWith("multipart/")) return { syntax: syntaxOf(contentType), bytes };
  const boundary = (/boundary="?([^";]+)/i.exec(contentType) || [])[1];
  const start = indexOf(bytes, "\r\n\r\n", 0, 2048);
  if (!boundary || start < 0) throw new Error("not a multipart answer");
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, start));
  const end = lastIndexOf(bytes, `\r\n--${boundary}`);
  if (end < start) throw new Error("the answer was cut off");
  return { syntax: syntaxOf(head), bytes: bytes.slice(start + 4, end) };
}

function syntaxOf(text) {
  return (/transfer-syntax="?([0-9.]+)/i.exec(text) || [])[1] || "1.2.840.10008.1.2.1";
}

function matches(bytes, text, at) {
  for (let i = 0; i < text.length; i += 1) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

function indexOf(bytes, text, from, most) {
  for (let at = from; at < Math.min(bytes.length, from + most); at += 1) if (matches(bytes, text, at)) return at;
  return -1;
}

function lastIndexOf(bytes, text) {
  for (let at = bytes.length - text.length; at >= Math.max(0, bytes.length - 512); at -= 1) {
    if (matches(bytes, text, at)) return at;
  }
  return -1;
}

export const value = (instance, tag, index = 0) => instance[tag]?.Value?.[index];
export const number = (instance, tag, index = 0) => {
  const found = value(instance, tag, index);
  return found === undefined || found === null || found === "" ? undefined : Number(found);
};

const NATIVE = new Set(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]);

/**
 * Draw a native frame into a canvas as the file says it is to be shown (PS3.3 C.11.1, C.11.2.1.2). Return false for what
 * needs more than that: compressed pixels, look-up tables, palettes, functional groups, pixels that are not square.
 */
export function paint(canvas, instance, part) {
  const [rows, columns, allocated] = ["00280010", "00280011", "00280100"].map((tag) => number(instance, tag));
  const samples = number(instance, "00280002") ?? 1;
  const kind = value(instance, "00280004");
  const spacing = instance["00280030"]?.Value || instance["00181164"]?.Value || [1, 1];
  const isPlain = NATIVE.has(part.syntax) && rows && columns && Number(spacing[0]) === Number(spacing[1])
    && !["00283000", "00283010", "52009229"].some((tag) => instance[tag]) && !/SIGMOID/.test(value(instance, "00281056") || "");
  if (!isPlain || part.bytes.byteLength < rows * columns * samples * (allocated / 8)) return false;
  const context = canvas.getContext("2d");
  const image = new ImageData(columns, rows);
  if (samples === 1 && (allocated === 8 || allocated === 16) && /^MONOCHROME[12]$/.test(kind)) gray(image.data, instance, part.bytes);
  else if (samples === 3 && allocated === 8 && kind === "RGB" && !number(instance, "00280006")) colour(image.data, part.bytes);
  else return false;
  canvas.width = columns;
  canvas.height = rows;
  context.putImageData(image, 0, 0);
  return true;
}

function gray(out, instance, bytes) {
  const allocated = number(instance, "00280100");
  const stored = number(instance, "00280101") ?? allocated;
  const isSigned = number(instance, "00280103") === 1;
  const length = out.length / 4;
  const raw = allocated === 8 ? bytes : new Uint16Array(bytes.buffer, bytes.byteOffset, length);
  const unused = 32 - stored;
  const slope = number(instance, "00281053") ?? 1;
  const intercept = number(instance, "00281052") ?? 0;
  const meant = (sample) => (isSigned ? (sample << unused) >> unused : (sample << unused) >>> unused) * slope + intercept;
  let centre = number(instance, "00281050");
  let width = number(instance, "00281051");
  if (centre === undefined || !(width >= 1)) {
    let [least, most] = [Infinity, -Infinity];
    for (let i = 0; i < length; i += 1) {
      const sample = meant(raw[i]);
      if (sample < least) least = sample;
      if (sample > most) most = sample;
    }
    width = most - least + 1;
    centre = (most + least + 1) / 2;
  }
  const isInverted = value(instance, "00280004") === "MONOCHROME1";
  const table = new Uint8Array(1 << allocated);
  const low = centre - 0.5 - (width - 1) / 2;
  for (let sample = 0; sample < table.length; sample += 1) {
    const shade = Math.min(255, Math.max(0, ((meant(sample) - low) / Math.max(1, width - 1)) * 255));
    table[sample] = isInverted ? 255 - shade : shade;
  }
  for (let i = 0, at = 0; i < length; i += 1, at += 4) {
    out[at] = out[at + 1] = out[at + 2] = table[raw[i]];
    out[at + 3] = 255;
  }
}

function colour(out, bytes) {
  for (let at = 0, from = 0; at < out.length; at += 4, from += 3) {
    out[at] = bytes[from];
    out[at + 1] = bytes[from + 1];
    out[at + 2] = bytes[from + 2];
    out[at + 3] = 255;
  }
}
