// Small helpers. Everything that came over the network is set as text, never as markup.

export const at = (id) => document.getElementById(id);

/** Set text only when it differs, so that selections survive and screen readers stay quiet. */
export function text(element, value) {
  const wanted = String(value);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function look(element, classes) {
  if (element.className !== classes) element.className = classes;
}

export function make(tag, classes = "", content = "") {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (content) element.textContent = content;
  return element;
}

/**
 * Make the children of `parent` show `items`: elements are kept by key, made by `create(item)`, filled by `update(element, item)`.
 */
export function keyed(parent, items, keyOf, create, update) {
  const old = new Map();
  for (const child of parent.children) old.set(child.dataset.key, child);
  const seen = new Map();
  items.forEach((item, index) => {
    const plain = String(keyOf(item));
    const times = (seen.get(plain) ?? 0) + 1;
    seen.set(plain, times);
    const key = `${plain}#${times}`;
    let child = old.get(key);
    if (child) old.delete(key);
    else {
      child = create(item);
      child.dataset.key = key;
    }
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
    update(child, item);
  });
  for (const child of old.values()) child.remove();
}

/** A table row of cells; a cell is text or [text, classes, title]. */
export function cells(row, values) {
  while (row.children.length < values.length) row.append(document.createElement("td"));
  values.forEach((value, index) => {
    const [content, classes = "", title = ""] = Array.isArray(value) ? value : [value];
    const cell = row.children[index];
    text(cell, content);
    look(cell, classes);
    if (cell.title !== title) cell.title = title;
  });
}
