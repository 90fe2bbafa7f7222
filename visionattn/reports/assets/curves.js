// Curves as inline SVG in the width that there is: axes, bands, a cross that follows the pointer or the arrow keys.
const HEIGHT = 250, LEFT = 62, RIGHT = 14, TOP = 10, BOTTOM = 38;

class Scale {
  constructor(values, range, log, from, to) {
    this.log = log;
    const usable = values.filter((value) => value !== null && (!log || value > 0));
    let [low, high] = range ?? [Math.min(...usable), Math.max(...usable)];
    if (!usable.length && !range) [low, high] = log ? [1, 10] : [0, 1];
    if (!range && low === high) [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
    Object.assign(this, { low, high, from, to });
  }
  pad(share) {
    if (this.log) {
      const factor = (this.high / this.low) ** share;
      this.low /= factor; this.high *= factor;
    } else {
      const extra = (this.high - this.low) * share;
      this.low -= extra; this.high += extra;
    }
    return this;
  }
  at(value) {
    const t = this.log ? Math.log(value / this.low) / Math.log(this.high / this.low) : (value - this.low) / (this.high - this.low);
    return this.from + t * (this.to - this.from);
  }
  ticks(wanted) {
    if (this.log) {
      const all = [];
      for (let power = Math.floor(Math.log10(this.low)); power <= Math.ceil(Math.log10(this.high)); power++) {
        for (const digit of [1, 2, 5]) all.push(digit * 10 ** power);
      }
      const inside = all.filter((tick) => tick >= this.low && tick <= this.high);
      const powers = inside.filter((tick) => Math.abs(Math.log10(tick) % 1) < 1e-9);
      const chosen = powers.length >= 3 ? powers : inside;
      return chosen.filter((_, index) => index % Math.ceil(chosen.length / (wanted + 1)) === 0);
    }
    const rough = (this.high - this.low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((digit) => digit * power).find((one) => one >= rough * 0.999);
    const first = Math.ceil(this.low / step - 1e-9), last = Math.floor(this.high / step + 1e-9);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => Number(((first + index) * step).toPrecision(12)));
  }
}

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.data = JSON.parse($("script", figure).textContent);
    this.curves = this.data.curves;
    this.curves.forEach((curve, index) => { curve.color = `var(--c${index % 8})`; curve.shown = true; });
    this.place = null;
    this.holder = element("div");
    figure.append(this.holder);
    if (this.curves.length > 1) figure.append(this.legend());
    new ResizeObserver(() => this.draw()).observe(figure);
    figure.addEventListener("pointermove", (event) => this.point(event));
    figure.addEventListener("pointerdown", (event) => this.point(event));
    figure.addEventListener("pointerleave", () => this.leave());
  }
  legend() {
    return element("ul", { class: "legend" }, ...this.curves.map((curve) => {
      const swatch = element("span", { class: "swatch", style: `background:${curve.color}` });
      const button = element("button", { type: "button", "aria-pressed": "true" }, swatch, curve.name);
      button.addEventListener("click", () => {
        curve.shown = !curve.shown;
        button.setAttribute("aria-pressed", curve.shown);
        this.drawn = 0;
        this.draw();
      });
      return element("li", {}, button);
    }));
  }
  draw() {
    const width = Math.round(this.figure.clientWidth);
    if (!width || width === this.drawn) return;
    this.drawn = width;
    const shown = this.curves.filter((curve) => curve.shown), log = this.data.log;
    const all = (name) => shown.flatMap((curve) => curve[name] ?? []);
    const x = this.x = new Scale(all("x"), this.data.xr, log.includes("x"), LEFT, width - RIGHT);
    const y = this.y = new Scale([...all("y"), ...all("low"), ...all("high")], this.data.yr, log.includes("y"), HEIGHT - BOTTOM, TOP);
    if (!this.data.yr) y.pad(0.04);
    const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, tabindex: 0, role: "img", "aria-label": this.label() });
    const ticks = y.ticks(5), largest = Math.max(...ticks.map(Math.abs)), tiny = largest < 5e-3 || this.data.log.includes("y");
    for (const tick of ticks) {
      svg.append(element("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y.at(tick), y2: y.at(tick) }));
      svg.append(element("text", { class: "tick", x: LEFT - 8, y: y.at(tick) + 4, "text-anchor": "end" }, tiny ? number(tick) : fixed(tick)));
    }
    for (const tick of x.ticks(Math.max(4, Math.floor(width / 100)))) {
      svg.append(element("text", { class: "tick", x: x.at(tick), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, number(tick)));
    }
    svg.append(element("text", { class: "label", x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, this.data.x));
    if (this.data.y) svg.append(element("text", { class: "label", transform: `translate(11 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle" }, this.data.y));
    for (const curve of shown) this.drawCurve(svg, curve);
    this.over = element("g");
    svg.append(this.over);
    svg.addEventListener("keydown", (event) => this.key(event));
    svg.addEventListener("blur", () => this.leave());
    this.svg = svg;
    this.holder.replaceChildren(svg);
  }
  label() {
    return `${this.curves.map((curve) => curve.name).join(", ")} over ${this.data.x}; the arrow keys show values`;
  }
  usable(curve, index, values = curve.y) {
    const log = this.data.log;
    if (values[index] === null || curve.x[index] === null) return false;
    return (!log.includes("y") || values[index] > 0) && (!log.includes("x") || curve.x[index] > 0);
  }
  drawCurve(svg, curve) {
    if (curve.low) {
      const inside = curve.x.map((_, index) => index).filter((index) => this.usable(curve, index, curve.low) && this.usable(curve, index, curve.high));
      const edge = (name, order) => order.map((index) => `${this.x.at(curve.x[index]).toFixed(1)},${this.y.at(curve[name][index]).toFixed(1)}`);
      if (inside.length > 1) svg.append(element("path", { class: "band", fill: curve.color, d: `M${[...edge("high", inside), ...edge("low", inside.toReversed())].join("L")}Z` }));
    }
    let path = "", pen = "M";
    curve.x.forEach((value, index) => {
      if (!this.usable(curve, index)) { pen = "M"; return; }
      path += `${pen}${this.x.at(value).toFixed(1)},${this.y.at(curve.y[index]).toFixed(1)}`;
      pen = "L";
    });
    svg.append(element("path", { class: "line", stroke: curve.color, d: path || "M0,0" }));
    if (curve.x.length > 30) return;
    curve.x.forEach((value, index) => {
      if (this.usable(curve, index)) svg.append(element("circle", { r: 2.6, fill: curve.color, cx: this.x.at(value), cy: this.y.at(curve.y[index]) }));
    });
  }
  places() {
    const places = this.curves.filter((curve) => curve.shown).flatMap((curve) => curve.x.filter((_, index) => this.usable(curve, index)));
    return [...new Set(places)].sort((a, b) => a - b);
  }
  point(event) {
    if (!this.svg || !this.svg.contains(event.target)) return;
    const box = this.svg.getBoundingClientRect(), at = (event.clientX - box.left) * (this.drawn / box.width);
    const places = this.places();
    if (!places.length) return;
    this.place = places.reduce((best, one) => (Math.abs(this.x.at(one) - at) < Math.abs(this.x.at(best) - at) ? one : best));
    this.mark(event.clientX, event.clientY);
  }
  key(event) {
    const places = this.places(), steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key === "Escape") this.leave();
    if (!(event.key in steps) || !places.length) return;
    event.preventDefault();
    const now = places.indexOf(this.place);
    this.place = places[now < 0 ? places.length - 1 : Math.min(Math.max(now + steps[event.key], 0), places.length - 1)];
    const box = this.svg.getBoundingClientRect();
    this.mark(box.left + this.x.at(this.place) * (box.width / this.drawn), box.top + 20);
  }
  mark(left, top) {
    const at = this.x.at(this.place), rows = [];
    this.over.replaceChildren(element("line", { class: "cross", x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM }));
    for (const curve of this.curves.filter((one) => one.shown)) {
      const usable = curve.x.map((_, index) => index).filter((index) => this.usable(curve, index));
      if (!usable.length) continue;
      const near = usable.reduce((best, one) => (Math.abs(curve.x[one] - this.place) < Math.abs(curve.x[best] - this.place) ? one : best));
      if (Math.abs(this.x.at(curve.x[near]) - at) > 12 && curve.x.length > 1) continue;
      this.over.append(element("circle", { r: 4, fill: curve.color, cx: this.x.at(curve.x[near]), cy: this.y.at(curve.y[near]) }));
      const band = curve.low ? ` (${number(curve.low[near])} to ${number(curve.high[near])})` : "";
      const swatch = element("span", { class: "swatch", style: `background:${curve.color}` });
      rows.push(element("div", { class: "row" }, swatch, curve.name, element("b", {}, number(curve.y[near]) + band)));
    }
    tip.show(left, top, element("div", { class: "quiet" }, `${this.data.x} ${number(this.place)}`), ...rows);
  }
  leave() {
    this.place = null;
    this.over?.replaceChildren();
    tip.hide();
  }
}

for (const figure of $$('[data-chart="curves"]')) new Chart(figure);
