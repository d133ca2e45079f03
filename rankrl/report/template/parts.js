"use strict";
// What the page is written with: elements, texts, numbers. Text goes in as text nodes and attributes, never as markup.

const byId = (id) => document.getElementById(id);
const largest = (list, otherwise) => list.reduce((most, one) => Math.max(most, one), otherwise);

const filled = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
};
const el = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
const visible = (text) => text.replace(CONTROL, (c) => (c === "\u007f" ? "␡" : String.fromCharCode(0x2400 + c.charCodeAt(0))));
const own = (text) => el("bdi", null, visible(text)); // text from outside, kept from turning its surroundings round
const short = (text, most) => {
  const points = [...visible(text)];
  if (points.length <= most) return points.join("");
  const head = Math.max(1, Math.ceil((most - 1) / 2));
  return points.slice(0, head).join("") + "…" + points.slice(points.length - Math.max(0, most - 1 - head)).join("");
};
const fixed = (value) => value.toFixed(4);
const signed = (value) => {
  const rounded = Math.abs(value).toFixed(4);
  return Number(rounded) === 0 ? rounded : (value > 0 ? "+" : "−") + rounded;
};
const tone = (d) => (d > 0 ? "better" : d < 0 ? "worse" : "same");
const arrow = (d) => (d > 0 ? "▲ " : d < 0 ? "▼ " : "");
const letter = (n) => (n < 26 ? String.fromCharCode(65 + n) : String(n + 1));
const plural = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

// The report itself: lists of runs and topics, and what belongs to them in the same order.
const report = JSON.parse(document.getElementById("report-data").textContent);
const { runs, topics, measures, values, queries, movements, documents, relevant, depth } = report;
const SAME = 1e-9; // values closer than this are one value, as in the tables
const paired = runs.length > 1;
const state = { m: 0, a: 0, b: paired ? 1 : 0, q: null, also: [], allFlips: false, at: 0, chosen: null };
