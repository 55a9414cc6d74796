"use strict";
document.documentElement.classList.add("js");
const $ = (id) => document.getElementById(id);
const table = $("cells"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
const keys = heads.map((head) => head.dataset.key);
const numeric = heads.map((head) => head.classList.contains("num"));
const usual = keys.filter((key, i) => "hidden" in heads[i].dataset);
const word = (cell) => cell.dataset.t ?? cell.textContent;
const rows = [...body.rows].map((row) => {
  const texts = [...row.cells].map(word);
  return {
    row,
    texts,
    values: [...row.cells].map((cell, i) =>
      numeric[i] ? ("v" in cell.dataset ? Number(cell.dataset.v) : null) : texts[i].toLowerCase()),
    found: row.textContent.toLowerCase(),
    complete: "complete" in row.dataset,
  };
});
const groups = [...document.querySelectorAll(".filter[data-key]")];
const boxes = (group) => [...group.querySelectorAll("input")];
const fresh = () => ({ q: "", sort: "", complete: false, hide: new Set(usual), want: {}, open: "" });
let view = fresh();

function read() {
  const said = new URLSearchParams(location.hash.slice(1));
  view = fresh();
  view.q = said.get("q") ?? "";
  view.sort = said.get("sort") ?? "";
  view.complete = said.has("complete");
  if (said.has("hide")) view.hide = new Set(said.get("hide").split(","));
  for (const group of groups) {
    const wanted = said.getAll(group.dataset.key);
    if (wanted.length) view.want[group.dataset.key] = new Set(wanted);
  }
  view.open = said.get("open") ?? "";
}

function write() {
  const said = new URLSearchParams();
  if (view.q) said.set("q", view.q);
  if (view.sort) said.set("sort", view.sort);
  if (view.complete) said.set("complete", "1");
  const hidden = keys.filter((key) => view.hide.has(key)).join(",");
  if (hidden !== usual.join(",")) said.set("hide", hidden);
  for (const [key, wanted] of Object.entries(view.want)) for (const each of wanted) said.append(key, each);
  if (view.open) said.set("open", view.open);
  history.replaceState(null, "", `#${said}`);
}

function sorted() {
  const down = view.sort.startsWith("-"), i = keys.indexOf(view.sort.replace(/^-/, ""));
  if (i < 0) return rows;
  const missing = (value) => value === null || value === "–";
  return [...rows].sort((one, other) => {
    const a = one.values[i], b = other.values[i];
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
  });
}

let order = "";
function show() {
  if (order !== view.sort) body.replaceChildren(...sorted().map((each) => each.row));
  order = view.sort;
  heads.forEach((head, i) => {
    const down = view.sort === `-${keys[i]}`;
    head.setAttribute("aria-sort", down ? "descending" : view.sort === keys[i] ? "ascending" : "none");
    table.classList.toggle(`hide-${keys[i]}`, view.hide.has(keys[i]));
  });
  const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
  const wants = Object.entries(view.want).map(([key, wanted]) => [keys.indexOf(key), wanted]);
  let count = 0;
  for (const each of rows) {
    const kept = words.every((one) => each.found.includes(one)) && (!view.complete || each.complete) &&
      wants.every(([i, wanted]) => wanted.has(each.texts[i]));
    each.row.hidden = !kept;
    count += kept;
  }
  $("count").textContent = `${count} of ${rows.length} rows`;
  if ($("q").value !== view.q) $("q").value = view.q;
  $("complete").checked = view.complete;
  for (const group of groups) {
    const wanted = view.want[group.dataset.key];
    for (const box of boxes(group)) box.checked = wanted?.has(box.value) ?? false;
    group.querySelector("b").textContent = wanted ? wanted.size : "";
  }
  for (const box of boxes($("hide"))) box.checked = !view.hide.has(box.value);
}

const change = () => (write(), show());

function csv() {
  const shown = keys.map((key, i) => i).filter((i) => !view.hide.has(keys[i]));
  const extra = (i) => (heads[i].dataset.extra ?? "").split(" ").filter(Boolean);
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const plain = (text) => (text === "–" ? "" : /^[=+@-]/.test(text) ? `'${text}` : text);
  const lines = [shown.flatMap((i) => [keys[i], ...extra(i).map((name) => `${keys[i]}_${name}`)])];
  for (const { row, texts } of sorted()) {
    if (row.hidden) continue;
    lines.push(shown.flatMap((i) => {
      const cell = row.cells[i], more = (cell.dataset.e ?? "").split(" ");
      return [numeric[i] ? cell.dataset.v ?? "" : plain(texts[i]), ...extra(i).map((_, n) => more[n] ?? "")];
    }));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.map((line) => line.map(quoted).join(",") + "\n").join("")], { type: "text/csv" }));
  link.download = "ue-bench.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

table.tHead.addEventListener("click", (event) => {
  const key = event.target.closest("button")?.parentElement.dataset.key;
  if (!key) return;
  view.sort = view.sort === key ? `-${key}` : view.sort === `-${key}` ? "" : key;
  change();
});
$("q").addEventListener("input", (event) => ((view.q = event.target.value), change()));
$("complete").addEventListener("change", (event) => ((view.complete = event.target.checked), change()));
$("csv").addEventListener("click", csv);
$("reset").addEventListener("click", () => ((view = fresh()), change()));
$("hide").addEventListener("change", (event) => {
  view.hide[event.target.checked ? "delete" : "add"](event.target.value);
  change();
});
for (const group of groups) group.addEventListener("change", () => {
  const wanted = boxes(group).filter((box) => box.checked).map((box) => box.value);
  if (wanted.length) view.want[group.dataset.key] = new Set(wanted);
  else delete view.want[group.dataset.key];
  change();
});
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll(".filter[open]")) if (!open.contains(event.target)) open.open = false;
});
for (const detail of document.querySelectorAll(".detail")) detail.addEventListener("toggle", (event) => {
  view.open = event.newState === "open" ? detail.id : view.open === detail.id ? "" : view.open;
  write();
});
function restore() {
  read();
  show();
  const detail = view.open && $(view.open);
  if (detail?.showPopover && !detail.matches(":popover-open")) detail.showPopover();
}
addEventListener("hashchange", () => location.hash.includes("=") && restore());
restore();
