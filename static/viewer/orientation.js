// The letters at the edges of a picture: which side of the patient lies there (PS3.3 C.7.6.1.1.1).
import { metaData } from "@cornerstonejs/core";
import { wadors } from "@cornerstonejs/dicom-image-loader/imageLoader";

const AXES = [["L", "R"], ["P", "A"], ["H", "F"]];
const OPPOSITE = { L: "R", R: "L", A: "P", P: "A", H: "F", F: "H" };
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

/** Name a direction in the patient: the letters of its larger parts, the largest first. */
export function lettersOf(direction) {
  return direction
    .map((part, axis) => [Math.abs(part), AXES[axis][part > 0 ? 0 : 1]])
    .filter(([size]) => size > 0.25)
    .sort(([one], [other]) => other - one)
    .map(([, letter]) => letter)
    .join("");
}

const turned = (letters) => [...letters].map((letter) => OPPOSITE[letter] || letter).join("");

/** Return the letters of the four edges as the pane is turned now, or undefined where the file does not say. */
export function edgesOf(viewport, imageId) {
  const plane = metaData.get("imagePlaneModule", imageId);
  const { viewUp, viewPlaneNormal } = viewport.getCamera();
  if (plane?.rowCosines && plane.columnCosines && !plane.usingDefaultValues) {
    const up = Array.from(viewUp);
    const top = lettersOf(up);
    const right = lettersOf(cross(up, Array.from(viewPlaneNormal)));
    return { top, bottom: turned(top), left: turned(right), right };
  }
  return fromRowsAndColumns(viewport, wadors.metaDataManager.get(imageId)?.["00200020"]?.Value);
}

/** A radiograph says only where its rows and columns lead (PS3.3 C.7.6.1.1.1): that holds at quarter turns. */
function fromRowsAndColumns(viewport, named) {
  if (named?.length !== 2 || !named.every((letters) => /^[LRAPHF]+$/.test(letters))) return undefined;
  const { rotation = 0, flipHorizontal, flipVertical } = viewport.getViewPresentation();
  if (Math.round(rotation) % 90) return undefined;
  const [row, column] = named;
  let edges = [turned(column), row, column, turned(row)];
  if (flipHorizontal) edges = [edges[0], edges[3], edges[2], edges[1]];
  if (flipVertical) edges = [edges[2], edges[1], edges[0], edges[3]];
  const quarters = (((Math.round(rotation / 90) % 4) + 4) % 4);
  const [top, right, bottom, left] = edges.map((_, edge) => edges[(edge - quarters + 4) % 4]);
  return { top, right, bottom, left };
}
