/* A list of any length of which only the rows in view exist. Rows have one height, set by the style sheet. */

const SPARE_ROWS = 8;

export class UploadList {
  /* `box` scrolls, `list` holds the rows, `template` is one row; `fill(element, item)` writes an item into a row. */
  constructor(box, list, template, fill) {
    this.box = box;
    this.list = list;
    this.template = template;
    this.fill = fill;
    this.items = [];
    this.rows = new Map();
    this.free = [];
    this.scheduled = 0;
    this.rowHeight = 0;
    box.addEventListener("scroll", () => this.refresh(), { passive: true });
    new ResizeObserver(() => { this.rowHeight = 0; this.refresh(); }).observe(box);
  }

  /* Show these items, in their order. */
  show(items) {
    this.items = items;
    this.refresh();
  }

  refresh() {
    if (!this.scheduled) this.scheduled = requestAnimationFrame(() => { this.scheduled = 0; this.draw(); });
  }

  draw() {
    this.box.hidden = !this.items.length;
    if (!this.items.length) { this.release(0, 0); return; }
    if (!this.rowHeight) this.measure();
    const height = this.rowHeight;
    this.list.style.height = `${this.items.length * height}px`;
    const first = Math.max(0, Math.floor(this.box.scrollTop / height) - SPARE_ROWS);
    const last = Math.min(this.items.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / height) + SPARE_ROWS);
    this.release(first, last);
    for (let i = first; i < last; i += 1) {
      let row = this.rows.get(i);
      if (!row) {
        row = { element: this.free.pop() || this.make(), item: null, version: -1 };
        row.element.style.transform = `translateY(${i * height}px)`;
        row.element.setAttribute("aria-posinset", String(i + 1));
        this.rows.set(i, row);
        this.place(row.element, i);
      }
      row.element.setAttribute("aria-setsize", String(this.items.length));
      const item = this.items[i];
      if (row.item !== item || row.version !== item.version) {
        row.item = item;
        row.version = item.version;
        this.fill(row.element, item);
      }
    }
  }

  measure() {
    const row = this.make();
    this.list.append(row);
    this.rowHeight = row.getBoundingClientRect().height || 56;
    row.remove();
    for (const [i, { element }] of this.rows) element.style.transform = `translateY(${i * this.rowHeight}px)`;
  }

  make() {
    return this.template.content.firstElementChild.cloneNode(true);
  }

  /* Rows stand in the document in the order in which they are read. */
  place(element, number) {
    let next = null;
    for (const [i, { element: other }] of this.rows) {
      if (i > number && (next === null || i < next.i)) next = { i, other };
    }
    this.list.insertBefore(element, next ? next.other : null);
  }

  release(first, last) {
    for (const [i, row] of this.rows) {
      if (i >= first && i < last) continue;
      row.element.remove();
      this.free.push(row.element);
      this.rows.delete(i);
    }
  }
}
