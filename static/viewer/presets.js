// Windows by modality: what radiologists set by hand, in Hounsfield units; everything else has what its file says.
import { say } from "./words.js";

const CT = [
  ["brain", 40, 80],
  ["subdural", 75, 280],
  ["bone", 480, 2500],
  ["lung", -600, 1500],
  ["mediastinum", 50, 350],
  ["abdomen", 40, 400],
  ["liver", 60, 160],
  ["vessels", 300, 700],
];

/** Return what can be chosen for a picture: `{name, centre, width}`; the first is the file's own, the second all grey levels. */
export function presetsFor(modality, isColour) {
  if (isColour) return [];
  const found = [{ name: say("window_file") }, { name: say("window_full"), isFull: true }];
  if (modality !== "CT") return found;
  return [...found, ...CT.map(([key, centre, width]) => ({ name: say(`window_${key}`), centre, width }))];
}
