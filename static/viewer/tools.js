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
const FIRST = { mouseButton: MouseBindings.Primary };
const FINGER = { numTouchPoints: 1 };

let group;

// The library writes style attributes, which our policy forbids; through the object model they are allowed.
SVGElement.prototype.setAttribute = function setAttribute(name, value) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
};

export function startTools() {
  tools.init();
  group = ToolGroupManager.createToolGroup(GROUP);
  for (const tool of Object.values(TOOLS)) {
    tools.addTool(tool);
    group.addTool(tool.toolName);
  }
  const [warm, bright, chosen] = ["rgb(255, 213, 79)", "rgb(255, 236, 160)", "rgb(99, 205, 189)"];
  annotation.config.style.setDefaultToolStyles({
    global: {
      ...annotation.config.style.getDefaultToolStyles().global,
      color: warm,
      colorHighlighted: bright,
      colorSelected: chosen,
      lineWidth: "2",
      textBoxFontFamily: "system-ui, sans-serif",
      textBoxFontSize: "14px",
      textBoxColor: warm,
      textBoxColorHighlighted: bright,
      textBoxColorSelected: chosen,
    },
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

/** Remove the measurements that are selected, or the newest one. */
export function removeMeasurements() {
  const every = annotation.state.getAllAnnotations();
  const selected = annotation.selection.getAnnotationsSelected();
  const removed = selected.length ? selected : every.slice(-1).map((one) => one.annotationUID);
  for (const uid of removed) annotation.state.removeAnnotation(uid);
}
