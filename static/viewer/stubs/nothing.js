// Stands in the bundle for what the viewer's libraries name and never reach: writing XML, drawing with WebGPU.
export function create() {
  return {};
}
export default { create };
