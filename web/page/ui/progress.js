// How far the work is: bytes, tensors, speed, time left.

import { duration, several, size } from "../format.js";
import { box, byId } from "./dom.js";

/** Seconds over which speed is measured. */
const WINDOW = 8;

const STAGES = /** @type {Record<string, string>} */ ({
  import: "Reading and packing weights",
  measure: "Measuring what each type does",
  export: "Quantizing",
  arrays: "Writing arrays",
});

/** Times and bytes lately. @type {[number, number][]} */
let marks = [];
let stage = "";
/** @type {string[]} */
let stages = [];
let announced = -1;

/** @param {string[]} all stages of this run, in order */
export function begin(all) {
  stages = all;
  stage = "";
  box("stage").textContent = "Starting …";
  box("figures").replaceChildren();
  box("tensor").textContent = "";
  byId("bar", HTMLProgressElement).value = 0;
}

/** @param {import("../worker/progress.js").Progress} progress */
export function show(progress) {
  const now = performance.now() / 1000;
  if (progress.stage !== stage) {
    stage = progress.stage;
    marks = [];
    announced = -1;
  }
  marks.push([now, progress.done]);
  while (marks.length > 2 && marks[0][0] < now - WINDOW) marks.shift();
  const [[then, before]] = marks;
  const speed = (progress.done - before) / (now - then);
  const share = progress.bytes ? progress.done / progress.bytes : 0;
  const step = stages.length > 1 ? `Step ${stages.indexOf(stage) + 1} of ${stages.length}: ` : "";
  box("stage").textContent = step + (STAGES[stage] ?? stage);
  byId("bar", HTMLProgressElement).value = share;
  const left = (progress.bytes - progress.done) / speed;
  const figures = [
    `${(100 * share).toFixed(0)} %`,
    `${size(progress.done)} of ${size(progress.bytes)}`,
    `tensor ${Math.min(progress.tensor + 1, progress.tensors)} of ${progress.tensors}`,
    ...(speed > 0 ? [`${size(speed)}/s`] : []),
    ...(speed > 0 && share < 1 && now - then > 1 ? [`${duration(left)} left`] : []),
  ];
  box("figures").replaceChildren(...figures.map((text) => {
    const part = document.createElement("span");
    part.textContent = text;
    return part;
  }));
  box("tensor").textContent = progress.name && `${progress.name} → ${progress.encoding}`;
  // Not every message: a screen reader would never come to an end.
  const quarter = Math.floor(share * 4);
  if (quarter !== announced) {
    announced = quarter;
    box("announce").textContent = `${STAGES[stage] ?? stage}, ${quarter * 25} percent of ${several(progress.tensors, "tensor")}`;
  }
}
