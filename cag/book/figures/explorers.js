/* Small explorers of stored predictions: they ask no server for anything and need no library. */
(function () {
  "use strict";
  const NS = "http://www.w3.org/2000/svg";
  const W = 420, H = 320, LEFT = 60, BOTTOM = 44, TOP = 12, RIGHT = 14;

  function make(name, attributes, parent, text) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.appendChild(node);
    return node;
  }
  function draw(name, attributes, parent, text) {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  }

  /* A plot with axes; returns functions that place things in the units of the data. */
  function plot(parent, label, x, y) {
    const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label }, parent);
    const px = (v) => LEFT + ((v - x.from) / (x.to - x.from)) * (W - LEFT - RIGHT);
    const py = (v) => H - BOTTOM - ((v - y.from) / (y.to - y.from)) * (H - BOTTOM - TOP);
    draw("path", { class: "axis", d: `M${px(x.from)} ${py(y.to)}V${py(y.from)}H${px(x.to)}` }, svg);
    for (const v of x.ticks) draw("text", { x: px(v), y: H - BOTTOM + 18, "text-anchor": "middle" }, svg, String(v));
    for (const v of y.ticks) draw("text", { x: LEFT - 8, y: py(v) + 4, "text-anchor": "end" }, svg, String(v));
    draw("text", { x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle" }, svg, x.name);
    const turned = `translate(13 ${(TOP + H - BOTTOM) / 2}) rotate(-90)`;
    draw("text", { transform: turned, "text-anchor": "middle" }, svg, y.name);
    const layer = draw("g", {}, svg);
    const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join("");
    return {
      clear: () => layer.replaceChildren(),
      line: (points, kind) => points.length && draw("path", { class: kind || "curve", d: path(points) }, layer),
      dot: (a, b) => draw("circle", { class: "here", cx: px(a), cy: py(b), r: 6 }, layer),
      note: (a, b, text) => draw("text", { x: px(a) + 6, y: py(b) - 6 }, layer, text),
      label: (text) => svg.setAttribute("aria-label", text),
    };
  }

  let count = 0;
  function control(parent, text, kind, attributes) {
    const id = `explore-${Date.now().toString(36)}-${(count += 1)}`;
    const row = make("div", { class: "control" }, parent);
    make("label", { for: id }, row, text);
    const input = make(kind, { id, ...attributes }, row);
    const shown = kind === "input" ? make("output", { for: id }, row) : null;
    return { input, show: (value) => { shown.textContent = value; input.setAttribute("aria-valuetext", value); } };
  }
  function slider(parent, text, from, to, step, value) {
    return control(parent, text, "input", { type: "range", min: from, max: to, step, value });
  }
  function choice(parent, text, names) {
    const found = control(parent, text, "select", {});
    for (const name of names) make("option", { value: name }, found.input, name);
    return found;
  }
  function table(parent, caption) {
    const found = make("table", {}, parent);
    make("caption", {}, found, caption);
    const body = make("tbody", {}, found);
    return (rows) => {
      body.replaceChildren();
      for (const cells of rows) {
        const line = make("tr", {}, body);
        cells.forEach((text, i) => make(i ? "td" : "th", i ? {} : { scope: "row" }, line, String(text)));
      }
    };
  }
  const two = (value) => (Number.isFinite(value) ? value.toFixed(2) : "not defined");
  const share = (part, whole) => (whole ? `${two(part / whole)} (${part} of ${whole})` : "not defined");
  const unit = { from: 0, to: 1, ticks: [0, 0.25, 0.5, 0.75, 1] };

  /* Points of the ROC curve and the area under it, ties taken together. */
  function roc(scores, diseased) {
    const order = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a]);
    const positives = diseased.filter(Boolean).length, negatives = diseased.length - positives;
    const points = [[0, 0]];
    let tp = 0, fp = 0, area = 0;
    for (let i = 0; i < order.length; ) {
      const before = [fp, tp], at = scores[order[i]];
      for (; i < order.length && scores[order[i]] === at; i += 1) diseased[order[i]] ? (tp += 1) : (fp += 1);
      area += (fp - before[0]) * (tp + before[1]) / 2;
      if (positives && negatives) points.push([fp / negatives, tp / positives]);
    }
    return { points, positives, negatives, area: positives && negatives ? area / positives / negatives : NaN };
  }
  function confusion(scores, diseased, threshold) {
    const cells = { tp: 0, fp: 0, fn: 0, tn: 0 };
    scores.forEach((s, i) => { cells[(s >= threshold) === Boolean(diseased[i]) ? (diseased[i] ? "tp" : "tn") : (diseased[i] ? "fn" : "fp")] += 1; });
    return cells;
  }
  function predictive(sensitivity, specificity, prevalence) {
    const positive = sensitivity * prevalence, negative = specificity * (1 - prevalence);
    return [positive / (positive + (1 - specificity) * (1 - prevalence)), negative / (negative + (1 - sensitivity) * prevalence)];
  }
  function confusionRows(c) {
    return [
      ["Called diseased", `right: ${c.tp}`, `false alarm: ${c.fp}`],
      ["Called normal", `missed: ${c.fn}`, `right: ${c.tn}`],
    ];
  }

  function thresholdExplorer(root, data) {
    const controls = make("div", { class: "controls" }, root), view = make("div", { class: "view" }, root);
    const group = choice(controls, "Level", Object.keys(data.groups));
    const threshold = slider(controls, "Threshold", 0, 1, 0.01, data.threshold);
    const prevalence = slider(controls, "Prevalence, %", 1, 99, 1, 50);
    const area = plot(view, "ROC curve", { ...unit, name: "1 − specificity" }, { ...unit, name: "sensitivity" });
    const side = make("div", {}, view);
    const cells = table(side, "Reference: diseased, normal"), values = table(side, "At this threshold");
    function update(fresh) {
      const { score, percent } = data.groups[group.input.value];
      const diseased = percent.map((p) => p >= data.cut), t = Number(threshold.input.value);
      const curve = roc(score, diseased), c = confusion(score, diseased, t);
      if (fresh === true) prevalence.input.value = Math.round((100 * curve.positives) / score.length);
      const p = Number(prevalence.input.value) / 100;
      const sensitivity = c.tp / curve.positives, specificity = c.tn / curve.negatives;
      area.clear();
      area.line([[0, 0], [1, 1]], "chance");
      area.line(curve.points);
      area.dot(1 - specificity, sensitivity);
      area.label(`ROC curve, ${group.input.value}; at threshold ${two(t)} sensitivity ${two(sensitivity)}, specificity ${two(specificity)}`);
      threshold.show(two(t));
      prevalence.show(`${prevalence.input.value} %`);
      cells(confusionRows(c));
      const [ppv, npv] = predictive(sensitivity, specificity, p);
      values([
        ["Area under the curve", two(curve.area)],
        ["Sensitivity", share(c.tp, curve.positives)], ["Specificity", share(c.tn, curve.negatives)],
        ["Positive predictive value", two(ppv)], ["Negative predictive value", two(npv)],
      ]);
    }
    group.input.addEventListener("change", () => update(true));
    for (const each of [threshold, prevalence]) each.input.addEventListener("input", update);
    update(true);
  }

  function severityExplorer(root, data) {
    const controls = make("div", { class: "controls" }, root), view = make("div", { class: "view" }, root);
    const group = choice(controls, "Level", Object.keys(data.groups));
    const cut = slider(controls, "Diseased from, % stenosis", 1, 100, 1, data.cut);
    const threshold = slider(controls, "Threshold", 0, 1, 0.01, data.threshold);
    const axis = { from: 0, to: 100, ticks: [0, 25, 50, 70, 100], name: "cut-point, % diameter stenosis" };
    const area = plot(view, "Area under the curve by cut-point", axis, { ...unit, name: "area under the ROC curve" });
    const side = make("div", {}, view);
    const cells = table(side, "Reference: diseased, normal"), values = table(side, "At this cut-point");
    function update() {
      const { score, percent } = data.groups[group.input.value];
      const at = (level) => percent.map((p) => p >= level);
      const line = [];
      for (let level = 1; level <= 100; level += 1) {
        const found = roc(score, at(level)).area;
        if (Number.isFinite(found)) line.push([level, found]);
      }
      const level = Number(cut.input.value), t = Number(threshold.input.value), diseased = at(level);
      const curve = roc(score, diseased), c = confusion(score, diseased, t);
      area.clear();
      area.line([[0, 0.5], [100, 0.5]], "chance");
      area.line(line);
      if (Number.isFinite(curve.area)) area.dot(level, curve.area);
      area.label(`Area under the ROC curve by cut-point, ${group.input.value}; at ${level} % it is ${two(curve.area)}`);
      cut.show(`${level} %`);
      threshold.show(two(t));
      cells(confusionRows(c));
      values([
        ["Diseased", curve.positives], ["Normal", curve.negatives], ["Area under the curve", two(curve.area)],
        ["Sensitivity", share(c.tp, curve.positives)], ["Specificity", share(c.tn, curve.negatives)],
      ]);
    }
    group.input.addEventListener("change", update);
    for (const each of [cut, threshold]) each.input.addEventListener("input", update);
    update();
  }

  /* Greedy, best score first: a box takes the free lesion it overlaps most; a second box on it is false. */
  function match(boxes, iou) {
    const taken = new Set();
    return boxes.map(([, score, pairs]) => {
      let best = null;
      for (const [lesion, overlap] of pairs) if (overlap >= iou && !taken.has(lesion) && (!best || overlap > best[1])) best = [lesion, overlap];
      if (best) taken.add(best[0]);
      return [score, Boolean(best)];
    });
  }
  function frocCurve(matched, images, lesions) {
    const points = [[0, 0, Infinity]];
    let hits = 0, misses = 0;
    matched.forEach(([score, hit], i) => {
      hit ? (hits += 1) : (misses += 1);
      if (i + 1 === matched.length || matched[i + 1][0] !== score) points.push([misses / images, hits / lesions, score, hits, misses]);
    });
    return points;
  }

  function frocExplorer(root, data) {
    const controls = make("div", { class: "controls" }, root), view = make("div", { class: "view" }, root);
    const method = choice(controls, "Method", Object.keys(data.methods));
    const iou = slider(controls, "Overlap that counts (IoU)", 0.05, 0.9, 0.05, 0.5);
    const allowed = slider(controls, "False boxes an image", 0, 5, 0.05, 1);
    const axis = { from: 0, to: 5, ticks: [0, 1, 2, 3, 4, 5], name: "false boxes an image" };
    const area = plot(view, "Free-response curve", axis, { ...unit, name: "share of lesions found" });
    const side = make("div", {}, view), values = table(side, "At this operating point");
    function update() {
      const own = data.methods[method.input.value], limit = Number(allowed.input.value), overlap = Number(iou.input.value);
      const points = frocCurve(match(own.boxes, overlap), own.images, own.lesions);
      const here = points.filter(([x]) => x <= limit).pop();
      const [, recall, score, hits = 0, misses = 0] = here;
      area.clear();
      for (const [name, other] of Object.entries(data.methods)) {
        if (name !== method.input.value) area.line(frocCurve(match(other.boxes, overlap), other.images, other.lesions).filter(([x]) => x <= 5), "other");
      }
      area.line(points.filter(([x]) => x <= 5));
      area.dot(here[0], recall);
      area.label(`Free-response curve of ${method.input.value}; at ${two(here[0])} false boxes an image it finds ${two(recall)} of the lesions`);
      iou.show(two(overlap));
      allowed.show(two(limit));
      values([
        ["Lesions found", share(hits, own.lesions)], ["False boxes", `${misses} in ${own.images} images`],
        ["Boxes that are right", share(hits, hits + misses)], ["Score of the last box kept", Number.isFinite(score) ? score.toPrecision(2) : "none kept"],
      ]);
    }
    method.input.addEventListener("change", update);
    for (const each of [iou, allowed]) each.input.addEventListener("input", update);
    update();
  }

  const kinds = { threshold: thresholdExplorer, severity: severityExplorer, froc: frocExplorer };
  for (const root of document.querySelectorAll(".cag-explorer:not([data-ready])")) {
    root.setAttribute("data-ready", "");
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    kinds[root.dataset.kind](root, data);
  }
})();
