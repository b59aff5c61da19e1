// What a hand does on the picture: one chosen tool for the first mouse button and one finger, the rest always the same.
import * as tools from "@cornerstonejs/tools";

const { Enums, ToolGroupManager, annotation } = tools;
const { MouseBindings } = Enums;
const GROUP = "quick";

const TOOLS = {
  window: tools.WindowLevelTool,
  scroll: tools.StackScrollTool,
  zoom: tools.ZoomTool,
  pan: tools.PanTool,
  length: tools.LengthTool,
  angle: tools.AngleTool,
  roi: tools.EllipticalROITool,
};
const MEASURING = ["length", "angle", "roi"];
const FIRST = { mouseButton: MouseBindings.Primary };
const FINGER = { numTouchPoints: 1 };

let group;

export function startTools() {
  tools.init();
  group = ToolGroupManager.createToolGroup(GROUP);
  for (const tool of Object.values(TOOLS)) {
    tools.addTool(tool);
    group.addTool(tool.toolName);
  }
  annotation.config.style.setDefaultToolStyles({
    global: { ...annotation.config.style.getDefaultToolStyles().global, color: "rgb(255, 213, 79)", colorSelected: "rgb(99, 205, 189)", colorHighlighted: "rgb(255, 236, 160)", lineWidth: "2", textBoxFontFamily: "system-ui, sans-serif", textBoxColor: "rgb(255, 213, 79)", textBoxFontSize: "14px" },
  });
}

export function addPane(viewportId, engineId) {
  if (!group.getViewportIds().includes(viewportId)) group.addViewport(viewportId, engineId);
}

export function removePane(viewportId, engineId) {
  group.removeViewports(engineId, viewportId);
}

/** Bind the tools; until somebody chooses one, a mouse sets the window and a finger scrolls. */
export function choose(chosen) {
  const bindings = Object.fromEntries(Object.keys(TOOLS).map((name) => [name, []]));
  bindings[chosen || "window"].push(FIRST);
  bindings[chosen || "scroll"].push(FINGER);
  bindings.zoom.push({ mouseButton: MouseBindings.Secondary }, { numTouchPoints: 2 });
  bindings.pan.push({ mouseButton: MouseBindings.Auxiliary }, { mouseButton: MouseBindings.Primary, modifierKey: Enums.KeyboardBindings.Shift });
  bindings.scroll.push({ mouseButton: MouseBindings.Wheel });
  for (const [name, tool] of Object.entries(TOOLS)) {
    group.setToolPassive(tool.toolName, { removeAllBindings: true });
    if (bindings[name].length) group.setToolActive(tool.toolName, { bindings: bindings[name] });
  }
}

export const isMeasuring = (name) => MEASURING.includes(name);

/** Remove the measurements that are selected, or the newest one; `all` removes every one. */
export function removeMeasurements(all) {
  const every = annotation.state.getAllAnnotations();
  const selected = annotation.selection.getAnnotationsSelected();
  const removed = all ? every.map((one) => one.annotationUID) : selected.length ? selected : every.slice(-1).map((one) => one.annotationUID);
  for (const uid of removed) annotation.state.removeAnnotation(uid);
  return removed.length;
}
