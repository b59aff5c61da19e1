// Boxes over the frames of one instance: drawn, moved, sized and removed by mouse, finger and keyboard.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const stage = document.getElementById("stage");
  if (!stage) return;
  const given = JSON.parse(document.getElementById("review-configuration").textContent);
  const canvas = document.getElementById("boxes");
  const frame = document.getElementById("frame");
  const field = document.getElementById("field");
  const count = document.getElementById("count");
  const button = (id) => document.getElementById(id);
  let boxes = given.boxes.map((box) => [...box]);
  let chosen = -1;
  let drag = null;

  const bounded = (value, most) => Math.min(Math.max(Math.round(value), 0), most);

  /* Return the point of an event in pixels of the frame. */
  function place(event) {
    const area = canvas.getBoundingClientRect();
    return [
      ((event.clientX - area.left) / area.width) * given.columns,
      ((event.clientY - area.top) / area.height) * given.rows,
    ];
  }

  function tidy([left, top, right, bottom]) {
    return [
      bounded(Math.min(left, right), given.columns),
      bounded(Math.min(top, bottom), given.rows),
      bounded(Math.max(left, right), given.columns),
      bounded(Math.max(top, bottom), given.rows),
    ];
  }

  function shape(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function draw({ focus = false } = {}) {
    canvas.replaceChildren();
    const handle = (given.columns / (stage.clientWidth || given.columns)) * 14;
    boxes.forEach(([left, top, right, bottom], number) => {
      const group = shape("g", { class: number === chosen ? "de-chosen" : "" });
      const box = shape("rect", {
        class: "de-box", x: left, y: top, width: right - left, height: bottom - top,
        tabindex: 0, role: "button", "data-number": number,
        "aria-label": `${number + 1}: ${left}, ${top} – ${right}, ${bottom}`,
        "aria-pressed": number === chosen,
      });
      group.append(box);
      group.append(shape("rect", {
        class: "de-handle", "data-number": number, "data-part": "corner",
        x: right - handle / 2, y: bottom - handle / 2, width: handle, height: handle,
      }));
      canvas.append(group);
      if (focus && number === chosen) box.focus();
    });
    button("remove").disabled = chosen < 0;
    field.value = JSON.stringify(boxes);
    count.textContent = boxes.length === 1 ? count.dataset.one : count.dataset.many.replace("%n", boxes.length);
  }

  function choose(number, options) {
    chosen = number;
    draw(options);
  }

  function remove() {
    if (chosen < 0) return;
    boxes.splice(chosen, 1);
    choose(Math.min(chosen, boxes.length - 1), { focus: true });
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    event.preventDefault();
    const [x, y] = place(event);
    const number = event.target.dataset.number;
    if (number === undefined) {
      boxes.push([x, y, x, y]);
      drag = { number: boxes.length - 1, from: [x, y], part: "new" };
    } else {
      drag = { number: Number(number), from: [x, y], part: event.target.dataset.part || "all", start: [...boxes[number]] };
    }
    canvas.setPointerCapture(event.pointerId);
    choose(drag.number);
  });

  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = place(event);
    const [dx, dy] = [x - drag.from[0], y - drag.from[1]];
    if (drag.part === "new") {
      boxes[drag.number] = tidy([drag.from[0], drag.from[1], x, y]);
    } else if (drag.part === "corner") {
      const [left, top, right, bottom] = drag.start;
      boxes[drag.number] = tidy([left, top, Math.max(left + 2, right + dx), Math.max(top + 2, bottom + dy)]);
    } else {
      boxes[drag.number] = moved(drag.start, dx, dy);
    }
    draw();
  });

  function moved([left, top, right, bottom], dx, dy) {
    const across = Math.min(Math.max(dx, -left), given.columns - right);
    const down = Math.min(Math.max(dy, -top), given.rows - bottom);
    return tidy([left + across, top + down, right + across, bottom + down]);
  }

  function drop() {
    if (!drag) return;
    const [left, top, right, bottom] = boxes[drag.number];
    const isSpeck = right - left < 3 || bottom - top < 3;
    if (drag.part === "new" && isSpeck) {
      boxes.splice(drag.number, 1);
      chosen = -1;
    }
    drag = null;
    draw({ focus: true });
  }
  canvas.addEventListener("pointerup", drop);
  canvas.addEventListener("pointercancel", drop);

  canvas.addEventListener("focusin", (event) => {
    const number = Number(event.target.dataset.number);
    if (number !== chosen) choose(number, { focus: true });
  });

  canvas.addEventListener("keydown", (event) => {
    const step = Math.max(1, Math.round(given.columns / 320));
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      remove();
    } else if (ways[event.key] && chosen >= 0) {
      event.preventDefault();
      const [dx, dy] = ways[event.key];
      const [left, top, right, bottom] = boxes[chosen];
      boxes[chosen] = event.shiftKey
        ? tidy([left, top, Math.max(left + 2, right + dx), Math.max(top + 2, bottom + dy)])
        : moved(boxes[chosen], dx, dy);
      draw({ focus: true });
    }
  });

  button("add").addEventListener("click", () => {
    const [width, height] = [given.columns / 4, given.rows / 12];
    const [x, y] = [(given.columns - width) / 2, (given.rows - height) / 2];
    boxes.push(tidy([x, y, x + width, y + height]));
    choose(boxes.length - 1, { focus: true });
  });
  button("remove").addEventListener("click", remove);
  button("reset").addEventListener("click", () => {
    boxes = given.proposed.map((box) => [...box]);
    choose(-1);
  });
  button("show").addEventListener("click", (event) => {
    const isCleaned = stage.classList.toggle("de-cleaned");
    event.currentTarget.setAttribute("aria-pressed", isCleaned);
  });

  const slider = button("frame-number");
  if (slider) {
    const output = button("frame-output");
    const play = button("play");
    let timer = 0;
    const show = () => {
      frame.src = `${given.frame_url}${slider.value}/`;
      output.textContent = `${slider.value} / ${given.frames}`;
    };
    slider.addEventListener("input", show);
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = play.dataset.play;
    };
    play.addEventListener("click", () => {
      if (timer) return stop();
      play.textContent = play.dataset.pause;
      timer = setInterval(() => {
        // One after the other: the next frame is asked for when this one is there.
        if (!frame.complete) return;
        slider.value = (Number(slider.value) % given.frames) + 1;
        show();
      }, 250);
    });
  }
  /* As large as fits on the screen, a small frame at most three times its size. */
  function fit() {
    const most = (window.innerHeight * 0.72 * given.columns) / given.rows;
    stage.style.maxWidth = `${Math.round(Math.min(most, given.columns * 3))}px`;
    draw();
  }
  window.addEventListener("resize", fit);
  fit();
})();
